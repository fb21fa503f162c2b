"""Reading Istio's spelling of a pod's interception."""

from ipaddress import IPv4Network, IPv6Address

import pytest

from beewire.errors import UsageError
from beewire.mesh.config import ALL, PodConfig, from_istio


def test_no_settings_give_the_defaults() -> None:
    assert from_istio({}) == PodConfig()


def test_star_means_all_ports() -> None:
    assert from_istio({"InboundPortsInclude": "*"}).inbound_ports_include is ALL


def test_lists_keep_their_order_and_forgive_a_last_comma() -> None:
    config = from_istio({"InboundPortsExclude": "7000,6000,"})

    assert config.inbound_ports_exclude == (7000, 6000)


def test_host_bits_of_a_range_are_masked_away() -> None:
    config = from_istio({"OutboundIPRangesInclude": "10.1.2.3/8"})

    assert config.outbound_ip_ranges_include == (IPv4Network("10.0.0.0/8"),)


def test_dns_servers_are_a_list_of_addresses() -> None:
    config = from_istio({"DNSServersV6": ["fd00::53"]})

    assert config.dns_servers_v6 == (IPv6Address("fd00::53"),)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("InboundPortsInclude", "80,http"),
        ("InboundPortsInclude", "70000"),
        ("OutboundPortsExclude", "0"),
        ("OutboundIPRangesExclude", "*"),
        ("OutboundIPRangesInclude", "10.0.0.0/33"),
        ("ProxyUID", "-1"),
        ("EnableIPv6", "yes"),
        ("InboundInterceptionMode", "BOTH"),
    ],
)
def test_value_that_istio_could_not_mean_is_refused(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=name):
        from_istio({name: value})


def test_unknown_setting_is_refused_by_its_name() -> None:
    with pytest.raises(UsageError, match="ProxyPorts"):
        from_istio({"ProxyPorts": "15001"})
