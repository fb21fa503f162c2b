"""A flame graph as an SVG that works by itself: hover, zoom, search.

Drawn without the script it is a picture of 1200 pixels; the script fits it to the window.
"""

import zlib
from collections.abc import Callable, Mapping
from html import escape
from importlib.resources import files
from typing import NamedTuple

from beewire.symbols import Frame
from beewire.trace.flame.tree import Box, Stack, boxes, depth_of, tree

WIDTH, ROW, MARGIN, TOP, BOTTOM = 1200, 18, 10, 78, 12
_LETTER = 7.22  # pixels of one letter of the frames' font
_LEAST = 0.12  # pixels: thinner frames are not drawn

_DEEP = 32  # rows that are seen at once

_SHADES = {"user": 6, "kernel": 4, "jit": 3}


class Graph(NamedTuple):
    """What a flame graph shows: stacks with their values, and the words around them.

    `show` writes a value with its unit, such as "12 samples".
    """

    stacks: Mapping[Stack, int]
    title: str
    subtitle: str
    show: Callable[[int], str]


def asset(name: str) -> str:
    """The text of a file that comes with this package."""
    return files("beewire.trace.flame").joinpath(name).read_text(encoding="utf-8")


def svg(graph: Graph, *, alone: bool = True) -> str:
    """The SVG: `alone` with style, script and title in it, else for a page that has them.

    It grows upwards, as flames do; a deep one hangs from the top, where it is seen.
    """
    root = tree(graph.stacks)
    least = root.total * _LEAST / (WIDTH - 2 * MARGIN)
    drawn = list(boxes(root, least))
    top, bottom = (TOP, BOTTOM) if alone else (2, 2)
    depth = depth_of(drawn)
    hangs = depth > _DEEP
    height = top + depth * ROW + bottom
    parts = []
    parts.append(
        f'<svg xmlns="http://www.w3.org/2000/svg" class="flame" width="{WIDTH}" '
        f'height="{height}" viewBox="0 0 {WIDTH} {height}" data-total="{root.total}" '
        f'role="img" aria-label="{escape(graph.title)}">\n'
    )
    if alone:
        parts.append(_around(graph))
    parts.append('<g class="frames">\n')
    scale = (WIDTH - 2 * MARGIN) / root.total if root.total else 0.0
    for box in drawn:
        y = top + (box.depth if hangs else depth - 1 - box.depth) * ROW
        parts.append(_frame(box, y, scale, root.total, graph.show))
    parts.append("</g>\n")
    if alone:
        parts.append(f"<script><![CDATA[\n{asset('flame.js')}]]></script>\n")
    parts.append("</svg>\n")
    return "".join(parts)


def _around(graph: Graph) -> str:
    """What stands above the frames of an SVG by itself."""
    return (
        f"<style>\n{asset('flame.css')}</style>\n"
        f'<rect class="ground" width="100%" height="100%"/>\n'
        f'<text class="title" x="{MARGIN}" y="26">{escape(graph.title)}</text>\n'
        f'<text class="subtitle" x="{MARGIN}" y="46">{escape(graph.subtitle)}</text>\n'
        f'<text class="button" id="search" x="{WIDTH - MARGIN}" y="26" '
        'text-anchor="end" tabindex="0" role="button">search</text>\n'
        f'<text class="button" id="reset" x="{WIDTH - 70}" y="26" text-anchor="end" '
        'tabindex="0" role="button" hidden="hidden">reset zoom</text>\n'
        f'<text class="subtitle" id="matched" x="{WIDTH - MARGIN}" y="46" '
        'text-anchor="end"> </text>\n'
        f'<text class="details" id="details" x="{MARGIN}" y="66"> </text>\n'
    )


def _frame(
    box: Box, y: int, scale: float, total: int, show: Callable[[int], str]
) -> str:
    frame, width = box.call.frame, box.total * scale
    x = MARGIN + box.start * scale
    label = frame.label
    told = f"{label} ({frame.module})" if frame.module and frame.name else label
    share = 100 * box.total / total if total else 0
    about = f"{told}\n{show(box.total)}, {share:.2f} %"
    return (
        f'<g class="f {colour(frame)}" data-x="{box.start}" data-w="{box.total}" '
        f'data-d="{box.depth}"><title>{escape(about)}</title>'
        f'<rect x="{x:.2f}" y="{y}" width="{max(width - 0.5, 0.1):.2f}" '
        f'height="{ROW - 1}" rx="1.5"/>'
        f'<text x="{x + 3:.2f}" y="{y + 13}">{escape(fitting(label, width))}</text></g>\n'
    )


def fitting(label: str, width: float) -> str:
    """As much of a label as so many pixels take; "" for less than three letters."""
    room = int((width - 6) / _LETTER)
    if room >= len(label):
        return label
    return "" if room < 3 else label[: room - 1] + "…"


def colour(frame: Frame) -> str:
    """The class that gives a frame its colour: by its kind, in a shade of its module."""
    shades = _SHADES.get(frame.kind)
    if shades is None:
        return {"process": "p", "thread": "t", "root": "r"}.get(frame.kind, "n")
    # The same in every process and every run, unlike hash().
    name = frame.module if frame.kind == "user" else frame.name
    return f"{frame.kind[0]}{zlib.crc32(name.encode()) % shades}"
