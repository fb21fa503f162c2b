"""What is told of connections that are there."""

from contextlib import ExitStack

import pytest

from beewire.mesh.bypass import connections
from beewire.mesh.config import Bypass
from beewire.mesh.enrol import Node
from beewire.mesh.lab import Lab
from beewire.mesh.programs.bypass.state import Mode, Role, Tier, Why
from tests.mesh.bypass.joined import Way, dial, enrolled, listening, met, read

pytestmark = pytest.mark.mesh


def test_both_ends_are_told_with_what_they_sent(lab: Lab, node: Node) -> None:
    with met(lab, node) as pair:
        pair.exchange(5)

        near, far = sorted(connections(node.short_path), key=lambda it: not it.dialled)

    assert (near.role, near.tier, near.mode) == (
        Role.SIDECAR,
        Tier.SIDECARS,
        Mode.SHORT,
    )
    assert (near.local, near.remote) == (far.remote, far.local)
    assert far.local == f"{lab.b.address}:9000"
    assert near.peer_netns == far.netns
    assert near.short_messages == far.short_messages == 5
    assert near.short_bytes == 5 * len("message 0")
    assert near.tcp_bytes == near.received_bytes == 0
    assert near.reason == ""


def test_what_stays_on_tcp_is_told_with_its_reason(lab: Lab, node: Node) -> None:
    with ExitStack() as stack:
        for pod in lab.pods:
            stack.enter_context(enrolled(node, pod, Bypass.SIDECARS))
        listener = stack.enter_context(listening(lab.b))
        near = stack.enter_context(dial(lab.a.proxy, Way(lab.b.address, blocking=True)))
        far = stack.enter_context(listener.accept()[0])
        near.sendall(b"hello")
        far.recv(5)

        [told] = connections(node.short_path)

    assert told.why is Why.BLOCKING
    assert told.is_final
    assert told.reason == "one end's owner waits inside recv()"
    assert told.tcp_bytes == 5


def test_what_waits_for_a_reader_is_told(lab: Lab, node: Node) -> None:
    with met(lab, node) as pair:
        pair.exchange()
        pair.near.sendall(b"not read yet")

        waiting = [each.local for each in connections(node.short_path) if each.waits]
        read(pair.far, len(b"not read yet"))
        later = [each.local for each in connections(node.short_path) if each.waits]

    assert waiting == [f"{lab.b.address}:9000"]
    assert later == []
