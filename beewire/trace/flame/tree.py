"""Stacks as a tree of calls, and where each call lies in a flame graph."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from beewire.symbols import Frame

Stack = tuple[Frame, ...]


class Call:
    """One function, called in one way: its share of the whole, and what it calls."""

    __slots__ = ("calls", "frame", "own", "total")

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.total = 0
        self.own = 0
        self.calls: dict[Frame, Call] = {}


def tree(stacks: Mapping[Stack, int]) -> Call:
    """The root of all stacks, outermost frame first; its frame is "all"."""
    root = Call(Frame("all", "", "root"))
    for stack, value in stacks.items():
        place = root
        place.total += value
        for frame in stack:
            inner = place.calls.get(frame)
            if inner is None:
                inner = place.calls[frame] = Call(frame)
            inner.total += value
            place = inner
        place.own += value
    return root


class Box(NamedTuple):
    """A call as it is drawn: `start` and `total` in the profile's unit."""

    depth: int
    start: int
    call: Call

    @property
    def total(self) -> int:
        """Its width."""
        return self.call.total


def boxes(root: Call, least: float = 0.0) -> Iterator[Box]:
    """All calls that are wider than `least`, callers before what they call.

    Siblings stand in the order of their names, as in every flame graph: what is the same
    in two of them stands at the same place.
    """
    waiting = [Box(0, 0, root)]
    while waiting:
        box = waiting.pop()
        yield box
        start = box.start
        inner = []
        for call in sorted(box.call.calls.values(), key=_order):
            if call.total > least:
                inner.append(Box(box.depth + 1, start, call))
            start += call.total
        waiting.extend(reversed(inner))


def _order(call: Call) -> tuple[str, str]:
    return call.frame.label, call.frame.module


class Hot(NamedTuple):
    """A function, by all stacks that it is in: alone (`own`), and with what it calls."""

    frame: Frame
    own: int
    total: int


def hottest(stacks: Mapping[Stack, int], most: int) -> list[Hot]:
    """The functions with the most of their own; a recursive one counts once a stack."""
    own: dict[Frame, int] = {}
    total: dict[Frame, int] = {}
    for stack, value in stacks.items():
        functions = [
            frame for frame in stack if frame.kind not in {"process", "thread"}
        ]
        for frame in set(functions):
            total[frame] = total.get(frame, 0) + value
        if functions:
            own[functions[-1]] = own.get(functions[-1], 0) + value
    first = sorted(own.items(), key=lambda pair: (-pair[1], pair[0].label))[:most]
    return [Hot(frame, value, total[frame]) for frame, value in first]


def depth_of(drawn: Iterable[Box]) -> int:
    """How many rows boxes take."""
    return max((box.depth for box in drawn), default=0) + 1
