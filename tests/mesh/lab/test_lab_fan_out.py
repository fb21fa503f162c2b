"""Many connections of one pod, held at once, each with a destination of its own."""

import pytest

from beewire.mesh.lab import Beewire, Lab
from beewire.mesh.lab.fan_out import fan_out

pytestmark = [pytest.mark.mesh, pytest.mark.usefixtures("machine")]


@pytest.mark.parametrize("ipv6", [False, True])
def test_every_connection_is_told_its_own_destination(lab: Lab, ipv6: bool) -> None:
    """More of them than there are aliases: the others are spread."""
    found = fan_out(lab, Beewire(), 6000, ipv6=ipv6)

    assert found.held == 6000
    assert found.wrong == 0
    assert found.refused == ""
