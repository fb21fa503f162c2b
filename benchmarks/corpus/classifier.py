"""Decode frames as deep as they go and send a summary of each to user space."""

from enum import IntEnum

from beewire.bpf import (
    Global,
    PerCpuArray,
    RingBuf,
    Struct,
    XdpAction,
    XdpContext,
    array,
    htonl,
    ktime_ns,
    ntohl,
    ntohs,
    u8,
    u16,
    u32,
    u64,
    xdp,
)
from corpus.headers import (
    ETH_P_8021AD,
    ETH_P_8021Q,
    ETH_P_ARP,
    ETH_P_IP,
    ETH_P_IPV6,
    Ethernet,
    Ipv4,
    Ipv6,
    Tcp,
    Udp,
    Vlan,
)

MAPPED = htonl(0xFFFF)
ARP_LENGTH = 28
IPPROTO_GRE = 47
DNS = 53
DHCP_SERVER = 67
DHCP_CLIENT = 68
NTP = 123
VXLAN = 4789
QUIC = 443
SYN = 0x02
ACK = 0x10


class Kind(IntEnum):
    OTHER = 0
    TRUNCATED = 1
    ARP_REQUEST = 2
    ARP_REPLY = 3
    FRAGMENT = 4
    TCP = 5
    TCP_SYN = 6
    TCP_SYN_ACK = 7
    TCP_END = 8
    UDP = 9
    DNS_QUERY = 10
    DNS_ANSWER = 11
    DHCP = 12
    NTP = 13
    QUIC = 14
    VXLAN = 15
    ECHO_REQUEST = 16
    ECHO_REPLY = 17
    UNREACHABLE = 18
    TIME_EXCEEDED = 19
    NEIGHBOUR = 20
    ICMP = 21
    GRE = 22


class Summary(Struct):
    at_ns: u64
    kind: u32
    length: u32
    source: list[u32] = array(u32, 4)
    target: list[u32] = array(u32, 4)
    source_port: u16
    target_port: u16
    vlan: u16
    protocol: u8
    hops: u8
    detail: u32
    flags: u8
    version: u8
    offset: u16


class Icmp(Struct):
    type: u8
    code: u8
    check: u16
    rest: u32


class Gre(Struct):
    flags: u16
    protocol: u16


class DnsStart(Struct):
    id: u16
    flags: u16


class ArpStart(Struct):
    hardware: u16
    protocol: u16
    lengths: u16
    operation: u16


class Settings(Struct):
    sample_mask: u32
    off: bool


summaries = RingBuf[Summary](size=1 << 20, count_dropped=False)
kinds = PerCpuArray[u64](max_entries=32)
lost = PerCpuArray[u64](max_entries=1)
settings = Global(Settings)


def tcp_kind(ctx: XdpContext, s: Summary, offset: u32) -> u32:
    if (tcp := ctx.at(offset, Tcp)) is None:
        return Kind.TRUNCATED
    s.source_port = ntohs(tcp.source)
    s.target_port = ntohs(tcp.target)
    s.flags = tcp.flags
    s.detail = ntohl(tcp.seq)
    if tcp.flags & SYN != 0:
        return Kind.TCP_SYN_ACK if tcp.flags & ACK != 0 else Kind.TCP_SYN
    return Kind.TCP_END if tcp.flags & 5 != 0 else Kind.TCP


def dns_kind(ctx: XdpContext, s: Summary, offset: u32) -> u32:
    if (dns := ctx.at(offset, DnsStart)) is None:
        return Kind.TRUNCATED
    s.detail = ntohs(dns.id)
    return Kind.DNS_ANSWER if ntohs(dns.flags) & 0x8000 != 0 else Kind.DNS_QUERY


def udp_kind(ctx: XdpContext, s: Summary, offset: u32) -> u32:
    if (udp := ctx.at(offset, Udp)) is None:
        return Kind.TRUNCATED
    source: u32 = ntohs(udp.source)
    target: u32 = ntohs(udp.target)
    s.source_port = source
    s.target_port = target
    s.detail = ntohs(udp.length)
    if DNS in (source, target):
        return dns_kind(ctx, s, offset + 8)
    match target:
        case 67 | 68:
            return Kind.DHCP
        case 123:
            return Kind.NTP
        case 443:
            return Kind.QUIC
        case 4789:
            return Kind.VXLAN
        case _:
            return Kind.UDP


