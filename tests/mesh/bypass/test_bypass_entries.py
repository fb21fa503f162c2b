"""No entry outlives its socket, however a connection ends, or never begins."""

import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from beewire.mesh.config import Bypass
from beewire.mesh.enrol import Node
from beewire.mesh.lab import Lab
from beewire.mesh.lab.tools import require
from beewire.mesh.programs.bypass import live, state
from beewire.mesh.programs.bypass.state import Why
from tests.mesh.bypass.joined import (
    INBOUND,
    PATIENCE_S,
    Pair,
    Way,
    accept,
    dial,
    enrolled,
    flow,
    is_at_end,
    listening,
)

pytestmark = pytest.mark.mesh

AT_ONCE = struct.pack("ii", 1, 0)  # struct linger: close() resets


@pytest.fixture(autouse=True)
def pods(lab: Lab, node: Node) -> Iterator[None]:
    with ExitStack() as stack:
        for pod in lab.pods:
            stack.enter_context(enrolled(node, pod, Bypass.SIDECARS))
        yield


def entries(node: Node) -> dict[str, int]:
    """How much the maps hold of connections."""
    loaded = node.short_path.loaded
    rows = loaded[live.live].read(map=loaded[state.flows])
    return {
        "peers": len(list(loaded[state.peers])),
        "greetings": len(list(loaded[state.greetings])),
        "flows": len(rows),
    }


def assert_nothing_is_left(node: Node) -> None:
    # Sockets that closed are freed a moment later.
    deadline = time.monotonic() + PATIENCE_S
    while any(entries(node).values()):
        assert time.monotonic() < deadline, entries(node)
        time.sleep(0.01)


def end_well(pair: Pair) -> None:
    pair.near.close()
    assert is_at_end(pair.far)
    pair.far.close()


def end_well_from_afar(pair: Pair) -> None:
    pair.far.close()
    assert is_at_end(pair.near)
    pair.near.close()


def reset(pair: Pair) -> None:
    pair.near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
    pair.near.close()
    with pytest.raises(ConnectionResetError):
        is_at_end(pair.far)
    pair.far.close()


def end_with_bytes_unread(pair: Pair) -> None:
    pair.near.sendall(bytes(5000))
    pair.far.sendall(bytes(5000))
    pair.far.close()
    pair.near.close()


def end_both_at_once(pair: Pair) -> None:
    pair.near.shutdown(socket.SHUT_RDWR)
    pair.far.shutdown(socket.SHUT_RDWR)
    pair.close()


@pytest.mark.parametrize(
    "end",
    [end_well, end_well_from_afar, reset, end_with_bytes_unread, end_both_at_once],
)
@pytest.mark.parametrize("talks", [True, False], ids=["talks", "silent"])
def test_a_connection_leaves_nothing(
    lab: Lab, node: Node, end: Callable[[Pair], None], *, talks: bool
) -> None:
    with listening(lab.b) as listener:
        pair = Pair(dial(lab.a.proxy, Way(lab.b.address)), accept(listener))
        if talks:
            pair.exchange()
            assert entries(node)["peers"] == 2
        end(pair)

        assert_nothing_is_left(node)


def test_what_is_refused_leaves_nothing(lab: Lab, node: Node) -> None:
    with pytest.raises(OSError, match="refused"):
        dial(lab.a.proxy, Way(lab.b.address))

    assert_nothing_is_left(node)


def test_what_nobody_accepts_leaves_nothing(lab: Lab, node: Node) -> None:
    with listening(lab.b) as listener:
        near = dial(lab.a.proxy, Way(lab.b.address))
        near.sendall(b"hello")
        assert entries(node)["peers"] == 2
        listener.close()
        near.close()

    assert_nothing_is_left(node)


def test_a_greeting_that_nobody_answers_leaves_nothing(lab: Lab, node: Node) -> None:
    # The far end's ACK never comes: it does not know that the connection was made.
    program = require("iptables-legacy-restore")

    def rules(*lines: str) -> None:
        text = "\n".join(("*filter", *lines, "COMMIT", ""))
        command = [program, "-w", "10"]
        lab.router.run(
            lambda: subprocess.run(command, input=text, text=True, check=True)
        )

    with listening(lab.b):
        rules(f"-A FORWARD -d {lab.b.address} -p tcp ! --syn -j DROP")
        try:
            near = dial(lab.a.proxy, Way(lab.b.address))
            near.send(b"hello")
            told = flow(node, near)
            seen = entries(node)
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            near.close()
        finally:
            rules()

        assert told.why == Why.ALONE
        assert seen == {"peers": 1, "greetings": 1, "flows": len_of_a_row()}
        assert_nothing_is_left(node)


def len_of_a_row() -> int:
    return len(live.Row().to_bytes())


def test_a_tuple_that_is_used_again_meets_its_own(lab: Lab, node: Node) -> None:
    port = 25123
    for _ in range(3):
        with listening(lab.b) as listener:
            near = lab.a.proxy.call(lambda: from_port(port, lab.b.address))
            near.setblocking(False)
            pair = Pair(near, accept(listener))
            said = os.urandom(10)

            pair.exchange()
            pair.near.sendall(said)

            assert pair.far.recv(100) == said
            reset(pair)
    assert_nothing_is_left(node)


def from_port(port: int, host: str) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", port))
    sock.settimeout(PATIENCE_S)
    sock.connect((host, 9000))
    return sock


def test_a_withdrawn_pod_leaves_nothing(lab: Lab, node: Node) -> None:
    with lab.b.proxy.listen("0.0.0.0", INBOUND):
        near = dial(lab.a.proxy, Way(lab.b.address))
    near.close()
    loaded = node.short_path.loaded
    known = set(node.cookies())

    assert {key.netns for key in loaded[state.habits]} <= known
    assert set(loaded[state.tiers]) == known
    assert_nothing_is_left(node)
