"""Readers of edges that stop before nothing is left, and were sent bytes by both ways."""

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from beewire.bpf import Loaded
from beewire.mesh.bypass import connections, switch_off, switch_on
from beewire.mesh.config import Bypass
from beewire.mesh.enrol import Node
from beewire.mesh.lab import Lab
from beewire.mesh.programs.bypass import state
from beewire.mesh.programs.bypass.state import BOUND, Mode, Why
from tests.mesh.bypass import joined
from tests.mesh.bypass.edges import ROOM, Edges
from tests.mesh.bypass.joined import (
    OUTBOUND,
    PORT,
    Pair,
    Way,
    accept,
    dial,
    enrolled,
    flow,
    is_short,
    read,
    waiting,
)

pytestmark = pytest.mark.mesh

PIECE = 8000  # none that makes an application part
NEVER = 1 << 62
KEEPALIVES = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 7200),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 75),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 9),
)


@contextmanager
def inbound(lab: Lab, node: Node) -> Iterator[Pair]:
    """A sidecar and the application that it has dialled."""
    with enrolled(node, lab.b, Bypass.ALL), joined.inbound(lab.b) as made:
        yield made


@contextmanager
def outbound(lab: Lab, node: Node) -> Iterator[Pair]:
    """A sidecar and the application that has dialled it."""
    with ExitStack() as stack:
        stack.enter_context(enrolled(node, lab.b, Bypass.ALL))
        listener = stack.enter_context(lab.b.proxy.listen("0.0.0.0", OUTBOUND))
        dialled = dial(lab.b.app, Way(lab.a.address))
        made = Pair(accept(listener), dialled)
        stack.callback(made.close)
        made.exchange()
        yield made


@pytest.fixture(params=[inbound, outbound])
def pair(lab: Lab, node: Node, request: pytest.FixtureRequest) -> Iterator[Pair]:
    with request.param(lab, node) as made:
        yield made


def keepalives(sock: socket.socket) -> list[int]:
    return [sock.getsockopt(level, name) for level, name, _ in KEEPALIVES]


def past_the_bound(node: Node, pair: Pair) -> bytes:
    """Send until the first message has gone by TCP; what was sent."""
    sent = b""
    while len(sent) < 2 * BOUND and is_short(node, pair.near):
        sent += bytes([len(sent) // PIECE % 256]) * PIECE
        pair.near.sendall(sent[-PIECE:])
    assert flow(node, pair.near).why == Why.FULL
    return sent


@pytest.mark.parametrize("counts", [False, True])
def test_what_came_behind_the_bound_is_told_of_again(
    node: Node, pair: Pair, counts: bool
) -> None:
    reader = Edges(pair.far, counts=counts)
    sent = past_the_bound(node, pair)
    reader.sees()

    assert reader.reads(len(sent)) == sent


@pytest.mark.parametrize("counts", [False, True])
def test_so_is_what_came_after_it_was_switched_off(
    node: Node, pair: Pair, counts: bool
) -> None:
    reader = Edges(pair.far, counts=counts)
    pair.near.sendall(b"a" * ROOM)
    switch_off(node.short_path)
    try:
        pair.near.sendall(b"b" * 3 * ROOM)
        reader.sees()
        got = reader.reads(4 * ROOM)
    finally:
        switch_on(node.short_path)

    assert got == b"a" * ROOM + b"b" * 3 * ROOM


def test_without_that_it_waits_for_ever(lab: Lab) -> None:
    with Node.load(overdue=NEVER) as node, inbound(lab, node) as pair:
        reader = Edges(pair.far, counts=False)
        sent = past_the_bound(node, pair)
        reader.sees()

        got = reader.reads(len(sent), 5)

        assert len(got) == len(sent) - PIECE
        assert waits(pair.far)


def waits(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])


def test_what_came_by_tcp_before_accept_is_read_by_who_believes_fionread(
    lab: Lab, node: Node
) -> None:
    with ExitStack() as stack:
        stack.enter_context(enrolled(node, lab.b, Bypass.ALL))
        listener = stack.enter_context(lab.b.app.listen("0.0.0.0", PORT))
        near = dial(lab.b.proxy, Way(lab.b.address, source="127.0.0.6"))
        near.sendall(bytes(3 * ROOM))
        pair = Pair(near, accept(listener))
        stack.callback(pair.close)

        # Some kernels count what TCP has brought: nobody has to wake such a reader.
        is_counted = waiting(pair.far) == 3 * ROOM

        got = Edges(pair.far, counts=True).reads(3 * ROOM)

        assert got == bytes(3 * ROOM)
        joined = len(list(node.short_path.loaded[state.peers]))
        assert joined == (2 if is_counted else 1)


def test_its_socket_is_tcps_own_then_and_both_ways_go_on(
    node: Node, pair: Pair
) -> None:
    reader = Edges(pair.far, counts=False)
    pair.far.sendall(b"before, ")
    sent = past_the_bound(node, pair)
    reader.sees()
    assert reader.reads(len(sent)) == sent
    assert len(list(node.short_path.loaded[state.peers])) == 1
    pair.far.sendall(b"after")

    assert read(pair.near, 13) == b"before, after"
    pair.exchange()
    told = connections(node.short_path)
    assert {(each.mode, each.why) for each in told} == {(Mode.TCP, Why.BULK)}


def test_its_keepalives_are_its_owners_again(node: Node, pair: Pair) -> None:
    before = keepalives(pair.far)
    reader = Edges(pair.far, counts=False)
    sent = past_the_bound(node, pair)
    reader.sees()
    meanwhile = keepalives(pair.far)
    reader.reads(len(sent))
    pair.exchange()

    assert before == [value for _, _, value in KEEPALIVES]
    assert meanwhile == [1, 1, 1, 127]
    assert keepalives(pair.far) == before
    assert unread(node, pair.far) is None


def test_what_its_owner_sets_meanwhile_stays(node: Node, pair: Pair) -> None:
    reader = Edges(pair.far, counts=False)
    sent = past_the_bound(node, pair)
    reader.sees()
    pair.far.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    pair.far.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2)
    reader.reads(len(sent))
    pair.exchange()

    assert keepalives(pair.far) == [1, 2, 75, 9]


def unread(node: Node, sock: socket.socket) -> object:
    loaded: Loaded = node.short_path.loaded
    return loaded[state.unread].live.get(sock)


def test_who_reads_in_time_keeps_the_short_path(lab: Lab) -> None:
    with ExitStack() as stack:
        node = stack.enter_context(Node.load(overdue=20_000_000_000))
        stack.enter_context(enrolled(node, lab.b, Bypass.ALL))
        listener = stack.enter_context(lab.b.app.listen("0.0.0.0", PORT))
        near = dial(lab.b.proxy, Way(lab.b.address, source="127.0.0.6"))
        near.sendall(bytes(ROOM))
        pair = Pair(near, accept(listener))
        stack.callback(pair.close)
        is_looked_after = unread(node, pair.far) is not None
        read(pair.far, ROOM)
        pair.exchange()

        assert is_looked_after
        assert is_short(node, pair.near)
