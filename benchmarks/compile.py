"""How long does a program take to compile, and how does that grow with its size?

Programs of 15 to 4,000 instructions, each of the same mix: packet fields, map lookups that
may fail, counters, arithmetic and branches. ms_60 and ms_2000: milliseconds from a function
to an object of so many instructions (between the two nearest sizes, in proportion), in a
process that has compiled before: other programs of the same file. growth_exponent: the slope of time over instructions, both as logarithms (1 is
linear). Times are CPU time of the process; wall_ms_60 and wall_ms_2000 beside them are not.
"""

import math
import runpy
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from _report import Figure, machine, measured, options, show, write

from beewire.bpf import collect
from beewire.errors import BeewireError

STANZAS = (0, 1, 2, 4, 8, 16, 33, 66, 133, 270)
SMALL, LARGE = 60, 2000  # instructions
PLOT = Path(__file__).parents[1] / "docs" / "pictures" / "compile.svg"

HEAD = """
from beewire.bpf import *

class Part(Struct):
    kind: u16
    size: u16
    source: u32
    target: u32

seen = LruHash[u32, u64](max_entries=1024)
sizes = PerCpuArray[u64](64)

"""
BEGIN = """
@xdp
def program_{number}(ctx: XdpContext) -> XdpAction:
    part = ctx.at(14, Part)
    if part is None:
        return XdpAction.PASS
    total = u64(part.size)
    key = part.source ^ part.target
"""
STANZA = """
    if (known := seen.lookup(key + {n})) is not None:
        known.value += part.size
        total += known.value >> 3
    if total > {limit} and part.kind != {n}:
        total ^= (total << 5) + {n}
    else:
        total = total * 3 + part.source % {prime}
"""
TAIL = """
    sizes[total & 63] += 1
    return XdpAction.DROP if total & 1 else XdpAction.PASS
"""


class Sample(NamedTuple):
    """One compilation: the object's size, and milliseconds of CPU and of wall time."""

    insns: int
    cpu_ms: float
    wall_ms: float


def main(argv: list[str]) -> int:
    """Measure, print, draw and write."""
    asked = options(argv, __doc__ or "", rounds=15)
    host = machine()
    with tempfile.TemporaryDirectory(prefix="bw-compile-") as folder:
        groups = rounds_of(asked.rounds, Path(folder))
    figures = summary(groups)
    show(figures)
    if asked.json:
        write(asked.json, "compile", host, asked.rounds, figures)
    PLOT.write_text(drawing(groups), encoding="utf-8")
    return 0


def rounds_of(count: int, folder: Path) -> list[list[Sample]]:
    """So many samples of each size."""
    files = [programs(stanzas, count + 1, folder) for stanzas in STANZAS]
    groups: list[list[Sample]] = [[] for _ in STANZAS]
    for known in files:
        compiled(known[0])
    for number in range(count):
        # Interleaved: what else the machine does hits all sizes alike.
        for group, known in zip(groups, files, strict=True):
            group.append(compiled(known[number + 1]))
    return groups


def compiled(decl: Any) -> Sample:
    """Compile a program."""
    cpu, wall = time.process_time(), time.perf_counter()
    spec = collect(decl)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Sample(len(spec.programs[decl.name].insns), cpu * 1000, wall * 1000)


def programs(stanzas: int, count: int, folder: Path) -> list[Any]:
    """So many programs of so many stanzas, no two alike, in one file."""
    parts = [HEAD]
    for number in range(count):
        parts.append(BEGIN.format(number=number))
        parts += [
            STANZA.format(n=n + 1, limit=1000 + 37 * n + number, prime=2 * n + 3)
            for n in range(stanzas)
        ]
        parts.append(TAIL)
    place = folder / f"stanzas_{stanzas}.py"
    place.write_text("".join(parts), encoding="utf-8")
    names = runpy.run_path(str(place))
    return [names[f"program_{number}"] for number in range(count)]


