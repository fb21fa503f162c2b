"""Sockets that stay on TCP: their owners wait, or something lies between them and TCP."""

import errno
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from beewire.mesh.bypass import connections
from beewire.mesh.config import Bypass
from beewire.mesh.enrol import Node
from beewire.mesh.lab import Lab
from beewire.mesh.programs.bypass.state import Mode, Role, Why
from tests.mesh.bypass.joined import (
    OUTBOUND,
    PATIENCE_S,
    PORT,
    Pair,
    Way,
    accept,
    dial,
    enrolled,
    flow,
    is_short,
    listening,
    met,
    read,
)

pytestmark = pytest.mark.mesh

MPTCP = 262  # IPPROTO_MPTCP
TCP_FASTOPEN, TCP_FASTOPEN_CONNECT, TCP_ULP = 23, 30, 31
SOL_TLS, TLS_TX, TLS_RX = 282, 1, 2


@pytest.fixture
def pods(lab: Lab, node: Node) -> Iterator[ExitStack]:
    """Both pods on the short path, and what is to be closed."""
    with ExitStack() as stack:
        for pod in lab.pods:
            stack.enter_context(enrolled(node, pod, Bypass.ALL))
        yield stack


def from_inside(port: int = PORT, *, blocking: bool = False) -> Way:
    """How a sidecar dials its application."""
    return Way("10.77.2.2", port, source="127.0.0.6", blocking=blocking)


def test_an_application_that_dials_and_waits(
    lab: Lab, node: Node, pods: ExitStack
) -> None:
    listener = pods.enter_context(lab.a.proxy.listen("0.0.0.0", OUTBOUND))
    way = Way(lab.b.address, blocking=True)
    pair = Pair(dial(lab.a.app, way), accept(listener))
    pods.callback(pair.close)

    pair.exchange()

    told = flow(node, pair.near)
    assert (told.role, told.mode, told.why) == (
        Role.APPLICATION,
        Mode.TCP,
        Why.BLOCKING,
    )
    assert not is_short(node, pair.far)


def test_an_application_that_accepts_and_waits(
    lab: Lab, node: Node, pods: ExitStack
) -> None:
    listener = pods.enter_context(lab.b.app.listen("0.0.0.0", PORT + 1))
    near = dial(lab.b.proxy, from_inside(PORT + 1))
    far, _ = listener.accept()
    pair = Pair(near, far)
    pods.callback(pair.close)

    pair.exchange()

    assert flow(node, near).why == Why.BLOCKING
    assert flow(node, near).short_messages == 0


def test_an_application_that_begins_to_wait_is_left_alone_from_then_on(
    lab: Lab, node: Node, pods: ExitStack
) -> None:
    listener = pods.enter_context(lab.b.app.listen("0.0.0.0", PORT + 2))
    pair = Pair(dial(lab.b.proxy, from_inside(PORT + 2)), accept(listener))
    pods.callback(pair.close)
    pair.exchange()
    before = flow(node, pair.near)

    pair.far.setblocking(True)
    pair.exchange()
    pair.far.setblocking(False)
    pair.exchange()

    after = flow(node, pair.near)
    assert before.mode == Mode.SHORT
    assert (after.mode, after.why) == (Mode.TCP, Why.BLOCKING)
    assert after.short_messages == before.short_messages


def test_what_nobody_has_accepted_depends_on_who_accepted_the_last_one(
    lab: Lab, node: Node, pods: ExitStack
) -> None:
    listener = pods.enter_context(lab.b.app.listen("0.0.0.0", PORT + 3))

    def first_message() -> Why:
        near = dial(lab.b.proxy, from_inside(PORT + 3))
        near.sendall(b"hello")
        why = Why(flow(node, near).why)
        pair = Pair(near, accept(listener))
        pods.callback(pair.close)
        assert read(pair.far, 5) == b"hello"
        pair.exchange()
        return why

    assert first_message() is Why.UNACCEPTED
    assert first_message() is Why.NOTHING


@pytest.mark.parametrize("accepts", [True, False], ids=["both ends", "one end"])
def test_mptcp(lab: Lab, node: Node, pods: ExitStack, *, accepts: bool) -> None:
    def listen() -> socket.socket:
        made = socket.socket(proto=MPTCP) if accepts else socket.socket()
        made.bind(("0.0.0.0", OUTBOUND))
        made.listen()
        return made

    def connect() -> socket.socket:
        made = socket.socket(proto=MPTCP)
        made.setblocking(False)
        assert made.connect_ex((lab.b.address, PORT)) in (0, errno.EINPROGRESS)
        assert select.select([], [made], [], PATIENCE_S)[1]
        return made

    try:
        socket.socket(proto=MPTCP).close()
    except OSError:
        pytest.skip("this kernel has no MPTCP")
    listener = pods.enter_context(lab.a.proxy.call(listen))
    near = lab.a.app.call(connect)
    near.setblocking(False)
    pair = Pair(near, accept(listener))
    pods.callback(pair.close)

    pair.exchange()

    # Where the other end has none, what is left of MPTCP still lies above TCP.
    [told] = connections(node.short_path)
    assert told.why in ((Why.MPTCP,) if accepts else (Why.MPTCP, Why.ULP))
    assert (told.mode, told.short_messages) == (Mode.TCP, 0)


def test_tls_in_the_kernel(lab: Lab, node: Node) -> None:
    # AES-GCM-128 of TLS 1.2: struct tls12_crypto_info_aes_gcm_128.
    keys = b"\x03\x03" + (51).to_bytes(2, "little") + bytes(8 + 16 + 4 + 8)
    with met(lab, node) as pair:
        pair.exchange()
        try:
            for sock in pair:
                sock.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls")
                sock.setsockopt(SOL_TLS, TLS_TX, keys)
                sock.setsockopt(SOL_TLS, TLS_RX, keys)
        except OSError:
            pytest.skip("this kernel has no TLS")

        pair.exchange()

        told = [flow(node, sock) for sock in pair]
    assert [Why(each.why) for each in told] == [Why.ULP, Why.ULP]
    assert [each.short_messages for each in told] == [3, 3]


def test_data_in_the_syn_is_read_before_what_follows(lab: Lab, node: Node) -> None:
    """Fast open: without a cookie the first time, with one the second."""
    with ExitStack() as stack:
        for pod in lab.pods:
            stack.enter_context(enrolled(node, pod, Bypass.SIDECARS))
        listener = stack.enter_context(listening(lab.b))
        listener.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN, 16)
        lab.b.namespace.sysctl("ipv4/tcp_fastopen", 3)
        lab.a.namespace.sysctl("ipv4/tcp_fastopen", 3)

        def connect() -> socket.socket:
            made = socket.socket()
            made.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
            made.setblocking(False)
            made.connect_ex((lab.b.address, PORT))
            assert select.select([], [made], [], PATIENCE_S)[1]
            made.sendall(b"first, ")
            return made

        in_the_syn = 0
        for _ in range(2):
            near = lab.a.proxy.call(connect)
            near.setblocking(False)
            pair = Pair(near, accept(listener))
            stack.callback(pair.close)
            near.sendall(b"second")

            assert read(pair.far, 13) == b"first, second"
            pair.exchange()
            in_the_syn = near.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[5] & 32

    assert in_the_syn
