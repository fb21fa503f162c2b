"""Readers that do not read: what they cost, and who pays."""

import socket
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple

from beewire.mesh.programs.bypass.state import BOUND
from beewire.mesh.qualify import exchange
from beewire.mesh.qualify.exchange import (
    AT_FIRST,
    CHUNK,
    SMALL,
    Hearer,
    Sender,
    fill,
    send_and_hear,
)
from beewire.mesh.qualify.stand import TCP_MEMORY, Finding, Pair, Stand, by_tcp

MOST = 64 << 20
"""Nobody accepts so much for two readers that sleep, unless they have no bound."""
_TCP_MOST = sum(limits[-1] for limits in TCP_MEMORY.values())
_WHO = ("the judged end", "the other end")
_SO_MEMINFO = 55  # since Linux 4.12 (a2d133b1d465)
_CARRIED = 8 << 20
_USED = 1 << 20
_WORDS = struct.Struct(
    "=9I"
)  # SK_MEMINFO_VARS: rmem, rcvbuf, wmem, sndbuf, fwd, wmem queued
_QUEUED = 256 << 10
_CONNECTIONS = 40
_PAGE = 4096
_TRIES = 3
_TINY = 30_000
_TINY_MEMORY = 12 << 20  # heads alone would take 30 MB


class _Cost(NamedTuple):
    accepted: int
    memory: int


def stalled_reader(stand: Stand) -> str:
    """Send to a reader that sleeps, until no more is taken: it costs what TCP costs.

    On connections that have carried nothing yet, on such whose buffers have grown, and on
    such whose reader was never behind, at both ends. What TCP allows a reader to cost is the
    most that it takes in any of them, or may take: how far buffers grow is a matter of luck.
    """
    with by_tcp(stand):
        usual = _most(list(_costs(stand, "by TCP")))
    costs, limit = [], 2 * max(_TCP_MOST, *usual)
    for cost in _costs(stand, "by the short path"):
        if max(cost) > limit:
            raise Finding(
                f"{cost.accepted:,} bytes were accepted for a reader that sleeps, and took"
                f" {cost.memory:,} of memory; TCP accepts {usual.accepted:,}, which take"
                f" {usual.memory:,}, and may take {_TCP_MOST:,}"
            )
        costs.append(cost)
    most = _most(costs)
    ratio = max(most.accepted / usual.accepted, most.memory / usual.memory)
    return (
        f"a reader that sleeps costs {most.memory:,} bytes of memory, {ratio:.2f} times"
        " what it costs by TCP; it read all of it afterwards"
    )


def _costs(stand: Stand, way: str) -> Iterator[_Cost]:
    with stand.pair() as fresh, stand.pair() as grown, stand.pair() as used:
        for end in range(2):
            streams = [_stream(fresh, end), _stream(grown, end)]
            stand.step(f"move {_CARRIED:,} bytes {way}")
            send_and_hear(*streams[1], _CARRIED)
            # An application that was sent a large message, or was behind, is on TCP; not so
            # one that reads small ones as they come.
            streams.append(_stream(used, end, small=_USED + 2 * BOUND))
            stand.step(f"move {_USED:,} bytes {way}, each message read as it comes")
            for _ in range(_USED // SMALL):
                send_and_hear(*streams[2], SMALL)
            yield from _stalled(stand, way, streams)


def _stream(pair: Pair, end: int, small: int = AT_FIRST) -> tuple[Sender, Hearer]:
    to = pair.both()[end]
    return Sender(to.other, small), Hearer(to.subject)


def _stalled(
    stand: Stand, way: str, streams: list[tuple[Sender, Hearer]]
) -> Iterator[_Cost]:
    stand.step(f"send {way} to readers that sleep")
    before = [sender.at for sender, _ in streams]
    fill([sender for sender, _ in streams], MOST)
    for (sender, hearer), carried in zip(streams, before, strict=True):
        memory = _received(hearer.sock) + _unsent(sender.sock)
        yield _Cost(sender.at - carried, memory)
    stand.step(f"read what was kept {way}")
    for sender, hearer in streams:
        hearer.pull_all(sender.at)


def _most(costs: list[_Cost]) -> _Cost:
    return _Cost(
        max(cost.accepted for cost in costs), max(cost.memory for cost in costs)
    )


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
            Hearer(pair.subject).pull_all(sender.at)
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
        for each, who in zip(pair.both(), _WHO, strict=True):
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
    leak = next(each for each in _leaks(stand) if each.is_none or each.is_last)
    if not leak.is_none:
        raise Finding(
            f"{leak.pages:,} pages of TCP's memory stay taken after {_CONNECTIONS}"
            f" connections with {leak.queued:,} unread bytes were closed"
        )
    return (
        f"{_QUEUED:,} unread bytes are charged to the reader, and to nobody once they are"
        f" read; {_CONNECTIONS} connections closed unread keep no memory"
    )


class _Leak(NamedTuple):
    queued: int
    pages: int
    is_last: bool

    @property
    def is_none(self) -> bool:
        return self.pages <= self.queued // _PAGE // 2


def _leaks(stand: Stand) -> Iterator[_Leak]:
    """What connections that were closed unread keep: again and again, as others use TCP."""
    for number in range(_TRIES):
        before, queued = _tcp_pages(), 0
        for _ in range(_CONNECTIONS):
            with stand.pair() as pair:
                queued += Sender(pair.other).stuff(_QUEUED)
                queued += Sender(pair.subject).stuff(_QUEUED)
        # What was queued goes when nobody can be reading it any more, and no sooner.
        deadline = time.monotonic() + exchange.WAIT_S
        while True:
            leak = _Leak(queued, _tcp_pages() - before, number == _TRIES - 1)
            if leak.is_none or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        yield leak


def _tcp_pages() -> int:
    # Of all namespaces: others of the machine move it, too, which is why we try again.
    with open("/proc/net/sockstat") as file:  # noqa: PTH123 - it is /proc
        for line in file:
            if line.startswith("TCP:"):
                return int(line.split()[-1])
    return 0
