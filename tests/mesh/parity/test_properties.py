"""Whatever is configured, and whoever calls: rules, function and programs agree."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beewire.mesh.config import ALL, InterceptionMode, PodConfig, ProxyIdentity
from beewire.mesh.decision import (
    NO_OWNER,
    TCP,
    UDP,
    Connection,
    Direction,
    IPAddress,
    State,
    Verdict,
    decider,
    knob,
)
from beewire.mesh.parity.configurations import INTERFACES
from beewire.mesh.parity.judge import Judge, nft
from beewire.mesh.parity.kernel import Kernel

# Few values, so that configurations and connections meet; and all the others.
PORTS = st.sampled_from((53, 80, 443, 15001, 15006, 15008, 15053)) | st.integers(
    1, 65535
)
IDS = st.sampled_from((0, 202, 1337, 1338)) | st.integers(0, NO_OWNER - 1)
ADDRESSES4 = st.sampled_from(
    ("127.0.0.1", "127.0.0.6", "127.0.0.53", "10.0.0.7", "10.96.0.10")
).map(IPv4Address) | st.integers(1, (1 << 32) - 2).map(IPv4Address)
ADDRESSES6 = st.sampled_from(("::1", "::6", "fd00::7", "2001:db8::1")).map(
    IPv6Address
) | st.integers(1, (1 << 128) - 2).map(IPv6Address)
NETWORKS4 = st.tuples(ADDRESSES4, st.integers(0, 32)).map(
    lambda each: IPv4Network(each, strict=False)
)
NETWORKS6 = st.tuples(ADDRESSES6, st.integers(0, 128)).map(
    lambda each: IPv6Network(each, strict=False)
)


def several(each: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    """None, some or many of them, each once."""
    return st.lists(each, max_size=4, unique=True).map(tuple)


RANGES = several(NETWORKS4 | NETWORKS6)
NAMES = several(st.sampled_from(sorted(INTERFACES)))
GROUPS = several(IDS.map(str))
CONFIGS = st.builds(
    PodConfig,
    proxy_port=PORTS,
    inbound_capture_port=PORTS,
    inbound_tunnel_port=PORTS,
    proxy_uid=several(IDS),
    proxy_gid=several(IDS),
    inbound_interception_mode=st.sampled_from(InterceptionMode),
    inbound_tproxy_mark=st.sampled_from((1337, 1338, 7)),
    inbound_ports_include=st.just(ALL) | several(PORTS),
    inbound_ports_exclude=several(PORTS),
    outbound_ports_include=several(PORTS),
    outbound_ports_exclude=several(PORTS),
    outbound_ip_ranges_include=st.just(ALL) | RANGES,
    outbound_ip_ranges_exclude=RANGES,
    reroute_virtual_interfaces=NAMES,
    exclude_interfaces=NAMES,
    owner_groups_include=st.just(ALL) | GROUPS,
    owner_groups_exclude=GROUPS,
    redirect_dns=st.booleans(),
    capture_all_dns=st.booleans(),
    dns_servers_v4=several(ADDRESSES4),
    dns_servers_v6=several(ADDRESSES6),
    host_ipv4_loopback_cidr=NETWORKS4,
    enable_ipv6=st.booleans(),
    drop_invalid=st.booleans(),
    proxy_identity=st.just(ProxyIdentity.OWNER),
)


def connections(
    addresses: st.SearchStrategy[IPAddress],
) -> st.SearchStrategy[Connection]:
    """Connections of one IP version."""
    return st.builds(
        Connection,
        direction=st.sampled_from(Direction),
        protocol=st.sampled_from((TCP, TCP, TCP, UDP, 1, 132)),
        source=addresses,
        source_port=PORTS,
        destination=addresses,
        destination_port=PORTS,
        uid=IDS | st.just(NO_OWNER),
        gid=IDS | st.just(NO_OWNER),
        in_proxy=st.booleans(),
        interface=st.sampled_from(sorted(set(INTERFACES) - {"lo"})),
        local=st.booleans(),
        mark=st.sampled_from((0, 0, 1337, 1338, 7)),
        state=st.sampled_from((State.NEW, State.NEW, State.ESTABLISHED)),
    )


CONNECTIONS = st.lists(connections(ADDRESSES4) | connections(ADDRESSES6), min_size=1)
# A configuration in the kernel takes longer than hypothesis likes.
THOROUGH = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    with Kernel() as loaded:
        yield loaded


@THOROUGH
@given(CONFIGS, CONNECTIONS)
def test_rules_and_function_decide_alike(
    config: PodConfig, calls: list[Connection]
) -> None:
    assert Judge(config, {}).compare(calls, None, {}).unexplained == []


@THOROUGH
@given(CONFIGS, CONNECTIONS)
def test_nfts_rules_and_the_function_decide_alike(
    config: PodConfig, calls: list[Connection]
) -> None:
    assert Judge(config, {}, nft).compare(calls, None, {}).unexplained == []


@pytest.mark.kernel
@THOROUGH
@given(CONFIGS, CONNECTIONS)
def test_programs_and_function_decide_alike(
    kernel: Kernel, config: PodConfig, calls: list[Connection]
) -> None:
    assert Judge(config, {}).compare(calls, kernel, INTERFACES).unexplained == []


@THOROUGH
@given(CONFIGS, CONNECTIONS)
def test_a_verdict_names_a_setting_that_there_is(
    config: PodConfig, calls: list[Connection]
) -> None:
    verdicts = list(map(decider(config), calls))

    named = [knob(config, verdict) for verdict in verdicts]

    assert all(name is None or hasattr(config, name) for name in named)


@THOROUGH
@given(CONFIGS, CONNECTIONS)
def test_a_decision_does_not_change(config: PodConfig, calls: list[Connection]) -> None:
    once: list[Verdict] = list(map(decider(config), calls))

    assert list(map(decider(config), reversed(calls))) == once[::-1]
