"""decode(encode(types)) == types, over random graphs with cycles."""

from hypothesis import given
from hypothesis import strategies as st

from beewire.bpf.btf import (
    Array,
    Builder,
    Const,
    DataSec,
    DeclTag,
    Enum,
    Enum64,
    Enumerator,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Linkage,
    Member,
    Param,
    Ptr,
    Restrict,
    SectionEntry,
    Struct,
    Type,
    Typedef,
    TypeTag,
    Union,
    Var,
    Volatile,
    decode,
    same,
)

NAMES = st.sampled_from(["", "a", "b", "task_struct", "größe"])
U32 = st.integers(0, 2**32 - 1)
LINKAGES = st.sampled_from(list(Linkage))


@st.composite
def leaves(draw: st.DrawFn) -> Type:
    name, flag = draw(NAMES), draw(st.booleans())
    match draw(st.integers(0, 4)):
        case 0:
            size = draw(st.sampled_from([1, 2, 4, 8, 16]))
            return Int(name, size, signed=flag, char=draw(st.booleans()))
        case 1:
            return Float(name, draw(st.sampled_from([4, 8])))
        case 2:
            return Fwd(name, union=flag)
        case 3:
            numbers = st.integers(-(2**31), 2**31 - 1) if flag else U32
            values = draw(st.lists(st.builds(Enumerator, NAMES, numbers), max_size=3))
            return Enum(name, 4, tuple(values), signed=flag)
        case _:
            numbers = (
                st.integers(-(2**63), 2**63 - 1) if flag else st.integers(0, 2**64 - 1)
            )
            values = draw(st.lists(st.builds(Enumerator, NAMES, numbers), max_size=3))
            return Enum64(name, 8, tuple(values), signed=flag)


@st.composite
def referring(draw: st.DrawFn, pool: list[Type | None]) -> Type:
    """A type that refers to some of `pool`."""
    to, name = draw(st.sampled_from(pool)), draw(NAMES)
    match draw(st.integers(0, 8)):
        case 0:
            return draw(st.sampled_from([Ptr, Const, Volatile, Restrict]))(to)
        case 1:
            return Typedef(name, to)
        case 2:
            return TypeTag(name, to, attribute=draw(st.booleans()))
        case 3:
            return DeclTag(name, to, draw(st.integers(-1, 3)))
        case 4:
            return Array(to, draw(U32))
        case 5:
            return Var(name, to, draw(LINKAGES))
        case 6:
            variables = draw(st.lists(st.builds(Var, NAMES, st.sampled_from(pool))))
            entries = [SectionEntry(var, draw(U32), draw(U32)) for var in variables]
            return DataSec(name, draw(U32), tuple(entries))
        case _:
            params = draw(st.lists(st.builds(Param, NAMES, st.sampled_from(pool))))
            proto = FuncProto(to, tuple(params))
            return Func(name, proto, draw(LINKAGES)) if draw(st.booleans()) else proto


@st.composite
def graphs(draw: st.DrawFn) -> list[Type]:
    """Types that refer to each other; cycles go through structs and unions."""
    composites = [
        draw(st.sampled_from([Struct, Union]))(draw(NAMES), draw(U32))
        for _ in range(draw(st.integers(0, 4)))
    ]
    pool: list[Type | None] = [None, *composites, *draw(st.lists(leaves(), max_size=4))]
    for _ in range(draw(st.integers(0, 8))):
        pool.append(draw(referring(pool)))
    for composite in composites:
        members = []
        width = draw(st.sampled_from([0, 7]))
        for to in draw(st.lists(st.sampled_from(pool), max_size=4)):
            offset = draw(st.integers(0, 2**24 - 1))
            members.append(Member(draw(NAMES), to, offset, width))
        composite.members = tuple(members)
    return [node for node in pool if node is not None]


@given(graphs())
def test_types_come_back_equal(graph: list[Type]) -> None:
    builder = Builder()
    ids = [builder.add(node) for node in graph]

    index = decode(builder.encode())

    assert all(
        same(node, index.type(type_id))
        for node, type_id in zip(graph, ids, strict=True)
    )


@given(graphs())
def test_types_have_one_id_exactly_when_they_are_equal(graph: list[Type]) -> None:
    builder = Builder()
    ids = [builder.add(node) for node in graph]

    assert all(
        (ids[i] == ids[j]) == same(graph[i], graph[j])
        for i in range(len(graph))
        for j in range(i)
    )


@given(graphs())
def test_a_decoded_copy_adds_nothing_to_a_builder(graph: list[Type]) -> None:
    builder = Builder()
    ids = [builder.add(node) for node in graph]
    blob = builder.encode()
    index = decode(blob)

    again = [builder.add(index.type(type_id)) for type_id in ids]

    assert again == ids
    assert builder.encode() == blob


@given(graphs())
def test_encoding_is_stable(graph: list[Type]) -> None:
    first, second = Builder(), Builder()
    for node in graph:
        first.add(node)
        second.add(node)

    assert first.encode() == second.encode()
