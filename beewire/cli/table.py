"""Rows for people: columns that fit the terminal, with notes below each row."""

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from beewire.cli.style import Ink, paint, wants_colour

_GAP = "  "
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


class Column(NamedTuple):
    """A heading; numbers stand to the right of their column, words to the left."""

    title: str
    right: bool = False


class Row(NamedTuple):
    """The cells of one row, and lines below it: a word for each, and what it says."""

    cells: tuple[str, ...]
    notes: tuple[tuple[str, str], ...] = ()


def print_table(columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """Print the rows under their headings, in colour where that is wanted."""
    colour = wants_colour(sys.stdout)
    print("\n".join(table_lines(columns, rows, width=terminal_width(), colour=colour)))


def terminal_width() -> int:
    """Columns of the terminal; where there is none, lines may be as long as they are."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def table_lines(
    columns: Sequence[Column], rows: Sequence[Row], *, width: int = 0, colour: bool
) -> list[str]:
    """The lines of a table; with a `width`, what is longer is cut there, and marked."""
    cells = [tuple(column.title for column in columns), *(row.cells for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    heading = _line(cells[0], columns, widths)
    lines = [paint(cut(heading, width), Ink.BOLD, colour=colour)]
    # Notes begin under the second column: the first is the id.
    indent = " " * (widths[0] + len(_GAP))
    for row in rows:
        lines.append(cut(_line(row.cells, columns, widths), width))
        for word, text in row.notes:
            note = cut(f"{indent}{word:<5} {text}", width)
            lines.append(paint(note, Ink.DIM, colour=colour))
    return lines


def _line(cells: Sequence[str], columns: Sequence[Column], widths: list[int]) -> str:
    parts = [
        cell.rjust(width) if column.right else cell.ljust(width)
        for cell, column, width in zip(cells, columns, widths, strict=True)
    ]
    return _GAP.join(parts).rstrip()


def cut(line: str, width: int) -> str:
    """`line`, with its end left out where it has more than `width` characters."""
    return line if not width or len(line) <= width else line[: max(width - 1, 0)] + "…"


def size_text(size: int) -> str:
    """A number of bytes: "12 KiB"."""
    number, unit = float(size), 0
    while number >= 1024 and unit < len(_UNITS) - 1:
        number, unit = number / 1024, unit + 1
    shown = f"{number:.0f}" if unit == 0 or number >= 10 else f"{number:.1f}"
    return f"{shown} {_UNITS[unit]}"


def count_text(count: int) -> str:
    """A number that can be read; "-" for none."""
    return f"{count:,}" if count else "-"


def print_json(told: object) -> None:
    """Print `told` for programs; named tuples are objects."""
    print(json.dumps(plain(told), indent=1))


def plain(told: object) -> object:
    """`told` with named tuples as dicts, all the way down."""
    if isinstance(told, tuple) and hasattr(told, "_asdict"):
        return {name: plain(value) for name, value in told._asdict().items()}
    if isinstance(told, dict):
        return {name: plain(value) for name, value in told.items()}
    if isinstance(told, list | tuple):
        return [plain(value) for value in told]
    return told


def holders(owners: Iterable[tuple[int, str]]) -> str:
    """Processes in one line: "python[12], agent[7]"."""
    return ", ".join(f"{comm}[{pid}]" for pid, comm in owners)
