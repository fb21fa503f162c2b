"""The order of bytes, whatever way each message takes; and how many may wait.

The rules that these tests hold are broken one by one in test_bypass_mutants.
"""

import hashlib
import random
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest

from beewire.mesh.bypass import switch_off, switch_on
from beewire.mesh.enrol import Node
from beewire.mesh.lab import Lab
from beewire.mesh.lab.tools import require
from beewire.mesh.programs.bypass.state import BOUND, Mode, Why
from tests.mesh.bypass.joined import Pair, flow, is_at_end, met, read

pytestmark = pytest.mark.mesh

SMALL = 20_000  # a bound that is met often
AMOUNT = 24 << 20


@pytest.fixture
def pair(lab: Lab, node: Node) -> Iterator[Pair]:
    with met(lab, node) as made:
        made.exchange()
        yield made


def by_tcp(node: Node, pair: Pair, said: bytes) -> None:
    """Send by TCP, whatever the rules say."""
    switch_off(node.short_path)
    try:
        pair.near.sendall(said)
    finally:
        switch_on(node.short_path)


def test_what_tcp_has_brought_is_read_first(node: Node, pair: Pair) -> None:
    by_tcp(node, pair, b"first, ")

    pair.near.sendall(b"second")
    why = flow(node, pair.near).why

    assert read(pair.far, 13) == b"first, second"
    assert why == Why.UNREAD


def test_what_was_read_in_part_is_read_first(node: Node, pair: Pair) -> None:
    by_tcp(node, pair, b"first, ")
    read(pair.far, 3)

    pair.near.sendall(b"second")
    why = flow(node, pair.near).why

    assert read(pair.far, 10) == b"st, second"
    assert why == Why.UNREAD


def test_what_was_looked_at_is_not_read_yet(node: Node, pair: Pair) -> None:
    by_tcp(node, pair, b"first, ")
    assert pair.far.recv(100, socket.MSG_PEEK) == b"first, "

    pair.near.sendall(b"second")

    assert read(pair.far, 13) == b"first, second"


def rules(lab: Lab, *lines: str) -> None:
    """Rules of iptables for what the node forwards."""
    text = "\n".join(("*filter", *lines, "COMMIT", ""))
    program = require("iptables-legacy-restore")

    def load() -> None:
        subprocess.run([program, "-w", "10"], input=text, text=True, check=True)

    lab.router.run(load)


def test_what_tcp_has_not_brought_yet_is_read_first(
    lab: Lab, node: Node, pair: Pair
) -> None:
    rules(lab, "-A FORWARD -p tcp -j DROP")
    try:
        by_tcp(node, pair, b"first, ")
        pair.near.sendall(b"second")
        why = flow(node, pair.near).why
    finally:
        rules(lab)

    assert read(pair.far, 13) == b"first, second"
    assert why == Why.UNREAD


def test_what_waits_on_the_short_path_is_read_before_tcp(
    node: Node, pair: Pair
) -> None:
    pair.near.sendall(b"first, ")
    by_tcp(node, pair, b"second")

    assert read(pair.far, 13) == b"first, second"


def test_after_all_was_read_the_short_path_is_taken_again(
    node: Node, pair: Pair
) -> None:
    by_tcp(node, pair, b"first")
    read(pair.far, 5)

    pair.near.sendall(b"second")

    assert flow(node, pair.near).mode == Mode.SHORT


def test_a_reader_that_sleeps_costs_the_bound_and_what_tcp_lets_through(
    node: Node, pair: Pair
) -> None:
    sent = 0
    try:
        while sent < 64 << 20:
            sent += pair.near.send(bytes(64 << 10))
    except BlockingIOError:
        pass

    told = flow(node, pair.near)

    assert sent < 64 << 20
    assert told.why in (Why.FULL, Why.UNREAD)
    assert told.short_bytes < 2 * BOUND
    assert len(read(pair.far, sent)) == sent


def test_the_last_word_is_the_last(pair: Pair) -> None:
    pair.near.sendall(b"good-bye")
    pair.near.shutdown(socket.SHUT_WR)

    assert read(pair.far, 8) == b"good-bye"
    assert is_at_end(pair.far)

    with pytest.raises(BrokenPipeError):
        pair.near.send(b"one more thing")
    with pytest.raises(BlockingIOError):
        pair.near.recv(10)


def test_one_direction_goes_on_after_the_other_has_ended(pair: Pair) -> None:
    pair.near.shutdown(socket.SHUT_WR)
    assert is_at_end(pair.far)

    pair.far.sendall(b"answer")

    assert read(pair.near, 6) == b"answer"


def test_who_has_gone_is_answered_for_by_tcp(node: Node, pair: Pair) -> None:
    pair.far.close()
    assert is_at_end(pair.near)

    assert pair.near.send(b"hello?") == 6
    why = flow(node, pair.near).why

    with pytest.raises(OSError, match=r"reset|[Bb]roken"):
        insist(pair.near)
    assert why == Why.GONE


def insist(sock: socket.socket) -> None:
    for _ in range(100):
        sock.send(b"hello?")


def test_what_was_sent_before_closing_arrives(pair: Pair) -> None:
    pair.near.sendall(b"last words")
    pair.near.close()

    assert read(pair.far, 10) == b"last words"
    assert is_at_end(pair.far)


class Stream(threading.Thread):
    """Sends or reads so many bytes in pieces of any size; `digest` is of all of them."""

    def __init__(self, sock: socket.socket, seed: int, *, sends: bool) -> None:
        super().__init__()
        self.sock, self.sends = sock, sends
        self.chance = random.Random(seed)
        self.digest = hashlib.blake2b()

    def run(self) -> None:
        self.sock.settimeout(60)
        left = AMOUNT
        while left:
            size = min(left, int(self.chance.choice((1, 50, 1500, 20_000, 70_000))))
            if self.sends:
                piece = self.chance.randbytes(size)
                self.sock.sendall(piece)
            else:
                piece = self.sock.recv(size)
                if not piece:
                    return
            self.digest.update(piece)
            left -= len(piece)


def test_streams_both_ways_stay_whole_while_the_way_changes(lab: Lab) -> None:
    with Node.load(bound=SMALL) as node, met(lab, node) as pair:
        streams = [
            Stream(pair.near, 1, sends=True),
            Stream(pair.far, 2, sends=False),
            Stream(pair.far, 3, sends=True),
            Stream(pair.near, 4, sends=False),
        ]
        for each in streams:
            each.start()
        while any(each.is_alive() for each in streams):
            switch_off(node.short_path)
            streams[0].join(0.02)
            switch_on(node.short_path)
            streams[0].join(0.05)
        turns = [flow(node, sock).turns for sock in pair]

    assert streams[0].digest.digest() == streams[1].digest.digest()
    assert streams[2].digest.digest() == streams[3].digest.digest()
    assert min(turns) > 1
