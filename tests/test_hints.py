"""What stands in for `typing` where start-up counts."""

import typing
from typing import get_args

import pytest

from beewire import hints
from beewire.bpf import HashMap, Struct, u32, u64
from beewire.hints import members


class Point(Struct):
    x: u32 = 0


@pytest.mark.parametrize(
    ("annotation", "parts"),
    [
        (u32 | None, (u32, type(None))),
        (None | u32, (type(None), u32)),
        (Point | None, (Point, type(None))),
        (int | str, (int, str)),
        (typing.Optional[u32], (u32, type(None))),  # noqa: UP045 - as users may
        (typing.Union[Point, None], (Point, type(None))),  # noqa: UP007
        (u32, ()),
        (Point, ()),
        (list[u32], ()),
        (HashMap[u32, u64], ()),
    ],
)
def test_members_of_a_union_are_found_however_it_is_written(
    annotation: object, parts: tuple[object, ...]
) -> None:
    assert members(annotation) == parts


def test_a_generic_class_keeps_its_arguments() -> None:
    table = HashMap[u32, u64](max_entries=8)

    assert (repr(table.key), repr(table.value)) == ("u32", "u64")
    assert table.max_entries == 8


def test_an_integer_type_works_in_the_annotations_of_other_code() -> None:
    assert get_args(list[u32]) == (u32,)
    assert get_args(typing.Annotated[u32, "port"])[0] is u32
    assert repr(u32) == "u32"


def test_a_subclass_of_a_generic_class_is_one() -> None:
    T = hints.TypeVar("T")

    class Box(hints.Generic[T]):
        pass

    class Big(Box[int]):
        pass

    assert issubclass(Big, Box)
    assert isinstance(Box[int](), Box)


def test_two_spellings_of_one_annotation_are_equal() -> None:
    assert HashMap[u32, u64] == HashMap[u32, u64]
    assert HashMap[u32, u64] != HashMap[u32, u32]
    assert (u32 | None) == (None | u32)
    assert (u32 | None) != (u64 | None)
    assert len({HashMap[u32, u64], HashMap[u32, u64], u32 | None, u32 | None}) == 2


def test_a_generic_class_that_lacks_an_argument_takes_it_later() -> None:
    V = typing.TypeVar("V")
    generic: typing.Any = HashMap
    table = generic[u32, V][u64](max_entries=8)

    assert (repr(table.key), repr(table.value)) == ("u32", "u64")
    assert repr(generic[V, V][u32]) == "HashMap[u32, u32]"


def test_a_generic_class_takes_no_more_arguments_than_it_lacks() -> None:
    full: typing.Any = HashMap[u32, u64]

    with pytest.raises(TypeError, match=r"HashMap\[u32, u64\] takes 0 arguments"):
        full[u32]


def test_an_integer_type_that_is_annotated_again_stays_one() -> None:
    class Packet(Struct):
        port: typing.Annotated[u32, "network order"] = 0

    table = HashMap[typing.Annotated[u32, "a key"], Packet](max_entries=8)

    assert Packet(port=80).to_bytes() == (80).to_bytes(4, "little")
    assert repr(table.key) == "u32"


def test_an_argument_of_a_class_reads_like_one() -> None:
    assert repr(HashMap[u32, Point]) == "HashMap[u32, Point]"
    assert not hasattr(HashMap[u32, Point], "__no_such_thing__")
