"""Off and on again, with bytes under way: nothing is lost, nothing overtakes."""

import os
from pathlib import Path

import pytest

from beewire.errors import MeshError
from beewire.mesh.bypass import connections, is_off, switch_off, switch_on
from beewire.mesh.enrol import Node, ShortPath
from beewire.mesh.lab import Lab
from beewire.mesh.programs.bypass.state import Mode, Why
from tests.mesh.bypass.joined import flow, is_short, met, read

pytestmark = pytest.mark.mesh


def test_off_and_on_with_bytes_that_wait_for_the_reader(lab: Lab, node: Node) -> None:
    sent = [os.urandom(4000) for _ in range(5)]
    with met(lab, node) as pair:
        pair.exchange()

        pair.near.sendall(sent[0])
        switch_off(node.short_path)
        pair.near.sendall(sent[1])
        by_tcp = flow(node, pair.near)
        switch_on(node.short_path)
        pair.near.sendall(sent[2])
        unread = flow(node, pair.near)
        got = read(pair.far, 12000)
        pair.near.sendall(sent[3])
        back = flow(node, pair.near)
        got += read(pair.far, 4000)

    assert (by_tcp.mode, by_tcp.why) == (Mode.TCP, Why.SWITCHED_OFF)
    assert (unread.mode, unread.why) == (Mode.TCP, Why.UNREAD)
    assert back.mode == Mode.SHORT
    assert got == b"".join(sent[:4])


@pytest.mark.parametrize("end", ["a", "b"])
def test_one_pod_is_switched_off_at_both_ends(lab: Lab, node: Node, end: str) -> None:
    with met(lab, node) as pair:
        pair.exchange()
        [netns] = {
            each.netns
            for each in connections(node.short_path)
            if each.dialled == (end == "a")
        }

        switch_off(node.short_path, netns)
        pair.exchange()
        off = is_short(node, pair.near), is_short(node, pair.far)
        switch_on(node.short_path, netns)
        pair.exchange()
        on = is_short(node, pair.near), is_short(node, pair.far)

    assert off == (False, False)
    assert on == (True, True)


def test_what_begins_while_it_is_off_stays_on_tcp(lab: Lab, node: Node) -> None:
    switch = node.short_path
    _ = switch.loaded
    switch_off(switch)
    try:
        assert is_off(switch)
        with met(lab, node) as pair:
            pair.exchange()
            switch_on(switch)
            pair.exchange()

            assert not is_short(node, pair.near)
            assert connections(switch) == []
    finally:
        switch_on(switch)


def test_the_switch_works_by_what_is_pinned(lab: Lab, pins: Path) -> None:
    with Node.load(pins) as node, met(lab, node) as pair:
        pair.exchange()

        with ShortPath.at(pins) as found:
            switch_off(found)
            pair.exchange()
            told = connections(found)

    assert [each.why for each in told] == [Why.SWITCHED_OFF] * 2


def test_where_nothing_is_on_the_short_path_there_is_nothing_to_switch() -> None:
    with Node.load() as node:
        with pytest.raises(MeshError, match="nothing to switch"):
            switch_off(node.short_path)

        assert connections(node.short_path) == []
        assert not is_off(node.short_path)


def test_a_pod_without_a_tier_is_not_switched(node: Node) -> None:
    _ = node.short_path.loaded
    with pytest.raises(MeshError, match="its tier is off"):
        switch_off(node.short_path, 1)
