"""Processes that stay in a pod and open sockets there for others.

A socket belongs to the cgroup and the namespace of whoever made it, and what connect()
does depends on who calls it. A door is a process in one place that makes, binds and
connects, and hands the descriptor out; what is sent and read needs no place.
"""

import contextlib
import os
import pickle
import select
import socket
from typing import Any, NamedTuple, Self

from beewire.errors import MeshError
from beewire.mesh.lab import Place
from beewire.mesh.lab.patience import PATIENCE

_ANSWER_S = 10.0 * PATIENCE
_LARGEST = 1 << 14


class Listen(NamedTuple):
    """A socket that listens."""

    family: int
    address: str
    port: int
    protocol: int = 0


class Dial(NamedTuple):
    """A socket that is connected; `first` is sent at once.

    `source` is an address and a port to bind to, ("", 0) for none.
    """

    family: int
    address: str
    port: int
    protocol: int = 0
    blocking: bool = False
    source: tuple[str, int] = ("", 0)
    first: bytes = b""


class Door:
    """One place's process; a context manager that ends it."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._stack = contextlib.ExitStack()
        self._number = 0

    def __enter__(self) -> Self:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._ours = self._stack.enter_context(ours)
            serving = self._place.running(lambda: _serve(theirs), keep=theirs.fileno())
            self._stack.enter_context(serving)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def open(self, wanted: Listen | Dial) -> socket.socket:
        """A socket as it is wanted; non-blocking unless it says so.

        Raises:
            OSError: What the kernel answered.
            MeshError: The process does not answer.
        """
        self._number += 1
        # Whoever asked before may have been killed before its answer came.
        asked = os.getpid(), self._number
        self._ours.send(pickle.dumps((asked, wanted)))
        while True:
            if not select.select([self._ours], [], [], _ANSWER_S)[0]:
                raise MeshError(f"{wanted} was not answered in {_ANSWER_S:g} s")
            data, fds, _, _ = socket.recv_fds(self._ours, _LARGEST, 1)
            if not data:
                raise MeshError("the process that opens sockets in a pod has ended")
            answered, error = pickle.loads(data)
            if answered == asked:
                break
            for fd in fds:
                os.close(fd)
        if error is not None:
            raise error
        return socket.socket(fileno=fds[0])


def _serve(requests: socket.socket) -> None:
    while data := requests.recv(_LARGEST):
        asked, wanted = pickle.loads(data)
        _answer(requests, asked, wanted)


def _answer(requests: socket.socket, asked: Any, wanted: Listen | Dial) -> None:
    try:
        with _listen(wanted) if isinstance(wanted, Listen) else _dial(wanted) as made:
            data = pickle.dumps((asked, None))
            socket.send_fds(requests, [data], [made.fileno()])
    except OSError as error:
        requests.send(pickle.dumps((asked, OSError(error.errno, error.strerror))))


def _listen(wanted: Listen) -> socket.socket:
    with _made(wanted, blocking=False) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if wanted.family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((wanted.address, wanted.port))
        made.listen(64)
        return made.dup()


def _dial(wanted: Dial) -> socket.socket:
    with _made(wanted, blocking=wanted.blocking) as made:
        if wanted.source != ("", 0):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(wanted.source)
        try:
            made.connect((wanted.address, wanted.port))
        except BlockingIOError:
            select.select([], [made], [], _ANSWER_S / 2)
            if error := made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(error, os.strerror(error)) from None
        if wanted.first:
            made.send(wanted.first)
        return made.dup()


def _made(wanted: Listen | Dial, *, blocking: bool) -> socket.socket:
    # The flag is there from the beginning: it is read while the socket connects.
    kind = socket.SOCK_STREAM | (0 if blocking else socket.SOCK_NONBLOCK)
    return socket.socket(wanted.family, kind, wanted.protocol)
