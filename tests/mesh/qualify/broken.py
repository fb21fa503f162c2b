"""A stand whose connections pass through somebody who is not careful with them."""

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

from beewire.mesh.qualify.stand import USUAL, Counted, Dialled, Family, Leg, Pair

ABORT = struct.pack("ii", 1, 0)
_BUFFER = 1 << 20


class Fault(NamedTuple):
    """What becomes of each chunk, and whether ends and back-pressure are passed on."""

    chunk: Callable[[bytes], bytes] = bytes
    ends_early: bool = False
    passes_ends: bool = True
    stops: bool = False
    hoards: bool = False
    resets: bool = True


FAULTS = {
    "none": Fault(),
    "loses": Fault(lambda chunk: chunk[:-1]),
    "repeats": Fault(lambda chunk: chunk + chunk[-1:]),
    "alters": Fault(lambda chunk: bytes((chunk[0] ^ 1,)) + chunk[1:]),
    "swaps": Fault(lambda chunk: chunk[len(chunk) // 2 :] + chunk[: len(chunk) // 2]),
    "ends early": Fault(ends_early=True),
    "never ends": Fault(passes_ends=False),
    "stops": Fault(stops=True),
    "hoards": Fault(hoards=True),
    "ends properly": Fault(lambda chunk: chunk[:-1], resets=False),
}


class Broken:
    """TCP on the loopback interface, with a fault in both directions of each connection."""

    leg = Leg.BETWEEN
    parts = False

    def __init__(self, fault: Fault, *, crossed: bool = False) -> None:
        self._fault = fault
        self._crossed = crossed
        self._is_off = False
        self._before: list[socket.socket] = []

    @contextlib.contextmanager
    def pair(self, how: Dialled = USUAL) -> Iterator[Pair]:
        near, one = connected()
        two, far = connected()
        made = Pair(near, far)
        for sock in made:
            sock.setblocking(how.blocking)
        fault = FAULTS["none"] if self._is_off else self._fault
        threads = self._relays(one, two, fault)
        for thread in threads:
            thread.start()
        try:
            if how.first:
                near.send(how.first)
            yield made
        finally:
            made.close()
            for thread in threads:
                thread.join(0.2)
            one.close()
            two.close()

    def _relays(
        self, one: socket.socket, two: socket.socket, fault: Fault
    ) -> list[threading.Thread]:
        ends = [(one, two), (two, one)]
        if self._crossed:  # what the first connection sends, the second one hears
            self._before.append(two)
            if len(self._before) == 2:
                ends = [(one, self._before[0]), (two, one)]
        return [
            threading.Thread(target=relay, args=(*each, fault), daemon=True)
            for each in ends
        ]

    def counted(self) -> Counted:
        return Counted()

    def prove(self, before: Counted, least: int, what: str) -> None:
        pass

    def switch(self, *, off: bool) -> None:
        self._is_off = off

    def has(self, family: Family) -> bool:
        return family is Family.IPV4

    def detach(self) -> None:
        pass

    def step(self, text: str) -> None:
        pass


def connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dialled = socket.create_connection(listener.getsockname())
        made = dialled, listener.accept()[0]
    for sock in made:  # how far TCP's own buffers grow is the machine's
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    return made


def relay(source: socket.socket, target: socket.socket, fault: Fault) -> None:
    # A socket that was closed meanwhile has no number: that is a ValueError to select().
    with contextlib.suppress(OSError, ValueError):
        try:
            pump(source, target, fault)
        except ConnectionResetError:
            if fault.resets:
                target.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
                target.close()
                return
        if fault.passes_ends:
            target.shutdown(socket.SHUT_WR)


def pump(source: socket.socket, target: socket.socket, fault: Fault) -> None:
    if fault.hoards:
        hoard(source, target)
        return
    while chunk := source.recv(1 << 16):
        target.sendall(fault.chunk(chunk))
        if fault.ends_early:
            return
        if fault.stops:
            threading.Event().wait(1)


def hoard(source: socket.socket, target: socket.socket) -> None:
    """Take whatever comes, so that nobody is kept from sending."""
    kept = bytearray()
    while True:
        wants = [target] if kept else []
        readable, writable, _ = select.select([source], wants, [])
        with contextlib.suppress(BlockingIOError):  # there may be no room after all
            if writable:
                del kept[: target.send(kept[: 1 << 16], socket.MSG_DONTWAIT)]
        if readable:
            chunk = source.recv(1 << 16)
            if not chunk:
                break
            kept += chunk
    target.sendall(kept)
