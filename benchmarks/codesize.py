"""How many instructions do our programs need, against clang -O2 on the same logic in C?

The workload are at least 40 programs written both in Python and in C, for instruction set
v3: the corpus (benchmarks/corpus) and a data path (benchmarks/datapath), NAME.py beside
NAME.bpf.c. `instructions` counts 8-byte slots, as the kernel does; `processed` is how many the verifier looked at before it accepted the
program. Ratios are ours / clang's: below 1 is smaller. Nothing here depends on time.
`python benchmarks/codesize.py --dump NAME` prints both versions of one program.
"""

import sys
from collections.abc import Iterator
from math import prod
from statistics import quantiles
from typing import NamedTuple

from _report import Figure, counted, machine, missing, options, show, write
from _twins import Twins, find_clang, twins, version

from beewire.bpf import kernel
from beewire.bpf.isa import format_program
from beewire.bpf.kernel.assemble import assemble
from beewire.bpf.object import ObjectSpec, ProgramSpec
from beewire.errors import BeewireError, UsageError

BIG = 300  # of clang's instructions


class Program(NamedTuple):
    """One program in one language; `processed` is None, with the reason, unless loaded."""

    slots: int
    processed: int | None
    reason: str


class Pair(NamedTuple):
    """A program of ours and its twin."""

    name: str
    ours: Program
    theirs: Program
    sources: Twins

    @property
    def marks(self) -> str:
        """`h` for arithmetic-heavy, `+` for more than 300 instructions by clang."""
        big = self.theirs.slots > BIG
        return ("h" if self.sources.heavy else " ") + ("+" if big else " ")


def main(argv: list[str]) -> int:
    """Compare, print and write."""
    if argv[:1] == ["--dump"] and len(argv) == 2:
        return dump(argv[1])
    asked = options(argv, __doc__ or "", rounds=1)
    host = machine()
    clang = find_clang()
    against = f"{version(clang)} -O2 -mcpu=v3"
    found = list(pairs(clang))
    figures = summary(found, against) | details(found, against)
    table(found, against)
    print()
    show(summary(found, against))
    if asked.json:
        write(asked.json, "codesize", host, 1, figures)
    return 0


def dump(name: str) -> int:
    """Print our and clang's instructions of the program `name`.

    Raises:
        UsageError: No twin has that name.
    """
    clang = find_clang()
    for each in twins():
        theirs = each.theirs(clang)
        if name in theirs.programs:
            for title, spec in (("ours", each.ours()), (version(clang), theirs)):
                program = spec.programs[name]
                count = slots(program, spec)
                print(f"{title}: {count}\n{format_program(program.insns)}\n")
            return 0
    raise UsageError(f"no program of the corpus is called {name!r}")


def pairs(clang: str) -> Iterator[Pair]:
    """Each program that exists in both languages, measured."""
    for each in twins():
        ours, theirs = measure(each.ours()), measure(each.theirs(clang))
        for name, twin in theirs.items():
            yield Pair(name, ours[name], twin, each)


def measure(spec: ObjectSpec) -> dict[str, Program]:
    """Count the programs of `spec`, and load them to see how the verifier fares."""
    processed, reason = verify(spec)
    return {
        name: Program(slots(program, spec), processed.get(name), reason)
        for name, program in spec.programs.items()
    }


def slots(program: ProgramSpec, spec: ObjectSpec) -> int:
    """The kernel's count of instructions: with subprograms, and LD_IMM64 is two."""
    return len(assemble(program, spec).insns)


def verify(spec: ObjectSpec) -> tuple[dict[str, int], str]:
    """How many instructions the verifier processed, by program; or why not."""
    try:
        with kernel.load(spec) as loaded:
            programs = loaded.programs.items()
            return {name: p.info().verified_insns for name, p in programs}, ""
    except BeewireError as error:
        return {}, f"{spec.name} does not load: {error}"


