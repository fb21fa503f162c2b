"""Applications that are sent much, and stop to read before nothing is left."""

import hashlib
import select
import socket
import threading
from collections.abc import Iterator

import pytest

from beewire.mesh.bypass import connections, switch_off, switch_on
from beewire.mesh.config import Bypass
from beewire.mesh.enrol import Node
from beewire.mesh.lab import Lab
from beewire.mesh.programs.bypass import state
from beewire.mesh.programs.bypass.state import LARGE, Mode, Why
from tests.mesh.bypass import joined
from tests.mesh.bypass.joined import (
    PATIENCE_S,
    Pair,
    enrolled,
    flow,
    is_short,
    read,
    waiting,
)

pytestmark = pytest.mark.mesh

BODY = bytes(range(256)) * (8 << 12)  # 8 MB


@pytest.fixture
def pair(lab: Lab, node: Node) -> Iterator[Pair]:
    """A sidecar and the application that it has dialled."""
    with enrolled(node, lab.b, Bypass.ALL), joined.inbound(lab.b) as made:
        yield made


class LikeNginx(threading.Thread):
    """Waits for edges, and reads while a read is full and FIONREAD tells of more."""

    def __init__(self, sock: socket.socket, size: int) -> None:
        super().__init__()
        self.sock, self.left = sock, size
        self.digest = hashlib.blake2b()

    def run(self) -> None:
        with select.epoll() as edges:
            edges.register(self.sock, select.EPOLLIN | select.EPOLLET)
            while self.left and edges.poll(PATIENCE_S):
                self.read()

    def read(self) -> None:
        while self.left:
            try:
                piece = self.sock.recv(4096)
            except BlockingIOError:
                return
            self.digest.update(piece)
            self.left -= len(piece)
            if len(piece) < 4096 or waiting(self.sock) == 0:
                return


def test_who_reads_as_nginx_does_gets_all_of_it(pair: Pair) -> None:
    reader = LikeNginx(pair.far, len(BODY))
    reader.start()
    pair.near.settimeout(2 * PATIENCE_S)
    pair.near.sendall(BODY)
    reader.join()

    assert reader.left == 0
    assert reader.digest.digest() == hashlib.blake2b(BODY).digest()


def test_it_is_one_of_tcps_own_again(node: Node, pair: Pair) -> None:
    pair.near.sendall(bytes(LARGE))
    read(pair.far, 100)

    assert waiting(pair.far) == LARGE - 100
    told = connections(node.short_path)
    assert {(each.mode, each.why) for each in told} == {(Mode.TCP, Why.BULK)}
    assert len(list(node.short_path.loaded[state.peers])) == 1


def test_both_ways_go_on_in_order(pair: Pair) -> None:
    pair.far.sendall(b"before, ")
    pair.near.sendall(bytes(LARGE))
    pair.far.sendall(b"after")

    assert read(pair.near, 13) == b"before, after"
    read(pair.far, LARGE)
    pair.exchange()


def test_what_waits_there_is_waited_for(node: Node, pair: Pair) -> None:
    pair.near.sendall(b"small, ")
    pair.near.sendall(b"x" * LARGE)
    first = flow(node, pair.near)
    got = read(pair.far, 7 + LARGE)
    pair.near.sendall(b"small")

    assert first.mode == Mode.SHORT
    assert got == b"small, " + b"x" * LARGE
    assert flow(node, pair.near).why == Why.BULK
    assert read(pair.far, 5) == b"small"


def test_small_messages_stay_on_the_short_path(node: Node, pair: Pair) -> None:
    for _ in range(100):
        pair.near.sendall(bytes(LARGE - 1))
        read(pair.far, LARGE - 1)

    assert is_short(node, pair.near)


def test_so_is_one_whose_pod_was_switched_off(node: Node, pair: Pair) -> None:
    switch_off(node.short_path)
    try:
        pair.near.sendall(b"message")
    finally:
        switch_on(node.short_path)
    counted = waiting(pair.far)
    read(pair.far, 7)
    pair.exchange()

    assert counted == 7
    assert flow(node, pair.near).why == Why.BULK


def test_so_is_one_whose_owner_waits_after_all(node: Node, pair: Pair) -> None:
    pair.far.setblocking(True)
    pair.exchange()

    assert flow(node, pair.near).why == Why.BLOCKING
    assert len(list(node.short_path.loaded[state.peers])) == 1
