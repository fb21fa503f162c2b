"""The form that all benchmarks write: figures with value, spread, unit, and against what.

    {"benchmark": "startup", "machine": {...}, "rounds": 20,
     "figures": {"attached_ms": {"value": 48.1, "spread": [47.2, 49.9], "unit": "ms"}}}

`value` is the median, `spread` the quartiles. A figure that could not be measured has the
value null and a reason; it is never absent.
"""

import argparse
import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

Json = dict[str, "str | int | float | list[float] | None"]


class Figure(NamedTuple):
    """One figure; `against` names what a ratio compares with."""

    value: float | None
    unit: str
    spread: tuple[float, float] | None = None
    against: str = ""
    reason: str = ""

    def as_json(self) -> Json:
        """The figure as the common form has it."""
        out: Json = {"value": _rounded(self.value), "unit": self.unit}
        if self.spread is not None:
            out["spread"] = [round(bound, 4) for bound in self.spread]
        if self.against:
            out["against"] = self.against
        if self.value is None:
            out["reason"] = self.reason
        return out


def measured(samples: Sequence[float], unit: str, against: str = "") -> Figure:
    """The median of `samples`, with their quartiles."""
    if len(samples) < 2:
        spread = (samples[0], samples[0])
    else:
        low, _, high = quantiles(samples, n=4, method="inclusive")
        spread = (low, high)
    return Figure(median(samples), unit, spread, against)


def counted(value: int) -> Figure:
    """A count, which has no spread."""
    return Figure(value, "count", (value, value))


def missing(unit: str, reason: str, against: str = "") -> Figure:
    """A figure that could not be measured, and why."""
    return Figure(None, unit, against=against, reason=reason)


def machine() -> Json:
    """What the figures were measured on."""
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"model name\s*:\s*(.*)", cpuinfo)
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "architecture": platform.machine(),
        "cpu": model[1] if model else platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_mb": pages >> 20,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


class Options(NamedTuple):
    """What the command line asked for."""

    json: Path | None
    seconds: float | None
    rounds: int


def options(argv: Sequence[str], question: str, rounds: int) -> Options:
    """Read --json FILE, --seconds S and --rounds N, which every benchmark takes."""
    parser = argparse.ArgumentParser(description=question.partition("\n")[0])
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures")
    parser.add_argument("--seconds", metavar="S", type=float, help="at most so long")
    parser.add_argument("--rounds", metavar="N", type=int, default=rounds)
    given = parser.parse_args(argv)
    return Options(given.json, given.seconds, max(1, given.rounds))


def write(
    path: Path, benchmark: str, host: Json, rounds: int, figures: Mapping[str, Figure]
) -> None:
    """Write the figures to `path`."""
    document = {
        "benchmark": benchmark,
        "machine": host,
        "rounds": rounds,
        "figures": {name: figure.as_json() for name, figure in figures.items()},
    }
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def show(figures: Mapping[str, Figure]) -> None:
    """Print one line a figure."""
    wide = max(map(len, figures))
    for name, figure in figures.items():
        print(f"{name:<{wide}}  {_line(figure)}")


def _line(figure: Figure) -> str:
    if figure.value is None:
        return f"not measured: {figure.reason}"
    line = f"{_shown(figure.value):>8} {figure.unit}"
    if figure.spread and figure.spread[0] != figure.spread[1]:
        low, high = map(_shown, figure.spread)
        line += f"  ({low} to {high})"
    return f"{line}  against {figure.against}" if figure.against else line


def _shown(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.3g}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
