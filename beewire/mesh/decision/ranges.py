"""Address ranges of a configuration."""

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network

from beewire.mesh.config import ALL, IPNetwork, PodConfig
from beewire.mesh.decision.vocabulary import LOOPBACK6, IPAddress


def loopback_of(config: PodConfig, version: int) -> IPv4Network | IPv6Network:
    """The addresses that Istio takes for loopback; of IPv6, one."""
    return config.host_ipv4_loopback_cidr if version == 4 else LOOPBACK6


def captures_loopback(config: PodConfig) -> bool:
    """Whether a captured range is loopback: local traffic is then not left alone."""
    ranges = config.outbound_ip_ranges_include
    return ranges is not ALL and any(
        network.network_address.is_loopback for network in ranges
    )


def finder(
    ranges: tuple[IPNetwork, ...], version: int
) -> Callable[[IPAddress], IPNetwork | None]:
    """Return a search for the first range of a family that has an address."""
    # By integers: it is asked a million times.
    bounds = [
        (int(network.network_address), int(network.netmask), network)
        for network in ranges
        if network.version == version
    ]

    def find(address: IPAddress) -> IPNetwork | None:
        number = int(address)
        for low, mask, network in bounds:
            if number & mask == low:
                return network
        return None

    return find
