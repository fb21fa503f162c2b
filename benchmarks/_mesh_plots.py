"""Pictures of a run, as SVG whose colours the page's style sheet gives (`_mesh.css`).

Classes: `v-NAME` fills and strokes with a variant's colour, `p-NAME` with a process's;
`grid`, `axis`, `one`, `floor`, `muted` are the plain parts.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from _mesh_figures import Floor

WIDTH = 540
LEFT, RIGHT = 108, 136
ROW = 20
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50)
FINE = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.4, 1.6, 1.8, 2)
DOT, SMALL = 4.0, 1.8


class Scale(NamedTuple):
    """A logarithmic axis from `low` to `high`, across the middle of a picture."""

    low: float
    high: float

    @classmethod
    def around(cls, values: Sequence[float]) -> "Scale":
        """One that shows all of `values`, and 1."""
        low, high = min((*values, 0.9)), max((*values, 1.1))
        return cls(low / 1.06, high * 1.06)

    def at(self, value: float) -> float:
        """Where a value is; what lies beyond an end is drawn at it."""
        inside = min(max(value, self.low), self.high)
        share = math.log(inside / self.low) / math.log(self.high / self.low)
        return LEFT + share * (WIDTH - RIGHT - LEFT)

    def beyond(self, value: float) -> bool:
        """Whether a value is outside."""
        return not self.low <= value <= self.high

    def ticks(self) -> list[float]:
        """Round numbers that have room for their labels."""
        found: list[float] = []
        for tick in FINE if self.high / self.low < 4 else TICKS:
            room = not found or self.at(tick) - self.at(found[-1]) > 26
            if not self.beyond(tick) and room:
                found.append(tick)
        return found


class Row(NamedTuple):
    """A variant's ratios: their median and quartiles, each round's own, and the floor."""

    variant: str
    value: float | None
    spread: tuple[float, float] = (0.0, 0.0)
    rounds: Sequence[float] = ()
    floor: Floor | None = None
    reason: str = ""


def ratios(rows: Sequence[Row], scale: Scale) -> str:
    """A line a variant: a dot for every round, the quartiles, the median."""
    height = ROW * len(rows) + 30
    bottom = height - 22
    parts = [_grid(scale, bottom)]
    for number, row in enumerate(rows):
        parts.append(_row(row, ROW * number + 14, scale))
    return _svg(height, parts, "ratios to iptables")


def _grid(scale: Scale, bottom: float) -> str:
    lines = []
    for tick in scale.ticks():
        at = scale.at(tick)
        kind = "one" if tick == 1 else "grid"
        lines.append(_line(at, 2, at, bottom, kind))
        lines.append(_text(at, bottom + 14, f"{tick:g}", "middle", "muted"))
    return "".join(lines)


def _row(row: Row, y: float, scale: Scale) -> str:
    label = _text(LEFT - 10, y + 4, row.variant, "end")
    if row.value is None:
        return label + _text(LEFT + 4, y + 4, _short(row.reason), "start", "muted")
    low, high = row.spread
    said = f"{three(row.value)} ({three(low)} to {three(high)})"
    parts = [label, _floor(row, y, scale) if row.floor else ""]
    if scale.beyond(row.value):
        parts.append(_arrow(scale.at(row.value), y, row))
    else:
        dots = "".join(
            f'<circle cx="{scale.at(each):.1f}" cy="{y}" r="{SMALL}"/>'
            for each in row.rounds
            if not scale.beyond(each)
        )
        spread = _line(scale.at(low), y, scale.at(high), y, "spread")
        median = f'<circle cx="{scale.at(row.value):.1f}" cy="{y}" r="{DOT}"/>'
        parts.append(
            f'<g class="v-{row.variant}"><g class="rounds">{dots}</g>{spread}{median}'
            f"<title>{escape(f'{row.variant}: {said}, {len(row.rounds)} rounds')}</title></g>"
        )
    parts.append(_text(WIDTH - RIGHT + 8, y + 4, said, "start", _verdict(row)))
    return "".join(parts)


def _verdict(row: Row) -> str:
    if row.floor is None or row.value is None:
        return "figure"
    return "figure met" if row.floor.met(row.value) else "figure unmet"


def _floor(row: Row, y: float, scale: Scale) -> str:
    floor = row.floor
    if floor is None or scale.beyond(floor.bound):
        return ""
    at, way = scale.at(floor.bound), 6 if floor.least else -6
    path = f"M{at:.1f} {y - 8}v16M{at:.1f} {y - 8}h{way}M{at:.1f} {y + 8}h{way}"
    return f'<path class="floor" d="{path}"><title>floor {escape(str(floor))}</title></path>'


def _arrow(at: float, y: float, row: Row) -> str:
    way = 1 if at > WIDTH / 2 else -1
    path = f"M{at - 7 * way:.1f} {y - 5}L{at:.1f} {y}L{at - 7 * way:.1f} {y + 5}z"
    title = f"<title>{row.variant}: {row.value:.2f}, outside of the picture</title>"
    return f'<path class="v-{row.variant}" d="{path}">{title}</path>'


class Bar(NamedTuple):
    """What a request costs in one variant: (user, system) us of each process."""

    variant: str
    parts: Mapping[str, tuple[float, float]]
    reason: str = ""

    @property
    def total(self) -> float:
        """All of it."""
        return sum(map(sum, self.parts.values()))


def cpu_bars(bars: Sequence[Bar]) -> str:
    """A bar a variant: processes side by side, user time lighter than system time."""
    height = ROW * len(bars) + 30
    most = max((bar.total for bar in bars), default=0.0) or 1.0
    step = _step(most)
    across = (WIDTH - RIGHT - LEFT) / most

    def at(us: float) -> float:
        return LEFT + us * across

    lines, bottom = [], height - 22
    for tick in range(int(most / step) + 1):
        lines.append(_line(at(tick * step), 2, at(tick * step), bottom, "grid"))
        said = f"{tick * step:g}"
        lines.append(_text(at(tick * step), bottom + 14, said, "middle", "muted"))
    for number, bar in enumerate(bars):
        lines.append(_bar(bar, ROW * number + 14, at))
    return _svg(height, lines, "CPU time a request, by process")


def _bar(bar: Bar, y: float, at) -> str:
    label = _text(LEFT - 10, y + 4, bar.variant, "end")
    if not bar.parts:
        return label + _text(LEFT + 4, y + 4, _short(bar.reason), "start", "muted")
    drawn, reached = [], 0.0
    for process, times in bar.parts.items():
        for kind, us in zip(("user", "system"), times, strict=True):
            left, right = at(reached), at(reached + us)
            drawn.append(
                f'<rect class="p-{process} {kind}" x="{left:.1f}" y="{y - 7}"'
                f' width="{max(0.0, right - left):.1f}" height="14">'
                f"<title>{process}, {kind}: {us:.1f} us</title></rect>"
            )
            reached += us
    said = _text(WIDTH - RIGHT + 8, y + 4, f"{bar.total:.1f} us", "start", "figure")
    return "".join([label, *drawn, said])


class Curve(NamedTuple):
    """A variant's latencies, us, at the percentages of `PERCENTS`."""

    variant: str
    latencies: Sequence[float]


