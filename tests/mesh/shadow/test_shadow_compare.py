"""What is decided in shadow mode is compared with what Istio's rules do: real packets."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network

import pytest

from beewire.mesh import events
from beewire.mesh.config import ProxyIdentity
from beewire.mesh.decision import Action, Rule
from beewire.mesh.events import Reason
from beewire.mesh.lab.dns import query
from beewire.mesh.shadow import Seen
from tests.mesh.shadow.shadowing import REQUEST, RULES, World, get, world

pytestmark = pytest.mark.mesh

RAW, DIRECT = 9000, 15020
RESOLVER, RESOLVER6 = "10.96.0.10", "fd00:96::10"


@pytest.fixture(scope="module")
def alike() -> Iterator[World]:
    """Both sides have the same configuration."""
    with world() as made:
        yield made
        assert made.report(made.a).disagreements == ()
        assert made.report(made.b).disagreements == ()


@pytest.fixture
def different() -> Iterator[World]:
    """Beewire is told to leave pod B's network alone, and one of its ports."""
    networks = (ip_network("10.77.2.0/24"), ip_network("fd77:2::/64"))
    config = replace(
        RULES,
        outbound_ip_ranges_exclude=networks,
        inbound_ports_exclude=(*RULES.inbound_ports_exclude, 80),
        proxy_identity=ProxyIdentity.OWNER,
    )
    with world(config=config) as made:
        yield made


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_captured_connection_agrees(alike: World, family: str) -> None:
    host = alike.lab.b.address if family == "ipv4" else alike.lab.b.address6
    key = Rule.OUT_ALL_RANGES, Seen.TO_OUTBOUND
    before = alike.rows(alike.a)[key].times if key in alike.rows(alike.a) else 0

    answered = get(alike.lab, host)

    assert b"x-bw-outbound: a" in answered
    assert b"x-bw-inbound: b" in answered
    assert alike.rows(alike.a)[key].times == before + 1
    assert alike.rows(alike.a)[key].decided is Action.TO_OUTBOUND


def test_v4_mapped_sockets_agree(alike: World) -> None:
    get(alike.lab, alike.lab.b.address)
    before = alike.report(alike.a).agreed

    alike.lab.a.app.connect(alike.lab.b.address, 80, mapped=True).close()

    assert alike.report(alike.a).agreed == before + 1


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_what_the_rules_redirect_on_its_way_in_agrees(
    alike: World, family: str
) -> None:
    host = alike.lab.b.address if family == "ipv4" else alike.lab.b.address6
    key = Rule.IN_ALL_PORTS, Seen.TO_INBOUND
    before = alike.rows(alike.b)[key].times if key in alike.rows(alike.b) else 0

    with alike.lab.a.proxy.connect(host, 80) as sock:
        sock.sendall(REQUEST)
        assert b"x-bw-inbound: b" in sock.recv(1 << 16).lower()

    assert alike.rows(alike.b)[key].times == before + 1


def test_what_the_rules_leave_alone_on_its_way_in_agrees(alike: World) -> None:
    with alike.lab.a.proxy.connect(alike.lab.b.address, DIRECT) as sock:
        source = sock.getsockname()

    row = alike.rows(alike.b)[Rule.IN_EXCLUDED_PORT, Seen.PASS]
    assert row.decided is Action.PASS
    assert (str(row.example.source), row.example.source_port) == source
    assert row.example.destination_port == DIRECT


def test_the_sidecar_and_its_application_agree(alike: World) -> None:
    get(alike.lab, alike.lab.b.address)
    alike.lab.b.app.connect(alike.lab.b.address, 80).close()

    assert alike.rows(alike.a)[Rule.OUT_PROXY, Seen.PASS].times > 0
    assert alike.rows(alike.b)[Rule.OUT_FROM_INBOUND, Seen.PASS].times > 0
    assert alike.rows(alike.b)[Rule.OUT_LOCAL, Seen.PASS].times > 0


def test_a_sidecar_that_calls_its_own_pod_agrees(alike: World) -> None:
    alike.lab.b.proxy.connect(alike.lab.b.address, 80).close()

    row = alike.rows(alike.b)[Rule.OUT_SELF_CALL, Seen.TO_INBOUND]
    assert row.decided is Action.TO_INBOUND


