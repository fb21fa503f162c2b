"""One measurement: a variant under a workload for some seconds, and all that it took.

A cell is a plain dictionary, which goes into the file as it is. CPU times are
microseconds: [user, system] of each cgroup, by the kernel's own accounting, with what
softirqs did in its context; of each process the time of its threads on a CPU and their
context switches. Latencies are microseconds, memory KiB.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from _mesh_placement import starting_on
from _mesh_variants import Rig
from _mesh_workloads import Workload

from beewire.errors import BeewireError
from beewire.mesh.bypass import connections
from beewire.mesh.lab import LoadResult, conntrack_entries, usage
from beewire.mesh.lab.load import Load, finish, running
from beewire.mesh.lab.measure import machine_cpu_us

Cell = dict[str, object]
CLIENT, SIDECAR_A, SIDECAR_B, SERVER = PROCESSES = (
    "client",
    "sidecar_a",
    "sidecar_b",
    "server",
)
LOOKS = 4
ERRORS = ("missing", "connect", "read", "write", "status", "timeout")


class _Reading(NamedTuple):
    # Everything that is read before and after a load.
    cgroups: Mapping[str, usage.Cpu]
    tasks: Mapping[str, usage.Task]
    kernel_us: int
    machine_us: int

    @classmethod
    def of(cls, rig: Rig, kernel: tuple[int, ...]) -> "_Reading":
        lab = rig.lab
        places = (lab.a.app, lab.a.proxy, lab.b.proxy, lab.b.app)
        pids = {SERVER: rig.server.process.pid}
        for name, sidecar in zip((SIDECAR_A, SIDECAR_B), rig.sidecars, strict=False):
            pids[name] = sidecar.process.pid
        return cls(
            {
                name: usage.of_cgroup(place.cgroup)
                for name, place in zip(PROCESSES, places, strict=True)
            },
            {CLIENT: usage.of_ended_children()}
            | {name: usage.of_process(pid) for name, pid in pids.items()},
            usage.of_threads(kernel),
            machine_cpu_us(),
        )


class _HalfWay(NamedTuple):
    # What is read while the load lasts.
    conntrack: int
    memory_kb: Mapping[str, int]
    socket_kb: int
    kernel_kb: int


def cell(rig: Rig, workload: Workload, port: int, seconds: int) -> Cell:
    """Measure once; what fails is a cell, too: `failed` says why.

    Raises:
        MeshError: a part of the rig has ended.
    """
    load = workload.load(port, seconds)
    try:
        with _beside(rig, workload):
            measured = _measured(rig, load)
    except BeewireError as error:
        rig.check()  # says so if it is because a part is gone
        return {"failed": str(error)}
    rig.check()
    return measured


@contextmanager
def _beside(rig: Rig, workload: Workload) -> Iterator[None]:
    """The pods that idle beside the measured ones, for as long as the block lasts."""
    with ExitStack() as stack:
        if workload.idle:
            stack.enter_context(rig.beside(workload.idle))
        yield


class Way(NamedTuple):
    """Where connections went: how many each sidecar had, how many ends sent how.

    `short` ends have sent by the short path; the others of those that were considered
    went by TCP for the `reasons`.
    """

    sidecars: tuple[int, ...]
    short: int
    reasons: tuple[str, ...]


def warm_up(rig: Rig, workload: Workload, port: int) -> Way:
    """Put the rig under load for a second; where connections went meanwhile, at most.

    Raises:
        MeshError: the load gave no result, or a sidecar does not answer.
    """
    load = workload.load(port, 1)
    ways = []
    with running(rig.lab.a, rig.lab.b, load) as process:
        # Short connections come and go: a single look may meet none.
        for _ in range(LOOKS):
            time.sleep(load.seconds / (LOOKS + 1))
            ways.append(_way(rig))
        finish(process, load)
    sidecars = tuple(map(max, zip(*(way.sidecars for way in ways), strict=True)))
    most = max(ways, key=lambda way: way.short)
    return Way(sidecars, most.short, most.reasons)


def _way(rig: Rig) -> Way:
    counted = tuple(sidecar.connections() for sidecar in rig.sidecars)
    ends = connections(rig.node.short_path) if rig.node else []
    others = Counter(end.reason for end in ends if not end.short_bytes)
    short = len(ends) - others.total()
    return Way(counted, short, tuple(f"{n} x {why}" for why, n in others.items()))


def _measured(rig: Rig, load: Load) -> Cell:
    lab, kernel = rig.lab, usage.kernel_threads()
    before = _Reading.of(rig, kernel)
    with starting_on(rig.client_cpus), running(lab.a, lab.b, load) as process:
        time.sleep(load.seconds / 2)
        half_way = _half_way(rig, process.pid)
        result = finish(process, load)
    after = _Reading.of(rig, kernel)
    return _told(result) | _taken(before, after) | half_way._asdict()


def _half_way(rig: Rig, client: int) -> _HalfWay:
    pids = {CLIENT: client, SERVER: rig.server.process.pid}
    for name, sidecar in zip((SIDECAR_A, SIDECAR_B), rig.sidecars, strict=False):
        pids[name] = sidecar.process.pid
    return _HalfWay(
        conntrack_entries(rig.lab.pods),
        {name: usage.resident_kb(pid) for name, pid in pids.items()},
        usage.socket_kb(),
        usage.kernel_kb(),
    )


def _told(result: LoadResult) -> Cell:
    kinds = {name: getattr(result, name) for name in ERRORS}
    return {
        "requests": result.requests,
        "duration_us": result.duration_us,
        "p50_us": result.p50_us,
        "p99_us": result.p99_us,
        "max_us": result.max_us,
        "spread_us": list(result.spread_us),
        "errors": result.errors,
        "error_kinds": {name: count for name, count in kinds.items() if count},
    }


def _taken(before: _Reading, after: _Reading) -> Cell:
    cgroups = {
        name: list(cpu.since(before.cgroups[name]))
        for name, cpu in after.cgroups.items()
    }
    tasks = {name: task.since(before.tasks[name]) for name, task in after.tasks.items()}
    used = sum(map(sum, cgroups.values()))
    kernel_us = max(0, after.kernel_us - before.kernel_us)
    machine_us = after.machine_us - before.machine_us
    return {
        "cpu_us": cgroups,
        "process_us": {name: task.cpu_us for name, task in tasks.items()},
        "switches": {
            name: [task.voluntary, task.involuntary] for name, task in tasks.items()
        },
        "kernel_threads_us": kernel_us,
        "other_us": max(0, machine_us - used - kernel_us),
    }
