"""Meshes under load, alone and in turns."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from beewire.errors import MeshError
from beewire.mesh.lab import Beewire, Iptables, Lab, LoadConfig, Mesh, mesh
from beewire.mesh.lab.sampling import alone, in_turns

pytestmark = [pytest.mark.mesh, pytest.mark.usefixtures("machine")]

LOAD = LoadConfig(connections=4, seconds=1)
PATIENCE_S = 60.0
CLOSING = LoadConfig(connections=4, seconds=1, close=True)


@pytest.fixture(scope="module")
def both(machine: None) -> Iterator[list[Mesh]]:
    del machine  # it may skip
    with ExitStack() as stack:
        first, second = (stack.enter_context(Lab()) for _ in range(2))
        yield [
            stack.enter_context(mesh(first, Iptables())),
            stack.enter_context(mesh(second, Beewire())),
        ]


def frozen(each: Mesh) -> str:
    return (each.lab.a.app.cgroup.path / "cgroup.freeze").read_text().strip()


def test_one_alone_runs_all_the_time(both: list[Mesh]) -> None:
    sample = alone(both[0], LOAD)

    assert sample.ran_us == sample.load.duration_us
    assert sample.requests_per_s == sample.load.requests_per_s
    assert sample.load.errors == 0


@pytest.mark.parametrize("load", [LOAD, CLOSING])
def test_each_of_two_runs_part_of_the_time(both: list[Mesh], load: LoadConfig) -> None:
    samples = in_turns(both, load)

    for sample in samples:
        assert sample.load.requests > 0
        assert sample.load.errors == 0
        assert sample.cpu_us > 0
        assert sample.ran_us < sample.load.duration_us
        assert sample.requests_per_s > sample.load.requests_per_s
    assert [sample.conntrack > 0 for sample in samples] == [True, False]
    assert [frozen(each) for each in both] == ["0", "0"]


def test_one_may_take_turns_with_itself(both: list[Mesh]) -> None:
    [sample] = in_turns(both[1:], LOAD)

    assert sample.load.errors == 0


def test_a_machine_that_stands_still_is_named(
    both: list[Mesh], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beewire.mesh.lab.sampling.TURN_S", 30)  # one is all there is

    with pytest.raises(MeshError, match="stood still"):
        in_turns(both[1:], LOAD)


def test_what_dies_in_its_turn_is_named_and_nothing_stays_frozen(
    both: list[Mesh],
) -> None:
    def kill_wrk() -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not (pids := both[1].lab.a.app.cgroup.pids()):
            if time.monotonic() > deadline:
                return
            time.sleep(0.05)
        time.sleep(0.5)  # it takes turns
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_wrk)
    killer.start()
    try:
        with pytest.raises(MeshError, match="wrk was killed by SIGKILL"):
            in_turns(both, LoadConfig(connections=4, seconds=4))
    finally:
        killer.join()

    assert [frozen(each) for each in both] == ["0", "0"]
    assert [each.lab.a.app.cgroup.pids() for each in both] == [[], []]