@pytest.mark.parametrize("connects", [True, False])
@pytest.mark.parametrize("host", [RESOLVER, RESOLVER6])
def test_a_query_agrees(alike: World, host: str, connects: bool) -> None:
    key = Rule.OUT_DNS, Seen.TO_DNS
    before = alike.rows(alike.a)[key].times if key in alike.rows(alike.a) else 0
    family = socket.AF_INET6 if ":" in host else socket.AF_INET

    def ask() -> None:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            if connects:
                sock.connect((host, 53))
                sock.send(query("name.test"))
            else:
                sock.sendto(query("name.test"), (host, 53))

    alike.lab.a.app.call(ask)

    assert alike.rows(alike.a)[key].times == before + 1


def test_nothing_is_counted_as_seen_that_never_left(alike: World) -> None:
    nowhere = "192.0.2.1"
    alike.lab.a.app.run(["/sbin/ip", "route", "add", "unreachable", nowhere])
    before, unseen = alike.report(alike.a).compared, alike.report(alike.a).unseen

    with pytest.raises(OSError, match=r"No route to host|Host is unreachable"):
        alike.lab.a.app.connect(nowhere, 80)

    assert alike.report(alike.a).compared == before
    assert alike.report(alike.a).unseen == unseen + 1


def test_a_range_that_only_one_side_excludes_disagrees(different: World) -> None:
    answered = get(different.lab, different.lab.b.address)

    assert b"x-bw-outbound: a" in answered
    row = different.rows(different.a)[Rule.OUT_EXCLUDED_RANGE, Seen.TO_OUTBOUND]
    assert not row.agrees
    assert row.decided is Action.PASS
    assert str(row.example.destination) == different.lab.b.address
    assert row.example.destination_port == 80


def test_a_port_that_only_one_side_excludes_disagrees(different: World) -> None:
    different.lab.a.proxy.connect(different.lab.b.address, 80).close()
    get(different.lab, different.lab.b.address6)

    row = different.rows(different.b)[Rule.IN_EXCLUDED_PORT, Seen.TO_INBOUND]
    assert row.decided is Action.PASS
    assert row.example.destination_port == 80


def test_a_disagreement_is_told_as_it_happens(different: World) -> None:
    get(different.lab, different.lab.b.address)

    told = [
        event
        for event in events.poll(different.node.loaded)
        if event.reason is Reason.SHADOW_DISAGREES and event.pod == different.a.netns
    ]
    assert told[0].target == f"{different.lab.b.address}:80"
    assert told[0].rule == Rule.OUT_EXCLUDED_RANGE
    assert told[0].process != 0


@pytest.mark.parametrize("port", [80, DIRECT])
def test_an_excluded_interface_agrees(port: int) -> None:
    config = replace(RULES, exclude_interfaces=("eth0",))
    with world(rules=config, config=config) as made:
        made.lab.a.proxy.connect(made.lab.b.address, port).close()

        assert made.report(made.b).disagreements == ()
        row = made.rows(made.b)[Rule.IN_EXCLUDED_INTERFACE, Seen.PASS]
        assert row.times == 1


def test_an_interface_that_only_one_side_excludes_disagrees() -> None:
    config = replace(RULES, exclude_interfaces=("eth0",))
    with world(config=config) as made:
        with made.lab.a.proxy.connect(made.lab.b.address, 80) as sock:
            sock.sendall(REQUEST)
            assert b"x-bw-inbound: b" in sock.recv(1 << 16).lower()

        row = made.rows(made.b)[Rule.IN_EXCLUDED_INTERFACE, Seen.TO_INBOUND]
        assert row.decided is Action.PASS


def test_a_new_configuration_is_counted_from_nothing(different: World) -> None:
    get(different.lab, different.lab.b.address)
    assert different.report(different.a).disagreed > 0

    different.a.update(RULES)

    assert different.report(different.a).rows == ()
    get(different.lab, different.lab.b.address)
    assert different.report(different.a).disagreed == 0
    assert different.report(different.a).agreed > 0


def test_nothing_stays_of_a_pod_that_is_withdrawn(different: World) -> None:
    get(different.lab, different.lab.b.address)
    different.b.close()

    assert different.report(different.b).rows == ()
    assert b"x-bw-inbound: b" in get(different.lab, different.lab.b.address)
