"""Which tests are skipped under which kernel, and why: lists in the repository.

A skip that is not listed is a failure: something that was tested no longer is. A list
names, under each reason, the tests that give it; parameters are left out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

LISTS = Path(__file__).parent / "skips"
REWRITE = 'make test-kernels ARGS="--rewrite"'

Skip = tuple[str, str]
"""(test function, reason)"""

_HEAD = """\
# Tests that are skipped under Linux {kernel}, below the reason that each gives.
# Written by {rewrite}.
"""


@dataclass(frozen=True, slots=True)
class Difference:
    """How a run differs from its list."""

    unlisted: list[Skip]
    not_skipped: list[Skip]


def path(kernel: str) -> Path:
    """The list of the kernel that is called so."""
    return LISTS / f"{kernel}.txt"


def read(file: Path) -> set[Skip]:
    """The skips that a list names; none where there is no list."""
    found: set[Skip] = set()
    reason = ""
    for line in file.read_text().splitlines() if file.exists() else ():
        if line.startswith("    "):
            found.add((line.strip(), reason))
        elif line and not line.startswith("#"):
            reason = line
    return found


def write(file: Path, kernel: str, skips: Iterable[Skip]) -> None:
    """Write the list of a kernel."""
    by_reason: dict[str, list[str]] = {}
    for test, reason in sorted(skips):
        by_reason.setdefault(one_line(reason), []).append(test)
    parts = [_HEAD.format(kernel=kernel, rewrite=REWRITE)]
    for reason, tests in sorted(by_reason.items()):
        parts.append("\n".join([reason, *(f"    {test}" for test in tests), ""]))
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(parts))


def compare(skips: Iterable[Skip], listed: set[Skip]) -> Difference:
    """How `skips`, of one run, differ from those that are `listed`."""
    found = {(test, one_line(reason)) for test, reason in skips}
    return Difference(sorted(found - listed), sorted(listed - found))


def one_line(reason: str) -> str:
    """`reason` as the list has it."""
    return " ".join(reason.split()) or "no reason"
