"""A process in a pod that makes connections and hears where they arrive.

It owns every listening socket, its own pod's and the world's, so that it knows at once
which of them a connection has reached. It goes from cgroup to cgroup and from namespace to
namespace with each kind of connection.
"""

import contextlib
import errno
import os
import select
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from beewire.mesh import netns
from beewire.mesh.decision import AGENT_DNS_PORT, UDP
from beewire.mesh.lab.patience import PATIENCE
from beewire.mesh.lab.tcp import reset_at_close
from beewire.mesh.proving.attempts import ANY, PORTS, UDP_PORTS, Attempt

SIDECAR_PORTS = (15001, 15006, AGENT_DNS_PORT)
REFUSED = "refused"
LOST = "lost"

# Options of SOL_IP and SOL_IPV6 that `socket` does not name.
_TRANSPARENT = {4: (socket.SOL_IP, 19), 6: (socket.IPPROTO_IPV6, 75)}
_PATIENCE_S = 10.0 * PATIENCE
_FIRST_PORT = 20_000  # of datagrams: conntrack never sees the same ones twice
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


class Doors(NamedTuple):
    """Descriptors: namespaces of the pod and the world, `cgroup.procs` of three cgroups."""

    pod: int
    world: int
    app: int
    proxy: int
    outside: int


def perform(doors: Doors, made: Sequence[Attempt], own: Mapping[str, str]) -> list[str]:
    """Make each connection and return where it arrived.

    That is "pod 15001", say, or "world 80", REFUSED, LOST, or the system's own word.
    """
    os.setgroups([])
    with contextlib.ExitStack() as stack:
        ears = _Ears(stack, doors)
        seen = [""] * len(made)
        # Moving from one cgroup to another takes a moment: once for each.
        for cgroup in (doors.app, doors.proxy, doors.outside):
            os.write(cgroup, b"0")
            netns.join(doors.world if cgroup == doors.outside else doors.pod)
            for number, each in enumerate(made):
                if _cgroup_of(each, doors) == cgroup:
                    seen[number] = _attempt(ears, number, each, own)
    return seen


def _cgroup_of(attempt: Attempt, doors: Doors) -> int:
    if attempt.inbound:
        return doors.outside
    return doors.proxy if attempt.in_proxy else doors.app


class _Ears:
    # Every listening socket, by its descriptor: where it is, and whose port it has.

    def __init__(self, stack: contextlib.ExitStack, doors: Doors) -> None:
        self._stack = stack
        self._poll = select.poll()
        self._known: dict[int, tuple[socket.socket, str]] = {}
        netns.join(doors.world)
        os.write(doors.outside, b"0")
        self._open("world", PORTS, UDP_PORTS)
        netns.join(doors.pod)
        os.write(doors.proxy, b"0")
        self._open("pod", SIDECAR_PORTS, (AGENT_DNS_PORT,))
        os.write(doors.app, b"0")
        self._open("pod", PORTS, UDP_PORTS)

    def _open(self, where: str, tcp: Sequence[int], udp: Sequence[int]) -> None:
        for version in (4, 6):
            for port in tcp:
                sock = self._bound(version, socket.SOCK_STREAM, where, port)
                sock.listen(64)
            for port in udp:
                self._bound(version, socket.SOCK_DGRAM, where, port)

    def _bound(self, version: int, kind: int, where: str, port: int) -> socket.socket:
        sock = self._stack.enter_context(socket.socket(_FAMILIES[version], kind))
        if version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # TPROXY hands packets to sockets only that ask for others' addresses.
        sock.setsockopt(*_TRANSPARENT[version], 1)
        sock.bind((ANY[version], port))
        sock.setblocking(False)
        self._poll.register(sock, select.POLLIN)
        self._known[sock.fileno()] = sock, f"{where} {port}"
        return sock

    def hear(self, expected: bytes) -> str:
        """Where a connection was accepted, or a datagram with `expected` in it."""
        while ready := self._poll.poll(_PATIENCE_S * 1000):
            sock, name = self._known[ready[0][0]]
            if sock.type == socket.SOCK_DGRAM:
                if sock.recv(64) == expected:
                    return name
                continue  # of an attempt that was given up
            accepted, _ = sock.accept()
            reset_at_close(accepted)
            accepted.close()
            return name
        return LOST


def _attempt(ears: _Ears, number: int, attempt: Attempt, own: Mapping[str, str]) -> str:
    kind = socket.SOCK_DGRAM if attempt.protocol == UDP else socket.SOCK_STREAM
    family = socket.AF_INET6 if attempt.mapped else _FAMILIES[attempt.version]
    prefix = "::ffff:" if attempt.mapped else ""
    to = prefix + own.get(attempt.host, attempt.host), attempt.port
    with _owner(attempt.uid, attempt.gid):
        sock = socket.socket(family, kind)
    try:
        with sock:
            _prepare(sock, number, attempt, prefix, own)
            sock.settimeout(_PATIENCE_S)
            caller = attempt.uid if attempt.caller < 0 else attempt.caller
            with _owner(caller, attempt.gid):
                return _call(ears, sock, number, attempt, to)
    except ConnectionRefusedError:
        return REFUSED
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "") or str(error)


def _prepare(
    sock: socket.socket,
    number: int,
    attempt: Attempt,
    prefix: str,
    own: Mapping[str, str],
) -> None:
    if attempt.mark:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, attempt.mark)
    source = own.get(attempt.source, attempt.source)
    port = _FIRST_PORT + number if attempt.protocol == UDP else 0
    if attempt.protocol != UDP:
        reset_at_close(sock)
    if attempt.inbound:  # visitors have addresses that nobody has
        sock.setsockopt(*_TRANSPARENT[attempt.version], 1)
    if source or port:
        anyone = "::" if sock.family == socket.AF_INET6 else ANY[4]
        sock.bind((prefix + source if source else anyone, port))


def _call(
    ears: _Ears, sock: socket.socket, number: int, attempt: Attempt, to: tuple[str, int]
) -> str:
    data = number.to_bytes(4, "big")
    if attempt.protocol != UDP:
        sock.connect(to)
    elif attempt.connected:
        sock.connect(to)
        sock.send(data)
    else:
        sock.sendto(data, to)
    return ears.hear(data)


@contextlib.contextmanager
def _owner(uid: int, gid: int) -> Iterator[None]:
    # What a socket is made by, and connected by, is another user's doing.
    os.setresgid(gid, gid, 0)
    os.setresuid(uid, uid, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
