"""What does a connection pay for its programs, by the kernel's own run-time statistics?

A pod is enrolled, with plain sockets in its sidecar's place. Each round opens and closes
CONNECTIONS connections of each kind, one after the other:

pass: the sidecar calls another pod, which is left alone. redirect: the application calls
another pod, and is sent to the sidecar, which asks for the original destination.
connect_pass_us and connect_redirect_us are the time of the connect program, for one run;
connection_total_us is that of all hooks of the pod together, for one redirected connection,
from connect() over the look-up of the listener, both ends of the handshake and
SO_ORIGINAL_DST to the end. _ipv6: the same over IPv6, where the destination is handed over
in a map, as there are no aliases. inbound_us is the look-up of a connection from outside.
Statistics are on meanwhile, and add some 20 ns to each run.

wall_*: what connect() takes in all, seen from Python, with the programs and without, in
turns (against: the same without). Values are medians of rounds, spreads their quartiles.
"""

import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import NamedTuple

from _report import Figure, machine, measured, options, show, write

from beewire.bpf.author.inspection import statistics
from beewire.errors import BeewireError
from beewire.interrupts import Stopped, unwinding
from beewire.mesh.enrol import Node, Pod
from beewire.mesh.lab import Lab
from beewire.mesh.lab.place import Place

CONNECTIONS = 2000
ROUNDS = 10
PORT = 9000
OUTBOUND, INBOUND = 15001, 15006
SO_ORIGINAL_DST = 80


def main(argv: list[str]) -> int:
    """Measure, print and write."""
    asked = options(argv, __doc__ or "", rounds=ROUNDS)
    host = machine()
    with Lab() as lab:
        figures = {**by_statistics(lab, asked.rounds), **by_clock(lab, asked.rounds)}
    show(figures)
    if asked.json:
        write(asked.json, "decision", host, asked.rounds, figures)
    return 0


class Runs(NamedTuple):
    """How often a program ran, and how long in all."""

    count: int
    ns: int


class Served:
    """Pod A, enrolled, with listeners where its sidecar's and pod B's server would be."""

    def __init__(self, lab: Lab, node: Node, keep: ExitStack) -> None:
        self.lab = lab
        self.node = node
        self.sidecar = keep.enter_context(listening(lab.a.proxy, OUTBOUND))
        self.inbound = keep.enter_context(listening(lab.a.proxy, INBOUND))
        self.server = keep.enter_context(listening(lab.b.app, PORT))

    def runs(self) -> dict[str, Runs]:
        """What each program has taken so far."""
        return {
            name: Runs(info.run_count, info.run_time_ns)
            for name, program in self.node.loaded.programs.items()
            for info in (program.live.info(),)
        }

    def redirected(self, host: str) -> None:
        """The application calls a host; the sidecar asks who was meant."""
        call(self.lab.a.app, host, PORT)
        for accepted in waiting(self.sidecar):
            ask(accepted)

    def passed(self, host: str) -> None:
        """The sidecar calls a host."""
        call(self.lab.a.proxy, host, PORT)
        drain(self.server)

    def captured(self, host: str) -> None:
        """Somebody calls the pod from outside."""
        call(self.lab.b.app, host, PORT)
        drain(self.inbound)


def listening(place: Place, port: int) -> socket.socket:
    """A listener for both families that does not block."""
    made = place.listen("::", port, 4096)
    made.setblocking(False)
    return made


def waiting(listener: socket.socket) -> Iterator[socket.socket]:
    """The connections that wait to be accepted, each closed after its turn."""
    while True:
        try:
            accepted, _ = listener.accept()
        except BlockingIOError:
            return
        with accepted:
            yield accepted


def drain(listener: socket.socket) -> None:
    """Accept what waits, and close it."""
    for _ in waiting(listener):
        pass


@contextmanager
def served(lab: Lab) -> Iterator[Served]:
    """Pod A enrolled, until the end of the block."""
    with Node.load() as node, ExitStack() as keep:
        pod = Pod(lab.a.cgroup.path, lab.a.proxy.cgroup.path, lab.a.namespace.path)
        keep.enter_context(node.enrol(pod))
        yield Served(lab, node, keep)


