"""Every packet that rules can tell apart: finitely many cells, each decided as one.

    for cell in Cells(oracle, 4, outbound=True):
        cell.first(), cell.sample(random)     # the rules treat them alike

A condition changes its answer at the values that it names and nowhere else. So a field
falls into classes of values that no condition tells apart, and packets into the product of
the classes: one packet of each cell stands for all of them.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise, product
from math import prod
from random import Random
from typing import NamedTuple

from beewire.mesh.parity.oracle import (
    LOOPBACK,
    TCP,
    UDP,
    Match,
    Oracle,
    Packet,
    Test,
    Walk,
)

_SCTP = 132  # stands for protocols that no rule names
_STATES = ("NEW", "ESTABLISHED", "INVALID")
_OTHER_INTERFACE = "eth0"
_NOBODY = 0xFFFFFFFF  # the packet has no socket
_EDGES = 0.3  # of the samples lie at the end of a range
_USUAL = 0.75  # of the packets begin a TCP connection

# Values from one to another, ends included.
_Range = tuple[int, int]


class _Class(NamedTuple):
    # Values of one field that no condition tells apart.
    ranges: tuple[_Range, ...] = ()
    names: tuple[str, ...] = ()

    def first(self) -> int | str:
        return self.names[0] if self.names else self.ranges[0][0]

    def sample(self, random: Random) -> int | str:
        if self.names:
            return random.choice(self.names)
        low, high = random.choice(self.ranges)
        if random.random() < _EDGES:
            return random.choice((low, high))
        return random.randint(low, high)


class Cell(NamedTuple):
    """Packets that rules treat alike; made by Cells."""

    cells: "Cells"
    classes: tuple[_Class, ...]

    def first(self) -> Packet:
        """The packet that stands for the cell."""
        return self.cells.packet([each.first() for each in self.classes])

    def sample(self, random: Random) -> Packet:
        """A packet of the cell, at random."""
        return self.cells.packet([each.sample(random) for each in self.classes])


class Cells:
    """All cells of one IP version and direction.

    There are as many as the product of its fields' classes has; `len` knows it at once.
    """

    def __init__(self, oracle: Oracle, version: int, *, outbound: bool) -> None:
        self.version = version
        self.outbound = outbound
        self._fields = _fields(oracle, version, outbound=outbound)
        self._classes = tuple(self._fields.values())

    def __iter__(self) -> Iterator[Cell]:
        return (Cell(self, classes) for classes in product(*self._classes))

    def __len__(self) -> int:
        return prod(len(each) for each in self._classes)

    def sample(self, random: Random) -> Packet:
        """A packet of any cell: of TCP, and new, more often than not."""
        classes = [random.choice(each) for each in self._classes]
        if random.random() < _USUAL:
            classes[:2] = self._classes[0][0], self._classes[1][0]
        return self.packet([each.sample(random) for each in classes])

    def packet(self, values: Iterable[int | str]) -> Packet:
        """The packet with one value for each field."""
        found: dict[str, int | str | None] = dict(
            zip(self._fields, values, strict=True)
        )
        for owner in ("uid", "gid"):
            if found.get(owner) == _NOBODY:
                found[owner] = None
        if found["state"] != "NEW":  # conntrack keeps the mark of the first packet
            found["connmark"] = found["mark"]
        # Each field has the type of its name.
        return Packet(self.outbound, self.version, **found)  # type: ignore[arg-type]


def _fields(
    oracle: Oracle, version: int, *, outbound: bool
) -> dict[str, tuple[_Class, ...]]:
    matches: dict[str, list[Match]] = {}
    for rule in oracle.rules:
        for match in rule.matches:
            if rule.family == version:
                matches.setdefault(match.field, []).append(match)
    spans = {
        "source": (1, (1 << {4: 32, 6: 128}[version]) - 2),
        "source_port": (1, 0xFFFF),
        "destination": (1, (1 << {4: 32, 6: 128}[version]) - 2),
        "destination_port": (1, 0xFFFF),
        "mark": (0, 0xFFFFFFFF),
    }
    if outbound:
        spans |= {"uid": (0, _NOBODY), "gid": (0, _NOBODY)}
    interface = "out_interface" if outbound else "in_interface"
    return {
        "protocol": tuple(_Class(((each, each),)) for each in (TCP, UDP, _SCTP)),
        "state": tuple(_Class(names=(each,)) for each in _STATES),
        "interface": _interfaces(matches.get(interface, [])),
        **{
            field: _classes(matches.get(field, []), span)
            for field, span in spans.items()
        },
    }


def _classes(matches: Sequence[Match], span: _Range) -> tuple[_Class, ...]:
    # Between the values that conditions name lie ranges; those with the same answers to
    # all conditions are one class.
    low, high = span
    named = [value for match in matches for value in match.values]
    cuts = {low, high + 1}
    cuts.update(int(value) + step for value in named for step in (0, 1))
    borders = sorted(cut for cut in cuts if low <= cut <= high + 1)
    field = matches[0].field if matches else "mark"
    tests = [match.test for match in matches]
    grouped: dict[tuple[bool, ...], list[_Range]] = {}
    for first, after in pairwise(borders):
        grouped.setdefault(_answers(tests, field, first), []).append((first, after - 1))
    return tuple(_Class(tuple(ranges)) for ranges in grouped.values())


def _interfaces(matches: Sequence[Match]) -> tuple[_Class, ...]:
    # The loopback interface always counts for itself: its packets come in again.
    names = {LOOPBACK, _OTHER_INTERFACE, "eth9"}
    names.update(str(value) for match in matches for value in match.values)
    field = matches[0].field if matches else "in_interface"
    tests = [match.test for match in matches]
    grouped: dict[tuple[bool, ...], list[str]] = {}
    for name in sorted(names - {LOOPBACK}):
        grouped.setdefault(_answers(tests, field, name), []).append(name)
    return (
        _Class(names=(LOOPBACK,)),
        *(_Class(names=tuple(each)) for each in grouped.values()),
    )


def _answers(tests: Sequence[Test], field: str, value: int | str) -> tuple[bool, ...]:
    walk = Walk(Packet(True, 4, 0, 0, 0, 0, 0))
    setattr(walk, field, value)
    return tuple(test(walk) for test in tests)
