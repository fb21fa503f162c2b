"""The decision, rule by rule: what Istio's tables say, in their order."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from typing import Any

import pytest

from beewire.errors import UsageError
from beewire.mesh.config import ALL, InterceptionMode, PodConfig, ProxyIdentity
from beewire.mesh.decision import (
    Action,
    Connection,
    Direction,
    Item,
    Rule,
    State,
    decide,
    knob,
)

OWNER = ProxyIdentity.OWNER
POD = PodConfig(
    proxy_identity=OWNER,
    inbound_ports_include=ALL,
    inbound_ports_exclude=(15020, 15021, 15090),
    outbound_ip_ranges_include=ALL,
    enable_ipv6=True,
)


# Any: fields by name, each of its own type.
def dial(destination: str = "10.96.0.10", port: int = 80, **how: Any) -> Connection:
    """An application's TCP connection."""
    address = ip_address(destination)
    source = ip_address("10.0.0.7") if address.version == 4 else ip_address("fd00::7")
    made = Connection(Direction.OUTBOUND, 6, source, 40000, address, port, 1000, 1000)
    return made._replace(**how)


def arrive(port: int = 8080, **how: Any) -> Connection:
    """A TCP connection from the network."""
    return dial("10.0.0.7", port, direction=Direction.INBOUND, interface="eth0", **how)


def check(
    config: PodConfig, connection: Connection, *expected: Action | Rule | Item
) -> None:
    assert decide(config, connection)[: len(expected)] == expected


def test_everything_else_goes_to_the_sidecar() -> None:
    check(POD, dial(), Action.TO_OUTBOUND, Rule.OUT_ALL_RANGES)
    check(POD, dial("2001:db8::1"), Action.TO_OUTBOUND, Rule.OUT_ALL_RANGES)


def test_excluded_ports_come_before_everything() -> None:
    config = replace(POD, outbound_ports_exclude=(80,))

    check(config, dial(uid=1337), Action.PASS, Rule.OUT_EXCLUDED_PORT, 80)
    check(config, dial(protocol=17), Action.PASS, Rule.OUT_EXCLUDED_PORT, 80)
    check(config, dial(protocol=132), Action.PASS, Rule.OUT_OTHER_PROTOCOL)


def test_the_sidecars_own_connections_go_where_they_were_dialled() -> None:
    check(POD, dial(uid=1337), Action.PASS, Rule.OUT_PROXY, "uid 1337")
    check(POD, dial(gid=1337), Action.PASS, Rule.OUT_PROXY, "gid 1337")


def test_a_sidecar_that_calls_its_own_pod_calls_its_inbound_listener() -> None:
    call = dial("10.0.0.7", local=True, uid=1337)

    check(POD, call, Action.TO_INBOUND, Rule.OUT_SELF_CALL, "uid 1337")
    check(POD, call._replace(destination_port=15008), Action.PASS, Rule.OUT_PROXY)
    check(
        POD,
        call._replace(source=IPv4Address("127.0.0.6")),
        Action.PASS,
        Rule.OUT_FROM_INBOUND,
    )


def test_an_application_that_calls_its_own_pod_goes_straight() -> None:
    check(POD, dial("10.0.0.7", local=True), Action.PASS, Rule.OUT_LOCAL)


def test_on_this_machine_only_the_first_owner_is_the_sidecar() -> None:
    config = replace(POD, proxy_uid=(3, 4), proxy_gid=())
    call = dial("10.0.0.7", local=True)

    check(config, call._replace(uid=3), Action.TO_INBOUND, Rule.OUT_SELF_CALL, "uid 3")
    check(config, call._replace(uid=4), Action.PASS, Rule.OUT_LOCAL)
    check(config, dial(uid=4), Action.PASS, Rule.OUT_PROXY, "uid 4")


@pytest.mark.parametrize(
    ("owner", "action", "rule"),
    [
        ({"uid": 3}, Action.PASS, Rule.OUT_PROXY),
        ({"gid": 1}, Action.TO_INBOUND, Rule.OUT_SELF_CALL),
    ],
)
def test_port_53_is_no_self_call_of_users_but_of_groups(
    owner: dict[str, int], action: Action, rule: Rule
) -> None:
    config = replace(
        POD, proxy_uid=(3,), proxy_gid=(1,), redirect_dns=True, capture_all_dns=True
    )

    check(config, dial("10.0.0.7", 53, local=True, **owner), action, rule)


