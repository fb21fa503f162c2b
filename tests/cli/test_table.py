"""Rows for people."""

from typing import NamedTuple

import pytest

from beewire.cli.table import (
    Column,
    Row,
    count_text,
    cut,
    plain,
    size_text,
    table_lines,
)

COLUMNS = (Column("ID", right=True), Column("NAME"))
ROWS = (Row(("7", "first"), (("at", "somewhere"),)), Row(("1234", "second")))


def test_numbers_stand_to_the_right_and_notes_below_their_row() -> None:
    assert table_lines(COLUMNS, ROWS, colour=False) == [
        "  ID  NAME",
        "   7  first",
        "      at    somewhere",
        "1234  second",
    ]


def test_lines_that_do_not_fit_are_cut_and_marked() -> None:
    lines = table_lines(COLUMNS, ROWS, width=10, colour=False)

    assert lines == ["  ID  NAME", "   7  fir…", "      at …", "1234  sec…"]
    assert max(map(len, lines)) <= 10


def test_what_fits_is_not_cut() -> None:
    assert cut("12345", 5) == "12345"
    assert cut("123456", 5) == "1234…"
    assert cut("123456", 0) == "123456"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (10 << 20, "10 MiB")],
)
def test_sizes_have_units(size: int, text: str) -> None:
    assert size_text(size) == text


def test_counts_can_be_read() -> None:
    assert (count_text(0), count_text(1234567)) == ("-", "1,234,567")


def test_named_tuples_are_objects_in_json() -> None:
    class Point(NamedTuple):
        x: int
        more: tuple[int, ...]

    assert plain([Point(1, (2, 3))]) == [{"x": 1, "more": [2, 3]}]
