"""Which connections take the short path: by leg, by tier, by family of addresses."""

import contextlib
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from beewire.mesh.config import Bypass
from beewire.mesh.enrol import Node
from beewire.mesh.lab import Lab
from tests.mesh.bypass.joined import (
    INBOUND,
    OUTBOUND,
    PORT,
    Pair,
    Way,
    accept,
    dial,
    enrolled,
    is_short,
)

pytestmark = pytest.mark.mesh


FAMILIES = ("v4", "v6", "mapped")


def listens(family: str) -> str:
    return "0.0.0.0" if family == "v4" else "::"


@contextlib.contextmanager
def first_leg(lab: Lab, family: str) -> Iterator[Pair]:
    """Application to its sidecar, in pod A."""
    host = lab.b.address6 if family == "v6" else lab.b.address
    with lab.a.proxy.listen(listens(family), OUTBOUND) as listener:
        way = Way(host, mapped=family == "mapped")
        yield from ends(dial(lab.a.app, way), listener)


@contextlib.contextmanager
def second_leg(lab: Lab, family: str) -> Iterator[Pair]:
    """Sidecar of pod A to the sidecar of pod B."""
    host = lab.b.address6 if family == "v6" else lab.b.address
    with lab.b.proxy.listen(listens(family), INBOUND) as listener:
        way = Way(host, mapped=family == "mapped")
        yield from ends(dial(lab.a.proxy, way), listener)


@contextlib.contextmanager
def third_leg(lab: Lab, family: str) -> Iterator[Pair]:
    """Sidecar of pod B to its application."""
    host = lab.b.address6 if family == "v6" else lab.b.address
    source = "::6" if family == "v6" else "127.0.0.6"
    with lab.b.app.listen(listens(family), PORT) as listener:
        way = Way(host, source=source, mapped=family == "mapped")
        yield from ends(dial(lab.b.proxy, way), listener)


def ends(near: socket.socket, listener: socket.socket) -> Iterator[Pair]:
    pair = Pair(near, accept(listener))
    try:
        yield pair
    finally:
        pair.close()


LEGS = {"first": first_leg, "second": second_leg, "third": third_leg}
TIERS = {
    Bypass.OFF: (),
    Bypass.SIDECARS: ("second",),
    Bypass.ALL: ("first", "second", "third"),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("leg", LEGS)
@pytest.mark.parametrize("tier", TIERS, ids=lambda tier: tier.value)
def test_a_tier_shortens_its_legs(
    lab: Lab, node: Node, tier: Bypass, leg: str, family: str
) -> None:
    with ExitStack() as stack:
        for pod in lab.pods:
            stack.enter_context(enrolled(node, pod, tier))
        pair = stack.enter_context(LEGS[leg](lab, family))

        pair.exchange()

        found = is_short(node, pair.near), is_short(node, pair.far)
    assert found == (leg in TIERS[tier],) * 2
