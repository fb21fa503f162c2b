"""Istio's rules in their nft form, and the commands that it runs besides."""

import pytest

from beewire.mesh.config import ALL, InterceptionMode, PodConfig, from_istio
from beewire.mesh.parity import (
    nft_input,
    routing_commands,
)


def lines(config: PodConfig) -> list[str]:
    return nft_input(config).splitlines()


def test_a_port_of_the_pod_goes_to_the_sidecar() -> None:
    rules = lines(PodConfig(inbound_ports_include=(80,)))

    assert (
        "add rule inet istio-proxy-nat istio-inbound"
        " meta l4proto tcp tcp dport 80 counter jump istio-in-redirect"
    ) in rules


def test_base_chains_without_rules_are_not_declared() -> None:
    text = nft_input(PodConfig(outbound_ip_ranges_include=ALL))

    assert "chain inet istio-proxy-nat output { type nat hook output" in text
    assert "prerouting" not in text
    assert "istio-proxy-mangle" not in text


def test_both_families_stand_in_one_table() -> None:
    rules = lines(PodConfig(enable_ipv6=True))

    at = rules.index(
        "add rule inet istio-proxy-nat istio-output ip daddr 127.0.0.1/32 counter return"
    )
    assert rules[at + 1].endswith("istio-output ip6 daddr ::1/128 counter return")


def test_the_first_rule_of_a_chain_is_added_where_others_are_inserted() -> None:
    rules = lines(from_istio({"RerouteVirtualInterfaces": "eth0,eth1"}))

    start = rules.index(
        "add rule inet istio-proxy-nat prerouting iifname eth0 counter return"
    )
    assert rules[start + 1] == (
        "insert rule inet istio-proxy-nat prerouting index 0 iifname eth1 counter return"
    )


def test_what_is_inserted_after_the_last_rule_is_added() -> None:
    config = PodConfig(inbound_interception_mode=InterceptionMode.TPROXY)

    inbound = [line for line in lines(config) if "mangle istio-inbound" in line]

    assert [line.split()[0] for line in inbound[1:]] == ["add"] * 3


@pytest.mark.parametrize(
    ("name", "written"),
    [("eth0", "eth0"), ("not-istio-nic", "not-istio-nic"), ("ge", '"ge"')],
)
def test_an_interface_that_is_a_word_of_nft_is_quoted(name: str, written: str) -> None:
    rules = lines(PodConfig(exclude_interfaces=(name,)))

    assert (
        f"add rule inet istio-proxy-nat output oifname {written} counter return"
        in rules
    )


def test_marks_of_tproxy_reroute_what_is_sent() -> None:
    config = PodConfig(
        inbound_ports_include=ALL, inbound_interception_mode=InterceptionMode.TPROXY
    )

    text = nft_input(config)

    assert "output { type route hook output priority -150 ; }" in text
    assert "tproxy ip to :15006 meta mark set 1337 counter accept" in text


def test_an_answer_is_known_by_its_source() -> None:
    config = from_istio({"RedirectDNS": True, "DNSServersV4": ["10.96.0.10"]})

    assert "istio-inbound udp sport 53 ip saddr 10.96.0.10/32" in nft_input(config)


def test_mode_none_has_neither_rules_nor_commands() -> None:
    config = PodConfig(inbound_interception_mode=InterceptionMode.NONE)

    assert nft_input(config) == ""
    assert routing_commands(config) == ()


def test_commands_of_tproxy_are_those_of_both_families() -> None:
    config = PodConfig(
        inbound_ports_include=ALL,
        inbound_interception_mode=InterceptionMode.TPROXY,
        enable_ipv6=True,
    )

    assert routing_commands(config) == (
        "ip -6 addr add ::6/128 dev lo",
        "ip rule add fwmark 1337 lookup 133",
        "ip route add local default dev lo table 133",
        "ip -6 rule add fwmark 1337 lookup 133",
        "ip -6 route add local default dev lo table 133",
    )


def test_a_group_with_a_number_is_told_by_it() -> None:
    config = PodConfig(
        owner_groups_include=("java", "202"), owner_group_ids=(("java", 1001),)
    )

    assert "skgid != 1001 skgid != 202 counter return" in nft_input(config)
