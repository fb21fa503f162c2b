"""Streams of every age whose every byte comes back, and is compared when it does.

A process in pod A writes, to an echo in pod B, what repeats nowhere, in pieces of any
size; now and then it does not read for a while, so that every queue on the way fills. In
the end it closes its half, and all that it wrote has to come back before the other half
is closed. What is counted stands on a board, as it happens.
"""

import contextlib
import errno
import random
import select
import socket
import time
from pathlib import Path
from typing import NamedTuple

from beewire.mesh.lab.board import Board
from beewire.mesh.lab.patience import PATIENCE
from beewire.mesh.lab.server import body
from beewire.mesh.trial.telling import FaultLog, agreeing, check_connected

WHOLE = 1 << 20  # bytes after which a stream repeats
COUNTED = ("streams", "streamed", "stalls")
FAULTS = ("failed", "late", "mismatched")
ROWS = (*COUNTED, *FAULTS, "interrupted", "ended")
LATE_S = 20.0 * PATIENCE
BACKLOG = 1024
READ = 1 << 16
HELD = 1 << 18  # bytes that the echo keeps before it stops reading


class Streaming(NamedTuple):
    """`connections` at once to the echo at `host` and `port`, until it is stopped.

    The n-th stream, and those in its place later, live as many seconds as `ages` says (0:
    to the end; the ages in turns). Each writes up to `most` bytes after pauses of `pause_s` on average. `stall_share` of the pauses are
    stalls: nothing is read for `stall_s`. Faults go to `log`, in words.
    """

    host: str
    port: int
    log: Path
    connections: int = 12
    ages: tuple[float, ...] = (0.05, 0.5, 5, 30, 300, 0)
    most: int = 1 << 16
    pause_s: float = 0.05
    stall_share: float = 0.002
    stall_s: float = 3.0
    seed: int = 1


def echo(host: str, port: int) -> None:
    """Send back what comes on every connection, in order, and its end; never returns."""
    with socket.create_server((host, port), backlog=BACKLOG) as listener:
        listener.setblocking(False)
        epoll = select.epoll()
        epoll.register(listener, select.EPOLLIN)
        open_: dict[int, _Echoing] = {}
        while True:
            for fd, events in epoll.poll():
                if fd == listener.fileno():
                    try:
                        sock, _ = listener.accept()
                    except (BlockingIOError, ConnectionAbortedError):
                        continue  # gone before it was taken: accept(2)
                    sock.setblocking(False)
                    open_[sock.fileno()] = _Echoing(sock)
                    epoll.register(sock, select.EPOLLIN)
                elif not open_[fd].turn(epoll, events):
                    open_.pop(fd).sock.close()


class _Echoing:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.held = bytearray()
        self.is_over = False

    def turn(self, epoll: select.epoll, events: int) -> bool:
        """Read and write what is possible; whether there is more to come."""
        try:
            if events & (select.EPOLLIN | select.EPOLLHUP) and not self.is_over:
                with contextlib.suppress(BlockingIOError):
                    data = self.sock.recv(READ)
                    self.held += data
                    self.is_over = not data
            with contextlib.suppress(BlockingIOError):
                if self.held:
                    del self.held[: self.sock.send(self.held)]
        except OSError:
            return False
        if self.is_over and not self.held:
            return False
        wanted = select.EPOLLOUT if self.held else 0
        if not self.is_over and len(self.held) < HELD:
            wanted |= select.EPOLLIN
        epoll.modify(self.sock, wanted)
        return True


def stream(streaming: Streaming, board: Board, place: int, tolerant: str = "") -> None:
    """Write, read and compare; the numbers of `place` on the board say how it goes.

    While a number of the board's row `tolerant` is not 0, a stream may break, and counts
    as interrupted; wrong bytes never are. Ends when the board's `ended` is set to 1 by
    whoever started it, after the streams have come to their ends; it becomes 2 then.
    """
    _Streams(streaming, board, place, tolerant).run()


class _Stream:
    __slots__ = (
        "closing", "due_at", "got", "heard_at", "seat", "sent", "sock", "stalled",
        "until", "up",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, seat: int, age: float) -> None:
        now = time.monotonic()
        self.sock = sock
        self.seat = seat
        self.sent = self.got = 0
        self.heard_at = self.due_at = now
        self.until = now + age if age else float("inf")
        self.stalled = 0.0  # until when nothing is read
        self.up = self.closing = False


