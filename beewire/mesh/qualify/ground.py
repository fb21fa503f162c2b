"""Two pods made for the battery: their network, and doors to all their places."""

import contextlib
import os
import select
import socket
from ctypes import CDLL, get_errno
from typing import Final, NamedTuple, Self

from beewire.interrupts import undisturbed
from beewire.mesh.lab import Pod
from beewire.mesh.lab.pods import IPV6
from beewire.mesh.lab.runs import Run
from beewire.mesh.lab.tools import require_root
from beewire.mesh.qualify import wiring
from beewire.mesh.qualify.doors import Dial, Door, Listen
from beewire.mesh.qualify.exchange import WAIT_S, wait
from beewire.mesh.qualify.stand import (
    TCP_MEMORY,
    Dialled,
    Family,
    Finding,
    Impossible,
    Leg,
)

OUTBOUND, INBOUND, SERVER, STRAIGHT = 15001, 15006, 8080, 8082
_INBOUND_SOURCE = {socket.AF_INET: "127.0.0.6", socket.AF_INET6: "::6"}
_LOCALHOST = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
# What applications dial: nobody's address (RFC 5737, RFC 3849), as every call is captured.
_WORLD = {socket.AF_INET: "192.0.2.80", socket.AF_INET6: "2001:db8::80"}
_ANY = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}
_APP, _PROXY = "app", "proxy"
# Who dials and who accepts: place, and the port that is accepted at.
_DIALS = {
    Leg.OUT: _APP,
    Leg.BETWEEN: _PROXY,
    Leg.IN: _PROXY,
    Leg.SHORTCUT: _PROXY,
    Leg.SPLICE: _APP,
}
_ACCEPTS = {
    Leg.OUT: (_PROXY, OUTBOUND),
    Leg.BETWEEN: (_PROXY, INBOUND),
    Leg.IN: (_APP, SERVER),
    Leg.SHORTCUT: (_APP, STRAIGHT),
    Leg.SPLICE: (_APP, STRAIGHT),
}
_libc: Final = CDLL(None, use_errno=True)


class _Key(NamedTuple):
    pod: int
    place: str
    port: int = 0
    family: socket.AddressFamily = socket.AF_UNSPEC
    protocol: int = 0


