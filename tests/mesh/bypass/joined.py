"""Two pods whose connections are shortened, and sockets in them."""

import contextlib
import errno
import fcntl
import os
import select
import socket
import termios
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from beewire.mesh.config import Bypass
from beewire.mesh.enrol import SIDECAR, Enrolment, Node
from beewire.mesh.lab import Lab
from beewire.mesh.lab.place import Place
from beewire.mesh.lab.pods import Pod as LabPod
from beewire.mesh.programs.bypass import state
from beewire.mesh.programs.bypass.state import Flow, Mode
from tests.mesh.enrolling import target

OUTBOUND, INBOUND, PORT = 15001, 15006, 9000
# A broken rule may stop a connection: who looks for that waits less.
PATIENCE_S = float(os.environ.get("BEEWIRE_TEST_PATIENCE", "30"))


@contextlib.contextmanager
def enrolled(
    node: Node,
    pod: LabPod,
    tier: Bypass,
    *,
    shortcut: bool = False,
    splice: bool = False,
) -> Iterator[Enrolment]:
    """A pod of the lab, with a tier."""
    config = replace(SIDECAR, bypass=tier, shortcut=shortcut, splice=splice)
    with node.enrol(target(pod)._replace(config=config)) as enrolment:
        yield enrolment


class Way(NamedTuple):
    """How to dial: an address, from another one perhaps, mapped into IPv6 perhaps."""

    host: str
    port: int = PORT
    source: str = ""
    mapped: bool = False
    blocking: bool = False

    @property
    def family(self) -> socket.AddressFamily:
        """Of the socket that dials."""
        is_ipv6 = self.mapped or ":" in self.host
        return socket.AF_INET6 if is_ipv6 else socket.AF_INET

    def where(self, host: str) -> str:
        """An address as a socket of that family takes it."""
        return f"::ffff:{host}" if self.mapped else host


def dial(place: Place, way: Way) -> socket.socket:
    """A connection from a place; its owner does not wait in calls, unless told so."""

    def connect() -> socket.socket:
        sock = socket.socket(way.family, socket.SOCK_STREAM)
        sock.setblocking(way.blocking)
        if way.source:
            sock.bind((way.where(way.source), 0))
        answer = sock.connect_ex((way.where(way.host), way.port))
        assert answer in (0, errno.EINPROGRESS), os.strerror(answer)
        assert select.select([], [sock], [], PATIENCE_S)[1]
        if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, os.strerror(error))
        return sock

    sock = place.call(connect)
    sock.setblocking(way.blocking)
    return sock


def accept(listener: socket.socket) -> socket.socket:
    """What a listener has got; its owner does not wait in calls."""
    sock, _ = listener.accept()
    sock.setblocking(False)
    return sock


def read(sock: socket.socket, size: int) -> bytes:
    """That many bytes, as they come."""
    got = bytearray()
    while len(got) < size:
        assert select.select([sock], [], [], PATIENCE_S)[0], (
            f"{len(got)} of {size} bytes"
        )
        more = sock.recv(size - len(got))
        assert more, f"the other end has closed after {len(got)} bytes"
        got += more
    return bytes(got)


def is_at_end(sock: socket.socket) -> bool:
    """Whether the next thing that comes is the end of the stream."""
    assert select.select([sock], [], [], PATIENCE_S)[0], "nothing comes, and no end"
    return sock.recv(10) == b""


class Pair(NamedTuple):
    """Both ends of one connection: who dialled, who accepted."""

    near: socket.socket
    far: socket.socket

    def close(self) -> None:
        """Close both."""
        self.near.close()
        self.far.close()

    def exchange(self, times: int = 3) -> None:
        """Messages both ways, each read at once."""
        for number in range(times):
            for one, other in ((self.near, self.far), (self.far, self.near)):
                said = f"message {number}".encode()
                one.sendall(said)
                assert read(other, len(said)) == said


def waiting(sock: socket.socket) -> int:
    """How many bytes wait, as FIONREAD tells it."""
    told = bytearray(4)
    fcntl.ioctl(sock, termios.FIONREAD, told)
    return int.from_bytes(told, "little")


def flow(node: Node, sock: socket.socket) -> Flow:
    """What the programs know of a socket."""
    found: Flow | None = node.short_path.loaded[state.flows].live.get(sock)
    return Flow() if found is None else found


def is_short(node: Node, sock: socket.socket) -> bool:
    """Whether its last message took the short path."""
    return flow(node, sock).mode == Mode.SHORT


@contextlib.contextmanager
def inbound(pod: LabPod) -> Iterator[Pair]:
    """A pod's sidecar and the application that it has dialled."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(pod.app.listen("0.0.0.0", PORT))
        way = Way(pod.address, source="127.0.0.6")
        made = Pair(dial(pod.proxy, way), accept(listener))
        stack.callback(made.close)
        made.exchange()
        yield made


def listening(pod: LabPod, host: str = "0.0.0.0") -> socket.socket:
    """The inbound listener of a pod's sidecar."""
    return pod.proxy.listen(host, INBOUND)


@contextlib.contextmanager
def met(lab: Lab, node: Node, tier: Bypass = Bypass.SIDECARS) -> Iterator[Pair]:
    """A connection between the sidecars of two pods that have a tier."""
    with contextlib.ExitStack() as stack:
        for pod in lab.pods:
            stack.enter_context(enrolled(node, pod, tier))
        listener = stack.enter_context(listening(lab.b))
        pair = Pair(dial(lab.a.proxy, Way(lab.b.address)), accept(listener))
        stack.callback(pair.close)
        yield pair
