"""Structs: laid out as C lays them out, and converted to bytes and back."""

import ctypes
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beewire.bpf.btf import types as btf
from beewire.bpf.lang import Kernel, Struct, array, chars, embedded, u8, u16, u32, u64
from beewire.bpf.lang.btf_types import to_btf
from beewire.bpf.lang.kernel_types import kernel_struct
from beewire.bpf.lang.structs import Embedded, Pointer, StructType
from beewire.bpf.lang.types import I8, I16, I32, I64, U8, U16, U32, U64, IntType
from beewire.errors import DecodingError, EncodingError, SpecError


class Inner(Struct):
    low: u8 = 0
    high: u16 = 0


class Outer(Struct):
    flag: bool = False
    inner: Inner = Inner()
    wide: u64 = 0
    comm: str = chars(6, default="")
    words: list[u32] = array(u32, 2, default=0)
    raw: bytes = array(u8, 3, default=b"")


INTEGERS: dict[IntType, Any] = {
    U8: ctypes.c_uint8,
    U16: ctypes.c_uint16,
    U32: ctypes.c_uint32,
    U64: ctypes.c_uint64,
    I8: ctypes.c_int8,
    I16: ctypes.c_int16,
    I32: ctypes.c_int32,
    I64: ctypes.c_int64,
}
kinds = st.lists(
    st.tuples(st.sampled_from(list(INTEGERS)), st.integers(0, 5)),
    min_size=1,
    max_size=12,
)


def struct_of(fields: list[tuple[IntType, int]]) -> type[Struct]:
    """A Struct with these fields: (element, count), count 0 for a plain integer."""
    specs = {f"f{i}": array(kind, n) for i, (kind, n) in enumerate(fields) if n}
    names = {f"f{i}": kind for i, (kind, _) in enumerate(fields)}
    return type("Made", (Struct,), {"__annotations__": names, **specs})


def c_struct_of(fields: list[tuple[IntType, int]]) -> Any:
    """The same in ctypes."""
    members = [
        (f"f{i}", INTEGERS[kind] * n if n else INTEGERS[kind])
        for i, (kind, n) in enumerate(fields)
    ]
    return type("Made", (ctypes.Structure,), {"_fields_": members})


@given(kinds)
def test_layout_is_that_of_c(fields: list[tuple[IntType, int]]) -> None:
    ours = struct_of(fields).__layout__
    theirs = c_struct_of(fields)

    offsets = {name: getattr(theirs, name).offset for name in ours.fields}
    assert {name: field.offset for name, field in ours.fields.items()} == offsets
    assert ours.size == ctypes.sizeof(theirs)
    assert ours.align == ctypes.alignment(theirs)


@given(kinds, st.data())
def test_bytes_are_those_of_c(
    fields: list[tuple[IntType, int]], data: st.DataObject
) -> None:
    made, theirs = struct_of(fields), c_struct_of(fields)()
    value = made()
    for i, (kind, count) in enumerate(fields):
        numbers = st.integers(kind.low, kind.high)
        given_ = data.draw(st.lists(numbers, min_size=count or 1, max_size=count or 1))
        setattr(value, f"f{i}", given_ if count else given_[0])
        setattr(theirs, f"f{i}", tuple(given_) if count else given_[0])

    raw = value.to_bytes()

    assert raw == bytes(theirs)
    assert made.from_bytes(raw).to_bytes() == raw


def test_fields_left_out_are_zero() -> None:
    assert Outer().to_bytes() == bytes(Outer.__layout__.size)


def test_every_kind_of_field_survives_a_round_trip() -> None:
    value = Outer(
        flag=True,
        inner=Inner(low=1, high=2),
        wide=3,
        comm="abc",
        words=[4, 5],
        raw=b"xyz",
    )

    assert Outer.from_bytes(value.to_bytes()) == value


def test_a_default_is_used_and_a_nested_one_may_be_left_out() -> None:
    class Sample(Struct):
        port: u16 = 80
        inner: Inner = Inner()

    assert Sample().port == 80
    assert Sample().inner == Inner()


