"""Pods with several interfaces and addresses: where connections leave, and where from."""

import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import pytest

from beewire.mesh.decision import Rule
from beewire.mesh.enrol import SIDECAR, Enrolment, Node, enrol
from beewire.mesh.lab import Lab
from tests.mesh.enrolling import target

pytestmark = pytest.mark.mesh

IP = "/sbin/ip"
PORT = 9000
OUTBOUND, INBOUND = 15001, 15006
NEAR, FAR = "10.88.0.2", "10.88.0.3"  # pods A and B on their second network
NEAR6, FAR6 = "fd88::2", "fd88::3"


class Pair(NamedTuple):
    """A lab whose pods share a second network, by interfaces called net1."""

    lab: Lab

    def address(self, verb: str, what: str) -> None:
        """Add or delete an address of pod A's second interface."""
        self.lab.a.app.run([IP, "address", verb, what, "dev", "net1", *nodad(what)])


def nodad(what: str) -> list[str]:
    return ["nodad"] if ":" in what else []


@pytest.fixture
def pair() -> Iterator[Pair]:
    with Lab() as lab:
        peer = ["peer", "name", "net1", "netns", lab.b.namespace.name]
        lab.a.app.run([IP, "link", "add", "net1", "type", "veth", *peer])
        for pod, addresses in ((lab.a, (NEAR, NEAR6)), (lab.b, (FAR, FAR6))):
            for address in addresses:
                bits = "64" if ":" in address else "24"
                what = [f"{address}/{bits}", "dev", "net1", *nodad(address)]
                pod.app.run([IP, "address", "add", *what])
            pod.app.run([IP, "link", "set", "net1", "up"])
        yield Pair(lab)


WITHOUT_NET1 = replace(SIDECAR, exclude_interfaces=("net1",))


@pytest.fixture
def excluded(pair: Pair) -> Iterator[Enrolment]:
    """Pod A, whose second network is none of the mesh's business."""
    with enrol(target(pair.lab.a)._replace(config=WITHOUT_NET1)) as pod:
        yield pod


@pytest.fixture
def pod(pair: Pair) -> Iterator[Enrolment]:
    with enrol(target(pair.lab.a)) as enrolment:
        yield enrolment


@pytest.mark.parametrize("host", [FAR, FAR6])
def test_what_leaves_by_an_excluded_interface_goes_straight(
    pair: Pair, excluded: Enrolment, host: str
) -> None:
    with (
        pair.lab.b.app.listen("::", PORT) as server,
        pair.lab.a.app.connect(host, PORT) as client,
    ):
        accepted, peer = server.accept()
        with accepted:
            assert peer[1] == client.getsockname()[1]
    assert excluded.rules() == {Rule.OUT_EXCLUDED_INTERFACE: 1}


def test_what_leaves_by_another_interface_is_captured(
    pair: Pair, excluded: Enrolment
) -> None:
    with (
        pair.lab.a.proxy.listen("0.0.0.0", OUTBOUND),
        pair.lab.a.app.connect(pair.lab.b.address, PORT),
    ):
        assert excluded.rules() == {Rule.OUT_ALL_RANGES: 1}


def test_a_socket_that_is_bound_to_an_interface_leaves_by_it(
    pair: Pair, excluded: Enrolment
) -> None:
    def dial() -> int:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"net1")
            sock.setblocking(False)
            return sock.connect_ex((pair.lab.b.address, PORT))

    pair.lab.a.app.call(dial)

    assert excluded.rules() == {Rule.OUT_EXCLUDED_INTERFACE: 1}


@pytest.mark.parametrize("host", [NEAR, NEAR6])
def test_what_comes_by_an_excluded_interface_reaches_the_application(
    pair: Pair, excluded: Enrolment, host: str
) -> None:
    with (
        pair.lab.a.app.listen("::", PORT),
        pair.lab.b.app.connect(host, PORT),
    ):
        assert excluded.rules() == {Rule.IN_EXCLUDED_INTERFACE: 1}


def test_what_comes_by_another_interface_is_captured(
    pair: Pair, excluded: Enrolment
) -> None:
    with (
        pair.lab.a.app.listen("0.0.0.0", PORT),
        pytest.raises(ConnectionRefusedError),
    ):
        pair.lab.b.app.connect(pair.lab.a.address, PORT)

    assert excluded.rules() == {Rule.IN_ALL_PORTS: 1}


