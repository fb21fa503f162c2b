"""`Scene`: what the programs have to know of a pod's network, read and compiled.

Addresses always; routes and indices of interfaces where the configuration excludes one,
or where the pod has several to leave by.
"""

import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from sys import byteorder
from typing import NamedTuple

from beewire.errors import MeshError
from beewire.mesh.config import IPNetwork, PodConfig
from beewire.mesh.enrol.encode import key_bits, listed_ranges
from beewire.mesh.enrol.pod import Pod, words
from beewire.mesh.network import Network, Own, Way
from beewire.mesh.programs.addresses import Address
from beewire.mesh.programs.lists import IPV6_RANGES
from beewire.mesh.programs.state import Listed

IP = IPv4Address | IPv6Address
INBOUND_SOURCE6 = IPv6Address("::6")
LOOPBACK = 1  # the index of lo, in every namespace
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}

Source = tuple[int, int, Address]  # family, interface, address


class Scene(NamedTuple):
    """What stands in the maps of a pod's network; `source4` is a word, 0 for none."""

    addresses: frozenset[IP]
    source4: int
    source6: Address
    numbers: tuple[tuple[int, int], ...]
    ranges: tuple[tuple[int, int, Address, int], ...]
    sources: tuple[Source, ...]

    @property
    def lists(self) -> set[int]:
        """The lists that have entries."""
        listed = {each[0] for each in self.numbers}
        return listed | {each[0] & ~IPV6_RANGES for each in self.ranges}


def read(network: Network, pod: Pod) -> Scene:
    """Look at a pod's network.

    Raises:
        MeshError: The pod has no address.
    """
    own = [each for each in network.addresses() if not _is_local(each.address)]
    named = [ip_address(text) for text in pod.addresses]
    usable = [each.address for each in own if each.scope == 0 and each.is_good]
    if not (own or named):
        raise MeshError(
            f"the pod of {pod.netns} has no address to enrol: give its interfaces theirs"
            " before, or name them in `addresses`"
        )
    first = [*named, *usable]
    source4 = next((a for a in first if a.version == 4), IPv4Address(0))
    source6 = next((a for a in first if a.version == 6), IPv6Address(0))
    sources = _sources(own)
    leaving = {interface for _, interface, _ in sources}
    numbers = _interfaces(network, pod.config)
    ranges = _routes(network.routes()) if numbers or len(leaving) > 1 else ()
    return Scene(
        addresses=frozenset((*named, *(each.address for each in own))),
        source4=int.from_bytes(source4.packed, byteorder),
        source6=Address.from_bytes(source6.packed),
        numbers=numbers,
        ranges=ranges,
        sources=sources if ranges else (),
    )


def _is_local(address: IP) -> bool:
    # Loopback addresses are the same in every pod; the programs know them.
    return address.is_loopback or address == INBOUND_SOURCE6


def _sources(own: list[Own]) -> tuple[Source, ...]:
    """The address that connections by each interface come from: the first good one."""
    found: dict[tuple[int, int], Address] = {}
    for each in own:
        if each.scope == 0 and each.is_good and each.interface != LOOPBACK:
            key = _FAMILIES[each.address.version], each.interface
            found.setdefault(key, words(each.address))
    return tuple((family, index, where) for (family, index), where in found.items())


def _interfaces(network: Network, config: PodConfig) -> tuple[tuple[int, int], ...]:
    """The interfaces that a configuration names and that are there, by their indices."""
    named = (
        (Listed.EXCLUDED_INTERFACES, config.exclude_interfaces),
        (Listed.REROUTED_INTERFACES, config.reroute_virtual_interfaces),
    )
    if not any(names for _, names in named):
        return ()
    there = network.interfaces()
    return tuple(
        (int(listed), index)
        for listed, names in named
        for name, index in there.items()
        if any(is_named(name, pattern) for pattern in names)
    )


def is_named(name: str, pattern: str) -> bool:
    """Whether iptables would take an interface for the one that a rule names."""
    if pattern.endswith("+"):
        return name.startswith(pattern[:-1])
    return name == pattern


def _routes(ways: Iterable[Way]) -> tuple[tuple[int, int, Address, int], ...]:
    best: dict[IPNetwork, Way] = {}
    for way in ways:
        known = best.setdefault(way.destination, way)
        if way.metric < known.metric:
            best[way.destination] = way
    return tuple(
        (
            listed_ranges(Listed.ROUTES, network),
            key_bits(network),
            words(network.network_address),
            way.interface,
        )
        for network, way in best.items()
    )
