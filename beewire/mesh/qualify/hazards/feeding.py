"""What sends or receives without a copy: splice both ways, sendfile, MSG_ZEROCOPY."""

import contextlib
import os
import select
import socket
import struct
import tempfile
from collections.abc import Iterator

from beewire.mesh.lab.patience import PATIENCE
from beewire.mesh.qualify.exchange import (
    AT_FIRST,
    SMALL,
    Hearer,
    Sender,
    send_and_hear,
    text,
    wait,
)
from beewire.mesh.qualify.stand import Finding, Impossible, Stand

_SIZE = 40_000  # fits into a pipe
_SPLICED = 12_000  # and does not make an application part
_FILE = 1_000_000
_TIMES = 5
_MANY = 20
_SO_ZEROCOPY = 60
_MSG_ZEROCOPY = 0x400_0000
_MSG_ERRQUEUE = 0x2000
_TCP_INFO_BYTES = struct.Struct("=QQ")  # tcpi_bytes_acked, tcpi_bytes_received
_TCP_INFO_AT = 120


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


def splice_from(stand: Stand) -> str:
    """splice() from the socket to a pipe moves what poll() tells of."""
    with stand.pair() as pair, _pipe() as (out, into):
        sender = Sender(pair.other)
        for number in range(_TIMES):
            sender.push_all(_SIZE)
            stand.step(f"splice from the socket, {number + 1} of {_TIMES}")
            got = b""
            while len(got) < _SIZE:
                if not wait(pair.subject, select.POLLIN):
                    raise Finding("poll() tells nothing of what was sent")
                try:
                    os.splice(pair.subject.fileno(), into, _SIZE - len(got))
                except BlockingIOError:
                    raise Finding(
                        "splice() says EAGAIN while poll() tells of data: whoever splices"
                        " from this socket waits for ever"
                    ) from None
                got += os.read(out, _SIZE)
            if got != text(number * _SIZE, _SIZE):
                raise Finding("splice() moved other bytes than were sent")
    return f"splice() moved {_TIMES * _SIZE:,} bytes from the socket to a pipe"


def splice_to(stand: Stand) -> str:
    """splice() from a pipe to the socket sends what is in the pipe."""
    with stand.pair() as made:
        for pair in made.both():
            with _pipe() as (out, into):
                hearer = Hearer(pair.subject)
                for number in range(_MANY):
                    stand.step(f"splice to the socket, {number + 1} of {_MANY}")
                    os.write(into, text(number * _SPLICED, _SPLICED))
                    left = _SPLICED
                    while left:
                        left -= os.splice(out, pair.other.fileno(), left)
                    hearer.pull_all((number + 1) * _SPLICED)
    return f"splice() sent {2 * _MANY * _SPLICED:,} bytes from a pipe"


def sendfile(stand: Stand) -> str:
    """sendfile() sends a file, and reads none of it later."""
    with tempfile.TemporaryFile() as file, stand.pair() as made:
        file.write(text(0, _FILE))
        file.flush()
        for pair in made.both():
            stand.step(f"send a file of {_FILE:,} bytes")
            hearer, at = Hearer(pair.subject), 0
            while hearer.at < _FILE:
                moved = 0
                most = SMALL if at < AT_FIRST else _FILE  # as a Sender does it
                with contextlib.suppress(BlockingIOError):
                    moved = os.sendfile(
                        *(pair.other.fileno(), file.fileno()),
                        *(at, min(most, _FILE - at)),
                    )
                at += moved
                if not hearer.pull(1 << 18) and not moved:
                    wait(pair.subject, select.POLLIN)
    return f"sendfile() sent {2 * _FILE:,} bytes"


def zerocopy(stand: Stand) -> str:
    """MSG_ZEROCOPY: the sender is told when it may use its memory again."""
    with stand.pair() as pair:
        try:
            pair.other.setsockopt(socket.SOL_SOCKET, _SO_ZEROCOPY, 1)
        except OSError as error:
            raise Impossible(
                f"this kernel has no SO_ZEROCOPY: {error.strerror}"
            ) from None
        stand.step("send with MSG_ZEROCOPY")
        send_and_hear(Sender(pair.other), Hearer(pair.subject), 1000)
        pair.other.send(text(1000, _SPLICED), _MSG_ZEROCOPY)
        heard = Hearer(pair.subject)
        heard.at = 1000
        heard.pull_all(1000 + _SPLICED)
        if not wait(pair.other, select.POLLERR, limit_s=0.3 * PATIENCE):
            raise Finding("MSG_ZEROCOPY is accepted, and never told to be done")
        pair.other.recvmsg(1, 100, _MSG_ERRQUEUE)
    return "the sender was told when MSG_ZEROCOPY was done"


def tcp_info(stand: Stand) -> str:
    """TCP_INFO counts what a connection carries, as `ss -i` shows it."""
    with stand.pair() as pair:
        before = _received(pair.subject)
        stand.step("compare TCP_INFO with what was received")
        send_and_hear(Sender(pair.other), Hearer(pair.subject), _SIZE)
        grown = _received(pair.subject) - before
    if grown < _SIZE:
        raise Finding(
            f"TCP_INFO counts {grown:,} of {_SIZE:,} bytes: `ss -i` and what reads it stand"
            " still"
        )
    return "TCP_INFO counted what was received"


def _received(sock: socket.socket) -> int:
    told = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return int(_TCP_INFO_BYTES.unpack_from(told, _TCP_INFO_AT)[1])
