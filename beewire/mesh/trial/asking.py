"""Requests whose every response is compared with what it has to be, byte for byte.

A process in pod A asks nginx in pod B for pieces of one body that repeats nowhere: each
request for another piece of another size, with a number that the response has to bear. So
a byte that is lost, doubled, in the wrong place or another connection's is seen. What is
counted stands on a board, as it happens.
"""

import errno
import random
import select
import socket
import time
from pathlib import Path
from typing import NamedTuple

from beewire.mesh.lab.board import Board
from beewire.mesh.lab.patience import PATIENCE
from beewire.mesh.lab.server import ASKED, FILES, body
from beewire.mesh.trial.telling import FaultLog, agreeing, check_connected

PIECES = "1m"
COUNTED = ("requests", "connections", "bytes")
# What may be wrong: the connection ended or refused; nothing came; another status; a
# sidecar's header is missing; bytes are not those that were asked for.
FAULTS = ("failed", "late", "refused", "unstamped", "mismatched")
ROWS = (*COUNTED, *FAULTS, "interrupted", "ended")
GOOD = b"HTTP/1.1 206 "
STAMPS = (b"\r\nx-bw-outbound: ", b"\r\nx-bw-inbound: ")
LATE_S = 10.0 * PATIENCE
LOOK_S = 0.5
READ = 1 << 16
# Share of requests, and up to how many bytes they ask for.
SIZES = ((0.84, 1 << 10), (0.96, 1 << 14), (0.999, 1 << 16), (1.0, FILES[PIECES]))


class Asking(NamedTuple):
    """What is asked: `total` requests (0: until it is stopped) on `connections` at once.

    The n-th connection, and those in its place later, end after as many requests as
    `ages` says (0: never; the ages in turns). `pause_s` is what each waits between two requests. `stamped`: both sidecars put a header into
    every response. Faults go to `log`, the first of them, in words.
    """

    host: str
    port: int
    log: Path
    total: int = 0
    connections: int = 16
    ages: tuple[int, ...] = (0,)
    pause_s: float = 0.0
    stamped: bool = True
    seed: int = 1


def ask(asking: Asking, board: Board, place: int, tolerant: str = "") -> None:
    """Ask until all is asked; the numbers of `place` on the board say how it goes.

    While a number of the board's row `tolerant` is not 0, a connection may break, and
    counts as interrupted; wrong bytes never are.
    """
    _Asker(asking, board, place, tolerant).run()


class _FaultError(Exception):
    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class _Connection:
    __slots__ = (
        "asked_at", "due_at", "first", "got", "left", "number", "seat", "size", "sock",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, seat: int, left: int) -> None:
        self.sock = sock
        self.seat = seat
        self.left = left  # requests; below 0: no end
        self.got = b""
        self.number = self.first = self.size = 0
        self.asked_at = time.monotonic()
        self.due_at = 0.0  # when to ask next; 0: an answer is awaited


