"""Measure variants under workloads, round by round: A B C, then C B A."""

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import NamedTuple

from _mesh_cells import Cell, Way, cell, warm_up
from _mesh_store import Entry, Missing, Store
from _mesh_variants import BASE, VARIANTS, Asked, Rig
from _mesh_workloads import WORKLOADS, Kind, Workload

from beewire.errors import BeewireError

Tell = Callable[[str], None]
CELL_S = 0.6  # what a cell takes beside its load, before we know better


class Plan(NamedTuple):
    """What is to be measured: in each round every workload, `seconds` a cell."""

    variants: tuple[str, ...]
    workloads: tuple[str, ...]
    rounds: int
    seconds: int
    asked: Asked

    def entries(self, workload: str, variants: Iterable[str]) -> list[Entry]:
        """The cells of a group, in order.

        Whatever uses ports of another kind has iptables at the same ports before it.
        """
        ports = WORKLOADS[workload].ports
        entries: list[Entry] = []
        for name in variants:
            kind = VARIANTS[name].kind
            if kind not in ports:
                continue
            twin = Entry(BASE, kind)
            differs = ports[kind] != ports.get(Kind.USUAL)
            if differs and BASE in self.variants and twin not in entries:
                entries.append(twin)
            entries.append(Entry(name, kind))
        return entries

    def cells(self) -> int:
        """How many cells a round has."""
        return sum(len(self.entries(each, self.variants)) for each in self.workloads)


class Run:
    """A run in progress. `save` is called whenever there is more to keep."""

    def __init__(
        self, plan: Plan, store: Store, save: Callable[[], None], tell: Tell
    ) -> None:
        self.plan = plan
        self.store = store
        self.save = save
        self.tell = tell
        self._rigs: dict[str, Rig] = {}
        self._unfit: dict[tuple[Entry, str], str] = {}

    def measure(self) -> None:
        """Measure what the store does not have yet.

        Raises:
            MeshError: a part of a rig has ended, or the base does not start.
        """
        self.store.missing = []
        with ExitStack() as stack:
            self._start(stack)
            left = self._left()
            clock = _Clock(sum(len(entries) for *_, entries in left), self.plan.seconds)
            self._warm_up({(e, name) for _, name, entries in left for e in entries})
            clock.start()
            for number, name, entries in left:
                self.store.put(number, name, self._group(number, name, entries, clock))
                self.save()

    def _start(self, stack: ExitStack) -> None:
        for name in self.plan.variants:
            self.tell(f"starting two pods: {VARIANTS[name].what}")
            running = VARIANTS[name].running(self.plan.asked)
            try:
                self._rigs[name] = stack.enter_context(running)
            except BeewireError as error:
                if name == BASE:
                    raise
                self.store.missing.append(Missing(name, "", str(error)))

    def _left(self) -> list[tuple[int, str, list[Entry]]]:
        # The groups that are still to be measured.
        left = []
        for number in range(self.plan.rounds):
            for name in self.plan.workloads:
                entries = self.plan.entries(name, self._rigs)
                if not self.store.has(number, name, entries):
                    left.append((number, name, entries))
        return left

    def _warm_up(self, needed: set[tuple[Entry, str]]) -> None:
        # Caches and pools fill, and what does not go as it says is found out.
        self.tell(f"warming up: {span(len(needed) * (1 + CELL_S))}")
        for entry, name in sorted(needed, key=str):
            workload, rig = WORKLOADS[name], self._rigs[entry.variant]
            try:
                way = warm_up(rig, workload, workload.ports[entry.kind])
            except BeewireError as error:
                rig.check()
                self._unfit[entry, name] = str(error)
                continue
            if reason := _astray(entry.variant, way, kept=workload.kept):
                self._unfit[entry, name] = reason

    def _group(
        self, number: int, name: str, entries: list[Entry], clock: "_Clock"
    ) -> dict[Entry, Cell]:
        cells: dict[Entry, Cell] = {}
        self.tell(f"round {number + 1} of {self.plan.rounds}, {name}; {clock.left()}")
        # A B C, then C B A: what drifts in the machine falls on all alike.
        for entry in entries if number % 2 == 0 else entries[::-1]:
            cells[entry] = self._cell(entry, WORKLOADS[name])
            clock.tick()
        return cells

    def _cell(self, entry: Entry, workload: Workload) -> Cell:
        if reason := self._unfit.get((entry, workload.name)):
            return {"failed": reason}
        rig, port = self._rigs[entry.variant], workload.ports[entry.kind]
        return cell(rig, workload, port, self.plan.seconds)


def _astray(name: str, way: Way, *, kept: bool) -> str:
    # Why connections did not go the variant's way; "" where they did.
    variant = VARIANTS[name]
    for pod, count, passes in zip("AB", way.sidecars, variant.passes, strict=False):
        if bool(count) != passes:
            went = "pass none of" if passes else "pass"
            return f"connections {went} the sidecar of pod {pod}"
    if variant.short and kept and not way.short:
        return (
            f"no byte took the short path: {', '.join(way.reasons) or 'nothing there'}"
        )
    return ""


class _Clock:
    # How long it will still take, by what it took so far.

    def __init__(self, cells: int, seconds: int) -> None:
        self._cells = cells
        self._done = 0
        self._begun = time.monotonic()
        self._guess_s = seconds + CELL_S

    def start(self) -> None:
        self._begun = time.monotonic()

    def tick(self) -> None:
        self._done += 1

    def left(self) -> str:
        passed = time.monotonic() - self._begun
        each = passed / self._done if self._done else self._guess_s
        return f"{span(each * (self._cells - self._done))} left"


def span(seconds: float) -> str:
    """A time as people say it: `40 s`, `12 min`."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
