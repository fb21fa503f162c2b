"""The headers that the corpus reads from packets, and where they lie."""

from beewire.bpf import Struct, XdpContext, array, htons, u8, u16, u32, u64

ETH_P_IP = htons(0x0800)
ETH_P_ARP = htons(0x0806)
ETH_P_8021Q = htons(0x8100)
ETH_P_IPV6 = htons(0x86DD)
ETH_P_8021AD = htons(0x88A8)
IPPROTO_ICMP = 1
IPPROTO_TCP = 6
IPPROTO_UDP = 17
IPPROTO_ICMPV6 = 58
AF_INET = 2
AF_INET6 = 10
IP_OFFSET = 14  # behind an Ethernet header
UDP_PAYLOAD = 42  # behind Ethernet, IPv4 without options, UDP


class Ethernet(Struct):
    target: bytes = array(u8, 6)
    source: bytes = array(u8, 6)
    protocol: u16


class Vlan(Struct):
    tci: u16
    protocol: u16


class Ipv4(Struct):
    version_length: u8
    tos: u8
    length: u16
    id: u16
    fragment: u16
    ttl: u8
    protocol: u8
    check: u16
    source: u32
    target: u32


class Ipv6(Struct):
    flow: u32
    length: u16
    next: u8
    hops: u8
    source: list[u32] = array(u32, 4)
    target: list[u32] = array(u32, 4)


class Ports(Struct):
    source: u16
    target: u16


class Tcp(Struct):
    source: u16
    target: u16
    seq: u32
    ack: u32
    offset: u8
    flags: u8
    window: u16
    check: u16
    urgent: u16


class Udp(Struct):
    source: u16
    target: u16
    length: u16
    check: u16


def join(high: u64, low: u64) -> u64:
    """Two halves as one word."""
    return high << 32 | low


def is_plain_udp(ctx: XdpContext) -> bool:
    """Whether the frame is UDP in IPv4 without options, so that UDP_PAYLOAD holds."""
    if (eth := ctx.at(0, Ethernet)) is None or eth.protocol != ETH_P_IP:
        return False
    if (ip := ctx.at(IP_OFFSET, Ipv4)) is None:
        return False
    return ip.version_length == 0x45 and ip.protocol == IPPROTO_UDP
