"""On which CPUs the parts of a variant run.

Five processes on few CPUs are a matter of luck: whom the scheduler puts beside whom decides
how long a wake-up takes, and a variant that works less may leave a CPU idle for that. So
each part has its CPU, and every hop of a request goes to another one, as it does where
there are more CPUs than busy processes.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path

SPREAD, ONE, FREE = "spread", "one", "free"
PLACEMENTS = {
    SPREAD: "each process on its CPU, every hop of a request to another CPU",
    ONE: "all processes on one CPU",
    FREE: "wherever the scheduler puts the processes",
}
WORKER = re.compile(r"wrk:worker_(\d+)\n")  # Envoy's name of the thread


def cpus(placement: str, passes: Sequence[bool]) -> list[set[int]]:
    """The CPUs of client, sidecar A, sidecar B, server; sidecars that nothing `passes`
    have no turn."""
    there = sorted(os.sched_getaffinity(0))
    if placement == FREE:
        return [set(there)] * 4
    turns = cycle(there[-1:] if placement == ONE else there)
    return [
        {next(turns)} if takes_part else set(there)
        for takes_part in (True, *passes, True)
    ]


def place(cgroup: Path, where: set[int]) -> None:
    """Keep all threads that run in a cgroup on some CPUs, with those they will start."""
    for pid in (cgroup / "cgroup.procs").read_text().split():
        with suppress(FileNotFoundError):
            for thread in Path("/proc", pid, "task").iterdir():
                with suppress(ProcessLookupError):
                    os.sched_setaffinity(int(thread.name), where)


def spread_workers(cgroup: Path, first: int) -> None:
    """Give each worker of the Envoy in a cgroup a CPU: `first`, and so on by turns."""
    there = sorted(os.sched_getaffinity(0))
    for pid in (cgroup / "cgroup.procs").read_text().split():
        for thread in Path("/proc", pid, "task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                if worker := WORKER.fullmatch((thread / "comm").read_text()):
                    turn = there.index(first) + int(worker[1])
                    os.sched_setaffinity(int(thread.name), {there[turn % len(there)]})


@contextmanager
def starting_on(where: set[int]) -> Iterator[None]:
    """What is started in the block runs on some CPUs."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, where)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
