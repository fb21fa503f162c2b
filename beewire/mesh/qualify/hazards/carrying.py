"""Bytes at rest and in bulk: whole bodies, every family, every owner of a socket."""

import os
import socket
import traceback
from collections.abc import Callable

from beewire.mesh.lab.tcp import reset_at_close
from beewire.mesh.qualify.exchange import (
    CHUNK,
    Hearer,
    Sender,
    hear,
    move_body,
    send_and_hear,
)
from beewire.mesh.qualify.stand import Dialled, Family, Finding, Stand

_BODY = 64 << 20
_SIZE = 400_000
_PORT = 20_961  # of no connection that has its port by chance (ip_local_port_range)
_ROUNDS = 3


def bodies(stand: Stand) -> str:
    """Bodies of 64 MB both ways, in messages of many sizes, read into several buffers."""
    with stand.pair() as made:
        for pair, way in zip(made.both(), ("to", "from"), strict=True):
            stand.step(f"a body of {_BODY:,} bytes {way} the judged end")
            move_body(pair.other, pair.subject, _BODY)
    return f"{_BODY >> 20} MB arrived each way, with the SHA-256 that was sent"


def families(stand: Stand) -> str:
    """IPv4, IPv6, and IPv4 by an IPv6 socket: each takes the short path, both ways."""
    told = []
    for family in Family:
        if not stand.has(family):
            continue
        before = stand.counted()
        with stand.pair(Dialled(family=family)) as made:
            for pair in made.both():
                stand.step(f"{_SIZE:,} bytes by {family.value}")
                send_and_hear(Sender(pair.other), Hearer(pair.subject), _SIZE)
            stand.prove(before, _SIZE, f"by {family.value}")
        told.append(family.value)
    return f"{', '.join(told)}: {_SIZE:,} bytes arrived each way by the short path"


def handed_on(stand: Stand) -> str:
    """Sockets that a child inherits, or that are passed on, go on as they were."""
    with stand.pair() as made:
        for pair in made.both():
            sender, hearer = Sender(pair.other), Hearer(pair.subject)
            send_and_hear(sender, hearer, 1000)
            sender.push_all(CHUNK)
            stand.step("a child reads one half of what is there, its parent the other")
            half = hearer.at + CHUNK // 2
            _in_child(lambda hearer=hearer, half=half: hearer.pull_all(half))  # type: ignore[misc]  # bound now
            hearer.at = half
            hearer.pull_all(sender.at)
            stand.step("a child sends, then its parent")
            _in_child(lambda sender=sender: sender.push_all(CHUNK))  # type: ignore[misc]  # as above
            sender.at += CHUNK
            sender.push_all(CHUNK)
            hearer.pull_all(sender.at)
    with stand.pair() as pair:
        stand.step("pass a socket to another process, and close it here")
        _by_passing(pair.subject, pair.other)
    return (
        "what children and others who were passed a socket read and sent was in order"
    )


def _by_passing(subject: socket.socket, other: socket.socket) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:

        def receive_and_use() -> None:
            _, fds, _, _ = socket.recv_fds(theirs, 1, 1)
            with socket.socket(fileno=fds[0]) as passed:
                passed.setblocking(False)
                Hearer(passed).pull_all(CHUNK)
                Sender(passed).push_all(CHUNK)

        def send_and_read() -> None:
            socket.send_fds(ours, [b"s"], [subject.fileno()])
            subject.close()
            Sender(other).push_all(CHUNK)
            hearer = Hearer(other)
            hearer.pull_all(CHUNK)
            hearer.pull_end()

        _in_child(receive_and_use, meanwhile=send_and_read, closed=subject)


def _in_child(
    act: Callable[[], object],
    *,
    meanwhile: Callable[[], None] = lambda: None,
    closed: socket.socket | None = None,
) -> None:
    """Let a child `act`; what it finds is found here. `closed` is closed there first."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(out)
        said = ""
        try:
            if closed is not None:
                closed.close()
            act()
        except Finding as found:
            said = str(found)
        except BaseException:  # noqa: BLE001 - told by the parent
            said = traceback.format_exc()
        os.write(into, said.encode())
        os._exit(0)
    os.close(into)
    try:
        meanwhile()
        said = b"".join(iter(lambda: os.read(out, 1 << 16), b"")).decode()
    finally:
        os.close(out)
        os.waitpid(child, 0)
    if said:
        raise Finding(f"in another process: {said}")


def equal_tuples(stand: Stand) -> str:
    """Connections with equal addresses and ports: each hears its own.

    In two pods at once, where their ends can be equal; and one after the other.
    """
    if not stand.leg.crosses:
        _in_two_pods(stand)
    _in_turn(stand)
    return (
        f"{_ROUNDS} times, connections with equal addresses and ports heard their own"
    )


def _in_turn(stand: Stand) -> None:
    for number in range(2 * _ROUNDS):
        stand.step(f"the same addresses and ports again, {number + 1}")
        with stand.pair(Dialled(source_port=_PORT + _ROUNDS)) as pair:
            for one, other in (pair, pair.swapped()):
                _own(one, other, f"{number}: its own ".encode() * 50)
                one.send(b"of the one before ")  # nobody reads it
            reset_at_close(pair.other)
            pair.other.close()


def _in_two_pods(stand: Stand) -> None:
    for number in range(_ROUNDS):
        stand.step(f"two pods with the same addresses and ports, {number + 1}")
        port = _PORT + number
        with (
            stand.pair(Dialled(source_port=port, pod=0)) as one,
            stand.pair(Dialled(source_port=port, pod=1)) as two,
        ):
            names = [
                (pair.subject.getsockname(), pair.other.getsockname())
                for pair in (one, two)
            ]
            if names[0] != names[1]:
                raise Finding(f"the addresses are not equal: {names}")
            _own(one.subject, one.other, b"first pod's " * 50)
            _own(two.subject, two.other, b"second pod's " * 50)
            _own(one.other, one.subject, b"first sidecar's " * 50)
            _own(two.other, two.subject, b"second sidecar's " * 50)
            one.subject.close()
            _own(two.subject, two.other, b"still the second pod's " * 50)
            _own(two.other, two.subject, b"still the second sidecar's " * 50)
            if one.other.recv(100):
                raise Finding("bytes of one pod arrive in another")


def _own(source: socket.socket, target: socket.socket, said: bytes) -> None:
    source.sendall(said)
    hear(target, said)
