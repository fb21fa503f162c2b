"""What a mesh uses: CPU time by cgroup and by process, context switches, memory.

Everything is read as it stands; what something took is the difference of two readings.
"""

import os
import resource
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Self

from beewire.errors import MeshError
from beewire.mesh.lab.cgroups import Cgroup

PROC = Path("/proc")
KTHREADD = 2  # the parent of the kernel's threads
SOCKSTAT = Path("/proc/thread-self/net/sockstat")


class Cpu(NamedTuple):
    """CPU time in microseconds; that of softirqs belongs to whom they interrupted."""

    user_us: int = 0
    system_us: int = 0

    def since(self, before: Self) -> Self:
        """What was added since `before`."""
        return self._replace(
            user_us=self.user_us - before.user_us,
            system_us=self.system_us - before.system_us,
        )


class Task(NamedTuple):
    """A process: its threads' time on a CPU in microseconds, and its context switches."""

    cpu_us: int = 0
    voluntary: int = 0
    involuntary: int = 0

    def since(self, before: Self) -> Self:
        """What was added since `before`."""
        return self._replace(
            cpu_us=self.cpu_us - before.cpu_us,
            voluntary=self.voluntary - before.voluntary,
            involuntary=self.involuntary - before.involuntary,
        )


def of_cgroup(cgroup: Cgroup) -> Cpu:
    """CPU time of everything that ever ran in `cgroup`.

    Raises:
        MeshError: the kernel does not account for it.
    """
    lines = (cgroup.path / "cpu.stat").read_text().splitlines()
    words = dict(line.split() for line in lines)
    try:
        return Cpu(int(words["user_usec"]), int(words["system_usec"]))
    except KeyError as error:
        raise MeshError(f"{cgroup.path}/cpu.stat has no {error.args[0]}") from error


def of_process(pid: int) -> Task:
    """What the threads of `pid` that live have used.

    Raises:
        MeshError: the process has ended.
    """
    try:
        threads = [_of_thread(task) for task in (PROC / str(pid) / "task").iterdir()]
    except FileNotFoundError as error:
        raise MeshError(f"the process {pid} has ended") from error
    return Task(*map(sum, zip(*threads, strict=True)))


def _of_thread(task: Path) -> Task:
    try:
        status = (task / "status").read_text()
        on_cpu_ns = int((task / "schedstat").read_text().split()[0])
    except (FileNotFoundError, ProcessLookupError):  # it has ended since we looked
        return Task()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return Task(
        on_cpu_ns // 1000,
        int(fields["voluntary_ctxt_switches"]),
        int(fields["nonvoluntary_ctxt_switches"]),
    )


def of_ended_children() -> Task:
    """What all children of this process that have ended, and were waited for, used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_us = round((used.ru_utime + used.ru_stime) * 1e6)
    return Task(cpu_us, used.ru_nvcsw, used.ru_nivcsw)


def kernel_threads() -> tuple[int, ...]:
    """The kernel's own threads, which no cgroup accounts for, by their pids."""
    processes = [path for path in PROC.iterdir() if path.name.isdecimal()]
    return tuple(int(path.name) for path in processes if _parent(path) == KTHREADD)


def of_threads(pids: Iterable[int]) -> int:
    """Time that `pids`, one thread each, were on a CPU, in microseconds."""
    total_ns = 0
    for pid in pids:
        try:
            total_ns += int((PROC / str(pid) / "schedstat").read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):  # a worker that has ended
            continue
    return total_ns // 1000


def _parent(process: Path) -> int:
    try:
        # The name, in parentheses, may hold anything.
        after_name = (process / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(after_name[1])


def resident_kb(pid: int) -> int:
    """Memory of a process that is in RAM, its share of what it shares, in KiB.

    0 once it has ended.
    """
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def socket_kb() -> int:
    """Memory that TCP holds for data in queues on the whole machine, in KiB."""
    for line in SOCKSTAT.read_text().splitlines():
        if line.startswith("TCP:"):
            words = line.split()
            pages = int(words[words.index("mem") + 1])
            return pages * os.sysconf("SC_PAGE_SIZE") // 1024
    raise MeshError(f"{SOCKSTAT} has no line for TCP")


def kernel_kb() -> int:
    """Memory of the kernel's slabs and per-CPU areas, in KiB."""
    lines = (PROC / "meminfo").read_text().splitlines()
    words = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return words["Slab"] + words["Percpu"]
