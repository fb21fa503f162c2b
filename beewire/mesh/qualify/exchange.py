"""Send and hear a text in which every place is known: what is lost or moved is seen."""

import select
import socket
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from random import Random
from typing import Final

from beewire.mesh.lab.patience import PATIENCE
from beewire.mesh.programs.bypass.state import LARGE
from beewire.mesh.qualify.stand import Finding, Stand

# A prime, and no power of two: what is moved by a buffer's length looks different.
_PERIOD: Final = 1_048_573
_TEXT: Final = Random(1).randbytes(_PERIOD)
_TWICE: Final = memoryview(_TEXT + _TEXT)
CHUNK: Final = 1 << 16
SMALL: Final = LARGE // 2
"""A message by which no application parts."""
AT_FIRST: Final = 1 << 19
WAIT_S = 10.0 * PATIENCE
"""How long what was sent may take to arrive, on one machine."""
QUIET_S: Final = 0.25 * min(PATIENCE, 2)
"""A socket that does not become writable for so long is full."""


def text(at: int, size: int) -> memoryview:
    """`size` bytes of the text from `at` on, at most its period."""
    begin = at % _PERIOD
    return _TWICE[begin : begin + min(size, _PERIOD)]


def wait(sock: socket.socket, events: int, *, limit_s: float = 0.0) -> int:
    """The events that poll(2) tells of `sock`; 0 where none comes in `limit_s`, or WAIT_S."""
    poll = select.poll()
    poll.register(sock, events)
    found = poll.poll((limit_s or WAIT_S) * 1000)
    return found[0][1] if found else 0


class Sender:
    """Sends the text on a non-blocking socket; `at` is how much it has sent.

    Messages are SMALL until `small` bytes are sent: the first large one makes an
    application part, and what comes before it takes the short path.
    """

    def __init__(self, sock: socket.socket, small: int = AT_FIRST) -> None:
        self.sock = sock
        self.small = small
        self.at = 0

    def push(self, size: int) -> int:
        """Send up to `size` bytes in one call; how many the kernel took, 0 if it is full."""
        most = size if self.at >= self.small else min(size, SMALL)
        try:
            sent = self.sock.send(text(self.at, most))
        except BlockingIOError:
            return 0
        self.at += sent
        return sent

    def push_all(self, size: int) -> None:
        """Send `size` bytes, waiting for room.

        Raises:
            Finding: There is none.
        """
        end = self.at + size
        while self.at < end:
            if not self.push(end - self.at) and not wait(self.sock, select.POLLOUT):
                raise Finding(
                    f"no room to send after {self.at:,} bytes, though all read"
                )

    def stuff(self, most: int) -> int:
        """Send until the kernel takes no more just now, or `most` bytes are sent."""
        begin = self.at
        while self.at - begin < most and self.push(min(CHUNK, begin + most - self.at)):
            pass
        return self.at - begin