def test_repr_names_the_fields() -> None:
    assert repr(Inner(low=1, high=2)) == "Inner(low=1, high=2)"


def test_structs_of_equal_content_are_equal_keys() -> None:
    assert {Inner(low=1): "x"}[Inner(low=1)] == "x"
    assert Inner(low=1) != Inner(low=2)


def test_copy_is_independent() -> None:
    first = Inner(low=1)
    second = first.copy()
    second.low = 2

    assert first.low == 1


def test_text_ends_at_the_first_nul() -> None:
    raw = Outer(comm="abcdef").to_bytes().replace(b"abcdef", b"ab\0def")

    assert Outer.from_bytes(raw).comm == "ab"


def test_packed_structs_have_no_padding() -> None:
    class Packed(Struct, packed=True):
        low: u8
        wide: u64

    assert Packed.__layout__.size == 9
    assert Packed.__layout__.align == 1


def test_base_classes_come_first() -> None:
    class Longer(Inner):
        more: u32 = 0

    assert list(Longer.__layout__.fields) == ["low", "high", "more"]


def test_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="Inner has no field hihg"):
        Inner(hihg=1)  # type: ignore[call-arg]


def test_value_that_does_not_fit_is_refused() -> None:
    with pytest.raises(EncodingError, match=r"Inner\(low=256"):
        Inner(low=256).to_bytes()


def test_too_long_a_text_is_refused() -> None:
    with pytest.raises(EncodingError, match="longer than 6 bytes"):
        Outer(comm="1234567").to_bytes()


def test_too_few_bytes_are_refused() -> None:
    with pytest.raises(DecodingError, match="Inner takes 4 bytes, 3 were given"):
        Inner.from_bytes(b"abc")


def test_float_field_is_refused_where_the_class_is_made() -> None:
    with pytest.raises(SpecError, match=r"Wrong\.x: float has no fixed size"):

        class Wrong(Struct):
            x: float


def test_int_field_is_refused_for_want_of_a_width() -> None:
    with pytest.raises(SpecError, match=r"Wrong\.x: int has no fixed size"):

        class Wrong(Struct):
            x: int


def test_btf_of_a_struct_has_its_members_and_offsets() -> None:
    made = to_btf(Outer.__layout__)

    assert isinstance(made, btf.Struct)
    offsets = {m.name: m.offset_bits // 8 for m in made.members}
    assert offsets == {name: f.offset for name, f in Outer.__layout__.fields.items()}
    assert made.size == Outer.__layout__.size


class atomic_t(Kernel):  # noqa: N801 - the kernel's name
    counter: u32


class task_struct(Kernel):  # noqa: N801 - the kernel's name
    real_parent: "task_struct"
    live: atomic_t = embedded()
    tgid: u32


def test_kernel_fields_are_pointers_or_lie_inside() -> None:
    fields = task_struct.kernel_fields()

    parent, live = fields["real_parent"], fields["live"]
    assert isinstance(parent, Pointer)
    assert parent.to is task_struct
    assert isinstance(live, Embedded)
    assert live.of is atomic_t


def test_a_quoted_name_means_the_same_where_all_annotations_are_quoted() -> None:
    text = """
from __future__ import annotations
class task_struct(Kernel):
    real_parent: "task_struct"
"""
    names: dict[str, Any] = {"Kernel": Kernel, "__name__": __name__}
    exec(text, names)

    parent = names["task_struct"].kernel_fields()["real_parent"]

    assert isinstance(parent, Pointer)
    assert parent.to is names["task_struct"]


def test_kernel_struct_in_btf_refers_to_itself() -> None:
    made = kernel_struct(task_struct)

    pointer = made.members[0].type
    assert isinstance(pointer, btf.Ptr)
    assert pointer.to is made


def test_layout_is_a_value_type_of_the_class() -> None:
    assert isinstance(Inner.__layout__, StructType)
    assert Inner.__layout__.python is Inner


def test_host_order_is_used() -> None:
    assert Inner(high=1).to_bytes()[2:] == (1).to_bytes(2, sys.byteorder)
