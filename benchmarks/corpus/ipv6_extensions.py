"""Walk the extension headers of IPv6 to the transport header, and count what was found."""

from beewire.bpf import (
    PerCpuArray,
    Struct,
    XdpAction,
    XdpContext,
    u8,
    u16,
    u32,
    u64,
    xdp,
)
from corpus.headers import ETH_P_IPV6, IP_OFFSET, Ethernet, Ipv6

HOP_BY_HOP = 0
ROUTING = 43
FRAGMENT = 44
AUTHENTICATION = 51
NO_NEXT = 59
DESTINATION = 60
MOST_HEADERS = 6

transports = PerCpuArray[u64](max_entries=256)
problems = PerCpuArray[u64](max_entries=3)
TRUNCATED = 0
LATER_FRAGMENT = 1
TOO_MANY = 2


class Extension(Struct):
    next: u8
    length: u8
    offset: u16


@xdp
def ipv6_extensions(ctx: XdpContext) -> XdpAction:
    if (eth := ctx.at(0, Ethernet)) is None or eth.protocol != ETH_P_IPV6:
        return XdpAction.PASS
    if (ip := ctx.at(IP_OFFSET, Ipv6)) is None:
        return XdpAction.PASS
    protocol: u32 = ip.next
    offset: u32 = IP_OFFSET + 40
    for _ in range(MOST_HEADERS):
        if protocol not in (HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION):
            transports[protocol] += 1
            return XdpAction.PASS
        if (extension := ctx.at(offset, Extension)) is None:
            problems[TRUNCATED] += 1
            return XdpAction.DROP
        if protocol == FRAGMENT:
            if extension.offset & 0xF8FF != 0:
                problems[LATER_FRAGMENT] += 1
                return XdpAction.PASS
            offset += 8
        elif protocol == AUTHENTICATION:
            offset += (extension.length + 2) * 4
        else:
            offset += (extension.length + 1) * 8
        protocol = extension.next
    problems[TOO_MANY] += 1
    return XdpAction.DROP
