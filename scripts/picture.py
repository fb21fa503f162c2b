#!/usr/bin/env python3
"""Draw the project's pictures as SVG: what the demo measured, and the way of a request.

    scripts/picture.py result demo.json docs/pictures/result.svg
    scripts/picture.py path docs/pictures/path.svg

`result` draws nothing but figures of a file that `beewire demo --json` wrote. Both
pictures follow the reader's light or dark scheme.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

STYLE = """
  text { font: 14px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: #24292f }
  .dim { fill: #656d76; font-size: 12px }
  .head { font-weight: 600; font-size: 15px }
  .strong { font-weight: 600 }
  .end { text-anchor: end }
  .mid { text-anchor: middle }
  .mono { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 12px }
  .good { fill: #d4a017 }
  .bad { fill: #b3564d }
  .rule { stroke: #8c959f; stroke-width: 1 }
  .faint { stroke: #d0d7de; stroke-width: 1 }
  .spread { stroke: #24292f; stroke-width: 1.5 }
  .box { fill: #f6f8fa; stroke: #8c959f }
  .pod { fill: none; stroke: #8c959f; stroke-dasharray: 4 3 }
  .cost { fill: #f3d9d5; stroke: #b3564d }
  .bee { fill: #fbeebf; stroke: #d4a017 }
  .way { stroke: #57606a; stroke-width: 1.5; fill: none; marker-end: url(#tip) }
  .tip { fill: #57606a }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .dim { fill: #9198a1 }
    .faint { stroke: #3d444d }
    .spread { stroke: #e6edf3 }
    .box { fill: #1c2128; stroke: #6e7681 }
    .cost { fill: #4a2724; stroke: #c9695f }
    .bee { fill: #4a3c10; stroke: #d4a017 }
    .way { stroke: #9198a1 }
    .tip { fill: #9198a1 }
  }
"""


ARROW_TIP = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"'
    ' markerHeight="7" orient="auto"><path class="tip" d="M0 0 L8 4 L0 8 Z"/></marker>'
    "</defs>"
)


class Row(NamedTuple):
    """One ratio of the demo; `less` is True where a smaller ratio is the better one."""

    figure: str
    label: str
    less: bool


ROWS = (
    Row("requests_ratio", "requests per second", less=False),
    Row("new_connections_ratio", "new connections per second", less=False),
    Row("cpu_per_request_ratio", "CPU per request", less=True),
    Row("p50_ratio", "median latency", less=True),
    Row("p99_ratio", "99th percentile latency", less=True),
)
COUNTS = (
    ("errors", "errors"),
    ("conntrack_entries", "conntrack entries"),
    ("iptables_rules", "iptables rules in a pod"),
)


def document(width: int, height: int, title: str, body: list[str]) -> str:
    """A whole SVG file."""
    return "\n".join(
        [
            (
                '<svg xmlns="http://www.w3.org/2000/svg" role="img"'
                f' viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
            ),
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            ARROW_TIP,
            *body,
            "</svg>",
            "",
        ]
    )


def text(x: float, y: float, words: str, kind: str = "") -> str:
    """Words at a place; `kind` names classes of STYLE."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight line."""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        f' class="{kind}"/>'
    )


def rect(x: float, y: float, size: tuple[float, float], kind: str, round_: int) -> str:
    """A rectangle with rounded corners."""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{size[0]:.1f}" height="{size[1]:.1f}"'
        f' rx="{round_}" class="{kind}"/>'
    )


# --- the result ---

LEFT, SCALE_WIDTH, ROW_HEIGHT = 230, 380, 40


def result(report: dict) -> str:
    """Bars of Beewire / iptables, with the quartiles of the rounds as whiskers."""
    figures = report["figures"]
    rows = [row for row in ROWS if measured(figures, row.figure)]
    if not rows:
        sys.exit("picture: the file holds none of the demo's ratios")
    most = max(max(figures[row.figure].get("spread") or [0, 1]) for row in rows)
    most = max(most, *(figures[row.figure]["value"] for row in rows), 1.0)
    unit = SCALE_WIDTH / (most * 1.05)
    bottom = 62 + ROW_HEIGHT * len(rows)
    body = [text(16, 28, "Beewire compared with Istio's iptables rules", "head")]
    body += axis(unit, most, bottom)
    for index, row in enumerate(rows):
        body += bar(row, figures[row.figure], 62 + index * ROW_HEIGHT, unit)
    body.append(line(LEFT + unit, 46, LEFT + unit, bottom, "rule"))
    body.append(text(LEFT + unit, 40, "iptables = 1", "dim mid"))
    for line_, (side, words) in enumerate((("Beewire", ""), ("iptables", "iptables."))):
        body.append(text(16, bottom + 42 + 20 * line_, counts(figures, side, words)))
    body.append(text(16, bottom + 86, origin(report), "dim"))
    return document(800, bottom + 100, "Beewire / iptables", body)


def measured(figures: dict, name: str) -> bool:
    """Whether the file has a value for this figure."""
    return figures.get(name, {}).get("value") is not None


def counts(figures: dict, side: str, prefix: str) -> str:
    """What one side was counted to have."""
    told = [
        f"{figures[prefix + name]['value']:g} {label}"
        for name, label in COUNTS
        if measured(figures, prefix + name)
    ]
    return f"{side}: {', '.join(told)}" if told else ""


def axis(unit: float, most: float, bottom: int) -> list[str]:
    """Faint lines at every quarter, numbers below every half."""
    marks = []
    for quarter in range(int(most * 1.05 * 4) + 1):
        x = LEFT + unit * quarter / 4
        marks.append(line(x, 46, x, bottom, "faint"))
        if quarter % 2 == 0:
            marks.append(text(x, bottom + 16, f"{quarter / 4:g}", "dim mid"))
    return marks


def bar(row: Row, figure: dict, y: int, unit: float) -> list[str]:
    """One bar, its whiskers, its numbers, and which way is better."""
    value, spread = figure["value"], figure.get("spread")
    better = value <= 1 if row.less else value >= 1
    middle = y + 10
    drawn = [
        text(LEFT - 12, y + 9, row.label, "end"),
        text(
            LEFT - 12,
            y + 24,
            "less is better" if row.less else "more is better",
            "dim end",
        ),
        rect(LEFT, y, (unit * value, 20), "good" if better else "bad", 2),
        text(LEFT + SCALE_WIDTH + 20, y + 9, f"{value:.2f}", "strong"),
    ]
    if spread:
        low, high = (LEFT + unit * edge for edge in spread)
        drawn += [
            line(low, middle, high, middle, "spread"),
            line(low, middle - 5, low, middle + 5, "spread"),
            line(high, middle - 5, high, middle + 5, "spread"),
            text(
                LEFT + SCALE_WIDTH + 20,
                y + 24,
                f"quartiles {spread[0]:.2f} to {spread[1]:.2f}",
                "dim",
            ),
        ]
    return drawn


def origin(report: dict) -> str:
    """Where and how often it was measured."""
    machine = report.get("machine", {})
    words = [f"medians of {report['rounds']} interleaved rounds"]
    if connections := report.get("connections"):
        words.append(f"{connections} connections")
    names = {"kernel": "Linux", "envoy": "Envoy", "cpus": "CPUs"}
    words += [f"{name} {machine[key]}" for key, name in names.items() if key in machine]
    return " · ".join(words)


# --- the way of a request ---


class Stop(NamedTuple):
    """One box on a request's way."""

    width: int
    lines: tuple[str, ...]
    kind: str


APP_A = Stop(78, ("app A",), "box")
APP_B = Stop(78, ("app B",), "box")
ENVOY_A = Stop(78, ("Envoy A", ":15001"), "box")
ENVOY_B = Stop(78, ("Envoy B", ":15006"), "box")
BEFORE = (
    (APP_A, Stop(138, ("nat OUTPUT", "REDIRECT", "conntrack"), "cost"), ENVOY_A),
    (Stop(138, ("nat PREROUTING", "REDIRECT", "conntrack"), "cost"), ENVOY_B, APP_B),
)
AFTER = (
    (APP_A, Stop(138, ("connect4/6", "at connect()"), "bee"), ENVOY_A),
    (Stop(138, ("sk_lookup", "at the first SYN"), "bee"), ENVOY_B, APP_B),
)
BEFORE_NOTE = (
    "The first packet of a connection walks the rules; conntrack follows it, and rewrites"
    " every packet after it."
)
AFTER_NOTE = (
    "The destination is decided once, where the socket is; no packet is changed and"
    " nothing is tracked."
)
GAP, TALL = 26, 58


def path() -> str:
    """The request from app A to app B, before and after."""
    body = [text(16, 28, "Before: Istio's iptables rules", "head")]
    body += way(BEFORE, 62)
    body += [text(16, 168, BEFORE_NOTE, "dim")]
    body += [text(16, 214, "With Beewire", "head")]
    body += way(AFTER, 248)
    body += [text(16, 354, AFTER_NOTE, "dim")]
    return document(850, 370, "A request's way from app A to app B", body)


def way(pods: tuple[tuple[Stop, ...], ...], y: int) -> list[str]:
    """Two pods side by side, and the arrows through them."""
    drawn, x = [], 30
    for number, stops in enumerate(pods):
        inner = sum(stop.width for stop in stops) + GAP * (len(stops) - 1)
        name = "pod A" if number == 0 else "pod B"
        drawn.append(rect(x - 14, y - 20, (inner + 28, TALL + 36), "pod", 6))
        drawn.append(text(x - 6, y - 5, name, "dim"))
        for stop in stops:
            drawn += box(stop, x, y)
            x += stop.width
            last = number == len(pods) - 1 and stop is stops[-1]
            gap = GAP if stop is not stops[-1] else GAP + 56
            if not last:
                end = x + gap
                drawn.append(line(x, y + TALL / 2 + 4, end, y + TALL / 2 + 4, "way"))
            x += gap
    return drawn


def box(stop: Stop, x: int, y: int) -> list[str]:
    """One stop: its first line plain, the others small."""
    drawn = [rect(x, y + 4, (stop.width, TALL), stop.kind, 4)]
    top = y + 4 + TALL / 2 + 5 - 8 * (len(stop.lines) - 1)
    for index, words in enumerate(stop.lines):
        kind = "mid" if index == 0 else "mid dim"
        drawn.append(text(x + stop.width / 2, top + 16 * index, words, kind))
    return drawn


def main() -> None:
    """Draw what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    of_result = kinds.add_parser("result", help="bars, from a demo's JSON file")
    of_result.add_argument("json", type=Path)
    of_result.add_argument("svg", type=Path)
    of_path = kinds.add_parser("path", help="the data path, before and after")
    of_path.add_argument("svg", type=Path)
    args = parser.parse_args()
    drawn = (
        result(json.loads(args.json.read_text())) if args.kind == "result" else path()
    )
    args.svg.parent.mkdir(parents=True, exist_ok=True)
    args.svg.write_text(drawn)


if __name__ == "__main__":
    main()