class Hearer:
    """Reads what a Sender sends; `at` is how much it has heard."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.at = 0
        self._buffer = memoryview(bytearray(1 << 18))

    def pull(self, size: int) -> int:
        """Read up to `size` bytes in one call: how many; 0 if there are none, -1 at the end.

        Raises:
            Finding: They are not those that were sent there.
        """
        room = self._buffer[: min(size, len(self._buffer))]
        try:
            got = self.sock.recv_into(room)
        except BlockingIOError:
            return 0
        self.check(room[:got])
        return got or -1

    def check(self, heard: memoryview | bytes) -> None:
        """Compare what was heard with the text.

        Raises:
            Finding: It is something else.
        """
        if heard != text(self.at, len(heard)):
            wrong = _first_difference(heard, text(self.at, len(heard)))
            raise Finding(
                f"byte {self.at + wrong:,} is not the one that was sent there:"
                f" {_whence(heard[wrong:], self.at + wrong)}"
            )
        self.at += len(heard)

    def pull_all(self, until: int) -> None:
        """Read until `until` bytes are heard in all.

        Raises:
            Finding: Something else comes, or nothing.
        """
        while self.at < until:
            got = self.pull(until - self.at)
            if got < 0:
                raise Finding(f"the stream ends after {self.at:,} of {until:,} bytes")
            if got == 0 and not wait(self.sock, select.POLLIN):
                raise Finding(
                    f"nothing arrives after {self.at:,} of {until:,} bytes that were sent"
                )

    def pull_end(self) -> None:
        """Read the end of the stream.

        Raises:
            Finding: There is more, or no end comes.
        """
        while (got := self.pull(CHUNK)) >= 0:
            if got > 0:
                raise Finding(f"{got:,} bytes come after the last one that was sent")
            if not wait(self.sock, select.POLLIN):
                raise Finding(f"no end of the stream comes after its {self.at:,} bytes")


def fill(senders: Sequence[Sender], most: int) -> None:
    """Send by all until none of them has room for a while, or `most` bytes are sent."""
    end = most + sum(sender.at for sender in senders)
    poll = select.poll()
    for sender in senders:
        poll.register(sender.sock, select.POLLOUT)
    while sum(sender.at for sender in senders) < end:
        pushed = sum(sender.push(CHUNK) for sender in senders)
        if not pushed and not poll.poll(QUIET_S * 1000):
            return


def send_and_hear(sender: Sender, hearer: Hearer, size: int) -> None:
    """Move `size` bytes, reading while sending.

    Raises:
        Finding: They do not arrive as they were sent.
    """
    end = sender.at + size
    while sender.at < end:
        if not sender.push(min(CHUNK, end - sender.at)) and hearer.pull(1 << 18) == 0:
            _stuck(sender, hearer)
    hearer.pull_all(end)


def past_the_bound(stand: Stand, sender: Sender) -> None:
    """Send small messages that nobody reads, until one goes by TCP, or there is no room."""
    before = stand.counted()
    while not stand.counted().since(before).tcp and sender.push(SMALL):
        pass


def _stuck(sender: Sender, hearer: "Hearer | _Body", *, may_send: bool = True) -> None:
    # Either end may go on: wait for both.
    poll = select.poll()
    if may_send:
        poll.register(sender.sock, select.POLLOUT)
    poll.register(hearer.sock, select.POLLIN)
    if not poll.poll(WAIT_S * 1000):
        raise Finding(
            f"nothing moves after {hearer.at:,} of {sender.at:,} bytes that were sent"
        )


def move_body(source: socket.socket, target: socket.socket, size: int) -> None:
    """Move a body in messages of many sizes, read into several buffers; compare SHA-256.

    Raises:
        Finding: It arrives otherwise, or not at all.
    """
    random, sender, hearer = Random(size), Sender(source), _Body(target)
    sizes = [1, 511, 4096, 16_384, CHUNK, 300_000]
    while hearer.at < size:
        wanted = min(random.choice(sizes), size - sender.at)
        pushed = sender.push(wanted) if wanted else 0
        if not hearer.pull() and not pushed:
            _stuck(sender, hearer, may_send=wanted > 0)
    if hearer.hash.hexdigest() != digest(size):
        raise Finding(f"the SHA-256 of {size:,} bytes differs from what was sent")


class _Body:
    # Hears into several buffers at once, as Envoy does, and keeps the hash only.

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.at = 0
        self.hash = sha256()
        self._buffers = [bytearray(n) for n in (1, 4096, 16_384, 100_000)]

    def pull(self) -> int:
        try:
            got = self.sock.recvmsg_into(self._buffers)[0]
        except BlockingIOError:
            return 0
        if got == 0:
            raise Finding(f"the stream ends after {self.at:,} bytes, within the body")
        left = got
        for buffer in self._buffers:
            self.hash.update(memoryview(buffer)[:left])
            left = max(0, left - len(buffer))
        self.at += got
        return got


@cache
def digest(size: int) -> str:
    """The SHA-256 of the text's first `size` bytes."""
    made, at = sha256(), 0
    while at < size:
        part = text(at, size - at)
        made.update(part)
        at += len(part)
    return made.hexdigest()


def _first_difference(heard: memoryview | bytes, sent: memoryview) -> int:
    return next(n for n, (a, b) in enumerate(zip(heard, sent, strict=True)) if a != b)


def _whence(heard: memoryview | bytes, at: int) -> str:
    # Where in the text the bytes are from: told, as it says how they were moved.
    found = bytes(_TWICE).find(bytes(heard[:32]))
    if found < 0 or len(heard) < 8:
        return "they are from elsewhere"
    moved = (found - at) % _PERIOD
    if moved < _PERIOD // 2:
        return f"what was sent {moved:,} bytes later came first"
    return f"what was sent {_PERIOD - moved:,} bytes earlier came again"


def hear(sock: socket.socket, expected: bytes) -> None:
    """Read exactly what is expected, which is no part of the text.

    Raises:
        Finding: Something else comes, or nothing.
    """
    heard = b""
    while len(heard) < len(expected):
        try:
            part = sock.recv(len(expected) - len(heard))
        except BlockingIOError:
            if not wait(sock, select.POLLIN):
                raise Finding(
                    f"{expected[:20]!r} was sent, and does not arrive"
                ) from None
            continue
        heard += part
        if not part:
            break
    if heard != expected:
        raise Finding(f"{expected[:20]!r} was sent, and {heard[:20]!r} arrives")
