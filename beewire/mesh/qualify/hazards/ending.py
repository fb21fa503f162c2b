"""How connections end: halves, queued data, resets."""

import contextlib
import os
import select
import signal
import socket
from collections.abc import Callable
from itertools import product

from beewire.mesh.lab.tcp import reset_at_close
from beewire.mesh.qualify.exchange import (
    CHUNK,
    Hearer,
    Sender,
    past_the_bound,
    send_and_hear,
    wait,
)
from beewire.mesh.qualify.stand import Finding, Pair, Stand

_SIZE = 300_000
_QUEUED = 200_000
_OVERFULL = 8 << 20  # more than the short path takes: the rest goes by TCP, if it fits
_TIMES = 8


def half_close(stand: Stand) -> str:
    """One end shuts its half with data on the way; the other answers, and ends."""
    for end, size in product(range(2), (_QUEUED, _OVERFULL)):
        with stand.pair() as made:
            first = made.both()[end]
            stand.step(f"shut one half behind what was sent, at most {size:,} bytes")
            sender, hearer = Sender(first.other), Hearer(first.subject)
            sender.stuff(size)
            first.other.shutdown(socket.SHUT_WR)
            hearer.pull_all(sender.at)
            hearer.pull_end()
            stand.step("answer on the half that is open")
            answer = Sender(first.subject), Hearer(first.other)
            send_and_hear(*answer, _SIZE)
            first.subject.shutdown(socket.SHUT_WR)
            answer[1].pull_end()
    return "what was sent before a half was shut arrived, then its end, then the answer"


def close_queued(stand: Stand) -> str:
    """Close right behind what was sent, unread; and be killed behind it."""
    for end, size in product(range(2), (_QUEUED,) * _TIMES + (_OVERFULL,)):
        with stand.pair() as made:
            pair = made.both()[end]
            sender = Sender(pair.other)
            sender.stuff(size)
            stand.step(f"close behind {sender.at:,} bytes")
            pair.other.close()
            _hear_all(pair, sender.at)
    with stand.pair() as made:
        for pair in made.both()[:1]:
            stand.step("kill a process behind what it sent")
            _killed(pair, lambda sock: Sender(sock).push_all(_QUEUED))
            _hear_all(pair, _QUEUED)
    return "what lay unread when the sender closed, or died, arrived, by both ways"


def _hear_all(pair: Pair, size: int) -> None:
    hearer = Hearer(pair.subject)
    hearer.pull_all(size)
    hearer.pull_end()


def _killed(pair: Pair, act: Callable[[socket.socket], object]) -> None:
    """Let a process that alone has the other end `act`, and kill it."""
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            pair.subject.close()
            act(pair.other)
            os.write(told, b"!")
            signal.pause()
        os._exit(1)
    pair.other.close()
    os.close(told)
    os.read(ready, 1)
    os.close(ready)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def reset(stand: Stand) -> str:
    """Abort behind what was sent: the reader gets it, or an error, and never an early end."""
    ends = set()
    for end in range(2):
        with stand.pair() as made:
            pair = made.both()[end]
            sender, hearer = Sender(pair.other), Hearer(pair.subject)
            send_and_hear(sender, hearer, CHUNK)
            sender.push_all(_QUEUED)
            reset_at_close(pair.other)
            stand.step("abort a connection with data unread")
            pair.other.close()
            ends.add(_after_reset(hearer, sender.at))
    return f"what was sent before a reset was read; then {' or '.join(sorted(ends))}"


def _after_reset(hearer: Hearer, sent: int) -> str:
    try:
        while (got := hearer.pull(CHUNK)) >= 0:
            if got == 0 and not wait(hearer.sock, select.POLLIN):
                raise Finding("nobody is told of a reset: the reader waits for ever")
    except OSError as error:
        return f"{error.strerror}"
    if hearer.at < sent:
        raise Finding(
            f"the stream seems to end properly after {hearer.at:,} of {sent:,} bytes that"
            " were sent before a reset"
        )
    return "the end of the stream"


def reset_unread(stand: Stand) -> str:
    """Close with bytes of TCP unread, behind what was sent: what had arrived is read."""
    ends = set()
    for end in range(2):
        with stand.pair() as made:
            pair = made.both()[end]
            sender, hearer = Sender(pair.other), Hearer(pair.subject)
            send_and_hear(sender, hearer, CHUNK)
            stand.step("send by both ways to who does not read")
            past_the_bound(stand, Sender(pair.subject))
            sender.push_all(_QUEUED)
            stand.step("close with bytes of TCP unread, behind data")
            pair.other.close()
            ends.add(_after_reset(hearer, sender.at))
            if hearer.at < sender.at:
                raise Finding(
                    f"a reset takes away what had arrived: {hearer.at:,} of {sender.at:,}"
                    " bytes are read"
                )
    return f"what had arrived before a reset was read; then {' or '.join(sorted(ends))}"


def eof_unread(stand: Stand) -> str:
    """Close with data unread: TCP resets the connection, so that the sender knows."""
    for end in range(2):
        with stand.pair() as made:
            pair = made.both()[end]
            Sender(pair.other).push_all(CHUNK)
            stand.step("close with data unread")
            pair.subject.close()
            if not wait(pair.other, select.POLLIN | select.POLLRDHUP):
                raise Finding("the sender is told nothing when its reader closes")
            with contextlib.suppress(ConnectionResetError):
                pair.other.recv(1)
                raise Finding(
                    "whoever closes with data unread seems to end properly: the sender"
                    " gets the end of the stream, and no ECONNRESET"
                )
    return "closing with data unread resets the connection, as TCP does"
