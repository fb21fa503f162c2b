"""A packet filter: addresses by prefix, ports by table, IPv4 and IPv6, VLAN tags skipped."""

from enum import IntEnum

from beewire.bpf import (
    HashMap,
    LpmTrie,
    PerCpuArray,
    Struct,
    XdpAction,
    XdpContext,
    array,
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
    ETH_P_IP,
    ETH_P_IPV6,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_TCP,
    IPPROTO_UDP,
    Ethernet,
    Ipv4,
    Ipv6,
    Ports,
    Vlan,
)

FRAGMENT_OFFSET = 0x1FFF


class Reason(IntEnum):
    PASSED = 0
    MALFORMED = 1
    FRAGMENT = 2
    SOURCE = 3
    PORT = 4
    OTHER = 5


class Prefix4(Struct):
    length: u32
    address: u32


class Prefix6(Struct):
    length: u32
    address: list[u32] = array(u32, 4)


class Service(Struct):
    port: u16
    protocol: u8
    padding: u8


class Count(Struct):
    packets: u64
    bytes: u64


blocked4 = LpmTrie[Prefix4, u32](max_entries=1024, flags=1)
blocked6 = LpmTrie[Prefix6, u32](max_entries=1024, flags=1)
allowed = HashMap[Service, u32](max_entries=256)
counts = PerCpuArray[Count](max_entries=len(Reason))


def check_port(ctx: XdpContext, protocol: u8, offset: u32) -> u32:
    """Whether the transport header at `offset` is for a service that we offer."""
    if protocol in (IPPROTO_ICMP, IPPROTO_ICMPV6):
        return Reason.PASSED
    if protocol not in (IPPROTO_TCP, IPPROTO_UDP):
        return Reason.OTHER
    if (ports := ctx.at(offset, Ports)) is None:
        return Reason.MALFORMED
    if Service(port=ntohs(ports.target), protocol=protocol) not in allowed:
        return Reason.PORT
    return Reason.PASSED


def check4(ctx: XdpContext, offset: u32) -> u32:
    if (ip := ctx.at(offset, Ipv4)) is None or ip.version_length & 15 < 5:
        return Reason.MALFORMED
    if ntohs(ip.fragment) & FRAGMENT_OFFSET != 0:
        return Reason.FRAGMENT
    if Prefix4(length=32, address=ip.source) in blocked4:
        return Reason.SOURCE
    return check_port(ctx, ip.protocol, offset + (ip.version_length & 15) * 4)


def check6(ctx: XdpContext, offset: u32) -> u32:
    if (ip := ctx.at(offset, Ipv6)) is None:
        return Reason.MALFORMED
    if Prefix6(length=128, address=ip.source) in blocked6:
        return Reason.SOURCE
    return check_port(ctx, ip.next, offset + 40)


def check(ctx: XdpContext) -> u32:
    if (eth := ctx.at(0, Ethernet)) is None:
        return Reason.MALFORMED
    protocol: u16 = eth.protocol
    offset: u32 = 14
    if protocol in (ETH_P_8021Q, ETH_P_8021AD):
        if (tag := ctx.at(14, Vlan)) is None:
            return Reason.MALFORMED
        protocol = tag.protocol
        offset = 18
    if protocol == ETH_P_IP:
        return check4(ctx, offset)
    if protocol == ETH_P_IPV6:
        return check6(ctx, offset)
    return Reason.PASSED


@xdp
def firewall(ctx: XdpContext) -> XdpAction:
    reason = check(ctx)
    if (count := counts.lookup(reason)) is not None:
        count.packets += 1
        count.bytes += ctx.length
    return XdpAction.PASS if reason == Reason.PASSED else XdpAction.DROP
