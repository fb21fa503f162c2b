"""How long does it take to enrol a pod, and how much memory does one take?

1,000 pods in one machine: a network namespace with an address each, and two cgroups, all
with one configuration. The programs are loaded once and pinned. enrol: one pod's entries
in the maps, its links and their pins, as `Node.enrol` makes them. up: all that the agent
does for one pod, with its lock, its record, and a look for older connections. Times are
wall-clock, of each pod by itself; median and 99th percentile over the pods, then the
median over the rounds. memory_per_pod_kb is what the kernel's slabs and per-CPU memory
grow by from none to 1,000 pods.
"""

import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

from _report import Figure, machine, measured, missing, options, show, write

from beewire.bpf.kernel import pins
from beewire.errors import BeewireError
from beewire.mesh.agent.directories import Directories
from beewire.mesh.agent.operations import Operations
from beewire.mesh.agent.target import Target
from beewire.mesh.enrol import Node, Pod
from beewire.mesh.lab import Cgroup, Namespace
from beewire.mesh.lab.cgroups import mount_point

PODS = 1000
NAME = f"bw-enrol-{os.getpid()}"
RTM_NEWADDR, REQUEST_TO_CREATE = 20, 0x1 | 0x4 | 0x200 | 0x400
UNITS = {"median_ms": "ms", "p99_ms": "ms", "memory_per_pod_kb": "KiB"}

Times = list[float]


class Round(NamedTuple):
    """What one round found: milliseconds of each pod, and KiB of kernel memory."""

    enrol_ms: Times
    up_ms: Times
    memory_kb: float


def main(argv: list[str]) -> int:
    """Measure, print and write."""
    asked = options(argv, __doc__ or "", rounds=3)
    host = machine()
    try:
        with a_thousand_pods() as pods, places() as directories:
            rounds = [measure(pods, directories) for _ in range(asked.rounds)]
        figures = figures_of(rounds)
    except (BeewireError, PermissionError) as error:
        why = f"pods cannot be made here: {error}"
        figures = {name: missing(unit, why) for name, unit in UNITS.items()}
    show(figures)
    if asked.json:
        write(asked.json, "enrol", host, asked.rounds, figures)
    return 0


def figures_of(rounds: list[Round]) -> dict[str, Figure]:
    """The figures of all rounds."""
    return {
        "median_ms": measured([median(each.enrol_ms) for each in rounds], "ms"),
        "p99_ms": measured([p99(each.enrol_ms) for each in rounds], "ms"),
        "up_median_ms": measured([median(each.up_ms) for each in rounds], "ms"),
        "up_p99_ms": measured([p99(each.up_ms) for each in rounds], "ms"),
        "memory_per_pod_kb": measured([each.memory_kb for each in rounds], "KiB"),
    }


def p99(times: Times) -> float:
    """The 99th percentile."""
    return quantiles(times, n=100, method="inclusive")[98]


def measure(pods: list[Pod], directories: Directories) -> Round:
    """Enrol all pods and withdraw them, in both ways."""
    directories.prepare()
    folder = directories.pins / "pods"
    with Node.load(directories.set) as node:
        config = node.configure(pods[0].config)
        before = kernel_memory_kb()
        enrolments = []

        def enrol(number: int) -> None:
            made = node.enrol(pods[number], pins=folder / str(number))
            made.keep()
            enrolments.append(made)

        enrol_ms = [timed(enrol, number) for number in range(len(pods))]
        memory = (kernel_memory_kb() - before) / len(pods)
        for number, made in enumerate(enrolments):
            node.find(made.pod, made.netns, folder / str(number)).close()
        node.release(config)
    with Operations(directories) as operations:
        targets = [target(pod) for pod in pods]
        records = []

        def up(number: int) -> None:
            records.append(operations.up(targets[number]))

        up_ms = [timed(up, number) for number in range(len(pods))]
        for record in records:
            operations.down(record.id)
    return Round(enrol_ms, up_ms, memory)


def timed(function: Callable[[int], None], number: int) -> float:
    """Milliseconds of one call."""
    begun = time.perf_counter()
    function(number)
    return (time.perf_counter() - begun) * 1e3


def target(pod: Pod) -> Target:
    """A pod as the agent is told of it."""
    return Target(
        name=pod.cgroup.name,
        cgroup=str(pod.cgroup),
        netns=str(pod.netns),
        proxy_cgroup=str(pod.proxy_cgroup),
    )


def kernel_memory_kb() -> int:
    """The kernel's slabs and per-CPU memory."""
    time.sleep(0.5)  # what was freed goes after a grace period
    lines = Path("/proc/meminfo").read_text().splitlines()
    found = {line.split(":")[0]: line.split()[1] for line in lines}
    return int(found["Slab"]) + int(found["Percpu"])


@contextmanager
def a_thousand_pods() -> Iterator[list[Pod]]:
    """Namespaces and cgroups; gone at the end of the block."""
    base = Cgroup(mount_point() / NAME)
    with ExitStack() as stack:
        stack.callback(base.delete)
        pods = []
        for number in range(PODS):
            namespace = Namespace(f"{NAME}-{number}")
            namespace.create()
            stack.callback(namespace.delete)
            namespace.run(lambda number=number: add_address(number))
            pod = base.path / f"pod{number}"
            Cgroup(pod / "proxy").create()
            pods.append(Pod(pod, pod / "proxy", namespace.path))
        yield pods


def add_address(number: int) -> None:
    """Give the interface lo of this thread's namespace an address, by rtnetlink."""
    address = bytes([10, 200, number >> 8, number & 255])
    body = struct.pack("=BBBBI", socket.AF_INET, 32, 0, 0, 1)
    for kind in (2, 1):  # IFA_LOCAL, IFA_ADDRESS
        body += struct.pack("=HH4s", 8, kind, address)
    head = struct.pack("=IHHII", 16 + len(body), RTM_NEWADDR, REQUEST_TO_CREATE, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        sock.send(head + body)
        (error,) = struct.unpack_from("=i", sock.recv(4096), 16)
    if error:
        raise OSError(-error, os.strerror(-error))


@contextmanager
def places() -> Iterator[Directories]:
    """Directories for pins and records; gone at the end of the block."""
    mounted = Path(pins.ensure_bpffs())
    directories = Directories(mounted / NAME, Path("/run") / NAME)
    try:
        yield directories
    finally:
        for path in (directories.pins, directories.run):
            remove(path)


def remove(path: Path) -> None:
    """Delete a directory and what is below; it need not be there."""
    for each in sorted(path.rglob("*"), reverse=True) if path.is_dir() else ():
        if each.is_dir():
            each.rmdir()
        else:
            each.unlink()
    if path.is_dir():
        path.rmdir()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
