"""Readers that do not read: what they cost, and who pays."""

import socket
import struct
from typing import NamedTuple

from beewire.mesh.qualify.exchange import (
    CHUNK,
    Hearer,
    Sender,
    send_and_hear,
)
from beewire.mesh.qualify.stand import Finding, Pair, Stand, by_tcp

MOST = 64 << 20
"""Nobody accepts so much for a reader that sleeps, unless it has no bound."""
_SO_MEMINFO = 55  # since Linux 4.12 (a2d133b1d465)
_WORDS = struct.Struct(
    "=9I"
)  # SK_MEMINFO_VARS: rmem, rcvbuf, wmem, sndbuf, fwd, wmem queued
_QUEUED = 256 << 10
_CONNECTIONS = 40
_PAGE = 4096
_TRIES = 3
_TINY = 60_000
_TINY_MEMORY = 16 << 20  # heads alone would take 60 MB


class _Cost(NamedTuple):
    accepted: int
    memory: int


def stalled_reader(stand: Stand) -> str:
    """Send to a reader that sleeps, until no more is taken; it costs what TCP costs."""
    stand.step("by TCP, send to a reader that sleeps")
    with by_tcp(stand), stand.pair() as pair:
        usual = [_stall(each) for each in (pair, pair.swapped())]
    said = []
    with stand.pair() as pair:
        for each, tcp, who in zip((pair, pair.swapped()), usual, _WHO, strict=True):
            stand.step(f"send to a reader that sleeps: {who}")
            cost = _stall(each)
            if cost.accepted > 2 * tcp.accepted or cost.memory > 2 * tcp.memory:
                raise Finding(
                    f"{cost.accepted:,} bytes were accepted for a reader that sleeps, with"
                    f" {cost.memory:,} of memory; TCP accepts {tcp.accepted:,}, with"
                    f" {tcp.memory:,}"
                )
            said.append(f"{cost.accepted / tcp.accepted:.2f}")
            stand.step(f"read what was kept for {who}")
            _drain(each, cost.accepted)
    return (
        f"a reader that sleeps costs {said[0]} times what it costs by TCP, one at the"
        f" other end {said[1]} times; all was read afterwards"
    )


_WHO = ("the judged end", "the other end")


def _stall(pair: Pair) -> _Cost:
    sender = Sender(pair.other)
    accepted = sender.fill(MOST)
    return _Cost(accepted, _received(pair.subject) + _unsent(pair.other))


def _drain(pair: Pair, size: int) -> None:
    Hearer(pair.subject).pull_all(size)


def _meminfo(sock: socket.socket) -> tuple[int, ...]:
    return _WORDS.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _WORDS.size))


def _received(sock: socket.socket) -> int:
    return _meminfo(sock)[0]


def _unsent(sock: socket.socket) -> int:
    return _meminfo(sock)[5]


def tiny_messages(stand: Stand) -> str:
    """Send single bytes to a reader that sleeps: the kernel keeps more than bytes."""
    grown = []
    for _ in range(_TRIES):
        with stand.pair() as pair:
            stand.step(f"send {_TINY:,} single bytes to a reader that sleeps")
            before, sender = _unreclaimable(), Sender(pair.other)
            for _ in range(_TINY):
                sender.push(1)
            grown.append(_unreclaimable() - before)
            stand.step("read them")
            _drain(pair, sender.at)
        if grown[-1] <= _TINY_MEMORY:
            return f"{_TINY:,} unread messages of a byte took {grown[-1] >> 10:,} KB"
    raise Finding(
        f"{_TINY:,} unread messages of a byte took {min(grown) >> 10:,} KB of the"
        " kernel's memory, which nobody is charged for"
    )


def _unreclaimable() -> int:
    # Slabs of the whole machine: others move it, too, which is why we try again.
    with open("/proc/meminfo") as file:  # noqa: PTH123 - it is /proc
        for line in file:
            if line.startswith("SUnreclaim:"):
                return int(line.split()[1]) << 10
    return 0


def accounting(stand: Stand) -> str:
    """Queue bytes and look whom the kernel charges for them, before and after reading."""
    with stand.pair() as pair:
        for each, who in zip((pair, pair.swapped()), _WHO, strict=True):
            stand.step(f"queue for {who}, and ask who is charged")
            sender, hearer = Sender(each.other), Hearer(each.subject)
            send_and_hear(sender, hearer, CHUNK)
            sender.push_all(_QUEUED)
            charged = _received(each.subject) + _unsent(each.other)
            if charged < _QUEUED:
                raise Finding(
                    f"{_QUEUED:,} bytes lie unread, and {charged:,} are charged to"
                    " anybody"
                )
            hearer.pull_all(sender.at)
            if left := _received(each.subject):
                raise Finding(f"{left:,} bytes are charged after everything was read")
    stand.step("close connections with bytes unread, and count the pages")
    least = min((_leak(stand) for _ in range(_TRIES)), key=lambda leak: leak.pages)
    if least.pages > least.queued // _PAGE // 2:
        raise Finding(
            f"{least.pages:,} pages of TCP's memory stay taken after {_CONNECTIONS}"
            f" connections with {least.queued:,} unread bytes were closed"
        )
    return (
        f"{_QUEUED:,} unread bytes are charged to the reader, and to nobody once they are"
        f" read; {_CONNECTIONS} connections closed unread keep no memory"
    )


class _Leak(NamedTuple):
    queued: int
    pages: int


def _leak(stand: Stand) -> _Leak:
    before, queued = _tcp_pages(), 0
    for _ in range(_CONNECTIONS):
        with stand.pair() as pair:
            queued += Sender(pair.other).stuff(_QUEUED)
            queued += Sender(pair.subject).stuff(_QUEUED)
    return _Leak(queued, _tcp_pages() - before)


def _tcp_pages() -> int:
    # Of all namespaces: others of the machine move it, too, which is why we try again.
    with open("/proc/net/sockstat") as file:  # noqa: PTH123 - it is /proc
        for line in file:
            if line.startswith("TCP:"):
                return int(line.split()[-1])
    return 0
