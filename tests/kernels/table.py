"""The table of kernels and features: tests by what they test, abilities by probing."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tests.kernels.matrix import Run
from tests.kernels.results import FAILED, PASSED, SKIPPED

LEGEND = "Tests: passed (skipped). Abilities: those that not every kernel has."


class Row(NamedTuple):
    """One line: a feature, and what each kernel says to it."""

    name: str
    cells: tuple[str, ...]


class Table(NamedTuple):
    """Rows below a line of kernels, in two parts."""

    kernels: tuple[str, ...]
    tests: list[Row]
    abilities: list[Row]
    everywhere: int
    nowhere: int


def table(runs: Mapping[str, Run]) -> Table:
    """The table that `runs` make, one column each."""
    found = list(runs.values())
    names = {test.group for run in found for test in run.results.tests}
    groups = [*sorted(names)]
    tests = [Row("all tests", tuple(_tests(run, None) for run in found))]
    tests += [Row(name, tuple(_tests(run, name) for run in found)) for name in groups]
    probed = [run.results.features for run in found]
    features = sorted({name for each in probed for name in each})
    answers = {name: [each.get(name) for each in probed] for name in features}
    abilities = [
        Row(name, tuple(_ability(answer) for answer in told))
        for name, told in answers.items()
        if len(set(told)) > 1
    ]
    alike = [told[0] for told in answers.values() if len(set(told)) == 1]
    kernels = tuple(_column(run) for run in found)
    return Table(kernels, tests, abilities, alike.count(True), alike.count(False))


def as_text(table: Table) -> str:
    """For a terminal."""
    parts = (("TESTS", table.tests), ("ABILITIES", table.abilities))
    rows = [row for _, part in parts for row in part]
    first = max(len(row.name) for row in rows) + 2
    widths = [
        max(len(cell) for cell in column) + 2
        for column in zip(table.kernels, *(row.cells for row in rows), strict=True)
    ]
    lines = []
    for title, part in parts:
        lines += [_line(title, table.kernels, first, widths)]
        lines += [
            _line(f"  {row.name}"[:first], row.cells, first, widths) for row in part
        ]
        lines += [""]
    return "\n".join([*lines, LEGEND, _others(table)])


def as_markdown(table: Table) -> str:
    """For documentation."""
    lines = []
    for title, part in (("tests", table.tests), ("ability", table.abilities)):
        lines += [_cells([title, *table.kernels])]
        lines += [_cells(["---", *("---:" for _ in table.kernels)])]
        lines += [_cells([row.name, *row.cells]) for row in part]
        lines += [""]
    return "\n".join([*lines, f"{LEGEND} {_others(table)}", ""])


def _column(run: Run) -> str:
    version = run.release.partition("-")[0].partition("+")[0]
    return f"newest ({version})" if run.kernel == "newest" else run.kernel


def _tests(run: Run, group: str | None) -> str:
    counts = run.results.counts(group)
    if not counts:
        return "-"
    told = str(counts[PASSED])
    if counts[SKIPPED]:
        told += f" ({counts[SKIPPED]})"
    if counts[FAILED]:
        told += f" {counts[FAILED]} FAILED"
    return told


def _ability(answer: bool | None) -> str:
    return {True: "yes", False: "-", None: "?"}[answer]


def _others(table: Table) -> str:
    return f"{table.everywhere} more abilities are on every kernel, {table.nowhere} on none."


def _line(name: str, cells: Iterable[str], first: int, widths: Sequence[int]) -> str:
    padded = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
    return name.ljust(first) + "".join(padded)


def _cells(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
