"""When a type of an object stands for one of a kernel: the rules of CO-RE.

Two questions, both of types whose names are the same but for a flavour: are they
*compatible*, so that a program may use the one for the other, and do they *match*, so
that all that the object knows of the type is also true of the kernel's?
The rules are libbpf's (relo_core.c), which the kernel shares.
"""

from beewire.bpf.btf.structure import strip
from beewire.bpf.btf.types import (
    Array,
    Composite,
    Enum,
    Float,
    FuncProto,
    Fwd,
    Int,
    Ptr,
    Type,
    Union,
)

# How deep a type is compared before it is taken for one that never ends.
_DEPTH = 32
# Types of many members without names could be compared for ever.
_STEPS = 100_000


def essential_name(name: str) -> str:
    """The name without its flavour: "task_struct" of "task_struct___old".

    A flavour begins at the last three underscores that stand between other characters.
    """
    for at in range(len(name) - 5, -1, -1):
        before, between, after = name[at], name[at + 1 : at + 4], name[at + 4]
        if between == "___" and before != "_" and after != "_":
            return name[: at + 1]
    return name


def same_kind(local: Type | None, target: Type | None) -> bool:
    """Whether the kinds are the same; enums of 32 and 64 bits count as one."""
    if isinstance(local, Enum) and isinstance(target, Enum):
        return True
    return type(local) is type(target)


def same_name(local: str, target: str) -> bool:
    """Whether the names are the same but for their flavours."""
    return local == target or essential_name(local) == essential_name(target)


def fields_compatible(local: Type | None, target: Type | None) -> bool:
    """Whether a field of the one type can be read as one of the other.

    Sizes and signs may differ: the program asks for them, or its load follows them.
    """
    for _ in range(_DEPTH):
        local, target = strip(local), strip(target)
        if isinstance(local, Composite) and isinstance(target, Composite):
            return True
        if not same_kind(local, target):
            return False
        if isinstance(local, Array) and isinstance(target, Array):
            local, target = local.element, target.element
            continue
        if isinstance(local, Fwd | Enum) and target is not None:
            names = local.name, target.name
            return not all(names) or same_name(*names)
        if isinstance(local, Int) and isinstance(target, Int):
            return _is_whole(local) and _is_whole(target)
        return isinstance(local, Ptr | Float)
    return False


def types_compatible(
    local: Type | None,
    target: Type | None,
    depth: int = _DEPTH,
    *,
    forward: bool = False,
) -> bool:
    """Whether the two types, of one name, are the same sort of thing.

    Structs and enums always are, functions where they take and return such things. With
    `forward`, a struct that is only declared in the object stands for any.
    """
    if not same_kind(local, target):
        return False
    while depth:
        depth -= 1
        local, target = strip(local), strip(target)
        if forward and isinstance(local, Fwd) and isinstance(target, Composite):
            return _is_union(local) == _is_union(target)
        if not same_kind(local, target):
            return False
        if isinstance(local, Ptr) and isinstance(target, Ptr):
            local, target = local.to, target.to
        elif isinstance(local, Array) and isinstance(target, Array):
            local, target = local.element, target.element
        elif isinstance(local, FuncProto) and isinstance(target, FuncProto):
            if not _parameters_compatible(local, target, depth, forward=forward):
                return False
            local, target = local.returns, target.returns
        else:
            return _leaves_compatible(local, target)
    return False


def _leaves_compatible(local: Type | None, target: Type | None) -> bool:
    if isinstance(local, Int) and isinstance(target, Int):
        return _is_whole(local) and _is_whole(target)
    return local is None or isinstance(local, Composite | Enum | Fwd)


def _parameters_compatible(
    local: FuncProto, target: FuncProto, depth: int, *, forward: bool
) -> bool:
    if len(local.params) != len(target.params):
        return False
    pairs = zip(local.params, target.params, strict=True)
    return all(
        types_compatible(strip(mine.type), strip(theirs.type), depth, forward=forward)
        for mine, theirs in pairs
    )


