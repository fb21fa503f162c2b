"""Records that are decoded by the thousand are what from_bytes() makes of each."""

import enum
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beewire.bpf import (
    Struct,
    Union,
    array,
    be16,
    be32,
    bits,
    chars,
    i32,
    overlay,
    u8,
    u16,
    u32,
    u64,
)
from beewire.bpf.author.records import TypedDecoding
from beewire.bpf.kernel.runs import Pieces, Run
from beewire.bpf.lang.types import U64, ValueType, array_of
from beewire.errors import DecodingError

pytest.importorskip("numpy")


class Color(enum.IntEnum):
    RED = 1
    BLUE = 2


class Mode(enum.IntFlag):
    READ = 1
    WRITE = 2


class Inner(Struct):
    port: be16
    flag: bool
    small: u8


class Event(Struct):
    pid: u32
    color: Color
    mode: Mode
    address: be32
    delta: i32
    comm: str = chars(16)
    raw: bytes = array(u8, 5)
    words: list[u32] = array(u32, 3)
    inner: Inner
    pair: list[Inner] = array(Inner, 2)
    when: u64


class Either(Union):
    word: u64
    halves: list[u32] = array(u32, 2)


class Odd(Struct):
    kind: u16
    low: u8 = bits(3)
    high: u8 = bits(5)


class Shared(Struct):
    word: u64
    half: u32 = overlay("word")
    other: Either


class Big(Struct):
    many: list[u16] = array(u16, 600)


TYPES: list[ValueType] = [
    Event.__layout__,
    Inner.__layout__,
    Odd.__layout__,
    Shared.__layout__,
    Either.__layout__,
    Big.__layout__,
    U64,
    array_of(U64, 3),
]


def event(**given: Any) -> Event:
    """One with these fields, and zeros in the others."""
    return Event(**given)


def inner(**given: Any) -> Inner:
    return Inner(**given)


def laid_out(records: list[bytes], prefix: int) -> Run:
    """The records as they lie in a ring (prefix 8) or a perf buffer (12)."""
    size = len(records[0])
    stride = (size + prefix + 7) & ~7
    padded = [bytes(prefix) + record + bytes(stride) for record in records]
    memory = b"".join(each[:stride] for each in padded)
    return Run(memoryview(memory), prefix, size, stride, len(records))


def one(type_: ValueType, record: bytes) -> Any:
    return type_.take(iter(struct.unpack(f"={type_.format}", record)))


def as_row(value: Any) -> Any:
    """What a row has for a value."""
    if isinstance(value, Struct):
        return tuple(as_row(getattr(value, name)) for name in value.__layout__.fields)
    return [as_row(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("type_", TYPES, ids=str)
@pytest.mark.parametrize("prefix", [8, 12])
@given(data=st.data())
def test_records_are_what_each_is_by_itself(
    type_: ValueType, prefix: int, data: st.DataObject
) -> None:
    content = st.binary(min_size=type_.size, max_size=type_.size)
    records = data.draw(st.lists(content, min_size=1, max_size=5))
    decoding = TypedDecoding(type_)
    run = laid_out(records, prefix)

    found = list(decoding.records(decoding.raws(run)))
    apart = list(decoding.records(decoding.raws(Pieces(records))))

    assert found == [one(type_, record) for record in records]
    assert apart == found


@pytest.mark.parametrize("type_", [TYPES[0], TYPES[1], U64], ids=str)
@given(data=st.data())
def test_rows_have_the_fields_in_order(type_: ValueType, data: st.DataObject) -> None:
    content = st.binary(min_size=type_.size, max_size=type_.size)
    records = data.draw(st.lists(content, min_size=1, max_size=5))
    decoding = TypedDecoding(type_)

    found = decoding.rows(decoding.raws(laid_out(records, 8)))

    assert found == [as_row(one(type_, record)) for record in records]


def test_rows_of_what_shares_places_have_every_field() -> None:
    record = (7).to_bytes(8, "little") * 2
    decoding = TypedDecoding(Shared.__layout__)

    [(word, half, other)] = decoding.rows(decoding.raws(laid_out([record], 8)))

    assert (word, half, other.halves) == (7, 7, [7, 0])


@given(st.lists(st.binary(min_size=8, max_size=8), min_size=1, max_size=9))
def test_a_block_of_a_run_is_that_of_its_pieces(records: list[bytes]) -> None:
    decoding = TypedDecoding(U64)
    run = laid_out(records, 8)

    whole = decoding.joined([decoding.block(run)])
    apart = decoding.joined([decoding.block(Pieces(records)), decoding.block(run)])

    assert whole.tolist() == [int.from_bytes(each, "little") for each in records]
    assert apart.tolist() == whole.tolist() * 2
    whole[0] = 1  # it is the reader's own


def test_arrays_have_fields_by_name() -> None:
    sent = event(
        pid=7, color=Color.RED, address=0x7F000001, comm="sh", words=[1, 2, 3], when=9,
        raw=b"abcde", inner=inner(port=80, flag=True), pair=[inner(), inner(port=443)],
        mode=Mode.READ, delta=-4,
    )  # fmt: skip
    decoding = TypedDecoding(Event.__layout__)
    run = laid_out([sent.to_bytes()], 8)

    [found] = decoding.joined([decoding.block(run)])

    assert (found["pid"], found["color"], found["delta"]) == (7, 1, -4)
    assert (found["address"], found["comm"], found["when"]) == (0x7F000001, b"sh", 9)
    assert found["words"].tolist() == [1, 2, 3]
    assert found["raw"].tobytes() == b"abcde"
    assert found["inner"]["port"] == 80
    assert found["pair"]["port"].tolist() == [0, 443]


def test_members_of_a_union_lie_over_one_another() -> None:
    record = (1 << 32 | 5).to_bytes(8, "little") * 2
    decoding = TypedDecoding(Shared.__layout__)

    found = decoding.joined([decoding.block(laid_out([record], 8))])

    assert (found["word"][0], found["half"][0]) == (1 << 32 | 5, 5)
    assert found["other"]["halves"].tolist() == [[5, 1]]


def test_an_enum_may_meet_a_stranger() -> None:
    record = event(color=Color.BLUE).to_bytes()
    stranger = record[:4] + (77).to_bytes(4, "little") + record[8:]
    decoding = TypedDecoding(Event.__layout__)

    known, unknown = decoding.records(decoding.raws(laid_out([record, stranger], 8)))

    assert known.color is Color.BLUE
    assert unknown.color == 77


def test_a_record_that_is_too_short_is_refused() -> None:
    decoding = TypedDecoding(Event.__layout__)

    with pytest.raises(DecodingError, match=r"a record of 3 bytes: Event takes"):
        decoding.raws(Pieces([b"abc"]))


def test_texts_end_at_their_first_nul() -> None:
    texts = TypedDecoding(Event.__layout__)
    record = event(comm=b"ls\0garbage\xff").to_bytes()

    [(*_, comm, _, _, _, _, _)] = texts.rows(texts.raws(laid_out([record], 8)))

    assert comm == "ls"