CURVES_HEIGHT = 210
LABEL = 42  # what a time takes below the axis, with room to the next
QUANTILES = {50: "50", 90: "90", 99: "99", 99.9: "99.9"}


def latency_curves(curves: Sequence[Curve], percents: Sequence[float]) -> str:
    """Latency across, on a logarithmic axis; the share of requests that took more, up."""
    bottom = CURVES_HEIGHT - 34
    everything = [each for curve in curves for each in curve.latencies if each > 0]
    if not everything:
        return ""
    low, high = min(everything) / 1.1, max(everything) * 1.1
    right = WIDTH - RIGHT

    def across(us: float) -> float:
        share = math.log(max(us, low) / low) / math.log(high / low)
        return LEFT + share * (right - LEFT)

    def up(percent: float) -> float:
        # 99 and 99.9 are as far apart as 90 and 99: the share that took more, in tens.
        most, least = math.log10(99), math.log10(0.1)
        return 8 + (math.log10(100 - percent) - least) / (most - least) * (bottom - 8)

    lines = []
    for percent, label in QUANTILES.items():
        lines.append(_line(LEFT, up(percent), right, up(percent), "grid"))
        said = f"{label} %"
        lines.append(_text(LEFT - 8, up(percent) + 4, said, "end", "muted"))
    free = 0.0  # up to where nothing is written yet
    for tick in _decades(low, high):
        at = across(tick)
        lines.append(_line(at, 8, at, bottom, "grid"))
        if at >= free:
            lines.append(_text(at, bottom + 14, _time(tick), "middle", "muted"))
            free = at + LABEL
    for place, curve in enumerate(curves):
        points = " ".join(
            f"{across(us):.1f},{up(percent):.1f}"
            for percent, us in zip(percents, curve.latencies, strict=True)
        )
        line = f'<polyline class="curve v-{curve.variant}" points="{points}"/>'
        y = 16 + 17 * place
        key = _line(right + 10, y - 4, right + 26, y - 4, f"key v-{curve.variant}")
        lines += [line, key, _text(right + 32, y, curve.variant, "start")]
    return _svg(CURVES_HEIGHT, lines, "distribution of latencies")


def _decades(low: float, high: float) -> list[float]:
    ticks = [
        digit * 10.0**power
        for power in range(int(math.log10(low)) - 1, int(math.log10(high)) + 2)
        for digit in (1, 2, 5)
    ]
    inside = [tick for tick in ticks if low <= tick <= high]
    return inside if len(inside) <= 7 else [t for t in inside if f"{t:e}"[0] == "1"]


def _time(us: float) -> str:
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if us >= size:
            return f"{us / size:g} {unit}"
    return f"{us:g} us"


def _step(most: float) -> float:
    # A round distance that makes three to seven marks.
    power = 10.0 ** math.floor(math.log10(most))
    return next(s * power for s in (0.2, 0.5, 1, 2) if most / (s * power) <= 6)


def _svg(height: float, parts: Sequence[str], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    places = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line class="{kind}" {places}/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    marks = f' class="{kind}"' if kind else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{marks}>'
        f"{escape(text)}</text>"
    )


def three(value: float) -> str:
    """Three digits, two of a ratio that is below 10."""
    return (
        f"{value:.2f}"
        if value < 10
        else f"{value:.1f}"
        if value < 100
        else f"{value:.0f}"
    )


def _short(text: str) -> str:
    return text if len(text) <= 62 else text[:60] + "..."