def icmp_kind(ctx: XdpContext, s: Summary, offset: u32) -> u32:
    if (icmp := ctx.at(offset, Icmp)) is None:
        return Kind.TRUNCATED
    s.detail = icmp.rest
    s.flags = icmp.code
    match icmp.type:
        case 0:
            return Kind.ECHO_REPLY
        case 3:
            return Kind.UNREACHABLE
        case 8:
            return Kind.ECHO_REQUEST
        case 11:
            return Kind.TIME_EXCEEDED
        case _:
            return Kind.ICMP


def icmp6_kind(ctx: XdpContext, s: Summary, offset: u32) -> u32:
    if (icmp := ctx.at(offset, Icmp)) is None:
        return Kind.TRUNCATED
    s.detail = icmp.rest
    s.flags = icmp.code
    match icmp.type:
        case 1:
            return Kind.UNREACHABLE
        case 3:
            return Kind.TIME_EXCEEDED
        case 128:
            return Kind.ECHO_REQUEST
        case 129:
            return Kind.ECHO_REPLY
        case 133 | 134 | 135 | 136 | 137:
            return Kind.NEIGHBOUR
        case _:
            return Kind.ICMP


def gre_kind(ctx: XdpContext, s: Summary, offset: u32) -> u32:
    if (gre := ctx.at(offset, Gre)) is None:
        return Kind.TRUNCATED
    s.detail = ntohs(gre.protocol)
    return Kind.GRE


def transport_kind(ctx: XdpContext, s: Summary, protocol: u32, offset: u32) -> u32:
    s.protocol = protocol
    s.offset = offset
    match protocol:
        case 6:
            return tcp_kind(ctx, s, offset)
        case 17:
            return udp_kind(ctx, s, offset)
        case 1:
            return icmp_kind(ctx, s, offset)
        case 58:
            return icmp6_kind(ctx, s, offset)
        case 47:
            return gre_kind(ctx, s, offset)
        case _:
            return Kind.OTHER


def arp_kind(ctx: XdpContext, s: Summary, offset: u32) -> u32:
    if (arp := ctx.at(offset, ArpStart)) is None:
        return Kind.TRUNCATED
    s.detail = ntohs(arp.hardware)
    return Kind.ARP_REQUEST if ntohs(arp.operation) == 1 else Kind.ARP_REPLY


def kind_of(ctx: XdpContext, s: Summary) -> u32:
    if (eth := ctx.at(0, Ethernet)) is None:
        return Kind.TRUNCATED
    protocol: u16 = eth.protocol
    offset: u32 = 14
    if protocol in (ETH_P_8021Q, ETH_P_8021AD):
        if (tag := ctx.at(14, Vlan)) is None:
            return Kind.TRUNCATED
        s.vlan = ntohs(tag.tci)
        protocol = tag.protocol
        offset = 18
    transport: u32 = 0
    if protocol == ETH_P_IP:
        if (ip4 := ctx.at(offset, Ipv4)) is None:
            return Kind.TRUNCATED
        s.version = 4
        s.hops = ip4.ttl
        s.source[2] = MAPPED
        s.source[3] = ip4.source
        s.target[2] = MAPPED
        s.target[3] = ip4.target
        transport = ip4.protocol
        if ntohs(ip4.fragment) & 0x1FFF != 0:
            return Kind.FRAGMENT
        offset += (ip4.version_length & 15) * 4
    elif protocol == ETH_P_IPV6:
        if (ip6 := ctx.at(offset, Ipv6)) is None:
            return Kind.TRUNCATED
        s.version = 6
        s.hops = ip6.hops
        s.source = ip6.source
        s.target = ip6.target
        transport = ip6.next
        offset += 40
    elif protocol == ETH_P_ARP:
        return arp_kind(ctx, s, offset)
    else:
        return Kind.OTHER
    return transport_kind(ctx, s, transport, offset)


@xdp
def classify(ctx: XdpContext) -> XdpAction:
    if settings.off:
        return XdpAction.PASS
    s = Summary(at_ns=ktime_ns(), length=ctx.length)
    kind = kind_of(ctx, s)
    s.kind = kind
    kinds[kind] += 1
    if s.length & settings.sample_mask == 0 and not summaries.emit(s):
        lost[0] += 1
    return XdpAction.PASS
