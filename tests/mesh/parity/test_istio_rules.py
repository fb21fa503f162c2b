"""The generated rules against Istio's own golden files."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from beewire.mesh.config import ALL, InterceptionMode, PodConfig, from_istio
from beewire.mesh.parity import restore_inputs
from beewire.mesh.parity.goldens import goldens

REPOSITORY = Path(__file__).parents[3]
SUITE = (
    Path(os.environ.get("BEEWIRE_SUITES", REPOSITORY.parent / "shared" / "suites"))
    / "istio-iptables"
)
# Lines of a golden that look at the machine instead of changing it.
PROBES = ("iptables-save", "ip6tables-save")
CASES = (
    "basic-exclude-nic",
    "empty",
    "inbound-ports-include",
    "inbound-ports-tproxy",
    "inbound-ports-wildcard",
    "inbound-ports-wildcard-tproxy",
    "ip-range",
    "ipnets",
    "ipv6-dns-outbound-owner-groups",
    "ipv6-dns-uid-gid",
    "ipv6-empty-inbound-ports",
    "ipv6-inbound-ports",
    "ipv6-ipnets",
    "ipv6-outbound-ports",
    "ipv6-virt-interfaces",
    "kube-virt-interfaces",
    "outbound-owner-groups",
    "outbound-owner-groups-exclude",
)


@pytest.fixture(scope="module")
def suite() -> Path:
    if not SUITE.is_dir():
        pytest.skip(f"{SUITE} does not exist: set BEEWIRE_SUITES to the suites' folder")
    return SUITE


def generated(config: PodConfig) -> str:
    return "".join(table.text for table in restore_inputs(config))


@pytest.mark.parametrize("case", CASES)
def test_rules_equal_istios_golden(suite: Path, case: str) -> None:
    cases = json.loads((suite / "cases.json").read_text())
    config = from_istio(cases["defaults"] | cases["cases"][case])
    lines = (suite / f"{case}.golden").read_text().splitlines(keepends=True)
    golden = "".join(line for line in lines if line.strip() not in PROBES)

    assert generated(config) == golden


@pytest.mark.parametrize("case", CASES)
def test_parity_is_proven_for_istios_golden(suite: Path, case: str) -> None:
    lines = (suite / f"{case}.golden").read_text().splitlines(keepends=True)
    golden = "".join(line for line in lines if line.strip() not in PROBES)

    # Groups that the files name have numbers, which the rules then say.
    config = replace(goldens()[case], owner_group_ids=())

    assert generated(config) == golden


def test_parity_is_proven_for_every_golden() -> None:
    assert tuple(goldens()) == CASES


def test_every_golden_of_the_suite_is_tested(suite: Path) -> None:
    assert sorted(path.stem for path in suite.glob("*.golden")) == list(CASES)


def test_mode_none_has_no_rules() -> None:
    config = PodConfig(
        inbound_ports_include=ALL, inbound_interception_mode=InterceptionMode.NONE
    )

    assert restore_inputs(config) == ()


def test_excluded_outbound_ports_come_first_for_tcp_and_udp() -> None:
    rules = generated(PodConfig(outbound_ports_exclude=(443,))).splitlines()

    first = rules.index("-A OUTPUT -j ISTIO_OUTPUT") + 1

    assert rules[first : first + 2] == [
        "-A ISTIO_OUTPUT -p tcp --dport 443 -j RETURN",
        "-A ISTIO_OUTPUT -p udp --dport 443 -j RETURN",
    ]


def test_excluded_inbound_ports_precede_the_capture_of_all() -> None:
    config = PodConfig(inbound_ports_include=ALL, inbound_ports_exclude=(15090,))

    rules = [
        line for line in generated(config).splitlines() if "A ISTIO_INBOUND" in line
    ]

    assert rules[1:] == [
        "-A ISTIO_INBOUND -p tcp --dport 15090 -j RETURN",
        "-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT",
    ]


def test_captured_loopback_range_drops_the_pass_of_local_traffic() -> None:
    config = from_istio({"OutboundIPRangesInclude": "127.0.0.0/8"})

    assert "-o lo -m owner ! --uid-owner" not in generated(config)


def test_capture_of_all_dns_needs_no_server() -> None:
    config = PodConfig(redirect_dns=True, capture_all_dns=True)

    expected = "-A ISTIO_OUTPUT_DNS -p udp --dport 53 -j REDIRECT --to-port 15053\n"
    assert expected in generated(config)


def test_a_server_of_one_family_changes_the_rules_of_both() -> None:
    config = from_istio(
        {"RedirectDNS": True, "EnableIPv6": True, "DNSServersV4": ["10.96.0.10"]}
    )

    rules = {(each.family, each.table): each.text for each in restore_inputs(config)}

    assert "! --dports 53,15008" in rules[6, "nat"]
    assert "-j ISTIO_OUTPUT_DNS" not in rules[6, "nat"]
    assert "-A OUTPUT -j ISTIO_OUTPUT_DNS" in rules[6, "raw"]
    assert "ISTIO_INBOUND" not in rules[6, "raw"]


def test_the_mark_of_self_calls_is_istios_whatever_the_mark_of_tproxy_is() -> None:
    config = from_istio(
        {"InboundInterceptionMode": "TPROXY", "InboundTProxyMark": "100"}
    )

    rules = generated(config)

    assert "--mark 100 -j RETURN" in rules
    assert "-j MARK --set-mark 1338" in rules
    assert "101" not in rules


def test_invalid_packets_are_dropped_in_a_chain_of_their_own() -> None:
    rules = generated(PodConfig(drop_invalid=True))

    assert rules.startswith(
        "* mangle\n-N ISTIO_DROP\n"
        "-A PREROUTING -m conntrack --ctstate INVALID -j ISTIO_DROP\n"
        "-A ISTIO_DROP -j DROP\nCOMMIT\n"
    )


def test_a_chain_that_is_only_jumped_to_is_declared() -> None:
    config = from_istio(
        {
            "RedirectDNS": True,
            "EnableIPv6": True,
            "DNSServersV4": ["10.96.0.10"],
            "ProxyUID": "",
            "ProxyGID": "",
        }
    )

    raw = next(t for t in restore_inputs(config) if (t.family, t.table) == (6, "raw"))

    assert raw.text.startswith("* raw\n-N ISTIO_OUTPUT_DNS\n-A OUTPUT")
