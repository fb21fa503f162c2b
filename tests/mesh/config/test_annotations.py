"""A pod's annotations: defaults, quirks, faults."""

from ipaddress import ip_network

import pytest

from beewire.errors import UsageError
from beewire.mesh.config import (
    ALL,
    InterceptionMode,
    PodConfig,
    combine,
    read_annotations,
    refusals,
)
from beewire.mesh.parity import restore_inputs

TRAFFIC = "traffic.sidecar.istio.io/"


def read(**annotations: str) -> PodConfig:
    """The configuration of a pod with these annotations below TRAFFIC."""
    named = {TRAFFIC + name: text for name, text in annotations.items()}
    return combine(read_annotations(named)).config


def test_a_pod_without_annotations_has_everything_captured() -> None:
    config = read()

    assert config.inbound_ports_include is ALL
    assert config.outbound_ip_ranges_include is ALL
    assert config.inbound_ports_exclude == (15020, 15021, 15090)
    assert config.outbound_ports_exclude == (15020,)


def test_an_empty_list_of_included_inbound_ports_captures_none() -> None:
    assert read(includeInboundPorts="").inbound_ports_include == ()


def test_an_empty_list_of_ranges_captures_none_by_address() -> None:
    config = read(includeOutboundIPRanges="", includeOutboundPorts="443")

    assert config.outbound_ip_ranges_include == ()
    assert config.outbound_ports_include == (443,)


def test_ports_of_the_sidecar_and_the_status_port_join_the_excluded_ones() -> None:
    layer = read_annotations(
        {
            TRAFFIC + "excludeInboundPorts": "8080,15021,8080",
            "status.sidecar.istio.io/port": "15555",
        }
    )

    excluded = combine(layer).config.inbound_ports_exclude

    assert excluded == (8080, 15021, 15555, 15020, 15090)


def test_status_port_0_means_that_there_is_none() -> None:
    config = combine(read_annotations({"status.sidecar.istio.io/port": "0"})).config

    assert config.inbound_ports_exclude == (15020, 15021, 15090)


def test_an_empty_list_of_excluded_outbound_ports_replaces_the_default() -> None:
    assert read(excludeOutboundPorts="").outbound_ports_exclude == ()


def test_the_mode_is_read() -> None:
    layer = read_annotations({"sidecar.istio.io/interceptionMode": "TPROXY"})

    assert combine(layer).config.inbound_interception_mode is InterceptionMode.TPROXY


def test_blanks_and_a_last_comma_are_forgiven() -> None:
    assert read(includeInboundPorts=" 80, 443,").inbound_ports_include == (80, 443)


def test_ranges_of_both_families_are_read() -> None:
    config = read(excludeOutboundIPRanges="10.1.2.3/8,fd00::/8")

    assert config.outbound_ip_ranges_exclude == (
        ip_network("10.0.0.0/8"),
        ip_network("fd00::/8"),
    )


@pytest.mark.parametrize("newer", ["eth1", ""])
def test_reroute_is_preferred_over_its_deprecated_name(newer: str) -> None:
    layer = read_annotations(
        {
            "istio.io/reroute-virtual-interfaces": newer,
            TRAFFIC + "kubevirtInterfaces": "eth9",
        }
    )

    configuration = combine(layer)

    assert configuration.config.reroute_virtual_interfaces == tuple(newer.split())
    assert "takes its place" in str(configuration.findings[0])


def test_the_deprecated_name_is_read_alone() -> None:
    assert read(kubevirtInterfaces="eth9").reroute_virtual_interfaces == ("eth9",)


def test_rerouted_interfaces_are_refused_with_what_istio_would_do() -> None:
    layer = read_annotations({"istio.io/reroute-virtual-interfaces": "eth1"})

    [refusal] = refusals(combine(layer).settings)

    assert str(refusal).startswith("istio.io/reroute-virtual-interfaces: ")
    assert "PREROUTING" in str(refusal)
    assert "socket layer" in str(refusal)


def test_rules_of_a_pod_are_those_of_istios_cni_plugin() -> None:
    rules = restore_inputs(read(includeOutboundPorts="443"))[0].text.splitlines()

    start = rules.index("-A PREROUTING -p tcp -j ISTIO_INBOUND")
    assert rules[start : start + 8] == [
        "-A PREROUTING -p tcp -j ISTIO_INBOUND",
        "-A ISTIO_INBOUND -p tcp --dport 15020 -j RETURN",
        "-A ISTIO_INBOUND -p tcp --dport 15021 -j RETURN",
        "-A ISTIO_INBOUND -p tcp --dport 15090 -j RETURN",
        "-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT",
        "-A OUTPUT -j ISTIO_OUTPUT",
        "-A ISTIO_OUTPUT -p tcp --dport 15020 -j RETURN",
        "-A ISTIO_OUTPUT -p udp --dport 15020 -j RETURN",
    ]
    assert rules[-3:] == [
        "-A ISTIO_OUTPUT -p tcp --dport 443 -j ISTIO_REDIRECT",
        "-A ISTIO_OUTPUT -j ISTIO_REDIRECT",
        "COMMIT",
    ]


