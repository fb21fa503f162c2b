"""Equal tuples in two places: no connection meets another one's end."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from beewire.mesh.config import Bypass
from beewire.mesh.enrol import Node
from beewire.mesh.lab import Lab
from beewire.mesh.lab.pods import Pod as LabPod
from beewire.mesh.programs.bypass.state import Why
from tests.mesh.bypass.joined import (
    PATIENCE_S,
    PORT,
    Pair,
    accept,
    enrolled,
    flow,
    is_short,
    listening,
    read,
)

pytestmark = pytest.mark.mesh

SOURCE = 25321  # of nobody who has it by chance (ip_local_port_range)


@pytest.fixture(scope="module")
def twin() -> Iterator[Lab]:
    """Another lab: its pods have the addresses of the first one's."""
    with Lab() as made:
        yield made


def dial_from(pod: LabPod, host: str) -> socket.socket:
    """From the sidecar of a pod, always from the same port."""

    def connect() -> socket.socket:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("", SOURCE))
        sock.settimeout(PATIENCE_S)
        sock.connect((host, PORT))
        return sock

    sock = pod.proxy.call(connect)
    sock.setblocking(False)
    return sock


def test_a_greeting_is_not_answered_by_the_same_tuple_elsewhere(
    lab: Lab, twin: Lab, node: Node
) -> None:
    with ExitStack() as stack:
        # Pod A of the one, pod B of the other: each seems to belong to its addresses.
        stack.enter_context(enrolled(node, lab.a, Bypass.SIDECARS))
        stack.enter_context(enrolled(node, twin.b, Bypass.SIDECARS))
        here = stack.enter_context(lab.b.proxy.listen("0.0.0.0", PORT))
        there = stack.enter_context(listening(twin.b))
        first = Pair(dial_from(lab.a, lab.b.address), accept(here))
        stack.callback(first.close)
        greeted = flow(node, first.near)

        second = Pair(dial_from(twin.a, twin.b.address), accept(there))
        stack.callback(second.close)
        first.near.sendall(b"for the first")
        second.near.sendall(b"for the second")

        assert greeted.why == Why.SILENT  # it waits for an answer
        assert flow(node, second.far).peer.socket == 0
        assert read(first.far, 13) == b"for the first"
        assert read(second.far, 14) == b"for the second"
        second.exchange()
        first.exchange()
        assert not is_short(node, first.near)
        assert not is_short(node, second.far)


def test_two_pairs_of_pods_with_the_same_addresses(
    lab: Lab, twin: Lab, node: Node
) -> None:
    with ExitStack() as stack:
        for pod in (*lab.pods, *twin.pods):
            stack.enter_context(enrolled(node, pod, Bypass.SIDECARS))
        pairs = []
        for each in (lab, twin):
            listener = stack.enter_context(listening(each.b))
            pairs.append(Pair(dial_from(each.a, each.b.address), accept(listener)))
            stack.callback(pairs[-1].close)
        for number, pair in enumerate(pairs):
            pair.near.sendall(b"to the far end of %d" % number)
            pair.far.sendall(b"to the near end of %d" % number)

        for number, pair in enumerate(pairs):
            assert read(pair.far, 19) == b"to the far end of %d" % number
            assert read(pair.near, 20) == b"to the near end of %d" % number
            pair.exchange()