class _Streams:
    def __init__(
        self, streaming: Streaming, board: Board, place: int, tolerant: str
    ) -> None:
        self.streaming = streaming
        self.rows = {name: board[name] for name in ROWS}
        self.tolerant = board[tolerant] if tolerant else None
        self.place = place
        self.random = random.Random(streaming.seed)
        self.whole = body(WHOLE) * 2
        self.epoll = select.epoll()
        self.open: dict[int, _Stream] = {}
        self.seats = [*range(streaming.connections)]
        self.faults = FaultLog(streaming.log)

    def run(self) -> None:
        while True:
            is_ending = bool(self.rows["ended"][self.place])
            if is_ending and not self.open:
                break
            while self.seats and not is_ending:
                self._open(self.seats.pop(0))
            for fd, events in self.epoll.poll(0.01):
                self._tried(self.open[fd], events)
            for each in [*self.open.values()]:
                self._due(each, time.monotonic(), is_ending=is_ending)
        self.rows["ended"][self.place] = 2

    def _open(self, seat: int) -> None:
        host = self.streaming.host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        ages = self.streaming.ages
        each = _Stream(sock, seat, ages[seat % len(ages)])
        self.rows["streams"][self.place] += 1
        self.open[sock.fileno()] = each
        self.epoll.register(sock, select.EPOLLOUT)
        sock.connect_ex((host, self.streaming.port))

    def _tried(self, each: _Stream, events: int) -> None:
        try:
            if not each.up:
                check_connected(each.sock)
                each.up = True
                self.epoll.modify(each.sock, select.EPOLLIN)
            elif events & select.EPOLLIN and not each.stalled:
                self._read(each)
            elif events & (select.EPOLLERR | select.EPOLLHUP):
                each.stalled = 0.0
                self._read(each)
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "?")
            self._end(each, "failed", f"{name} {error.strerror}")

    def _read(self, each: _Stream) -> None:
        data = each.sock.recv(READ)
        each.heard_at = time.monotonic()
        if not data:
            whole = each.closing and each.got == each.sent
            self._end(each, "" if whole else "failed", "the connection ended")
        elif data != self._piece(each.got, len(data)):
            self._end(each, "mismatched", self._difference(each, data))
        else:
            each.got += len(data)
            self.rows["streamed"][self.place] += len(data)

    def _piece(self, first: int, size: int) -> bytes:
        first %= WHOLE
        return self.whole[first : first + size]

    def _difference(self, each: _Stream, data: bytes) -> str:
        same = agreeing(data, self._piece(each.got, len(data)))
        found = self.whole.find(data[same : same + 32])
        wanted = (each.got + same) % WHOLE
        return f"what is at {found} came in the place of what is at {wanted}"

    def _due(self, each: _Stream, now: float, *, is_ending: bool) -> None:
        waiting = not each.up or each.got < each.sent or each.closing
        if waiting and not each.stalled and now - each.heard_at > LATE_S:
            self._end(each, "late", f"nothing came for {LATE_S:g} s")
            return
        if each.stalled and (now >= each.stalled or is_ending):
            each.stalled, each.heard_at = 0.0, now
            self.epoll.modify(each.sock, select.EPOLLIN)
        if not each.up or each.closing or now < each.due_at:
            return
        try:
            if is_ending or now >= each.until:
                each.closing, each.heard_at = True, now
                each.sock.shutdown(socket.SHUT_WR)
            else:
                self._write(each, now)
        except BlockingIOError:
            each.due_at = now + self.streaming.pause_s
        except OSError as error:
            self._end(each, "failed", str(error.strerror))

    def _write(self, each: _Stream, now: float) -> None:
        chance = self.random.random
        each.due_at = now + self.streaming.pause_s * 2 * chance()
        if each.got == each.sent:
            each.heard_at = now
        # Many small ones, few large ones.
        size = 1 + int(self.streaming.most * chance() ** 4)
        each.sent += each.sock.send(self._piece(each.sent, size))
        if not each.stalled and chance() < self.streaming.stall_share:
            each.stalled = now + self.streaming.stall_s
            self.rows["stalls"][self.place] += 1
            self.epoll.modify(each.sock, 0)

    def _end(self, each: _Stream, kind: str, text: str) -> None:
        if kind in {"failed", "late"} and self.tolerant is not None:
            kind = "interrupted" if any(self.tolerant) else kind
        if kind and kind != "interrupted":
            port = each.sock.getsockname()[1]
            of = f"after {each.got} of {each.sent} bytes"
            self.faults.tell(f"{kind}, stream from port {port}: {text}, {of}")
        if kind:
            self.rows[kind][self.place] += 1
        self.open.pop(each.sock.fileno())
        self.seats.append(each.seat)
        each.sock.close()
