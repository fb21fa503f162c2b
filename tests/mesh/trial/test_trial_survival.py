"""A node under load while things go wrong: no request is lost, none goes past a sidecar."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from beewire.mesh import netns
from beewire.mesh.enrol import Node
from beewire.mesh.lab import Lab
from beewire.mesh.lab.demo import PROGRAMS
from beewire.mesh.lab.tools import find
from beewire.mesh.programs import state
from beewire.mesh.trial import FAULTS, Rig, churn, survive
from beewire.mesh.trial.faults import ORDERS, come_and_go

pytestmark = pytest.mark.mesh

REFUSING = [name for name, fault in FAULTS.items() if fault.refuses]
COMPARED = [name for name, fault in FAULTS.items() if fault.compares]
LOSSLESS = [name for name in FAULTS if name not in (*REFUSING, *COMPARED)]


@dataclass
class Ready:
    """A rig, which the module's tests share."""

    rig: Rig


@pytest.fixture(scope="module")
def ready() -> Iterator[Ready]:
    for program in PROGRAMS:
        if find(program) is None:
            pytest.skip(f"{program} is not installed")
    with Rig() as rig:
        yield Ready(rig)


@pytest.mark.parametrize("name", LOSSLESS)
def test_no_request_fails(ready: Ready, name: str) -> None:
    found = survive(ready.rig, FAULTS[name], seconds=2)

    assert found.requests > 0
    assert found.times > 0
    assert (found.failed, found.bypassed) == (0, 0), found


@pytest.mark.parametrize("name", REFUSING)
def test_what_cannot_pass_its_sidecar_is_refused(ready: Ready, name: str) -> None:
    found = survive(ready.rig, FAULTS[name], seconds=2)

    assert found.failed > 0
    assert found.bypassed == 0, found
    assert found.note == ""


@pytest.mark.parametrize("name", COMPARED)
def test_istios_rules_are_given_the_same(ready: Ready, name: str) -> None:
    found = survive(ready.rig, FAULTS[name], seconds=2)

    assert found.requests > found.failed > 0
    assert found.note == ""


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_a_pod_is_forgotten_in_whatever_order_it_goes(
    ready: Ready, order: tuple[str, ...]
) -> None:
    rig = ready.rig
    before = [record.name for record in rig.mesh.pods()]
    come_and_go(rig, 100, order)

    assert [record.name for record in rig.mesh.pods()] == before
    known = {netns.cookie(pod.namespace.path) for pod in rig.lab.pods}
    with Node.load(rig.directories.set) as node:
        assert set(node.cookies()) == known
        assert {key.netns for key in node.loaded[state.addresses]} == known


def test_nothing_is_left_of_short_connections() -> None:
    with Lab() as lab:
        found = churn(lab, 4000, at_most_s=240)

    assert found.leaked == 0
    assert found.connections == 4000
    assert min(found.reset, found.abandoned, found.refused, found.timed_out) > 0
