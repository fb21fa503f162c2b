import struct
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beewire.bpf.btf import (
    Builder,
    Enum,
    Func,
    FuncProto,
    Index,
    Int,
    Kind,
    Linkage,
    Member,
    Ptr,
    Struct,
    Type,
    Typedef,
    decode,
    same,
)
from beewire.errors import ObjectError

VMLINUX = Path("/sys/kernel/btf/vmlinux")


def pair() -> Struct:
    u32 = Int("u32", 4)
    return Struct("pair", 8, (Member("a", u32, 0), Member("b", u32, 32)))


@pytest.fixture
def blob() -> bytes:
    builder = Builder()
    builder.add(Typedef("pair", pair()))
    builder.add(Func("pair", FuncProto(None)))
    return builder.encode()


@pytest.fixture(scope="module")
def vmlinux() -> bytes:
    if not VMLINUX.exists():
        pytest.skip("this kernel has no BTF")
    return VMLINUX.read_bytes()


@pytest.mark.parametrize("kind", [Kind.TYPEDEF, Kind.STRUCT, Kind.FUNC])
def test_a_name_is_found_for_each_kind_that_has_it(blob: bytes, kind: Kind) -> None:
    index = Index.build(blob)
    found = index.find("pair", kind)
    assert found is not None

    node = index.type(found)

    assert node is not None
    assert (node.name, node.kind) == ("pair", kind)


def test_a_name_of_another_kind_is_not_found(blob: bytes) -> None:
    assert Index.build(blob).find("pair", Kind.UNION) is None


def test_a_part_of_a_name_is_not_found(blob: bytes) -> None:
    assert Index.build(blob).find("pai", Kind.STRUCT) is None


def test_a_type_is_the_same_object_every_time(blob: bytes) -> None:
    index = Index.build(blob)

    assert index.lookup("pair", Struct) is index.lookup("pair", Struct)


def test_two_threads_may_look_at_a_type_at_once() -> None:
    node, target, looks = Typedef("lazy", None), Int("u32", 4), list[Thread]()
    del node.to

    def fill() -> None:
        # The second look begins and ends amid the first.
        if not looks:
            looks.append(Thread(target=lambda: node.to))
            looks[0].start()
            looks[0].join()
        node.to = target

    node._pending = fill

    assert node.to is target


def test_an_id_beyond_the_last_is_refused(blob: bytes) -> None:
    index = Index.build(blob)

    with pytest.raises(ObjectError, match="ends with"):
        index.type(len(index))


def test_an_unknown_attribute_is_an_attribute_error(blob: bytes) -> None:
    node = Index.build(blob).lookup("pair", Struct)

    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        getattr(node, "colour")  # noqa: B009 - mypy knows that there is none


def test_a_loaded_dump_answers_as_the_index_did(blob: bytes) -> None:
    dump = Index.build(blob).dump()

    loaded = Index.load(dump, blob)

    assert same(loaded.lookup("pair", Struct), pair())
    assert loaded.dump() == dump


@given(st.data())
def test_a_damaged_dump_is_refused(data: st.DataObject) -> None:
    builder = Builder()
    builder.add(pair())
    blob = builder.encode()
    dump = bytearray(Index.build(blob).dump())
    dump[data.draw(st.integers(0, len(dump) - 1))] ^= data.draw(st.integers(1, 255))

    with pytest.raises(ObjectError):
        Index.load(bytes(dump), blob)


@given(st.integers(min_value=0))
def test_a_cut_dump_is_refused(length: int) -> None:
    builder = Builder()
    builder.add(pair())
    blob = builder.encode()
    dump = Index.build(blob).dump()

    with pytest.raises(ObjectError):
        Index.load(dump[: length % len(dump)], blob)


def test_the_dump_of_another_btf_is_refused(blob: bytes) -> None:
    builder = Builder()
    builder.add(Int("u32", 4))
    other = builder.encode()

    with pytest.raises(ObjectError, match="another BTF"):
        Index.load(Index.build(other).dump(), blob)


@given(st.data())
def test_damaged_btf_is_refused_or_decoded_but_nothing_else(
    data: st.DataObject,
) -> None:
    builder = Builder()
    builder.add(Ptr(pair()))
    builder.add(Enum("e"))
    builder.add(Func("f", FuncProto(None)))
    damaged = bytearray(builder.encode())
    place = data.draw(st.integers(0, len(damaged) - 1))
    damaged[place] ^= data.draw(st.integers(1, 255))

    try:
        index = decode(damaged)
    except ObjectError:
        return

    assert len(index) >= 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda blob: blob[:20], "too short"),
        (lambda blob: b"\xeb\x9e" + blob[2:], "a version that we know"),
        (lambda blob: blob[:-1], "shorter than its header"),
        (lambda blob: blob[:-1] + b"x", "end with a NUL"),
        (lambda blob: blob[:31] + b"\x1f" + blob[32:], "no kind 31"),
    ],
)
def test_damage_is_named(blob: bytes, damage: "object", message: str) -> None:
    assert callable(damage)
    with pytest.raises(ObjectError, match=message):
        decode(damage(blob))


