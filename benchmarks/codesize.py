"""How many instructions do our programs need, against clang -O2 on the same logic in C?

The workload are the data path's programs (beewire/mesh/programs) and their twins in C
(benchmarks/codesize/*.bpf.c), for instruction set v3. `instructions` counts 8-byte slots,
as the kernel does; `processed` is how many the verifier looked at before it accepted the
program. Ratios are ours / clang's: below 1 is smaller. Nothing here depends on time.
`python benchmarks/codesize.py --dump NAME` prints both versions of one program.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from math import prod
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple

from _report import Figure, counted, machine, missing, options, show, write

from beewire.bpf import kernel
from beewire.bpf import object as bpf_object
from beewire.bpf.author import collect
from beewire.bpf.isa import format_program
from beewire.bpf.object import ObjectSpec, ProgramSpec
from beewire.errors import BeewireError, UsageError

SOURCES = Path(__file__).parent / "codesize"
MODULES = "beewire.mesh.programs"
CLANGS = [f"clang-{version}" for version in range(25, 13, -1)] + ["clang"]


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


def find_clang() -> str:
    """The newest clang on the path.

    Raises:
        UsageError: There is none.
    """
    for name in CLANGS:
        if found := shutil.which(name):
            return found
    raise UsageError("clang is not installed; codesize compares with it")


def version(clang: str) -> str:
    """As "clang 19.1.7"."""
    command = [clang, "-dumpversion"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return f"clang {result.stdout.strip()}"


def dump(name: str) -> int:
    """Print our and clang's instructions of the program `name`.

    Raises:
        UsageError: No twin has that name.
    """
    clang = find_clang()
    for ours, theirs in objects(clang):
        if name in theirs.programs:
            for title, spec in (("ours", ours), (version(clang), theirs)):
                program = spec.programs[name]
                print(f"{title}: {slots(program)}\n{format_program(program.insns)}\n")
            return 0
    raise UsageError(f"no program in {SOURCES.name}/ is called {name!r}")


def objects(clang: str) -> Iterator[tuple[ObjectSpec, ObjectSpec]]:
    """Each module of ours and its twin, compiled."""
    for source in sorted(SOURCES.glob("*.bpf.c")):
        module = import_module(f"{MODULES}.{source.name.partition('.')[0]}")
        yield collect(module), bpf_object.read(compile_c(clang, source))


def pairs(clang: str) -> Iterator[Pair]:
    """Each program of ours that has a twin of the same name, measured."""
    for ours, theirs in objects(clang):
        mine, twins = measure(ours), measure(theirs)
        for name, twin in twins.items():
            yield Pair(name, mine[name], twin)


def compile_c(clang: str, source: Path) -> bytes:
    """The object that clang makes of `source`."""
    # Where Debian keeps asm/types.h, which clang does not look through for BPF.
    include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
    with tempfile.TemporaryDirectory(prefix="bw-codesize-") as directory:
        target = Path(directory) / "twin.o"
        command = [clang, "-O2", "-g", "--target=bpf", "-mcpu=v3", "-Wall", "-Werror"]
        command += [include, "-c", str(source), "-o", str(target)]
        subprocess.run(command, check=True)
        return target.read_bytes()


def measure(spec: ObjectSpec) -> dict[str, Program]:
    """Count the programs of `spec`, and load them to see how the verifier fares."""
    processed, reason = verify(spec)
    return {
        name: Program(slots(program), processed.get(name), reason)
        for name, program in spec.programs.items()
    }


def slots(program: ProgramSpec) -> int:
    """The kernel's count of instructions: LD_IMM64 is two."""
    return sum(insn.slots for insn in program.insns)


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
    return {
        "instructions_ratio_geomean": geomean(sizes, against),
        "instructions_ratio_max": Figure(
            max(sizes), "ratio", (min(sizes), max(sizes)), against
        ),
        "processed_ratio_geomean": processed_geomean(found, against),
    }


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
    """The figures of each program."""
    figures: dict[str, Figure] = {}
    for pair in found:
        size = pair.ours.slots / pair.theirs.slots
        figures |= {
            f"{pair.name}.instructions": counted(pair.ours.slots),
            f"{pair.name}.instructions_clang": counted(pair.theirs.slots),
            f"{pair.name}.instructions_ratio": Figure(
                size, "ratio", (size, size), against
            ),
            f"{pair.name}.processed": count_of(pair.ours),
            f"{pair.name}.processed_clang": count_of(pair.theirs),
            f"{pair.name}.processed_ratio": processed_ratio(pair, against),
        }
    return figures


def count_of(program: Program) -> Figure:
    """What the verifier processed."""
    if program.processed is None:
        return missing("count", program.reason)
    return counted(program.processed)


def table(found: list[Pair], against: str) -> None:
    """Print one line a program."""
    print(f"instructions, and those that the verifier processed; clang is {against}")
    head = ("program", "ours", "clang", "ratio", "ours", "clang", "ratio")
    print("{:<24}{:>7}{:>7}{:>8}{:>9}{:>7}{:>8}".format(*head))
    for name, ours, theirs in found:
        print(
            f"{name:<24}{ours.slots:>7}{theirs.slots:>7}"
            f"{share(ours.slots, theirs.slots):>8}{shown(ours.processed):>9}"
            f"{shown(theirs.processed):>7}{share(ours.processed, theirs.processed):>8}"
        )
    for reason in sorted({p.reason for pair in found for p in pair[1:] if p.reason}):
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
