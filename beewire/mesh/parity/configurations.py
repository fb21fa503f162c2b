"""Configurations at random, of every knob, and with a liking for what interacts."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from random import Random
from typing import TypeVar

from beewire.mesh.config import (
    ALL,
    InterceptionMode,
    IPNetwork,
    PodConfig,
    ProxyIdentity,
)

T = TypeVar("T")

# Every interface that a configuration names here, and one more; indices as in a namespace.
INTERFACES = {
    name: index
    for index, name in enumerate(
        ("lo", "eth0", "eth1", "eth2", "net1", "not-istio-nic", "eth9"), 1
    )
}
_PORTS = (22, 53, 80, 443, 3306, 8080, 9000, 15001, 15006, 15008, 15020, 15021, 15053)
_RANGES = (
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.96.0.0/12",
    "10.96.0.10/32",
    "127.0.0.0/8",
    "127.0.0.53/32",
    "169.254.169.254/32",
    "192.168.0.0/16",
    "192.0.2.0/31",
    "::/0",
    "::1/128",
    "fd00::/8",
    "fd00:10:96::/112",
    "2001:db8::/32",
    "2001:db8::1/128",
)
_LOOPBACKS = ("127.0.0.1/32", "127.0.0.0/8", "127.0.0.2/31")
_SERVERS4 = ("10.96.0.10", "127.0.0.53", "169.254.20.10")
_SERVERS6 = ("fd00:10:96::a", "::1")


def random_config(random: Random) -> PodConfig:
    """Return one of very many configurations that Istio would accept."""
    chance = random.random
    by_owner = chance() < 0.6
    owners = (0, 1337, 1338, 2000) if by_owner else (1337, 2000)
    groups = ("202", "203", "0", "1337") if by_owner else ("202", "203", "0")
    return PodConfig(
        proxy_identity=ProxyIdentity.OWNER if by_owner else ProxyIdentity.CGROUP,
        proxy_port=_seldom(random, 15001, 16001),
        inbound_capture_port=_seldom(random, 15006, 16006),
        inbound_tunnel_port=_seldom(random, 15008, 16008),
        proxy_uid=_some(random, owners, at_least=0 if by_owner else 1),
        proxy_gid=_some(random, owners),
        inbound_interception_mode=random.choices(
            list(InterceptionMode), weights=(62, 36, 2)
        )[0],
        inbound_tproxy_mark=_seldom(random, 1337, 7, 1338),
        inbound_ports_include=ALL if chance() < 0.5 else _some(random, _PORTS),
        inbound_ports_exclude=_some(random, _PORTS),
        outbound_ports_include=_some(random, _PORTS) if chance() < 0.4 else (),
        outbound_ports_exclude=_some(random, _PORTS) if chance() < 0.4 else (),
        outbound_ip_ranges_include=ALL if chance() < 0.4 else _ranges(random),
        outbound_ip_ranges_exclude=_ranges(random) if chance() < 0.6 else (),
        reroute_virtual_interfaces=_interfaces(random),
        exclude_interfaces=_interfaces(random),
        owner_groups_include=_some(random, groups) if chance() < 0.2 else ALL,
        owner_groups_exclude=_some(random, groups) if chance() < 0.3 else (),
        redirect_dns=chance() < 0.5,
        capture_all_dns=chance() < 0.3,
        dns_servers_v4=tuple(map(IPv4Address, _some(random, _SERVERS4))),
        dns_servers_v6=tuple(map(IPv6Address, _some(random, _SERVERS6))),
        host_ipv4_loopback_cidr=IPv4Network(random.choice(_LOOPBACKS)),
        enable_ipv6=chance() < 0.75,
        drop_invalid=chance() < 0.2,
    )


def _seldom(random: Random, usual: int, *others: int) -> int:
    return random.choice(others) if random.random() < 0.15 else usual


def _some(random: Random, of: Sequence[T], *, at_least: int = 0) -> tuple[T, ...]:
    # Few more often than many, in any order: it decides the order of the rules.
    most = random.choice((at_least, 1, 2, 2, len(of)))
    return tuple(random.sample(of, max(at_least, min(most, len(of)))))


def _interfaces(random: Random) -> tuple[str, ...]:
    if random.random() < 0.7:
        return ()
    return _some(random, ("eth0", "eth1", "net1", "lo"))


def _ranges(random: Random) -> tuple[IPNetwork, ...]:
    known: list[IPNetwork] = [ip_network(text) for text in _some(random, _RANGES)]
    if random.random() < 0.3:
        low = random.getrandbits(32)
        known.append(IPv4Network((low, random.randint(1, 32)), strict=False))
    if random.random() < 0.2:
        wide = random.getrandbits(128)
        known.append(IPv6Network((wide, random.randint(1, 128)), strict=False))
    return tuple(known)
