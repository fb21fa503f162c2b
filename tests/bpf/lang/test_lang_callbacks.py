"""Callbacks that count and stop: the kernel has to follow them to an end."""

import re

import pytest

from beewire.errors import VerifierError
from tests.bpf.lang.cells import evaluated, program, results

pytestmark = pytest.mark.kernel

# What a callback does with what it shares, until when, and what becomes of a field.
COUNTS = {
    "up to": ("sum.x += 1", "sum.x >= 10", "sum.x", 10),
    "just": ("sum.x += 1", "sum.x == 10", "sum.x", 10),
    "far": ("sum.x += 1", "sum.x > 100_000", "sum.x", 100_001),
    "two of them": ("sum.x += i & 1\n    sum.y += 2", "sum.x == 50", "sum.y", 200),
    "a small one": ("sum.small += 1", "sum.small == 200", "sum.small", 200),
    "words": ("sum.low += 1\n    sum.high += 2", "sum.high == 20", "sum.low", 10),
    "the other order": (
        "sum.high += 2\n    sum.low += 1",
        "sum.low == 7",
        "sum.high",
        14,
    ),
    "a choice": (
        (
            "if i & 1:\n        sum.x += 1\n    if sum.flag:\n        sum.y += 1\n"
            "    sum.flag = sum.x > 3"
        ),
        "sum.y == 3",
        "sum.x",
        5,
    ),
    "inside": ("sum.inner.x += 1", "sum.inner.x == 9", "sum.inner.x", 9),
    "elements": ("sum.many[2] += 3", "sum.many[2] == 9", "sum.many[2]", 9),
    "in a call": ("step(sum)", "sum.x == 12", "sum.x", 12),
}
SUM = """
class Sum(Struct):
    x: u64
    y: u64
    small: u8
    flag: bool
    low: u32
    high: u32
    inner: Pair
    many: list[int] = array(u16, 4)
@subprogram
def step(sum: Sum) -> None:
    sum.x += 1
"""


@pytest.mark.parametrize("name", COUNTS)
def test_a_callback_counts_and_stops(name: str) -> None:
    count, until, field, expected = COUNTS[name]
    names = program(
        f"{SUM}def body(i: u32, sum: Sum) -> bool:\n    {count}\n    return {until}\n",
        f"own = Sum()\nloop(1_000_000, body, own)\nresults[0] = {field}".replace(
            "= sum.", "= own."
        ),
    )

    assert results(names)[0] == expected
    if expected < 1000:
        assert evaluated(names)[0] == expected


def test_a_visit_counts_and_stops_within_another_callback() -> None:
    names = program(
        """
def visit(key: u32, value: Ref[u64], pair: Pair) -> bool:
    pair.x += 1
    return pair.x == 2
def body(i: u32, pair: Pair) -> bool:
    pair.x = 0
    counts.for_each(visit, pair)
    pair.y += pair.x
    return pair.y == 8
""",
        """
for key in range(5):
    counts[key] = 1
pair = Pair()
results[0] = loop(9, body, pair)
results[1] = pair.y
""",
    )

    assert results(names)[:2] == evaluated(names)[:2] == [4, 8]


def test_where_the_kernel_gives_up_the_line_is_shown() -> None:
    names = program(
        """
class Long(Struct):
    n: list[int] = array(u64, 9)
def body(i: u32, long: Long) -> bool:
    if i & 1:
        long.n[0] += 1
    if i & 2:
        long.n[1] += 1
    return long.n[0] + long.n[1] > 1000
""",
        "long = Long()\nloop(1000, body, long)",
    )

    with pytest.raises(VerifierError) as refused:
        results(names)

    error = refused.value
    assert "the kernel gave up after following a million instructions" in str(error)
    notes = "\n".join(error.__notes__)
    assert re.search(r'File ".*", line 3\d\n    (if i &|long|return long)', notes)
    assert "subprogram(is_global=True)" in notes