def summary(found: list[Pair], against: str) -> dict[str, Figure]:
    """The figures over all programs."""
    sizes = [pair.ours.slots / pair.theirs.slots for pair in found]
    groups = {
        "heavy": [s for s, pair in zip(sizes, found, strict=True) if heavy(pair)],
        "others": [s for s, pair in zip(sizes, found, strict=True) if not heavy(pair)],
    }
    figures = {
        "programs": counted(len(found)),
        "programs_heavy": counted(len(groups["heavy"])),
        "programs_over_300": counted(sum(p.theirs.slots > BIG for p in found)),
        "instructions_ratio_geomean": geomean(sizes, against),
        "instructions_ratio_max": largest(sizes, against),
    }
    for name, ratios in groups.items():
        figures[f"instructions_ratio_max_{name}"] = largest(ratios, against)
    return figures | {"processed_ratio_geomean": processed_geomean(found, against)}


def heavy(pair: Pair) -> bool:
    """Whether the program is arithmetic-heavy."""
    return pair.sources.heavy


def largest(ratios: list[float], against: str) -> Figure:
    """The worst ratio; the spread are the best and the worst."""
    return Figure(max(ratios), "ratio", (min(ratios), max(ratios)), against)


def processed_geomean(found: list[Pair], against: str) -> Figure:
    """The geometric mean of the verifier's work, if every program loads."""
    ratios = []
    for pair in found:
        ratio = processed_ratio(pair, against)
        if ratio.value is None:
            return ratio
        ratios.append(ratio.value)
    return geomean(ratios, against)


def processed_ratio(pair: Pair, against: str) -> Figure:
    """The verifier's work on one program."""
    for program in (pair.ours, pair.theirs):
        if program.processed is None:
            return missing("ratio", program.reason, against)
    assert pair.ours.processed
    assert pair.theirs.processed
    value = pair.ours.processed / pair.theirs.processed
    return Figure(value, "ratio", (value, value), against)


def geomean(ratios: list[float], against: str) -> Figure:
    """The geometric mean; the spread are the programs' quartiles."""
    low, _, high = quantiles(ratios, n=4, method="inclusive")
    return Figure(prod(ratios) ** (1 / len(ratios)), "ratio", (low, high), against)


def details(found: list[Pair], against: str) -> dict[str, Figure]:
    """The figures of each program; ratios say which sources they compare."""
    figures: dict[str, Figure] = {}
    for pair in found:
        size = pair.ours.slots / pair.theirs.slots
        files = f"{against} ({pair.sources.python}, {pair.sources.c})"
        figures |= {
            f"{pair.name}.instructions": counted(pair.ours.slots),
            f"{pair.name}.instructions_clang": counted(pair.theirs.slots),
            f"{pair.name}.instructions_ratio": Figure(
                size, "ratio", (size, size), files
            ),
            f"{pair.name}.processed": count_of(pair.ours),
            f"{pair.name}.processed_clang": count_of(pair.theirs),
            f"{pair.name}.processed_ratio": processed_ratio(pair, files),
        }
    return figures


def count_of(program: Program) -> Figure:
    """What the verifier processed."""
    if program.processed is None:
        return missing("count", program.reason)
    return counted(program.processed)


def table(found: list[Pair], against: str) -> None:
    """Print one line a program, with both sources."""
    print(f"instructions, and those that the verifier processed; clang is {against}")
    print("h: arithmetic-heavy; +: over 300 instructions by clang")
    head = ("program", "", "ours", "clang", "ratio", "ours", "clang", "ratio")
    row = "{:<20} {:<2}{:>6}{:>6}{:>6}{:>9}{:>7}{:>6}  {}"
    print(row.format(*head, "sources"))
    for pair in found:
        name, ours, theirs, sources = pair
        sizes = (ours.slots, theirs.slots, share(ours.slots, theirs.slots))
        work = (shown(ours.processed), shown(theirs.processed))
        ratio = share(ours.processed, theirs.processed)
        files = f"{sources.python} {sources.c}"
        print(row.format(name, pair.marks, *sizes, *work, ratio, files))
    programs = [program for pair in found for program in (pair.ours, pair.theirs)]
    for reason in sorted({program.reason for program in programs if program.reason}):
        print(reason)


def share(ours: int | None, theirs: int | None) -> str:
    """The ratio, or a dash."""
    return f"{ours / theirs:.2f}" if ours and theirs else "-"


def shown(count: int | None) -> str:
    """The count, or a dash."""
    return "-" if count is None else str(count)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BeewireError as error:
        sys.exit(f"codesize: {error}")
