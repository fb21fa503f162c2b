"""Enrol a pod whose sidecar listens already."""

import pytest

from beewire.mesh.enrol import Node
from beewire.mesh.lab import Lab
from tests.mesh.enrolling import target

pytestmark = pytest.mark.mesh

CAPTURED = 15006  # the sidecar's inbound port


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_each_family_goes_to_its_own_listener(family: str) -> None:
    with (
        Lab() as lab,
        Node.load() as node,
        lab.b.proxy.listen("0.0.0.0", CAPTURED) as four,
        lab.b.proxy.listen(lab.b.address6, CAPTURED) as six,
    ):
        listeners = [(each.family, each.fileno()) for each in (four, six)]
        host = lab.b.address if family == "ipv4" else lab.b.address6
        wanted = four if family == "ipv4" else six
        with (
            node.enrol(target(lab.b), listeners=listeners),
            lab.a.app.connect(host, 80),
        ):
            wanted.settimeout(30)
            served, _ = wanted.accept()

            assert served.family == wanted.family
            served.close()
