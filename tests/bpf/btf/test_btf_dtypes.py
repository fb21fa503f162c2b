import pytest

from beewire.bpf.btf import (
    Array,
    Const,
    Enum,
    Float,
    Int,
    Member,
    Ptr,
    Struct,
    Type,
    Typedef,
    Union,
)
from beewire.bpf.btf.dtypes import layout

numpy = pytest.importorskip("numpy")

U8, U16, U32 = Int("unsigned char", 1), Int("unsigned short", 2), Int("unsigned int", 4)
S64 = Int("long", 8, signed=True)
CHAR = Int("char", 1, signed=True)


@pytest.mark.parametrize(
    ("type_", "expected"),
    [
        (U32, "<u4"),
        (S64, "<i8"),
        (Int("_Bool", 1, bool=True), "?"),
        (Float("double", 8), "<f8"),
        (Ptr(None), "<u8"),
        (Enum("state", 4), "<u4"),
        (Typedef("__be16", U16), ">u2"),
        (Const(Typedef("u32", U32)), "<u4"),
        (Array(CHAR, 16), "S16"),
    ],
)
def test_scalars(type_: Type, expected: str) -> None:
    assert numpy.dtype(layout(type_, 0)) == numpy.dtype(expected)


def test_structs_keep_their_names_and_places() -> None:
    inner = Union("", 4, (Member("whole", U32, 0), Member("half", U16, 0)))
    outer = Struct(
        "outer",
        24,
        (
            Member("first", U8, 0),
            Member("flag", U8, 8, 1),
            Member("", inner, 32),
            Member("bytes", Array(U8, 6), 64),
            Member("last", S64, 128),
        ),
    )

    found = numpy.dtype(layout(outer, 24))

    assert found.itemsize == 24
    assert {name: place for name, (_, place) in found.fields.items()} == {
        "first": 0,
        "whole": 4,
        "half": 4,
        "bytes": 8,
        "last": 16,
    }
    assert found["bytes"].shape == (6,)


def test_what_has_no_type_is_bytes() -> None:
    assert numpy.dtype(layout(None, 12)) == numpy.dtype("V12")