def summary(groups: list[list[Sample]]) -> dict[str, Figure]:
    """The figures, one sample a round."""
    rounds = [[group[i] for group in groups] for i in range(len(groups[0]))]
    figures: dict[str, Figure] = {}
    for size in (SMALL, LARGE):
        cpu = [between(r, size, [s.cpu_ms for s in r]) for r in rounds]
        wall = [between(r, size, [s.wall_ms for s in r]) for r in rounds]
        figures[f"ms_{size}"] = measured(cpu, "ms")
        figures[f"wall_ms_{size}"] = measured(wall, "ms")
    figures["growth_exponent"] = measured([slope(r) for r in rounds], "exponent")
    return figures


def between(points: list[Sample], size: int, times: list[float]) -> float:
    """The time at `size`, on the line between the two nearest points."""
    above = next(i for i, point in enumerate(points) if point.insns >= size)
    low, high = points[above - 1].insns, points[above].insns
    share = (size - low) / (high - low)
    return times[above - 1] * (1 - share) + times[above] * share


def slope(points: list[Sample]) -> float:
    """The least-squares slope of log time over log size, from `SMALL` on."""
    logs = [
        (math.log(point.insns), math.log(point.cpu_ms))
        for point in points
        if point.insns >= SMALL // 2
    ]
    mean_x = sum(x for x, _ in logs) / len(logs)
    mean_y = sum(y for _, y in logs) / len(logs)
    over = sum((x - mean_x) * (y - mean_y) for x, y in logs)
    return over / sum((x - mean_x) ** 2 for x, _ in logs)


WIDTH, HEIGHT, LEFT, BOTTOM = 640, 400, 60, 50
X_RANGE, Y_RANGE = (10, 6000), (0.3, 1000)


def drawing(groups: list[list[Sample]]) -> str:
    """Time over size on logarithmic axes, as SVG."""
    points = [
        (median(s.insns for s in group), median(s.cpu_ms for s in group))
        for group in groups
    ]
    path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            'font-family="sans-serif" font-size="12">'
        ),
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *grid(),
        f'<polyline points="{path}" fill="none" stroke="#0a5" stroke-width="2"/>',
        *(
            f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="4" fill="#0a5">'
            f"<title>{x:.0f} instructions: {y:.1f} ms</title></circle>"
            for x, y in points
        ),
        (
            f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">'
            "instructions of the program</text>"
        ),
        (
            f'<text x="16" y="{HEIGHT / 2}" text-anchor="middle" '
            f'transform="rotate(-90 16 {HEIGHT / 2})">ms to compile it</text>'
        ),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def grid() -> list[str]:
    """Lines and labels, the two bars of the design in red."""
    out = []
    right, top = WIDTH - 20, 20
    floor = HEIGHT - BOTTOM
    for x in (10, 30, 100, 300, 1000, 3000):
        at = across(x)
        out += [
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{floor}" stroke="#ddd"/>',
            f'<text x="{at:.1f}" y="{floor + 16}" text-anchor="middle">{x}</text>',
        ]
    for y in (1, 10, 100, 1000):
        at = up(y)
        out += [
            f'<line x1="{LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}" stroke="#ddd"/>',
            f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{y}</text>',
        ]
    for size, bar in ((SMALL, 3), (LARGE, 500)):
        out.append(
            f'<path d="M{across(size):.1f} {floor}V{up(bar):.1f}H{LEFT}" fill="none" '
            'stroke="#c33" stroke-dasharray="4 3"/>'
        )
    return out


def across(insns: float) -> float:
    """Where a size stands."""
    low, high = (math.log(bound) for bound in X_RANGE)
    return LEFT + (math.log(insns) - low) / (high - low) * (WIDTH - 20 - LEFT)


def up(ms: float) -> float:
    """Where a time stands."""
    low, high = (math.log(bound) for bound in Y_RANGE)
    share = (math.log(ms) - low) / (high - low)
    return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - 20)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BeewireError as error:
        sys.exit(f"compile: {error}")
