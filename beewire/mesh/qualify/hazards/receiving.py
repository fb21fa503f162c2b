"""What receivers can ask for: to be woken, to peek, to wait for a while."""

import array
import contextlib
import fcntl
import select
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable

from beewire.mesh.lab.patience import PATIENCE
from beewire.mesh.qualify import exchange
from beewire.mesh.qualify.exchange import (
    CHUNK,
    SMALL,
    Hearer,
    Sender,
    past_the_bound,
    send_and_hear,
    text,
    wait,
)
from beewire.mesh.qualify.stand import Dialled, Finding, Leg, Pair, Stand, by_tcp

_MESSAGES = 200
_SHUT = 40
_QUESTIONS = 3
_SIZE = 5000
_LOW = 4000
_WAIT_S = 0.2
_TIMEVAL = struct.Struct("ll")
_ROOM = 5000  # the last read of messages is shorter
_HALF = SMALL // 2  # every read is full


def nonblocking(stand: Stand) -> str:
    """Be woken for every message: by epoll, level and edge, by poll and by select."""
    with stand.pair() as made:
        for pair in made.both():
            for name, flags in (("level", 0), ("edge", select.EPOLLET)):
                stand.step(f"wait for messages by epoll, {name}-triggered")
                _by_epoll(pair, flags)
            stand.step("wait for messages by poll and by select")
            sender, hearer = Sender(pair.other), Hearer(pair.subject)
            for _ in range(_MESSAGES // 4):
                sender.push_all(100)
                if not select.select([pair.subject], [], [], exchange.WAIT_S)[0]:
                    raise Finding("select() does not tell of a message")
                hearer.pull_all(sender.at)
            if select.select([pair.subject], [], [], 0)[0]:
                raise Finding("select() tells of a message when there is none")
    return (
        "epoll (level and edge), poll and select told of every message, and of no other"
    )


def _by_epoll(pair: Pair, flags: int) -> None:
    sender, hearer = Sender(pair.other), Hearer(pair.subject)
    with select.epoll() as poll:
        poll.register(pair.subject, select.EPOLLIN | flags)
        for number in range(_MESSAGES):
            sender.push_all(1 + number)
            if not poll.poll(exchange.WAIT_S):
                raise Finding(f"epoll does not tell of message {number + 1}")
            while hearer.pull(CHUNK) > 0:
                pass
            if hearer.at < sender.at:  # it was told in two parts
                hearer.pull_all(sender.at)


def missed_edge(stand: Stand) -> str:
    """A reader of edges stops for a while, and is sent bytes by both ways meanwhile.

    It had its edges before it reads on. What follows depends on whose it is: an application
    may wait for the next edge as soon as a read gives less than there is room for (tokio);
    a sidecar reads until nothing is left.
    """

    def read(hearer: Hearer) -> bool:
        got = hearer.pull(_ROOM)
        return got == _ROOM or (got > 0 and stand.leg is Leg.BETWEEN)

    for send in (past_the_bound, _and_then_by_tcp):
        _by_edges(stand, send, read, exchange.WAIT_S)
    return (
        "a reader of edges that had stopped, and was sent bytes by both ways, was told of"
        " all of them when it read on"
    )


def counted_edge(stand: Stand) -> str:
    """The same by who waits for the next edge once FIONREAD tells of no more, as nginx does."""

    def read(hearer: Hearer) -> bool:
        return hearer.pull(_HALF) == _HALF and _counted(hearer.sock) > 0

    # Nobody tells again of what is all there by the short path.
    _by_edges(stand, _one_message, read, exchange.WAIT_S / 10)
    for send in (past_the_bound, _and_then_by_tcp):
        _by_edges(stand, send, read, exchange.WAIT_S)
    return (
        "a reader of edges that believes FIONREAD was told of everything that was sent"
    )


def _one_message(stand: Stand, sender: Sender) -> None:  # noqa: ARG001 - one of three
    sender.push_all(SMALL)


def _and_then_by_tcp(stand: Stand, sender: Sender) -> None:
    sender.push_all(SMALL)
    with by_tcp(stand):
        sender.push_all(SMALL)


def _by_edges(
    stand: Stand,
    send: Callable[[Stand, Sender], None],
    read: Callable[[Hearer], bool],
    wait_s: float,
) -> None:
    """Send, and `read` on at each edge as long as it says that there may be more."""
    with stand.pair() as pair, select.epoll() as poll:
        poll.register(pair.subject, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)
        sender, hearer = Sender(pair.other), Hearer(pair.subject)
        stand.step("send to a reader that has stopped")
        send(stand, sender)
        while poll.poll(exchange.QUIET_S):
            pass
        stand.step("read on, by edges")
        while hearer.at < sender.at:
            while read(hearer):
                pass
            if hearer.at < sender.at and not poll.poll(wait_s):
                raise Finding(
                    "whoever waits for the next edge, as it seems to have read all, waits"
                    f" for ever: {hearer.at:,} of {sender.at:,} bytes are read"
                )


def blocking(stand: Stand) -> str:
    """A socket that blocks: recv() waits, also behind shutdown(), and never says EAGAIN.

    One that dials asks, and shuts its half; one that was accepted serves.
    """
    early = 0
    for number in range(_SHUT):
        with stand.pair(Dialled(blocking=True)) as pair:
            stand.step(f"block in recv(), {number + 1} of {_SHUT}")
            early += _answered(pair) if stand.leg.dials else _served(pair)
    if early:
        raise Finding(f"recv() on a blocking socket said EAGAIN in {early} of {_SHUT}")
    return (
        f"{_SHUT} blocking sockets were left on TCP; none of their calls gave up early"
    )


def blocking_later(stand: Stand) -> str:
    """A socket that blocks only after it was connected: what comes next goes by TCP."""
    early = 0
    for number in range(_SHUT):
        with stand.pair() as pair:
            send_and_hear(Sender(pair.other), Hearer(pair.subject), 100)
            pair.subject.setblocking(True)
            stand.step(f"block after connecting, {number + 1} of {_SHUT}")
            early += _answered(pair)
    if early:
        raise Finding(
            f"recv() said EAGAIN in {early} of {_SHUT}, on sockets that began to block"
            " after they were connected"
        )
    return (
        f"{_SHUT} sockets that began to block later; none of their calls gave up early"
    )


def _answered(pair: Pair) -> bool:
    """Ask, shut one's half, and block for the answer; whether recv() gave up early."""
    question, answer = b"what?", bytes(text(0, _SIZE))
    pair.subject.sendall(question)
    failures: list[BaseException] = []

    def reply() -> None:
        try:
            heard = b""
            while heard != question and wait(pair.other, select.POLLIN):
                heard += pair.other.recv(100)
            time.sleep(0.002)  # so that the other one sleeps when it is woken
            pair.other.sendall(answer)
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=reply, daemon=True)
    thread.start()
    try:
        pair.subject.shutdown(socket.SHUT_WR)
        got = b""
        while len(got) < len(answer):
            part = pair.subject.recv(CHUNK)
            if not part:
                raise Finding(f"the answer ends after {len(got):,} bytes")
            got += part
    except BlockingIOError:
        return True
    finally:
        thread.join(exchange.WAIT_S)
    if failures or got != answer:
        raise Finding(f"the answer is not what was sent {failures or ''}")
    return False