def call(place: Place, host: str, port: int) -> list[float]:
    """Connect CONNECTIONS times from a place; the microseconds that each took."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET

    def dial() -> list[float]:
        took = []
        for _ in range(CONNECTIONS):
            with socket.socket(family, socket.SOCK_STREAM) as sock:
                # The end is a reset: no port stays taken.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
                began = time.perf_counter()
                sock.connect((host, port))
                took.append((time.perf_counter() - began) * 1e6)
        return took

    return place.call(dial, timeout_s=60.0)


LINGER = struct.pack("ii", 1, 0)


def ask(accepted: socket.socket) -> None:
    """Ask for the original destination, as Envoy does."""
    if accepted.getsockname()[0].startswith("::ffff:"):
        accepted.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
    else:
        accepted.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)


def by_statistics(lab: Lab, rounds: int) -> dict[str, Figure]:
    """The figures that the kernel counts."""
    found: dict[str, list[float]] = {}
    with served(lab) as pod, statistics():
        for _ in range(rounds):
            for name, us in one_round(pod).items():
                found.setdefault(name, []).append(us)
    return {name: measured(samples, "us") for name, samples in found.items()}


def one_round(pod: Served) -> dict[str, float]:
    """Each kind of connection once."""
    a, b = pod.lab.a, pod.lab.b
    passed = during(pod, lambda: pod.passed(b.address))
    taken = during(pod, lambda: pod.redirected(b.address))
    passed6 = during(pod, lambda: pod.passed(b.address6))
    taken6 = during(pod, lambda: pod.redirected(b.address6))
    inbound = during(pod, lambda: pod.captured(a.address))
    return {
        "connect_pass_us": each(passed["outbound4"]),
        "connect_redirect_us": each(taken["outbound4"]),
        "connection_total_us": total(taken),
        "connect_pass_us_ipv6": each(passed6["outbound6"]),
        "connect_redirect_us_ipv6": each(taken6["outbound6"]),
        "connection_total_us_ipv6": total(taken6),
        "handover_us": taken["handover"].ns / CONNECTIONS / 1e3,
        "original_us": each(taken["original_destination"]),
        "inbound_us": each(inbound["inbound"]),
    }


def during(pod: Served, work: Callable[[], None]) -> dict[str, Runs]:
    """What the programs did during `work`."""
    before = pod.runs()
    work()
    after = pod.runs()
    return {
        name: Runs(runs.count - before[name].count, runs.ns - before[name].ns)
        for name, runs in after.items()
    }


def each(runs: Runs) -> float:
    """Microseconds a run."""
    if not runs.count:
        raise BeewireError("a program did not run: is another connection's hook first?")
    return runs.ns / runs.count / 1e3


def total(found: Mapping[str, Runs]) -> float:
    """Microseconds of all programs for one connection."""
    return sum(runs.ns for runs in found.values()) / CONNECTIONS / 1e3


def by_clock(lab: Lab, rounds: int) -> dict[str, Figure]:
    """What connect() takes with the programs, and without."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        with (
            listening(lab.b.app, PORT) as server,
            listening(lab.a.proxy, OUTBOUND) as near,
        ):
            took = call(lab.a.proxy, lab.b.address, PORT)
            found.setdefault("far", []).append(median(took))
            took = call(lab.a.app, "127.0.0.1", OUTBOUND)
            found.setdefault("near", []).append(median(took))
            drain(server)
            drain(near)
        with served(lab) as pod:
            took = call(lab.a.proxy, lab.b.address, PORT)
            found.setdefault("pass", []).append(median(took))
            took = call(lab.a.app, lab.b.address, PORT)
            found.setdefault("redirect", []).append(median(took))
            drain(pod.server)
            drain(pod.sidecar)
    return {
        "wall_pass_us": measured(found["pass"], "us", against="no programs"),
        "wall_pass_without_us": measured(found["far"], "us"),
        "wall_redirect_us": measured(found["redirect"], "us", against="no programs"),
        "wall_redirect_without_us": measured(found["near"], "us"),
    }


if __name__ == "__main__":
    try:
        with unwinding():
            sys.exit(main(sys.argv[1:]))
    except Stopped as stopped:
        sys.exit(stopped.exit_code)
    except BeewireError as error:
        sys.exit(f"decision: {error}")
