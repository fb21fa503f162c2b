"""PodConfig -> the entries that the programs read."""

from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address, ip_network
from sys import byteorder
from typing import NamedTuple

from beewire.bpf import htons
from beewire.mesh.config import (
    ALL,
    InterceptionMode,
    IPNetwork,
    PodConfig,
    ProxyIdentity,
)
from beewire.mesh.enrol.pod import words
from beewire.mesh.programs.addresses import Address
from beewire.mesh.programs.lists import IPV6_RANGES, LIST_BITS
from beewire.mesh.programs.state import Config, ConfigFlag, Listed

AGENT_DNS_PORT = 15053  # istio-agent's resolver
_KEY_BITS = 32  # of a range's list, before the address
_MAPPED_BITS = 96  # IPv4 stands as ::ffff:a.b.c.d


class Encoded(NamedTuple):
    """A configuration without an owner yet: equal ones are one.

    `numbers` are (list, number), `ranges` (list, bits of the key, address).
    """

    config: Config
    numbers: tuple[tuple[int, int], ...]
    ranges: tuple[tuple[int, int, Address], ...]


@lru_cache(maxsize=256)
def encode(config: PodConfig) -> Encoded:
    """What stands in the maps for a configuration.

    Raises:
        UsageError: An owner group is a name without a number.
    """
    numbers = tuple(dict.fromkeys(_numbers(config)))
    ranges = tuple(dict.fromkeys(_ranges(config)))
    lists = {listed for listed, _ in numbers} | {listed for listed, _, _ in ranges}
    flags = _flags(config)
    for listed in lists:
        flags |= 1 << (LIST_BITS + (listed & ~IPV6_RANGES))
    loopback = config.host_ipv4_loopback_cidr
    owners = (*config.proxy_uid, *config.proxy_gid)
    made = Config(
        flags=flags,
        outbound_port=htons(config.proxy_port),
        inbound_port=htons(config.inbound_capture_port),
        tunnel_port=htons(config.inbound_tunnel_port),
        dns_port=htons(AGENT_DNS_PORT),
        loopback=_word(loopback.network_address),
        loopback_mask=_word(loopback.netmask),
        first_owner=owners[0] if owners else 0,
        proxy_mark=config.inbound_tproxy_mark,
    )
    made.digest = _digest(made, numbers, ranges)
    return Encoded(
        made,
        numbers,
        tuple((listed, bits, Address.from_bytes(raw)) for listed, bits, raw in ranges),
    )


def _flags(config: PodConfig) -> int:
    dns = config.redirect_dns and bool(
        config.capture_all_dns or config.dns_servers_v4 or config.dns_servers_v6
    )
    include = config.outbound_ip_ranges_include
    mode = config.inbound_interception_mode
    said = {
        ConfigFlag.INBOUND_ALL: config.inbound_ports_include is ALL,
        ConfigFlag.OUTBOUND_ALL: include is ALL,
        ConfigFlag.CAPTURES_LOOPBACK: include is not ALL
        and any(network.network_address.is_loopback for network in include),
        ConfigFlag.DNS: dns,
        ConfigFlag.ALL_DNS: dns and config.capture_all_dns,
        ConfigFlag.DNS_ALIAS: config.dns_alias,
        ConfigFlag.ONLY_GROUPS: config.owner_groups_include is not ALL,
        ConfigFlag.BY_OWNER: config.proxy_identity is ProxyIdentity.OWNER,
        ConfigFlag.FIRST_IS_GROUP: not config.proxy_uid,
        ConfigFlag.MODE_NONE: mode is InterceptionMode.NONE,
        ConfigFlag.MODE_TPROXY: mode is InterceptionMode.TPROXY,
        ConfigFlag.IPV6: config.enable_ipv6,
        # Istio has it run as root then, and knows it by its group.
        ConfigFlag.AS_GROUP: mode is InterceptionMode.TPROXY and bool(config.proxy_gid),
    }
    return sum(flag for flag, is_so in said.items() if is_so)


def _numbers(config: PodConfig) -> list[tuple[int, int]]:
    include = config.owner_groups_include
    ports = {
        Listed.INCLUDED_INBOUND_PORTS: config.inbound_ports_include,
        Listed.EXCLUDED_INBOUND_PORTS: config.inbound_ports_exclude,
        Listed.EXCLUDED_OUTBOUND_PORTS: config.outbound_ports_exclude,
        Listed.INCLUDED_OUTBOUND_PORTS: config.outbound_ports_include,
    }
    ids = {
        Listed.PROXY_UIDS: config.proxy_uid,
        Listed.PROXY_GIDS: config.proxy_gid,
        Listed.INCLUDED_GROUPS: () if include is ALL else map(config.gid, include),
        # Istio has no rules for these where only some are included.
        Listed.EXCLUDED_GROUPS: map(config.gid, config.owner_groups_exclude)
        if include is ALL
        else (),
    }
    return [
        *(
            (int(listed), htons(port))
            for listed, some in ports.items()
            if some is not ALL
            for port in some
        ),
        *((int(listed), number) for listed, some in ids.items() for number in some),
    ]


def _ranges(config: PodConfig) -> list[tuple[int, int, bytes]]:
    include = config.outbound_ip_ranges_include
    servers: tuple[IPv4Address | IPv6Address, ...]
    servers = (*config.dns_servers_v4, *config.dns_servers_v6)
    networks: dict[Listed, tuple[IPNetwork, ...]] = {
        Listed.EXCLUDED_RANGES: config.outbound_ip_ranges_exclude,
        Listed.INCLUDED_RANGES: () if include is ALL else include,
        Listed.DNS_SERVERS: tuple(ip_network(server) for server in servers),
    }
    return [
        (
            listed_ranges(listed, network),
            key_bits(network),
            words(network.network_address).to_bytes(),
        )
        for listed, some in networks.items()
        for network in some
    ]


def listed_ranges(listed: int, network: IPNetwork) -> int:
    """The list that a range stands in: each family has its own."""
    return listed | (IPV6_RANGES if network.version == 6 else 0)


def key_bits(network: IPNetwork) -> int:
    """The length of a range's key in bits, its list included."""
    mapped = _MAPPED_BITS if network.version == 4 else 0
    return _KEY_BITS + mapped + network.prefixlen


def _word(address: IPv4Address | IPv6Address) -> int:
    return int.from_bytes(address.packed, byteorder)


def _digest(
    config: Config,
    numbers: tuple[tuple[int, int], ...],
    ranges: tuple[tuple[int, int, bytes], ...],
) -> int:
    # Sorted: the order of a list decides nothing here, as it does in iptables.
    content = (config.to_bytes(), sorted(numbers), sorted(ranges))
    return int.from_bytes(blake2b(repr(content).encode(), digest_size=8).digest())
