"""The demo's figures and hops as text for a terminal, or for a file without one."""

from typing import NamedTuple

from beewire.mesh.lab.demo import DemoResult
from beewire.mesh.lab.follow import Hop
from beewire.mesh.lab.report import COUNTS, QUANTITIES, Quantity, Spread, median

BOLD, DIM, RED, GREEN = 1, 2, 31, 32
GAP = "  "


class Style(NamedTuple):
    """What the reader's terminal can show."""

    colour: bool = False
    unicode: bool = False

    def ink(self, text: str, code: int) -> str:
        """`text` in the SGR colour `code` (0: none), where colour shows."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and code and text else text

    def label(self, text: str) -> str:
        """`text` with its unit as readers write it."""
        return text.replace(", us", ", µs") if self.unicode else text

    @property
    def rule(self) -> str:
        """One column of a horizontal line."""
        return "─" if self.unicode else "-"


class _Cell(NamedTuple):
    text: str
    ink: int = 0


_Row = tuple[_Cell, ...]


def figures_table(result: DemoResult, style: Style) -> str:
    """One row a figure: both sides, their ratio, and the quartiles of the rounds' own.

    A ratio is green where Beewire is better, red where it is worse, and plain where its
    quartiles do not agree on that.
    """
    head = tuple(
        _Cell(text, BOLD)
        for text in ("", "iptables", "Beewire", "Beewire/iptables", "quartiles")
    )
    rows = [head]
    rows += [_quantity_row(quantity, result, style) for quantity in QUANTITIES]
    for count in COUNTS:
        old, new = count.of(result.iptables), count.of(result.beewire)
        ink = GREEN if new == 0 else RED
        ratio = _Cell(f"{new / old:.2f}" if old else "")
        rows.append(
            (
                _Cell(count.label),
                _Cell(f"{old}"),
                _Cell(f"{new}", ink),
                ratio,
                _Cell(""),
            )
        )
    return _aligned(rows, style)


def _quantity_row(quantity: Quantity, result: DemoResult, style: Style) -> _Row:
    old = median(quantity.samples(result.iptables))
    new = median(quantity.samples(result.beewire))
    ratio = quantity.ratio(result)
    name = _Cell(style.label(quantity.label))
    own = _Cell(_number(old)), _Cell(_number(new))
    if ratio is None:
        return name, *own, _Cell("no answer", RED), _Cell("")
    quartiles = f"{ratio.low:.2f} to {ratio.high:.2f}"
    ink = _verdict(ratio, more=quantity.more)
    return name, *own, _Cell(f"{ratio.value:.2f}", ink), _Cell(quartiles, DIM)


def _verdict(ratio: Spread, *, more: bool) -> int:
    if ratio.low <= 1 <= ratio.high:
        return 0
    return GREEN if (ratio.value > 1) == more else RED


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if value >= 100 else f"{value:.1f}"


def _aligned(rows: list[_Row], style: Style) -> str:
    widths = [max(len(row[i].text) for row in rows) for i in range(len(rows[0]))]
    lines = [_line(row, widths, style) for row in rows]
    rule = style.rule * (sum(widths) + len(GAP) * (len(widths) - 1))
    return "\n".join([lines[0], style.ink(rule, DIM), *lines[1:]])


def _line(row: _Row, widths: list[int], style: Style) -> str:
    # Padded before it is inked: escape codes have no width.
    cells = [row[0].text.ljust(widths[0])]
    for cell, width in zip(row[1:], widths[1:], strict=True):
        cells.append(style.ink(cell.text.rjust(width), cell.ink))
    return GAP.join(cells).rstrip()


def hops_table(hops: tuple[Hop, ...], style: Style) -> str:
    """One line a station: who says it, what, and how we know."""
    who = max(len(hop.who) for hop in hops)
    says = max(len(hop.says) for hop in hops)
    return "\n".join(
        GAP.join(
            (
                style.ink(hop.who.ljust(who), BOLD),
                hop.says.ljust(says),
                style.ink(hop.source, DIM),
            )
        )
        for hop in hops
    )