class _Asker:
    def __init__(self, asking: Asking, board: Board, place: int, tolerant: str) -> None:
        self.asking = asking
        self.rows = {name: board[name] for name in ROWS}
        self.tolerant = board[tolerant] if tolerant else None
        self.place = place
        self.random = random.Random(asking.seed)
        self.whole = body(FILES[PIECES])
        self.epoll = select.epoll()
        self.open: dict[int, _Connection] = {}
        self.seats = [*range(asking.connections)]
        self.number = 0
        self.faults = FaultLog(asking.log)
        family = socket.AF_INET6 if ":" in asking.host else socket.AF_INET
        self.family = family
        host = f"[{asking.host}]" if ":" in asking.host else asking.host
        self.head = (
            f"GET {ASKED}{PIECES} HTTP/1.1\r\nHost: {host}\r\n"
            "Range: bytes=%d-%d\r\nX-Bw-Asked: %d\r\n\r\n"
        ).encode()

    def run(self) -> None:
        look_at = 0.0
        while True:
            now = time.monotonic()
            if now >= look_at:
                look_at = now + LOOK_S
                self._look(now)
            if not self.open and self._is_done():
                break
            for fd, events in self.epoll.poll(self._patience(look_at)):
                connection = self.open[fd]
                try:
                    if events & select.EPOLLOUT:
                        self._connected(connection)
                    else:
                        self._read(connection)
                except OSError as error:
                    name = errno.errorcode.get(error.errno or 0, "?")
                    self._end(connection, "failed", f"{name} {error.strerror}")
                except _FaultError as fault:
                    self._end(connection, fault.kind, str(fault))
            if self.asking.pause_s:
                self._ask_due()
        self.rows["ended"][self.place] = 1

    def _patience(self, look_at: float) -> float:
        return 0.01 if self.asking.pause_s else max(0.0, look_at - time.monotonic())

    def _is_done(self) -> bool:
        return 0 < self.asking.total <= self.number

    def _look(self, now: float) -> None:
        for connection in [*self.open.values()]:
            if not connection.due_at and now - connection.asked_at > LATE_S:
                self._end(connection, "late", f"no answer in {LATE_S:g} s")
        while self.seats and not self._is_done():
            self._open(self.seats.pop(0))

    def _open(self, seat: int) -> None:
        sock = socket.socket(self.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ages = self.asking.ages
        connection = _Connection(sock, seat, ages[seat % len(ages)] or -1)
        self.rows["connections"][self.place] += 1
        self.open[sock.fileno()] = connection
        self.epoll.register(sock, select.EPOLLOUT)
        sock.connect_ex((self.asking.host, self.asking.port))

    def _connected(self, connection: _Connection) -> None:
        check_connected(connection.sock)
        self.epoll.modify(connection.sock, select.EPOLLIN)
        self._ask(connection)

    def _ask(self, connection: _Connection) -> None:
        if self._is_done():
            self._close(connection)
            return
        chance = self.random.random
        share = chance()
        most = next(size for upto, size in SIZES if share < upto)
        size = 1 + int(chance() * most)
        first = int(chance() * (len(self.whole) - size + 1))
        self.number += 1
        connection.number, connection.first, connection.size = self.number, first, size
        connection.got = b""
        connection.asked_at, connection.due_at = time.monotonic(), 0.0
        words = self.head % (first, first + size - 1, self.number)
        if connection.sock.send(words) != len(words):
            raise _FaultError(
                "failed", "a request did not fit into an empty send buffer"
            )

    def _ask_due(self) -> None:
        now = time.monotonic()
        for connection in [*self.open.values()]:
            if connection.due_at and connection.due_at <= now:
                try:
                    self._ask(connection)
                except OSError as error:
                    self._end(connection, "failed", str(error.strerror))

    def _read(self, connection: _Connection) -> None:
        data = connection.sock.recv(READ)
        if not data:
            inside = f" after {len(connection.got)} bytes of an answer"
            raise _FaultError("failed", f"the connection ended{inside}")
        if connection.due_at:
            raise _FaultError(
                "mismatched", f"bytes that nobody asked for: {data[:60]!r}"
            )
        got = connection.got = connection.got + data if connection.got else data
        end = got.find(b"\r\n\r\n") + 4
        is_whole = len(got) >= end + connection.size or not got.startswith(GOOD)
        if end < 4 or not is_whole:
            return
        self._check(connection, got[: end - 2], got[end:])
        rows, place = self.rows, self.place
        rows["requests"][place] += 1
        rows["bytes"][place] += connection.size
        connection.left -= 1
        if connection.left == 0:
            self._close(connection)
            self._look(time.monotonic())
        elif self.asking.pause_s:
            pause = self.asking.pause_s * 2 * self.random.random()
            connection.due_at = time.monotonic() + pause
        else:
            self._ask(connection)

    def _check(self, connection: _Connection, head: bytes, got: bytes) -> None:
        if not head.startswith(GOOD):
            raise _FaultError("refused", f"answered {head[:30]!r}")
        if b"\r\nx-bw-asked: %d\r\n" % connection.number not in head.lower():
            text = f"request {connection.number} has the answer to another: {head!r}"
            raise _FaultError("mismatched", text)
        first, size = connection.first, connection.size
        if got != self.whole[first : first + size]:
            raise _FaultError("mismatched", self._difference(connection, got))
        if self.asking.stamped and not all(stamp in head for stamp in STAMPS):
            raise _FaultError("unstamped", f"not through both sidecars: {head!r}")

    def _difference(self, connection: _Connection, got: bytes) -> str:
        first, size = connection.first, connection.size
        wanted = self.whole[first : first + size]
        same = agreeing(got, wanted)
        elsewhere = self.whole.find(got[same : same + 32])
        return (
            f"request {connection.number}, bytes {first} to {first + size - 1}: right for"
            f" {same}, then what is at {elsewhere}; {len(got)} came"
        )

    def _end(self, connection: _Connection, kind: str, text: str) -> None:
        broken = kind in {"failed", "late", "refused"}
        if broken and self.tolerant is not None and any(self.tolerant):
            kind = "interrupted"
        else:
            port = connection.sock.getsockname()[1]
            self.faults.tell(f"{kind}, from port {port}: {text}")
        self.rows[kind][self.place] += 1
        self._close(connection)

    def _close(self, connection: _Connection) -> None:
        self.open.pop(connection.sock.fileno())
        self.seats.append(connection.seat)
        connection.sock.close()
