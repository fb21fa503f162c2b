"""What the gates read of a packet, to let neighbours find each other and to tell the rest.

Hooks differ in how they reach a packet; headers are copied, and looked at here.
"""

from beewire.bpf import (
    Kernel,
    Struct,
    array,
    pointer,
    u8,
    u16,
    u32,
)
from beewire.mesh.programs.addresses import MAPPED
from beewire.mesh.programs.events import Matter

TCP = 6
UDP = 17
ICMP6 = 58
SCTP = 132
IPV6_HEADER = 40
HERE_ONLY = 255  # a hop limit that no router has lowered: RFC 4861, 7.1
ROUTER_SOLICITATION = 133
NEIGHBOUR_ADVERTISEMENT = 136


class Ipv4(Struct):
    """`struct iphdr`."""

    words: u8 = 0
    service: u8 = 0
    length: u16 = 0
    id: u16 = 0
    fragment: u16 = 0
    ttl: u8 = 0
    protocol: u8 = 0
    checksum: u16 = 0
    source: u32 = 0
    target: u32 = 0


class Ipv6(Struct):
    """`struct ipv6hdr`."""

    flow: u32 = 0
    length: u16 = 0
    next: u8 = 0
    hops: u8 = 0
    source: list[u32] = array(u32, 4, default=0)
    target: list[u32] = array(u32, 4, default=0)


class Ports(Struct):
    """How TCP and UDP begin."""

    source: u16 = 0
    target: u16 = 0


class Icmp(Struct):
    """How ICMPv6 begins."""

    type: u8 = 0
    code: u8 = 0


class net_device(Kernel):
    """`struct net_device`."""

    flags: u32


class sk_buff(Kernel):
    """`struct sk_buff`."""

    dev: net_device
    head: int = pointer()
    network_header: u16
    sk: int = pointer()


def is_neighbourly(header: Ipv6, first: Icmp) -> bool:
    """Whether it is of neighbour discovery, and of this link: RS, RA, NS or NA."""
    if header.next != ICMP6 or header.hops != HERE_ONLY or first.code != 0:
        return False
    return ROUTER_SOLICITATION <= first.type <= NEIGHBOUR_ADVERTISEMENT


def has_ports(protocol: int) -> bool:
    """Whether a protocol's header begins with two ports."""
    return protocol in (TCP, UDP, SCTP)


def describe4(flow: Matter, header: Ipv4) -> None:
    """Who sends to whom, by an IPv4 header."""
    flow.protocol = header.protocol
    flow.source.words[2] = MAPPED
    flow.source.words[3] = header.source
    flow.target.words[2] = MAPPED
    flow.target.words[3] = header.target


def describe6(flow: Matter, header: Ipv6) -> None:
    """Who sends to whom, by an IPv6 header."""
    flow.protocol = header.next
    for i in range(4):
        flow.source.words[i] = header.source[i]
        flow.target.words[i] = header.target[i]


def describe_ports(flow: Matter, ports: Ports) -> None:
    """From which port to which."""
    flow.source_port = ports.source
    flow.port = ports.target
