"""A namespace's addresses, interfaces and routes, as rtnetlink tells them."""

from collections.abc import Iterator
from ipaddress import IPv4Network, ip_address

import pytest

from beewire.mesh.lab import Lab
from beewire.mesh.lab.pods import Pod
from beewire.mesh.network import Network

pytestmark = pytest.mark.mesh

IP = "/sbin/ip"


@pytest.fixture
def pod() -> Iterator[Pod]:
    with Lab() as lab:
        yield lab.a


def test_addresses_are_told_with_where_they_are(pod: Pod) -> None:
    with Network.of(pod.namespace.path) as network:
        found = {each.address: each for each in network.addresses()}
        eth0 = network.interfaces()["eth0"]

    own = found[ip_address(pod.address)]
    assert (own.interface, own.scope, own.is_good) == (eth0, 0, True)
    assert found[ip_address("127.0.0.1")].scope != 0


def test_a_second_address_of_one_network_is_no_good_source(pod: Pod) -> None:
    pod.app.run([IP, "address", "add", "10.77.1.9/24", "dev", "eth0"])

    with Network.of(pod.namespace.path) as network:
        found = {str(each.address): each for each in network.addresses()}
    assert not found["10.77.1.9"].is_good


def test_routes_are_told_with_the_interface_they_lead_to(pod: Pod) -> None:
    pod.app.run([IP, "route", "add", "10.9.0.0/16", "dev", "eth0", "metric", "7"])

    with Network.of(pod.namespace.path) as network:
        found = {way.destination: way for way in network.routes()}
        eth0 = network.interfaces()["eth0"]
    way = found[IPv4Network("10.9.0.0/16")]
    assert (way.interface, way.metric) == (eth0, 7)
    assert found[IPv4Network("0.0.0.0/0")].interface == eth0


def test_changes_are_told(pod: Pod) -> None:
    with Network.of(pod.namespace.path) as network:
        network.watch()
        quiet = network.drain()
        pod.app.run([IP, "address", "add", "10.9.9.9/32", "dev", "lo"])

        assert not quiet
        assert network.drain()
        assert not network.drain()
