"""Many ports of a pod that meet in one listener, under iptables and under Beewire."""

import pytest

from beewire.mesh.lab import Beewire, Iptables, Lab
from beewire.mesh.lab.escaping import CONNECTIONS, escapes
from beewire.mesh.lab.fan_in import PORTS, fan_in

pytestmark = [pytest.mark.mesh, pytest.mark.usefixtures("machine")]


def test_beewire_keeps_connections_with_one_source_port_apart(lab: Lab) -> None:
    found = fan_in(lab, Beewire(), pairs=50)

    assert found.wrong_source_ports == 0
    assert not found.stalls
    assert found.resets == 0


def test_redirecting_rules_confuse_connections_with_one_source_port(lab: Lab) -> None:
    """The reproducer does reproduce; stalls take two CPUs at the same instant."""
    found = fan_in(lab, Iptables(), pairs=2)

    assert found.wrong_source_ports == PORTS - 1
    assert found.resets > 0


def test_beewire_lets_nothing_past_by_a_source_port_of_the_sidecars(lab: Lab) -> None:
    assert escapes(lab, Beewire()) == 0


def test_rules_let_past_what_conntrack_takes_for_the_sidecars(lab: Lab) -> None:
    assert escapes(lab, Iptables()) == CONNECTIONS
