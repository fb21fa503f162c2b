"""Many small messages: each has a head in the kernel, for which nobody is charged."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from beewire.mesh.config import Bypass
from beewire.mesh.enrol import Node
from beewire.mesh.lab import Lab
from beewire.mesh.programs.bypass.state import MOST_MESSAGES
from tests.mesh.bypass.joined import (
    OUTBOUND,
    Pair,
    Way,
    accept,
    dial,
    enrolled,
    flow,
    is_short,
    read,
)

pytestmark = pytest.mark.mesh

SENT = bytes(number % 251 for number in range(3 * MOST_MESSAGES))


@pytest.fixture
def pair(lab: Lab, node: Node) -> Iterator[Pair]:
    with ExitStack() as stack:
        for pod in lab.pods:
            stack.enter_context(enrolled(node, pod, Bypass.ALL))
        listener = stack.enter_context(lab.a.proxy.listen("0.0.0.0", OUTBOUND))
        near = dial(lab.a.app, Way(lab.b.address))
        made = Pair(near, accept(listener))
        stack.callback(made.close)
        made.exchange()
        yield made


def send(pair: Pair, said: bytes) -> None:
    for byte in said:
        pair.near.sendall(bytes((byte,)))


def test_a_reader_that_sleeps_holds_so_many_messages_and_no_more(
    pair: Pair, node: Node
) -> None:
    before = flow(node, pair.near)

    send(pair, SENT)

    after = flow(node, pair.near)
    assert after.short_messages - before.short_messages <= MOST_MESSAGES
    assert after.tcp_messages > before.tcp_messages
    assert read(pair.far, len(SENT)) == SENT


def test_once_they_are_read_the_short_path_goes_on(pair: Pair, node: Node) -> None:
    send(pair, SENT)
    read(pair.far, len(SENT))

    pair.exchange()

    assert is_short(node, pair.near)


def test_a_reader_that_keeps_up_stays_on_the_short_path(pair: Pair, node: Node) -> None:
    before = flow(node, pair.near)

    for start in range(0, len(SENT), 100):
        send(pair, SENT[start : start + 100])
        read(pair.far, min(100, len(SENT) - start) if start else 50)  # always behind
    after = flow(node, pair.near)

    assert after.tcp_messages == before.tcp_messages
    assert after.short_messages - before.short_messages == len(SENT)