def test_half_a_type_is_refused() -> None:
    with pytest.raises(ObjectError, match="in the middle of a type"):
        decode(raw(0))


def test_a_function_without_prototype_is_refused() -> None:
    with pytest.raises(ObjectError, match="no prototype"):
        decode(raw(0, Kind.FUNC << 24, 0))


def raw(*words: int) -> bytes:
    """BTF of records given as words, without names."""
    types = struct.pack(f"<{len(words)}I", *words)
    places = (0, len(types), len(types), 1)
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, *places) + types + b"\0"


@pytest.mark.parametrize(
    "words",
    [
        (0, Kind.TYPEDEF << 24, 1),
        (0, Kind.CONST << 24, 2, 0, Kind.VOLATILE << 24, 1),
        (0, Kind.ARRAY << 24, 0, 1, 0, 3),
        (0, Kind.VAR << 24, 1, 0),
    ],
)
def test_a_type_that_is_made_of_itself_is_refused(words: tuple[int, ...]) -> None:
    with pytest.raises(ObjectError, match="refers to itself"):
        decode(raw(*words))


def test_a_pointer_to_itself_is_decoded() -> None:
    pointer = decode(raw(0, Kind.PTR << 24, 1)).type(1)

    assert isinstance(pointer, Ptr)
    assert pointer.to is pointer


def test_a_section_that_holds_itself_is_refused() -> None:
    with pytest.raises(ObjectError, match="no variable"):
        decode(raw(0, Kind.DATASEC << 24 | 1, 4, 1, 0, 4))


def test_an_unknown_linkage_is_refused() -> None:
    with pytest.raises(ObjectError, match="linkage 7"):
        decode(raw(0, Kind.VAR << 24, 0, 7))


@pytest.mark.parametrize("kind", [0, 20, 31])
def test_an_unknown_kind_is_refused(kind: int) -> None:
    with pytest.raises(ObjectError, match="kind"):
        decode(raw(0, kind << 24, 0))


def split(name: str, to: int, strings_base: int) -> bytes:
    """BTF of one typedef that refers to type `to` of its base."""
    types = struct.pack("<III", strings_base, Kind.TYPEDEF << 24, to)
    strings = name.encode() + b"\0"
    head = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 12, 12, len(strings))
    return head + types + strings


def test_split_btf_goes_on_where_its_base_ends(blob: bytes) -> None:
    base = Index.build(blob)
    to = base.find("pair", Kind.STRUCT)
    assert to is not None

    index = decode(split("mine", to, base.string_end), base)

    assert index.find("mine", Kind.TYPEDEF) == len(base)
    mine = index.lookup("mine", Typedef)
    assert mine is not None
    assert mine.to is base.lookup("pair", Struct)


def test_split_btf_finds_the_types_of_its_base(blob: bytes) -> None:
    base = Index.build(blob)

    index = Index.build(split("mine", 1, base.string_end), base)

    assert index.lookup("pair", Struct) is base.lookup("pair", Struct)


def test_the_dump_of_split_btf_wants_the_same_base(blob: bytes) -> None:
    base = Index.build(blob)
    module = split("mine", 1, base.string_end)
    dump = Index.build(module, base).dump()

    assert Index.load(dump, module, base).find("mine", Kind.TYPEDEF) == len(base)
    with pytest.raises(ObjectError, match="another BTF"):
        Index.load(dump, module)


def test_the_kernels_task_struct_is_recursive(vmlinux: bytes) -> None:
    task = Index.build(vmlinux).lookup("task_struct", Struct)
    assert task is not None

    parent = next(each for each in task.members if each.name == "real_parent")

    assert isinstance(parent.type, Ptr)
    assert parent.type.to is task


def test_a_struct_of_the_kernel_decodes_no_more_than_it_refers_to(
    vmlinux: bytes,
) -> None:
    index = Index.build(memoryview(vmlinux))
    task = index.lookup("task_struct", Struct)
    assert task is not None

    reached = {id(member.type) for member in task.members}

    assert len(index._types) == len(reached) + 1


def test_the_kernels_own_functions_are_found(vmlinux: bytes) -> None:
    func = Index.build(vmlinux).lookup("tcp_v4_connect", Func)

    assert func is not None
    assert func.linkage is Linkage.STATIC


def test_the_kernels_types_survive_a_dump(vmlinux: bytes) -> None:
    index = Index.build(vmlinux)

    loaded = Index.load(index.dump(), vmlinux)

    first, second = (each.lookup("sock_common", Struct) for each in (index, loaded))
    assert first is not second
    assert facts(first) == facts(second)


def facts(node: Type | None) -> tuple[object, ...]:
    assert node is not None
    return node.facts()
