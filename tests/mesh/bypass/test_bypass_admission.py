"""Short connections stay on TCP: learnt for each destination, and learnt anew."""

import socket
from collections.abc import Iterator

import pytest

from beewire.mesh.config import Bypass
from beewire.mesh.enrol import Node
from beewire.mesh.lab import Lab
from beewire.mesh.programs.bypass import state
from beewire.mesh.programs.bypass.state import Mode, Why
from tests.mesh.bypass.joined import (
    Pair,
    Way,
    accept,
    dial,
    enrolled,
    flow,
    listening,
)

pytestmark = pytest.mark.mesh

LONG = 40  # messages
MANY = 30  # connections after which a destination is known for what it is


@pytest.fixture(params=[Bypass.SIDECARS, Bypass.AUTO], ids=lambda tier: tier.value)
def tier(request: pytest.FixtureRequest) -> Bypass:
    found: Bypass = request.param
    return found


@pytest.fixture
def listener(lab: Lab, node: Node, tier: Bypass) -> Iterator[socket.socket]:
    """The inbound listener of pod B's sidecar; both pods have the tier."""
    with (
        enrolled(node, lab.a, tier),
        enrolled(node, lab.b, tier),
        listening(lab.b) as found,
    ):
        yield found


class Once:
    """Connections to one destination, one after the other."""

    def __init__(self, lab: Lab, node: Node, listener: socket.socket) -> None:
        self.lab = lab
        self.node = node
        self.listener = listener

    def open(self, port: int) -> Pair:
        """One more."""
        way = Way(self.lab.b.address, port)
        return Pair(dial(self.lab.a.proxy, way), accept(self.listener))

    def run(self, port: int, messages: int) -> tuple[Mode, Why]:
        """One that carries messages both ways, and ends: where its last one went."""
        pair = self.open(port)
        try:
            pair.exchange(messages)
            told = flow(self.node, pair.near)
        finally:
            pair.close()
        return Mode(told.mode), Why(told.why)

    def until(self, port: int, messages: int, wanted: Mode) -> int:
        """How many it takes until the next one takes that way."""
        for number in range(MANY):
            if self.run(port, messages)[0] == wanted:
                return number
        pytest.fail(f"{MANY} connections of {messages} messages taught nothing")


@pytest.fixture
def once(lab: Lab, node: Node, listener: socket.socket) -> Once:
    return Once(lab, node, listener)


def test_what_is_unknown_depends_on_the_tier(once: Once, tier: Bypass) -> None:
    found = once.run(9001, 3)

    assert (
        found
        == {
            Bypass.SIDECARS: (Mode.SHORT, Why.NOTHING),
            Bypass.AUTO: (Mode.TCP, Why.UNKNOWN),
        }[tier]
    )


def test_short_ones_stay_on_tcp_once_they_are_known(once: Once, tier: Bypass) -> None:
    once.until(9002, 1, Mode.TCP)

    for _ in range(3):
        mode, why = once.run(9002, 1)
        assert mode == Mode.TCP
        # Of what is never joined the pessimist learns nothing but that it lives long.
        assert why == (Why.UNKNOWN if tier is Bypass.AUTO else Why.SHORT_LIVED)


def test_a_destination_that_changes_is_learnt_anew_both_ways(once: Once) -> None:
    once.until(9003, 1, Mode.TCP)
    once.run(9003, 1)

    one_long = once.until(9003, LONG, Mode.SHORT)
    once.run(9003, LONG)
    some_short = once.until(9003, 1, Mode.TCP)

    assert one_long == 1
    assert some_short > 0


def test_one_that_never_ends_teaches_too(once: Once) -> None:
    once.until(9004, 1, Mode.TCP)
    once.run(9004, 1)
    endless = once.open(9004)

    endless.exchange(LONG)
    found = once.run(9004, 1)
    endless.close()

    assert found == (Mode.SHORT, Why.NOTHING)


def test_destinations_are_learnt_apart(once: Once, tier: Bypass) -> None:
    once.until(9005, 1, Mode.TCP)
    once.run(9005, 1)

    assert once.run(9005, 1)[0] == Mode.TCP
    if tier is Bypass.SIDECARS:
        assert once.run(9006, 1) == (Mode.SHORT, Why.NOTHING)


def test_one_that_carries_nothing_teaches_nothing(once: Once, tier: Bypass) -> None:
    port = 9008
    for _ in range(3):
        once.open(port).close()

    first = once.run(port, LONG)

    assert first == (
        (Mode.TCP, Why.UNKNOWN) if tier is Bypass.AUTO else (Mode.SHORT, Why.NOTHING)
    )


def test_what_closed_connections_have_sent_is_kept(node: Node, once: Once) -> None:
    loaded = node.short_path.loaded
    numbers = [loaded[state.tiers][key].number for key in node.cookies()]

    for _ in range(3):
        once.run(9007, LONG)

    closed = [loaded[state.totals][number] for number in numbers]
    ends = sum(sum(each.connections) for each in closed)
    messages = sum(each.short_messages + each.tcp_messages for each in closed)
    sent = sum(each.short_bytes + each.tcp_bytes for each in closed)
    # Of one that was left alone the end that dialled is counted, and nothing else.
    assert (ends, messages) in ((6, 6 * LONG), (5, 4 * LONG))
    assert sent > messages * len("message")