def _served(pair: Pair) -> bool:
    """Block for questions, and answer, until no more come; whether recv() gave up early."""
    sender, hearer = Sender(pair.other), Hearer(pair.other)
    given_up: list[BaseException] = []

    def serve() -> None:
        try:
            while question := pair.subject.recv(CHUNK):
                pair.subject.sendall(question)
        except OSError as error:
            given_up.append(error)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    for _ in range(_QUESTIONS):
        sender.push_all(_SIZE)
        hearer.pull_all(sender.at)
    pair.other.shutdown(socket.SHUT_WR)
    thread.join(exchange.WAIT_S)
    if thread.is_alive():
        raise Finding("recv() on a blocking socket does not see the end of the stream")
    return bool(given_up)


def rcvtimeo(stand: Stand) -> str:
    """SO_RCVTIMEO: recv() gives up when the time is over, and hears what comes in time."""
    with stand.pair(Dialled(blocking=True)) as pair:
        spec = _TIMEVAL.pack(0, int(_WAIT_S * 1e6))
        pair.subject.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, spec)
        # By its first message it is found out that who has accepted blocks.
        sender, hearer = Sender(pair.other), Hearer(pair.subject)
        sender.push_all(_SIZE)
        hearer.pull_all(_SIZE)
        stand.step("recv() with SO_RCVTIMEO, and nothing comes")
        began = time.monotonic()
        with contextlib.suppress(BlockingIOError):
            pair.subject.recv(100)
            raise Finding("recv() with SO_RCVTIMEO returned though nothing came")
        took = time.monotonic() - began
        if not _WAIT_S * 0.5 < took < exchange.WAIT_S:
            raise Finding(f"recv() gave up after {took:.2f} s, and not {_WAIT_S} s")
        sender.push_all(_SIZE)
        hearer.pull_all(sender.at)
    return f"recv() gave up after {_WAIT_S} s as it was told, and heard what came then"


