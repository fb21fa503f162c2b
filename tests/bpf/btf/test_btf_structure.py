import pytest

from beewire.bpf.btf import (
    Array,
    Const,
    DataSec,
    Enum,
    Float,
    Fwd,
    Int,
    Member,
    Ptr,
    Struct,
    Type,
    Typedef,
    TypeTag,
    Union,
    Var,
    Volatile,
    same,
    size_of,
    strip,
)
from beewire.errors import SpecError

INT = Int("int", 4, signed=True)


def chain(*sizes: int) -> Struct:
    """A ring of structs with these sizes, each with a pointer to the next."""
    nodes = [Struct("node", size) for size in sizes]
    for node, after in zip(nodes, nodes[1:] + nodes[:1], strict=True):
        node.members = (Member("next", Ptr(after), 0),)
    return nodes[0]


def test_void_is_the_same_as_void_only() -> None:
    assert same(None, None)
    assert not same(None, INT)
    assert not same(INT, None)


def test_copies_are_the_same() -> None:
    assert same(Ptr(Const(Int("int", 4))), Ptr(Const(Int("int", 4))))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Int("int", 4), Int("int", 8)),
        (Int("int", 4), Int("int", 4, signed=True)),
        (Ptr(INT), Const(INT)),
        (Array(INT, 3), Array(INT, 4)),
        (Array(INT, 3), Array(INT, 3, Int("int", 4))),
        (Struct("s", 4), Union("s", 4)),
        (Fwd("s"), Fwd("s", union=True)),
        (TypeTag("a", INT), TypeTag("a", INT, attribute=True)),
        (Var("a", INT), Var("b", INT)),
        (chain(8), chain(16)),
        (chain(8, 8), chain(8, 16)),
    ],
)
def test_differences_are_found(first: Type, second: Type) -> None:
    assert not same(first, second)
    assert not same(second, first)


def test_rings_of_equal_structs_are_the_same_whatever_their_length() -> None:
    assert same(chain(8), chain(8, 8, 8))


def test_strip_looks_behind_typedefs_qualifiers_and_tags() -> None:
    node = Typedef("a", Const(Volatile(TypeTag("user", Typedef("b", INT)))))

    assert strip(node) is INT


def test_strip_stops_at_a_pointer() -> None:
    pointer = Ptr(Const(INT))

    assert strip(Const(pointer)) is pointer


@pytest.mark.parametrize(
    ("node", "size"),
    [
        (INT, 4),
        (Float("double", 8), 8),
        (Ptr(None), 8),
        (Enum("e", 2), 2),
        (Struct("s", 12), 12),
        (Array(Array(INT, 3), 5), 60),
        (Array(Typedef("t", Const(INT)), 2), 8),
        (Var("v", Array(INT, 2)), 8),
        (DataSec(".data", 24), 24),
    ],
)
def test_a_type_has_a_size(node: Type, size: int) -> None:
    assert size_of(node) == size


@pytest.mark.parametrize("node", [None, Const(None), Fwd("s"), Array(None, 2)])
def test_what_has_no_size_is_refused(node: Type | None) -> None:
    with pytest.raises(SpecError, match="no size"):
        size_of(node)
