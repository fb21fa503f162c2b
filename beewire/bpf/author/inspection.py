"""What runs in the kernel now, whoever loaded it: programs, maps, links, and their cost.

    from beewire.bpf import inspection

    for program in inspection.programs():
        print(program.id, program.kind, program.name, program.owners, program.attachments)

    for costs in inspection.watch(interval_s=1.0):      # switches statistics on meanwhile
        for cost in costs[:10]:
            print(f"{cost.cpu_percent:.2f}% {cost.runs_per_s:.0f}/s {cost.program.name}")

Programs of other tools are told like our own. It needs CAP_SYS_ADMIN.
"""

import time
from collections.abc import Generator
from typing import NamedTuple

from beewire.bpf.kernel import ids
from beewire.bpf.kernel.inspection import (
    Attachment,
    Census,
    Held,
    LinkState,
    MapState,
    Owner,
    ProgramState,
    held_by_proc,
    runs,
    take_census,
)
from beewire.bpf.kernel.statistics import Statistics, always_on, statistics
from beewire.errors import BeewireError

__all__ = [
    "Attachment",
    "Census",
    "Cost",
    "LinkState",
    "MapState",
    "Owner",
    "ProgramState",
    "Statistics",
    "always_on",
    "census",
    "links",
    "maps",
    "owners_by_iterator",
    "programs",
    "statistics",
    "watch",
]


def census() -> Census:
    """All programs, maps and links there are, with owners, pins and attachments.

    Owners are the processes that hold a descriptor: found by an iterator program, or in
    /proc where the kernel does not let this process load one.

    Raises:
        NotPermitted: CAP_SYS_ADMIN is missing.
    """
    return take_census(_held)


def programs() -> tuple[ProgramState, ...]:
    """All programs there are, by id; as `census`."""
    return census().programs


def maps() -> tuple[MapState, ...]:
    """All maps there are, by id; as `census`."""
    return census().maps


def links() -> tuple[LinkState, ...]:
    """All links there are, by id; as `census`."""
    return census().links


def owners_by_iterator() -> list[Held] | None:
    """Who holds what, by the iterator program; None where it cannot be loaded."""
    # The compiler is 50 modules: only who asks for owners pays for it.
    from beewire.bpf.author.held_files import held_files  # noqa: PLC0415

    try:
        return held_files()
    except BeewireError:
        return None


def _held() -> list[Held]:
    found = owners_by_iterator()
    return held_by_proc() if found is None else found


class Cost(NamedTuple):
    """What a program cost in one interval: 100 % is one CPU, all the time."""

    program: ProgramState
    cpu_percent: float
    runs_per_s: float
    ns_per_run: float
    runs: int
    run_time_ns: int


def watch(interval_s: float = 1.0) -> Generator[tuple[Cost, ...], None, None]:
    """Each `interval_s`, what every program cost meanwhile, the dearest first.

    Statistics are on until the iterator is closed, or its process ends. Programs that
    come are told from the next interval on.

    Raises:
        NotPermitted: CAP_SYS_ADMIN is missing.
        NotSupported: The kernel has no statistics (before Linux 5.1).
    """
    with statistics():
        known = {program.id: program for program in programs()}
        before, then = _counters(), time.monotonic()
        while True:
            time.sleep(interval_s)
            now, at = _counters(), time.monotonic()
            if now.keys() - known.keys():
                known |= {program.id: program for program in programs()}
            yield _costs(known, before, now, at - then)
            before, then = now, at


def _counters() -> dict[int, tuple[int, int]]:
    return {number: runs(handle.fd) for number, handle in ids.descriptors(ids.PROGRAM)}


def _costs(
    known: dict[int, ProgramState],
    before: dict[int, tuple[int, int]],
    now: dict[int, tuple[int, int]],
    seconds: float,
) -> tuple[Cost, ...]:
    found = []
    for number in known.keys() & before.keys() & now.keys():
        (count, ran), (count_before, ran_before) = now[number], before[number]
        times, spent = count - count_before, ran - ran_before
        cost = Cost(
            known[number]._replace(run_count=count, run_time_ns=ran),
            cpu_percent=spent / seconds / 1e7,
            runs_per_s=times / seconds,
            ns_per_run=spent / times if times else 0.0,
            runs=times,
            run_time_ns=spent,
        )
        found.append(cost)
    return tuple(sorted(found, key=lambda cost: (-cost.run_time_ns, cost.program.id)))