class _TooDeepError(Exception):
    pass


def types_match(local: Type | None, target: Type | None) -> bool:
    """Whether all that the object knows of the type is true of the kernel's.

    Members and enumerators are found by name, in any order; the kernel's may be more.
    Behind a pointer, of a struct only the name counts.
    """
    try:
        return _Matcher().match(local, target, _DEPTH, behind_pointer=False)
    except _TooDeepError:
        return False


class _Matcher:
    """One comparison, which gives up when it takes too long."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = _STEPS

    def match(
        self,
        local: Type | None,
        target: Type | None,
        depth: int,
        *,
        behind_pointer: bool,
    ) -> bool:
        while depth > 0:
            depth -= 1
            self._left -= 1
            if not self._left:
                break
            local, target = strip(local), strip(target)
            if not same_name(_name(local), _name(target)):
                return False
            if isinstance(local, Ptr) and isinstance(target, Ptr):
                local, target, behind_pointer = local.to, target.to, True
            elif isinstance(local, Array) and isinstance(target, Array):
                if local.count != target.count:
                    return False
                local, target = local.element, target.element
            elif isinstance(local, FuncProto) and isinstance(target, FuncProto):
                if not self._parameters(local, target, depth, behind_pointer):
                    return False
                local, target = local.returns, target.returns
            elif behind_pointer or not _are_composites(local, target):
                return _leaves_match(local, target, behind_pointer=behind_pointer)
            else:
                return self._members(local, target, depth)
        raise _TooDeepError

    def _parameters(
        self, local: FuncProto, target: FuncProto, depth: int, behind_pointer: object
    ) -> bool:
        if len(local.params) != len(target.params):
            return False
        return all(
            self.match(
                mine.type, theirs.type, depth, behind_pointer=bool(behind_pointer)
            )
            for mine, theirs in zip(local.params, target.params, strict=True)
        )

    def _members(self, local: Type | None, target: Type | None, depth: int) -> bool:
        if not isinstance(local, Composite) or not isinstance(target, Composite):
            return False
        if type(local) is not type(target) or len(local.members) > len(target.members):
            return False
        by_name: dict[str, list[Type | None]] = {}
        for member in target.members:
            by_name.setdefault(essential_name(member.name), []).append(member.type)
        return all(
            any(
                self.match(member.type, theirs, depth, behind_pointer=False)
                for theirs in by_name.get(essential_name(member.name), ())
            )
            for member in local.members
        )


def _are_composites(local: Type | None, target: Type | None) -> bool:
    return isinstance(local, Composite) and isinstance(target, Composite)


def _leaves_match(
    local: Type | None, target: Type | None, *, behind_pointer: bool
) -> bool:
    if isinstance(local, Int) and isinstance(target, Int):
        return (local.size, local.signed) == (target.size, target.signed)
    if isinstance(local, Enum) and isinstance(target, Enum):
        return _enums_match(local, target)
    if isinstance(local, Fwd | Composite) and isinstance(target, Fwd | Composite):
        both = isinstance(local, Fwd) and isinstance(target, Fwd)
        return (behind_pointer or both) and _is_union(local) == _is_union(target)
    return local is None and target is None


def _enums_match(local: Enum, target: Enum) -> bool:
    if local.size != target.size or len(local.values) > len(target.values):
        return False
    names = {essential_name(each.name) for each in target.values}
    return all(essential_name(each.name) in names for each in local.values)


def _name(node: Type | None) -> str:
    return "" if node is None else node.name


def _is_union(node: Fwd | Composite) -> bool:
    return node.union if isinstance(node, Fwd) else isinstance(node, Union)


def _is_whole(node: Int) -> bool:
    """Whether it is no bit-field of the old style, which CO-RE does not know."""
    return node.offset_bits == 0