def test_a_pods_own_proxy_config_is_read() -> None:
    text = (
        'interceptionMode: TPROXY\nproxyMetadata:\n  ISTIO_META_DNS_CAPTURE: "true"\n'
    )

    configuration = combine(read_annotations({"proxy.istio.io/config": text}))

    assert configuration.config.inbound_interception_mode is InterceptionMode.TPROXY
    assert configuration.config.redirect_dns
    assert configuration.config.capture_all_dns
    assert "proxy.istio.io/config" in str(configuration.origin("redirect_dns"))


def test_an_annotation_wins_over_the_pods_proxy_config() -> None:
    layer = read_annotations(
        {
            "sidecar.istio.io/interceptionMode": "REDIRECT",
            "proxy.istio.io/config": "interceptionMode: TPROXY",
        }
    )

    assert combine(layer).config.inbound_interception_mode is InterceptionMode.REDIRECT


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("includeInboundPorts", "70000", "'70000' is not a port"),
        ("excludeInboundPorts", "*", "would exclude every port"),
        ("excludeOutboundIPRanges", "*", "Istio refuses it"),
        ("includeOutboundIPRanges", "10.0.0.0/40", "is not a range"),
        ("excludeInterfaces", "eth+", "a pattern of iptables"),
    ],
)
def test_a_fault_is_told_with_the_annotations_name(
    name: str, text: str, told: str
) -> None:
    with pytest.raises(UsageError) as caught:
        read(**{name: text})

    assert str(caught.value).startswith(f"{TRAFFIC}{name}: ")
    assert told in str(caught.value)


def test_an_annotation_that_istio_does_not_know_is_a_fault() -> None:
    with pytest.raises(UsageError, match=r"write traffic.*includeInboundPorts"):
        read(includeInboundPort="80")
    with pytest.raises(UsageError, match="there are includeInboundPorts"):
        read(colour="blue")


@pytest.mark.parametrize(
    "name",
    ["ambient.istio.io/dns-capture", "istio.io/dataplane-mode"],
)
def test_settings_of_ambient_mode_are_noted(name: str) -> None:
    [note] = combine(read_annotations({name: "x"})).findings

    assert f"{name}: has no effect: in ambient mode" in str(note)


@pytest.mark.parametrize(
    "name",
    ["sidecar.istio.io/interceptionmode", "istio.io/reroute-virtual-interface"],
)
def test_a_name_that_is_nearly_one_of_ours_is_noted(name: str) -> None:
    [note] = combine(read_annotations({name: "x"})).findings

    assert f"{name}: is not read; did you mean " in str(note)


def test_annotations_of_others_are_left_alone() -> None:
    layer = read_annotations(
        {"prometheus.io/port": "x", "sidecar.istio.io/status": "{}"}
    )

    assert layer.findings == ()


def test_every_fault_is_told() -> None:
    with pytest.raises(UsageError) as caught:
        read(includeInboundPorts="x", excludeOutboundIPRanges="y")

    assert "excludeOutboundIPRanges" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    "annotations",
    [
        {"includeOutboundPorts": "80,443", "excludeOutboundPorts": "443"},
        {"includeInboundPorts": "80", "excludeInboundPorts": "80"},
        {
            "includeOutboundIPRanges": "10.1.0.0/16",
            "excludeOutboundIPRanges": "10.0.0.0/8",
        },
    ],
)
def test_what_is_included_and_excluded_is_a_fault(annotations: dict[str, str]) -> None:
    first, second = annotations

    with pytest.raises(UsageError) as caught:
        read(**annotations)

    assert str(caught.value).startswith(TRAFFIC + first)
    assert second in str(caught.value)


def test_a_range_may_be_carved_out_of_an_included_one() -> None:
    config = read(
        includeOutboundIPRanges="10.0.0.0/8,fd00::/8",
        excludeOutboundIPRanges="10.1.0.0/16",
    )

    assert len(config.outbound_ip_ranges_exclude) == 1


def test_exclusions_without_effect_are_noted() -> None:
    layer = read_annotations(
        {TRAFFIC + "includeInboundPorts": "80", TRAFFIC + "excludeInboundPorts": "443"}
    )

    [note] = combine(layer).findings

    assert "excludeInboundPorts: has no effect" in str(note)


def test_a_default_that_hides_an_included_port_is_noted() -> None:
    [note] = combine(
        read_annotations({TRAFFIC + "includeOutboundPorts": "15020"})
    ).findings

    assert "excluded by default" in str(note)
