"""From one gate to the next, under load: nothing comes out that the sidecar does not see."""

import contextlib
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from beewire.bpf import load
from beewire.bpf.author.loaded import Loaded
from beewire.bpf.kernel.links.query import ids_at
from beewire.bpf.object import AttachKind
from beewire.mesh import gate
from beewire.mesh.agent import older
from beewire.mesh.agent.view import TCP, UDP, NetworkView
from beewire.mesh.enrol import Node
from beewire.mesh.lab import Lab
from tests.mesh.enrolling import target
from tests.mesh.outside import Outside

pytestmark = pytest.mark.mesh

PAUSE_S, PATIENCE_S = 0.002, 60.0
PING = b"\x08\0\xf7\xff\0\0\0\0"


@pytest.fixture(scope="module")
def programs() -> Iterator[Loaded]:
    with load(gate.programs()) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node.load() as loaded:
        yield loaded


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


@pytest.fixture
def outside(lab: Lab) -> Iterator[Outside]:
    watched = Outside(lab.run.namespace("node"), "bw-a")
    yield watched
    watched.close()


def noise(lab: Lab) -> Callable[[], None]:
    """A program that sends all the time, and keeps what it dials."""

    def run() -> None:
        kept = []
        while True:
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex((lab.b.address, 80))
            kept.append(sock)
            with (
                contextlib.suppress(OSError),
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
            ):
                datagrams.sendto(b"x", (lab.b.address, 9))
                datagrams.connect((lab.b.address, 9))
                datagrams.send(b"x")
            with (
                contextlib.suppress(OSError),
                socket.socket(
                    socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP
                ) as pings,
            ):
                pings.sendto(PING, (lab.b.address, 0))
            time.sleep(PAUSE_S)

    return run


def wait_for(found: Callable[[], object], what: str) -> None:
    """Until the programs that send have had their turns."""
    deadline = time.monotonic() + PATIENCE_S
    while not found():
        assert time.monotonic() < deadline, f"nothing is seen: {what}"
        time.sleep(0.02)


def seen(outside: Outside, packets: Counter[str], kind: str) -> bool:
    """Whether packets of a kind are among what came, what has come since included."""
    packets.update(outside.packets())
    return kind in packets


def test_from_gate_to_gate_there_is_no_open_moment(
    lab: Lab, outside: Outside, programs: Loaded, node: Node
) -> None:
    with ExitStack() as stack:
        keep = stack.enter_context
        closed = keep(gate.close_namespace(programs, lab.a.namespace.path))
        for _ in range(3):
            keep(lab.a.app.running(noise(lab)))
        view = keep(NetworkView(lab.a.namespace.path))
        wait_for(lambda: older.dialled(view, lab.a.proxy.cgroup.path), "dialled")
        held = keep(gate.close_pod(programs, lab.a.cgroup.path, lab.a.namespace.path))
        keep(node.enrol(target(lab.a)))
        ended = older.hand_over(view, closed, lab.a.proxy.cgroup.path)
        # Longer than a SYN waits until it is sent again.
        time.sleep(1.3)
        before = outside.packets()
        held.open()
        time.sleep(2.5)  # as well
        after = outside.packets()
        for kind in ("ip4/17", "ip4/1"):
            wait_for(partial(seen, outside, after, kind), kind)
        closed.sweep()

    assert not before
    assert "ip4/6" not in after  # all of them are the sidecar's
    assert ended > 0


KINDS = (AttachKind.CGROUP_INET_EGRESS, AttachKind.CGROUP_INET_INGRESS)


def test_a_configured_pod_pays_for_no_gate(lab: Lab, programs: Loaded) -> None:
    fd = os.open(lab.a.cgroup.path, os.O_RDONLY)
    try:
        held = gate.close_pod(programs, lab.a.cgroup.path, lab.a.namespace.path)
        closed = [len(ids_at(fd, kind)) for kind in KINDS]
        held.open()

        assert closed == [1, 1]
        assert [ids_at(fd, kind) for kind in KINDS] == [[], []]
    finally:
        os.close(fd)


@pytest.fixture
def view(lab: Lab) -> Iterator[NetworkView]:
    with NetworkView(lab.a.namespace.path) as made:
        yield made


def test_connections_inside_a_pod_stay(lab: Lab, view: NetworkView) -> None:
    with ExitStack() as stack:
        for address in ("127.0.0.1", lab.a.address, "::1", lab.a.address6):
            stack.enter_context(lab.a.app.listen(address, 9000))
            stack.enter_context(lab.a.app.connect(address, 9000))

        assert older.dialled(view, lab.a.proxy.cgroup.path) == []


def test_connections_to_others_are_ended(lab: Lab, view: NetworkView) -> None:
    def datagrams() -> socket.socket:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.connect((lab.b.address6, 53))
        return sock

    with (
        lab.b.app.listen("0.0.0.0", 9000),
        lab.a.app.connect(lab.b.address, 9000) as stream,
        lab.a.app.call(datagrams) as queries,
    ):
        found = older.dialled(view, lab.a.proxy.cgroup.path)

        assert older.close_all(view, found) == 2
        with pytest.raises(ConnectionAbortedError):
            stream.recv(1)
        with pytest.raises(ConnectionAbortedError):
            queries.recv(1)

    assert [(each.protocol, each.remote_port) for each in found] == [
        (TCP, 9000),
        (UDP, 53),
    ]


def test_the_sidecars_connections_are_spared(lab: Lab, view: NetworkView) -> None:
    with (
        lab.b.app.listen("0.0.0.0", 9000),
        lab.a.proxy.connect(lab.b.address, 9000),
    ):
        assert older.dialled(view, lab.a.proxy.cgroup.path) == []