def test_an_interface_that_comes_later_is_excluded_when_the_pod_is_read_again(
    pair: Pair,
) -> None:
    config = replace(SIDECAR, exclude_interfaces=("net+",))
    pair.lab.a.app.run([IP, "link", "set", "net1", "down"])
    with enrol(target(pair.lab.a)._replace(config=config)) as pod, pod.watch() as news:
        pair.lab.a.app.run([IP, "link", "set", "net1", "up"])
        assert news.drain()
        pod.refresh()

        with pair.lab.b.app.listen(FAR, PORT), pair.lab.a.app.connect(FAR, PORT):
            assert pod.rules() == {Rule.OUT_EXCLUDED_INTERFACE: 1}


@pytest.mark.parametrize(
    ("host", "source"),
    [
        (FAR, NEAR),
        (FAR6, NEAR6),
        ("10.77.2.2", "10.77.1.2"),
        ("fd77:2::2", "fd77:1::2"),
    ],
)
def test_a_redirected_connection_comes_from_the_address_of_its_interface(
    pair: Pair, pod: Enrolment, host: str, source: str
) -> None:
    del pod
    with (
        pair.lab.a.proxy.listen("::", OUTBOUND),
        pair.lab.a.app.connect(host, PORT) as client,
    ):
        assert client.getsockname()[0] == source


def test_calls_to_any_of_the_pods_addresses_stay_inside(
    pair: Pair, pod: Enrolment
) -> None:
    with pair.lab.a.app.listen("0.0.0.0", PORT), pair.lab.a.app.connect(NEAR, PORT):
        assert pod.rules() == {Rule.OUT_LOCAL: 1}


def test_an_address_is_the_pods_when_it_is_read_again(
    pair: Pair, pod: Enrolment
) -> None:
    pair.address("add", "10.88.0.9/24")
    with (
        pair.lab.a.proxy.listen("0.0.0.0", INBOUND),
        pytest.raises(ConnectionRefusedError),
    ):
        pair.lab.b.app.connect("10.88.0.9", PORT)
    pod.refresh()
    with (
        pair.lab.a.proxy.listen("0.0.0.0", INBOUND) as listener,
        pair.lab.b.app.connect("10.88.0.9", PORT) as client,
    ):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockname() == client.getpeername()


def test_an_address_that_has_gone_is_the_pods_no_more(
    pair: Pair, pod: Enrolment
) -> None:
    pair.address("del", f"{NEAR}/24")
    pod.refresh()

    with pair.lab.a.proxy.listen("0.0.0.0", OUTBOUND):
        pair.lab.a.app.connect(NEAR, PORT).close()
    assert pod.rules() == {Rule.OUT_ALL_RANGES: 1}


SHARED = "10.99.0.1"  # of both pods


@pytest.fixture
def twins(pair: Pair) -> Iterator[tuple[Enrolment, Enrolment]]:
    """Both pods on one node, with one address in common."""
    for pod in pair.lab.pods:
        pod.app.run([IP, "address", "add", f"{SHARED}/32", "dev", "lo"])
    with (
        Node.load() as node,
        node.enrol(target(pair.lab.a)) as a,
        node.enrol(target(pair.lab.b)) as b,
    ):
        yield a, b


def dial_by_way_of(lab: Lab, gateway: str) -> None:
    """Call the shared address from outside both pods, through one of them."""

    def dial() -> None:
        route = [IP, "route", "replace", f"{SHARED}/32", "via", gateway]
        subprocess.run(route, check=True)
        socket.create_connection((SHARED, PORT), 30).close()

    lab.router.run(dial)


def test_pods_that_share_an_address_are_told_apart(
    pair: Pair, twins: tuple[Enrolment, Enrolment]
) -> None:
    for pod, enrolment in zip(pair.lab.pods, twins, strict=True):
        with pod.proxy.listen("0.0.0.0", INBOUND) as listener:
            dial_by_way_of(pair.lab, pod.address)
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getsockname()[0] == SHARED
        assert enrolment.rules() == {Rule.IN_ALL_PORTS: 1}