def peek(stand: Stand) -> str:
    """MSG_PEEK shows what comes, again and again, and leaves it there."""
    with stand.pair() as made:
        for pair in made.both():
            sender, hearer = Sender(pair.other), Hearer(pair.subject)
            for round_ in range(3):
                stand.step(f"peek at what comes, {round_ + 1} of 3")
                sender.push_all(_SIZE)
                for size in (1, 5, 517, _SIZE):
                    _peek(pair.subject, hearer.at, size)
                hearer.pull_all(hearer.at + 700)
                _peek(pair.subject, hearer.at, 1000)
                hearer.pull_all(sender.at)
    return "MSG_PEEK showed the next bytes as often as asked, and took none away"


def _peek(sock: socket.socket, at: int, size: int) -> None:
    if not wait(sock, select.POLLIN):
        raise Finding("nothing arrives to peek at")
    seen = sock.recv(size, socket.MSG_PEEK)
    if not seen or seen != text(at, len(seen)):
        raise Finding(f"MSG_PEEK of {size:,} bytes shows others than those that come")


def fionread(stand: Stand) -> str:
    """FIONREAD tells how many bytes wait."""
    with stand.pair() as made:
        for pair in made.both():
            sender, hearer = Sender(pair.other), Hearer(pair.subject)
            for size in (1, _SIZE, CHUNK):
                stand.step(f"ask for the number of bytes that wait: {size:,}")
                sender.push_all(size)
                _waiting(pair.subject, size)
                hearer.pull_all(hearer.at + size // 2)
                _waiting(pair.subject, size - size // 2)
                hearer.pull_all(sender.at)
            _waiting(pair.subject, 0)
    return "FIONREAD told how many bytes waited, also after some were read"


def _waiting(sock: socket.socket, expected: int) -> None:
    deadline = time.monotonic() + 0.2 * PATIENCE
    while True:
        told = _counted(sock)
        if told == expected:
            return
        if time.monotonic() > deadline:
            raise Finding(f"FIONREAD tells {told:,} bytes where {expected:,} wait")


def _counted(sock: socket.socket) -> int:
    told = array.array("i", [0])
    fcntl.ioctl(sock, termios.FIONREAD, told)
    return told[0]


def rcvlowat(stand: Stand) -> str:
    """SO_RCVLOWAT: poll() tells nothing until so many bytes are there."""
    with stand.pair() as pair:
        pair.subject.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, _LOW)
        sender = Sender(pair.other)
        stand.step("send fewer bytes than SO_RCVLOWAT asks for")
        sender.push_all(_LOW // 4)
        early = wait(pair.subject, select.POLLIN, limit_s=0.1)
        sender.push_all(_LOW)
        if not wait(pair.subject, select.POLLIN):
            raise Finding(
                "poll() does not tell of as many bytes as SO_RCVLOWAT asks for"
            )
        Hearer(pair.subject).pull_all(sender.at)
        if early:
            raise Finding("SO_RCVLOWAT is ignored: poll() tells of fewer bytes")
    return f"poll() waited for the {_LOW:,} bytes that SO_RCVLOWAT asks for"


def oob(stand: Stand) -> str:
    """MSG_OOB: an urgent byte is told of, and kept out of the stream."""
    with stand.pair() as pair:
        send_and_hear(Sender(pair.other), Hearer(pair.subject), 100)
        stand.step("send an urgent byte")
        pair.other.send(b"before")
        pair.other.send(b"!", socket.MSG_OOB)
        told = wait(pair.subject, select.POLLPRI, limit_s=0.3 * PATIENCE)
        pair.other.send(b"after")
        heard = b""
        while not heard.endswith(b"after") and wait(pair.subject, select.POLLIN):
            heard += pair.subject.recv(100)
        if heard == b"beforeafter" and told & select.POLLPRI:
            return "an urgent byte was told of, and kept out of the stream"
        raise Finding(f"an urgent byte arrives in the stream, as {heard!r}, untold")
