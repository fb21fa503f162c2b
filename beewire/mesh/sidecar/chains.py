"""Which filter chains may take a connection (envoy/config/listener/v3/listener.proto).

Envoy goes by port, then by address, server name, transport, application protocol and
source, takes the closest match at each step, and never goes back. What a connection
carries is not known before, so that all chains are told that any plaintext or TLS might
meet once port and address are settled.
"""

from collections.abc import Iterable
from ipaddress import ip_network
from typing import NamedTuple

from beewire.mesh.sidecar.fields import (
    Message,
    child,
    children,
    number,
    text,
    texts,
)
from beewire.mesh.sidecar.reasons import IP, UnreadableError

RAW, TLS = "raw_buffer", "tls"
_SOURCES = (
    "source_type",
    "source_prefix_ranges",
    "direct_source_prefix_ranges",
    "source_ports",
)
_KNOWN = {
    "destination_port",
    "prefix_ranges",
    "server_names",
    "transport_protocol",
    "application_protocols",
    *_SOURCES,
}
_ANY_SOURCE = ("", "ANY")


class Chain(NamedTuple):
    """One filter chain; `tls` where it ends TLS itself."""

    name: str
    message: Message
    transport: str
    is_for_all: bool  # whatever a connection of that transport carries
    by_source: bool
    tls: bool
    is_default: bool  # for what no other takes


def candidates(listener: Message, address: IP, port: int) -> list[Chain]:
    """The chains that may take a connection to an address and port, the default last.

    Raises:
        UnreadableError: a chain is chosen by what is not known here.
    """
    if "filter_chain_matcher" in listener:
        raise UnreadableError(
            "its chains are chosen by a matcher, which is not understood"
        )
    chains = children(listener, "filter_chains")
    found = [_chain(each) for each in _to(_at(chains, port), address)]
    default = child(listener, "default_filter_chain")
    if default and not any(each.is_for_all and not each.transport for each in found):
        found.append(_chain(default, is_default=True))
    return found


def takes_plaintext(found: Iterable[Chain]) -> bool:
    """Whether some chain takes plaintext, whatever it carries and whoever sends it."""
    plain = [each for each in found if not each.tls and each.transport != TLS]
    raw = [each for each in plain if each.transport == RAW]
    rest = [each for each in plain if each.is_default]
    return any(each.is_for_all for each in (*(raw or plain), *rest))


def _at(chains: list[Message], port: int) -> list[Message]:
    ports = [
        number(child(each, "filter_chain_match"), "destination_port") for each in chains
    ]
    wanted = port if port in ports else 0
    return [each for each, own in zip(chains, ports, strict=True) if own == wanted]


def _to(chains: list[Message], address: IP) -> list[Message]:
    """Those with the longest range that has an address; those without any if none has."""
    lengths = [_length(child(each, "filter_chain_match"), address) for each in chains]
    longest = max(lengths, default=-1)
    return [
        each
        for each, length in zip(chains, lengths, strict=True)
        if length == longest and length >= 0
    ]


def _length(match: Message, address: IP) -> int:
    """How many bits of a chain's range are the address's; 0 without range, -1 for none."""
    ranges = children(match, "prefix_ranges")
    if not ranges:
        return 0
    best = -1
    for each in ranges:
        said, bits = text(each, "address_prefix"), number(each, "prefix_len")
        try:
            network = ip_network(f"{said}/{bits}", strict=False)
        except ValueError as error:
            raise UnreadableError(
                f"{said!r}/{bits} is no range of addresses"
            ) from error
        if network.version == address.version and address in network:
            # A range of all addresses is closer than no range.
            best = max(best, network.prefixlen + 1)
    return best


def _chain(message: Message, *, is_default: bool = False) -> Chain:
    match = child(message, "filter_chain_match")
    if unknown := set(match) - _KNOWN:
        raise UnreadableError(f"a chain is chosen by {', '.join(sorted(unknown))}")
    named = texts(match, "server_names") or texts(match, "application_protocols")
    by_source = (
        any(match.get(each) for each in _SOURCES if each != "source_type")
        or text(match, "source_type") not in _ANY_SOURCE
    )
    return Chain(
        name=text(message, "name"),
        message=message,
        transport=text(match, "transport_protocol"),
        is_for_all=not named and not by_source,
        by_source=by_source,
        tls=bool(child(message, "transport_socket"))
        and text(child(message, "transport_socket"), "name")
        != "envoy.transport_sockets.raw_buffer",
        is_default=is_default,
    )
