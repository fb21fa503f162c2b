import pytest

from beewire.bpf.btf import (
    Array,
    Builder,
    Const,
    DeclTag,
    Enum,
    Enumerator,
    Func,
    FuncProto,
    Int,
    Member,
    Param,
    Ptr,
    Struct,
    Type,
    Typedef,
    decode,
    same,
)
from beewire.errors import EncodingError


def u32() -> Int:
    return Int("unsigned int", 4)


def task() -> Struct:
    """A struct that points to itself, new every time."""
    struct = Struct("task_struct", 16)
    struct.members = (Member("real_parent", Ptr(struct), 0), Member("tgid", u32(), 64))
    return struct


def test_void_has_the_id_0() -> None:
    assert Builder().add(None) == 0


def test_equal_types_get_one_id() -> None:
    builder = Builder()

    first = builder.add(Ptr(Const(u32())))

    assert builder.add(Ptr(Const(u32()))) == first


def test_equal_recursive_structs_get_one_id() -> None:
    builder = Builder()

    first = builder.add(task())

    assert builder.add(task()) == first
    assert len(decode(builder.encode())) == 4  # void, struct, pointer, int


def test_a_struct_that_points_to_a_copy_of_itself_is_one_type() -> None:
    outer, inner = Struct("node", 8), Struct("node", 8)
    outer.members = (Member("next", Ptr(inner), 0),)
    inner.members = (Member("next", Ptr(outer), 0),)
    builder = Builder()

    assert builder.add(outer) == builder.add(inner)


def test_structs_that_differ_behind_a_pointer_get_two_ids() -> None:
    builder = Builder()
    one, other = (
        Struct("box", 8, (Member("to", Ptr(Int("x", size)), 0),)) for size in (4, 8)
    )

    assert builder.add(one) != builder.add(other)


def test_two_lists_of_unlike_elements_are_not_mixed_up() -> None:
    def chain(size: int) -> Struct:
        node = Struct("node", 16)
        node.members = (
            Member("next", Ptr(node), 0),
            Member("value", Int("value", size), 64),
        )
        return node

    builder = Builder()
    first, second = builder.add(chain(4)), builder.add(chain(8))
    index = decode(builder.encode())

    assert same(index.type(first), chain(4))
    assert same(index.type(second), chain(8))


def test_a_long_chain_of_structs_is_no_recursion() -> None:
    node = Struct("s0", 8)
    for number in range(1, 5000):
        node = Struct(f"s{number}", 8, (Member("next", Ptr(node), 0),))
    builder = Builder()

    assert builder.add(node) == 1
    assert len(decode(builder.encode())) == 2 * 5000


def test_a_typedef_of_itself_is_refused() -> None:
    loop = Typedef("loop", None)
    loop.to = loop

    with pytest.raises(EncodingError, match="refers to itself"):
        Builder().add(loop)


def test_the_id_of_an_added_type_can_be_asked_for() -> None:
    builder = Builder()
    number = u32()

    assert builder.id(number if builder.add(Ptr(number)) else None) == 1


def test_an_equal_string_is_stored_once() -> None:
    builder = Builder()

    assert builder.string("0:1") == builder.string("0:1") == 1
    assert builder.string("") == 0


def test_a_string_with_a_nul_is_refused() -> None:
    with pytest.raises(EncodingError, match="NUL"):
        Builder().string("a\0b")


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(EncodingError, match="surrogates"):
        Builder().string("\ud800")


def test_bytes_that_are_no_utf8_survive() -> None:
    builder = Builder()
    builder.add(Int("caf\udce9", 4))

    index = decode(builder.encode())

    assert index.lookup("caf\udce9", Int) is not None


def test_a_type_nested_too_deeply_is_refused() -> None:
    node: Type = u32()
    for _ in range(100_000):
        node = Ptr(node)

    with pytest.raises(EncodingError, match="too deeply"):
        Builder().add(node)


def test_a_bit_field_sets_the_kind_flag() -> None:
    flags = Struct("flags", 4, (Member("a", u32(), 0, 3), Member("b", u32(), 3, 29)))
    builder = Builder()
    builder.add(flags)

    decoded = decode(builder.encode()).lookup("flags", Struct)

    assert decoded is not None
    assert [member[2:] for member in decoded.members] == [(0, 3), (3, 29)]


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (Struct("s", 4, (Member("a", u32(), 1 << 24, 3),)), "beyond"),
        (Struct("s", 4, (Member("a", u32(), 1 << 32),)), "beyond"),
        (Struct("s", 4, (Member("a", u32(), 0, 256),)), "beyond"),
        (Struct("s", -1), "32 bits"),
        (Array(u32(), 1 << 32), "32 bits"),
        (Int("u512", 64), "bits"),
        (DeclTag("tag", u32(), 1 << 32), "32 bits"),
        (Enum("e", 4, (Enumerator("a", -1),)), "beyond its 32 bits"),
        (Enum("e", 4, (Enumerator("a", 1 << 31),), signed=True), "beyond its 32 bits"),
        (FuncProto(None, (Param("", None),) * 65536), "more than 65535 parts"),
    ],
)
def test_what_does_not_fit_is_refused(node: Type, message: str) -> None:
    builder = Builder()
    builder.add(node)

    with pytest.raises(EncodingError, match=message):
        builder.encode()


def test_a_function_refers_to_its_prototype() -> None:
    func = Func("on_exec", FuncProto(u32(), (Param("ctx", Ptr(None)),)))
    builder = Builder()
    builder.add(func)

    decoded = decode(builder.encode()).lookup("on_exec", Func)

    assert decoded is not None
    assert decoded.proto.params[0].name == "ctx"


def test_the_repr_of_a_recursive_struct_ends() -> None:
    assert repr(task()) == "<Struct 'task_struct'>"
