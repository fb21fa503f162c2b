"""A picture of what tools lose over what they are offered, as SVG."""

import math
from typing import NamedTuple

WIDTH, HEIGHT = 680, 400
LEFT, RIGHT, TOP, BOTTOM = 60, 150, 20, 50
LOW, HIGH = 20_000, 20_000_000
LABELS = {
    30_000: "30 k",
    100_000: "100 k",
    300_000: "300 k",
    1_000_000: "1 M",
    3_000_000: "3 M",
    10_000_000: "10 M",
}


class Curve(NamedTuple):
    """A tool's losses: (events a second, share that was lost), in order."""

    name: str
    colour: str
    points: list[tuple[float, float]]


def drawing(curves: list[Curve]) -> str:
    """Loss over offered load, the load on a logarithmic axis."""
    floor = HEIGHT - BOTTOM
    middle = (LEFT + WIDTH - RIGHT) / 2
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            'font-family="sans-serif" font-size="12">'
        ),
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *_grid(floor),
        *[line for place, curve in enumerate(curves) for line in _curve(curve, place)],
        (
            f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">'
            "events a second that are offered</text>"
        ),
        (
            f'<text x="16" y="{floor / 2}" text-anchor="middle" '
            f'transform="rotate(-90 16 {floor / 2})">lost</text>'
        ),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _grid(floor: int) -> list[str]:
    out = []
    for load, label in LABELS.items():
        at = _across(load)
        out += [
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{floor}" stroke="#ddd"/>',
            f'<text x="{at:.1f}" y="{floor + 16}" text-anchor="middle">{label}</text>',
        ]
    for percent in (0, 25, 50, 75, 100):
        at = _up(percent / 100)
        out += [
            (
                f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" '
                'stroke="#ddd"/>'
            ),
            f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{percent} %</text>',
        ]
    return out


def _curve(curve: Curve, place: int) -> list[str]:
    path = " ".join(f"{_across(x):.1f},{_up(y):.1f}" for x, y in curve.points)
    dots = [
        f'<circle cx="{_across(x):.1f}" cy="{_up(y):.1f}" r="3" fill="{curve.colour}">'
        f"<title>{curve.name}: {x:,.0f} a second, {y:.1%} lost</title></circle>"
        for x, y in curve.points
    ]
    left, height = WIDTH - RIGHT + 12, TOP + 14 + 20 * place
    return [
        (
            f'<polyline points="{path}" fill="none" stroke="{curve.colour}" '
            'stroke-width="2"/>'
        ),
        *dots,
        (
            f'<line x1="{left}" x2="{left + 18}" y1="{height - 4}" y2="{height - 4}" '
            f'stroke="{curve.colour}" stroke-width="3"/>'
        ),
        f'<text x="{left + 24}" y="{height}">{curve.name}</text>',
    ]


def _across(load: float) -> float:
    low, high = math.log(LOW), math.log(HIGH)
    share = (math.log(min(max(load, LOW), HIGH)) - low) / (high - low)
    return LEFT + share * (WIDTH - RIGHT - LEFT)


def _up(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)
