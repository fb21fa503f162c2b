"""What can be asked of any BTF type: are two the same, how large is it."""

from beewire.bpf.btf.types import (
    Array,
    Composite,
    Const,
    DataSec,
    Enum,
    Float,
    Int,
    Ptr,
    Restrict,
    Type,
    Typedef,
    TypeTag,
    Var,
    Volatile,
)
from beewire.errors import ObjectError, SpecError

# Compilers nest types less deeply; types that mean harm may never end.
_MAX_CHAIN = 4096


def same(first: Type | None, second: Type | None) -> bool:
    """Tell whether the two types are equal, and so is all that they refer to.

    Recursive types are equal when no path through them shows a difference.
    """
    return matches(first, second, {}) is not None


def matches(
    first: Type | None, second: Type | None, known: dict[Type, Type]
) -> list[tuple[Type, Type]] | None:
    """Return the pairs of equal types met while comparing, or None if they differ.

    `known` maps a type to the one that already stands for all its equals: two types in
    it are equal exactly when they map to the same one, and are not walked again.
    """
    # Coinduction: a pair under comparison counts as equal until something differs.
    assumed = {(first, second)}
    work = [(first, second)]
    while work:
        left, right = work.pop()
        if left is right:
            continue
        if left is None or right is None:
            return None
        if left in known and right in known:
            if known[left] is not known[right]:
                return None
            continue
        if type(left) is not type(right) or left.facts() != right.facts():
            return None
        fresh = set(zip(left.references(), right.references(), strict=True)) - assumed
        assumed |= fresh
        work += fresh
    return [
        (left, right)
        for left, right in assumed
        if left is not None and right is not None
    ]


def strip(node: Type | None) -> Type | None:
    """Return what is behind typedefs, qualifiers and type tags; None for void.

    Raises:
        ObjectError: there is no end to them.
    """
    steps = 0
    while isinstance(node, Typedef | Const | Volatile | Restrict | TypeTag):
        node = node.to
        steps += 1
        if steps > _MAX_CHAIN:
            raise ObjectError("a type refers to itself without a pointer between")
    return node


def size_of(node: Type | None) -> int:
    """Return the size in bytes of a value of this type.

    Raises:
        SpecError: there are no values of it: void, a function, a struct not known here.
    """
    count = 1
    for _ in range(_MAX_CHAIN):
        match strip(node):
            case Array() as array:
                count *= array.count
                node = array.element
            case Var() as var:
                node = var.type
            case Int() | Float() | Composite() | Enum() | DataSec() as sized:
                return count * sized.size
            case Ptr():
                return count * 8
            case other:
                raise SpecError(f"{other!r} has no size")
    raise SpecError("an array of itself has no size")
