"""Runs of equal records are found as by looking at each header."""

from array import array
from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beewire.bpf.kernel import Decoding
from beewire.bpf.kernel.perf import _equal
from beewire.bpf.kernel.ring import RingReader
from beewire.bpf.kernel.runs import Pieces, Run
from beewire.errors import MapError

SIZE, STEP = 32, 10
BUSY, DISCARDED = SIZE | 1 << 31, SIZE | 1 << 30


def ring_over(headers: list[int]) -> RingReader[bytes]:
    """A reader that has these headers in its memory, and no ring."""
    words = array("I")
    for header in headers:
        words.extend([header, 7, *[0] * (STEP - 2)])
    reader: RingReader[bytes] = object.__new__(RingReader)
    reader._words = memoryview(words)
    reader._pattern = memoryview(array("I"))
    return reader


@given(st.lists(st.sampled_from([SIZE, BUSY, DISCARDED, 24]), max_size=70))
def test_a_run_ends_before_the_first_header_that_is_not_like_its_first(
    others: list[int],
) -> None:
    headers = [SIZE, *others]
    reader = ring_over(headers)

    found = reader._equal(0, STEP, SIZE, len(headers))

    assert found == len(list(takewhile(SIZE.__eq__, headers)))


@given(st.integers(1, 40), st.integers(1, 40))
def test_a_pattern_serves_runs_of_any_length(first: int, second: int) -> None:
    reader = ring_over([SIZE] * 40 + [BUSY])

    assert reader._equal(0, STEP, SIZE, first) == first
    assert reader._equal(0, STEP, SIZE, second) == second
    assert reader._equal(0, STEP, SIZE, 41) == 40


@given(st.lists(st.sampled_from([32, 40, 24]), min_size=1, max_size=30))
def test_samples_of_one_length_are_a_run(lengths: list[int]) -> None:
    chunk = b"".join(
        (9).to_bytes(4, "little")
        + bytes(2)
        + length.to_bytes(2, "little")
        + bytes(length - 8)
        for length in lengths
    )

    found = _equal(memoryview(chunk), lengths[0], 1 << 30)

    assert found == len(list(takewhile(lengths[0].__eq__, lengths)))


def test_a_copied_run_outlives_the_memory() -> None:
    memory = bytearray(b"headAAAAheadBBBB")
    run = Run(memoryview(memory), 4, 4, 8, 2)

    kept = run.copy()
    memory[:] = bytes(16)

    assert kept.pieces() == [b"AAAA", b"BBBB"]
    assert run.pieces() == [bytes(4), bytes(4)]


def test_records_of_an_unknown_type_have_no_numpy_array() -> None:
    with pytest.raises(MapError, match="nothing is known of the fields"):
        Decoding(bytes).block(Pieces([b"x"]))