def test_dns_goes_to_the_agent() -> None:
    config = replace(
        POD, redirect_dns=True, dns_servers_v4=(IPv4Address("127.0.0.53"),)
    )
    query = dial("127.0.0.53", 53, local=True)

    check(config, query, Action.TO_DNS, Rule.OUT_DNS, IPv4Address("127.0.0.53"))
    check(config, query._replace(protocol=17), Action.TO_DNS, Rule.OUT_DNS)
    check(config, dial("10.0.0.9", 53, protocol=17), Action.PASS)
    check(config, dial("10.0.0.9", 53), Action.TO_OUTBOUND)


def test_without_ipv6_its_connections_are_left_alone() -> None:
    config = replace(POD, enable_ipv6=False)

    check(config, dial("2001:db8::1"), Action.PASS, Rule.FAMILY_OFF)


def test_included_ports_are_captured_whatever_their_address() -> None:
    config = replace(
        POD,
        outbound_ip_ranges_include=(IPv4Network("10.0.0.0/8"),),
        outbound_ip_ranges_exclude=(IPv4Network("10.1.0.0/16"),),
        outbound_ports_include=(443,),
    )

    check(config, dial("192.0.2.1", 443), Action.TO_OUTBOUND, Rule.OUT_INCLUDED_PORT)
    check(config, dial("192.0.2.1"), Action.PASS, Rule.OUT_NOT_INCLUDED)
    check(config, dial("10.1.2.3", 443), Action.PASS, Rule.OUT_EXCLUDED_RANGE)
    check(config, dial("10.2.2.3"), Action.TO_OUTBOUND, Rule.OUT_INCLUDED_RANGE)


def test_owner_groups_may_be_names() -> None:
    config = replace(
        POD, owner_groups_include=("java",), owner_group_ids=(("java", 202),)
    )

    check(config, dial(gid=202), Action.TO_OUTBOUND, Rule.OUT_ALL_RANGES)
    check(config, dial(gid=203), Action.PASS, Rule.OUT_GROUP_NOT_INCLUDED, 203)
    with pytest.raises(UsageError, match="owner group 'java' has no number"):
        decide(replace(config, owner_group_ids=()), dial())


def test_inbound_ports_in_order() -> None:
    check(POD, arrive(), Action.TO_INBOUND, Rule.IN_ALL_PORTS)
    check(POD, arrive(15008), Action.PASS, Rule.IN_TUNNEL_PORT, 15008)
    check(POD, arrive(15021), Action.PASS, Rule.IN_EXCLUDED_PORT, 15021)
    check(POD, arrive(local=True), Action.PASS, Rule.IN_LOCAL)
    check(POD, arrive(protocol=17), Action.PASS, Rule.IN_OTHER_PROTOCOL)


def test_tproxy_captures_the_tunnels_port_too() -> None:
    config = replace(POD, inbound_interception_mode=InterceptionMode.TPROXY)
    call = dial("10.0.0.7", 15008, local=True, uid=1337)

    check(config, arrive(15008), Action.TO_INBOUND, Rule.IN_ALL_PORTS)
    check(config, call, Action.TO_INBOUND, Rule.OUT_SELF_CALL_TPROXY)
    check(config, call._replace(mark=1337), Action.PASS, Rule.OUT_PROXY)


def test_a_virtual_machines_traffic_is_outbound() -> None:
    config = replace(POD, reroute_virtual_interfaces=("eth0",))

    check(config, arrive(), Action.TO_OUTBOUND, Rule.IN_REROUTED, "eth0")


def test_an_open_connection_keeps_its_way() -> None:
    check(POD, dial(state=State.ESTABLISHED), Action.PASS, Rule.ESTABLISHED)


def test_by_its_cgroup_a_sidecar_is_known_whatever_its_user() -> None:
    config = replace(POD, proxy_identity=ProxyIdentity.CGROUP)

    check(config, dial(uid=1337), Action.TO_OUTBOUND, Rule.OUT_ALL_RANGES)
    check(config, dial(in_proxy=True), Action.PASS, Rule.OUT_PROXY, "sidecar")
    assert knob(config, decide(config, dial(in_proxy=True))) == "proxy_identity"


def test_a_verdict_leads_to_its_setting() -> None:
    config = replace(POD, outbound_ports_exclude=(80,))

    assert knob(config, decide(config, dial())) == "outbound_ports_exclude"
    assert knob(config, decide(config, dial(port=81, gid=1337))) == "proxy_gid"
    assert knob(config, decide(config, arrive(local=True))) is None


def test_addresses_of_both_families_are_compared_with_their_own_ranges() -> None:
    config = replace(POD, outbound_ip_ranges_include=(IPv4Network("0.0.0.0/0"),))

    check(config, dial(), Action.TO_OUTBOUND, Rule.OUT_INCLUDED_RANGE)
    check(
        config,
        dial()._replace(destination=IPv6Address("::ffff:0:1")),
        Action.PASS,
        Rule.OUT_NOT_INCLUDED,
    )
