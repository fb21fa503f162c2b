"""The order of bytes that go by the short path and by TCP in turn."""

from random import Random

from beewire.mesh.qualify.exchange import (
    CHUNK,
    Hearer,
    Sender,
    hear,
    send_and_hear,
)
from beewire.mesh.qualify.stand import Dialled, Pair, Stand, by_tcp

_TOTAL = 12 << 20
_BURST = 6 << 20
_PARTINGS = 4
_EQUAL = 50_000
_FIRST = b"sent before anybody accepts: "
_CONNECTIONS = 20


def order(stand: Stand) -> str:
    """Overfill the queue again and again, read some of it, send more: both ways in turn.

    Where an application parts, that is the end of it: so there are more connections.
    """
    times = _PARTINGS if stand.parts else 1
    returns = 0
    for number in range(times):
        for end in range(2):
            with stand.pair() as pair:
                returns += _mix(stand, pair.both()[end], _TOTAL // times, 7 + number)
    told = f"; the short path was taken up again {returns} times"
    return (
        f"{2 * _TOTAL:,} bytes arrived in order, by both ways in turn"
        f"{'' if stand.parts else told}"
    )


def _mix(stand: Stand, pair: Pair, total: int, seed: int) -> int:
    random, returns = Random(seed), 0
    sender, hearer = Sender(pair.other), Hearer(pair.subject)
    while sender.at < total:
        stand.step(f"send more than fits, at {sender.at:,} bytes")
        before = stand.counted()
        for _ in range(random.randint(1, 4)):
            sender.stuff(random.randint(1, _BURST))
            hearer.pull_all(random.randint(hearer.at, sender.at))
            sender.push(random.randint(1, 2000))
        used = stand.counted().since(before)
        stand.step(f"read all of {sender.at:,} bytes, and send one more message")
        hearer.pull_all(sender.at)
        before = stand.counted()
        send_and_hear(sender, hearer, 1000)
        returns += bool(used.tcp and stand.counted().since(before).short)
    return returns


def equal_counts(stand: Stand) -> str:
    """As many bytes by the short path, read, as then by TCP, unread; then a short one.

    Before January 2026 kernels counted redirected bytes in copied_seq: by that count alone
    the reader would seem to have read what TCP carried.
    """
    for end in range(2):
        with stand.pair() as made:
            pair = made.both()[end]
            sender, hearer = Sender(pair.other), Hearer(pair.subject)
            stand.step(f"{_EQUAL:,} bytes by the short path, read")
            send_and_hear(sender, hearer, _EQUAL)
            stand.step(f"{_EQUAL:,} bytes by TCP, unread")
            with by_tcp(stand):
                sender.push_all(_EQUAL)
            stand.step("and one more, while they are unread")
            sender.push_all(100)
            hearer.pull_all(sender.at)
            stand.step("and back to the short path")
            send_and_hear(sender, hearer, _EQUAL)
    return (
        f"{_EQUAL:,} bytes by the short path, {_EQUAL:,} by TCP that nobody read, and a"
        " message after them arrived in this order"
    )


def first_bytes(stand: Stand) -> str:
    """Whoever dials sends at once, before the other end is accepted, and goes on.

    To the first connection nobody knows how an application will read. From then on it is
    known, and what comes before the others are accepted may take the short path.
    """
    early = 0
    for number in range(_CONNECTIONS):
        stand.step(f"connection {number + 1} of {_CONNECTIONS}")
        before = stand.counted()
        with stand.pair(Dialled(first=_FIRST)) as pair:
            early += stand.counted().since(before).short
            dialling, accepting = _by_who_dials(stand, pair)
            dialling.sendall(b"and one after, ")
            hear(accepting, _FIRST + b"and one after, ")
            for size in (1, 1000, CHUNK):
                send_and_hear(Sender(accepting), Hearer(dialling), size)
                send_and_hear(Sender(dialling), Hearer(accepting), size)
    if not early:
        stand.prove(stand.counted(), 1, "before anybody accepts")
    return (
        f"{_CONNECTIONS} connections that spoke before they were accepted were heard from"
        " their first byte on"
    )


def _by_who_dials(stand: Stand, pair: Pair) -> Pair:
    return pair if stand.leg.dials else pair.swapped()