class Ground:
    """Pods `a` and `b`, joined by one cable; a context manager that removes them.

    Nobody else's namespace or cgroup is touched, and what a killed process left is removed
    by the next `beewire demo --clean`, as of any lab.
    """

    def __init__(self) -> None:
        self.families = tuple(Family) if IPV6.exists() else (Family.IPV4,)
        run = self._run = Run()
        ipv6 = Family.IPV6 in self.families
        self.pods = tuple(
            Pod(run, name, n, ipv6=ipv6) for n, name in enumerate("ab", 1)
        )
        self._stack = contextlib.ExitStack()
        self._doors: dict[_Key, Door] = {}
        self._listeners: dict[_Key, socket.socket] = {}

    def __enter__(self) -> Self:
        require_root()
        try:
            self._run.begin()
            self._stack.callback(self._remove)
            self._build()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _remove(self) -> None:
        with undisturbed():
            self._run.end()

    def _build(self) -> None:
        ipv6 = Family.IPV6 in self.families
        for pod in self.pods:
            pod.namespace.create()
            for name, limits in TCP_MEMORY.items():
                pod.namespace.sysctl(f"ipv4/{name}", " ".join(map(str, limits)))
            for place in (pod.app, pod.proxy):
                place.cgroup.create()
        wiring.join(self.pods[0].namespace, self.pods[1].namespace)
        for pod in self.pods:
            own = [_INBOUND_SOURCE[socket.AF_INET6]] if ipv6 else []
            addresses = {"lo": own, wiring.INTERFACE: list(pod.addresses)}
            wiring.raise_up(pod.namespace, addresses)
        for number, pod in enumerate(self.pods):
            for name, place in ((_APP, pod.app), (_PROXY, pod.proxy)):
                door = self._stack.enter_context(Door(place))
                self._doors[_Key(number, name)] = door

    @property
    def name(self) -> str:
        """What the names of its namespaces and its cgroup begin with."""
        return self._run.name

    def listen(self) -> None:
        """Open what sidecars and applications listen by, after the pods are enrolled."""
        families = [socket.AF_INET]
        if Family.IPV6 in self.families:
            families.append(socket.AF_INET6)
        for pod in range(len(self.pods)):
            for place, port in dict.fromkeys(_ACCEPTS.values()):
                for family in families:
                    self._listener(_Key(pod, place, port, family))

    def close_listeners(self) -> None:
        """Close all of them."""
        while self._listeners:
            self._listeners.popitem()[1].close()

    def connect(self, leg: Leg, how: Dialled) -> tuple[socket.socket, socket.socket]:
        """The end that dialled, and the end that was accepted.

        Raises:
            Finding: The connection cannot be made.
            Impossible: This kernel has no such sockets.
        """
        here, (place, port) = how.pod, _ACCEPTS[leg]
        there = 1 - here if leg.crosses else here
        if how.protocol and leg is Leg.IN:
            port += 1  # the usual one is taken by TCP
        try:
            listener = self._listener(
                _Key(there, place, port, _wire_family(how), _accepting(leg, how))
            )
            door = self._doors[_Key(here, _DIALS[leg])]
            dialled = door.open(self._dial(leg, how, there, port))
        except OSError as error:
            if how.protocol:
                raise Impossible(
                    f"this kernel has no sockets of protocol {how.protocol}:"
                    f" {error.strerror}"
                ) from None
            raise Finding(f"{leg.value}: connect() says {error.strerror}") from error
        try:
            blocking = how.blocking and not leg.dials
            return dialled, _accept(listener, dialled, blocking=blocking)
        except BaseException:
            dialled.close()
            raise

    def _dial(self, leg: Leg, how: Dialled, there: int, port: int) -> Dial:
        wire = _wire_family(how)
        if leg is Leg.OUT:
            target, source = _WORLD[wire], _LOCALHOST[wire] if how.source_port else ""
        else:
            pod = self.pods[there]
            target = pod.address6 if wire == socket.AF_INET6 else pod.address
            source = _INBOUND_SOURCE[wire] if leg is Leg.IN else ""
        mapped = "::ffff:" if how.family is Family.MAPPED else ""
        return Dial(
            socket.AF_INET if how.family is Family.IPV4 else socket.AF_INET6,
            mapped + target,
            SERVER if leg in (Leg.OUT, Leg.BETWEEN) else port,
            how.protocol,
            how.blocking and leg.dials,
            (source and mapped + source, how.source_port),
            how.first,
        )

    def _listener(self, key: _Key) -> socket.socket:
        if key not in self._listeners:
            wanted = Listen(key.family, _ANY[key.family], key.port, key.protocol)
            self._listeners[key] = self._doors[_Key(key.pod, key.place)].open(wanted)
        return self._listeners[key]


def _wire_family(how: Dialled) -> socket.AddressFamily:
    return socket.AF_INET6 if how.family is Family.IPV6 else socket.AF_INET


def _accepting(leg: Leg, how: Dialled) -> int:
    # A sidecar listens by TCP, whoever dials it.
    return how.protocol if leg is Leg.IN else 0


def _accept(
    listener: socket.socket, dialled: socket.socket, *, blocking: bool
) -> socket.socket:
    wanted = dialled.getsockname()[1]
    while wait(listener, select.POLLIN):
        # accept4() as servers call it: the flag is there from the beginning.
        flags = socket.SOCK_CLOEXEC | (0 if blocking else socket.SOCK_NONBLOCK)
        fd = _libc.accept4(listener.fileno(), None, None, flags)
        if fd < 0:
            raise Finding(f"accept() says {os.strerror(get_errno())}")
        accepted = socket.socket(fileno=fd)
        if accepted.getpeername()[1] == wanted:
            return accepted
        accepted.close()  # of somebody who was killed before it was accepted
    raise Finding(f"nobody accepts a connection in {WAIT_S:g} s")
