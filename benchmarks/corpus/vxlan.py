"""Look into VXLAN: count by network id, check the inner frame against the tenant's prefix."""

from enum import IntEnum

from beewire.bpf import (
    HashMap,
    PerCpuArray,
    Struct,
    XdpAction,
    XdpContext,
    array,
    htons,
    ntohl,
    u8,
    u16,
    u32,
    u64,
    xdp,
)
from corpus.headers import (
    ETH_P_ARP,
    ETH_P_IP,
    ETH_P_IPV6,
    IP_OFFSET,
    UDP_PAYLOAD,
    Ethernet,
    Ipv4,
    Ipv6,
    Udp,
    is_plain_udp,
)

VXLAN_PORT = htons(4789)
VALID_VNI = 0x08
INNER = UDP_PAYLOAD + 8


class Outcome(IntEnum):
    PASSED = 0
    MALFORMED = 1
    UNKNOWN = 2
    SPOOFED = 3
    OTHER = 4


class Vxlan(Struct):
    flags: u8
    reserved: u8
    group: u16
    vni: u32


class Tenant(Struct):
    network4: u32
    mask4: u32
    network6: list[u32] = array(u32, 2)
    packets: u64
    bytes: u64


tenants = HashMap[u32, Tenant](max_entries=4096)
outcomes = PerCpuArray[u64](max_entries=len(Outcome))


def check_inner(ctx: XdpContext, tenant: Tenant) -> u32:
    """Whether the inner source belongs to the tenant."""
    if (eth := ctx.at(INNER, Ethernet)) is None:
        return Outcome.MALFORMED
    if eth.protocol == ETH_P_IP:
        if (ip4 := ctx.at(INNER + IP_OFFSET, Ipv4)) is None:
            return Outcome.MALFORMED
        if ip4.source & tenant.mask4 != tenant.network4:
            return Outcome.SPOOFED
        return Outcome.PASSED
    if eth.protocol == ETH_P_IPV6:
        if (ip6 := ctx.at(INNER + IP_OFFSET, Ipv6)) is None:
            return Outcome.MALFORMED
        if ip6.source[0] != tenant.network6[0] or ip6.source[1] != tenant.network6[1]:
            return Outcome.SPOOFED
        return Outcome.PASSED
    return Outcome.PASSED if eth.protocol == ETH_P_ARP else Outcome.OTHER


def check(ctx: XdpContext) -> u32:
    if (vxlan := ctx.at(UDP_PAYLOAD, Vxlan)) is None or vxlan.flags & VALID_VNI == 0:
        return Outcome.MALFORMED
    if (tenant := tenants.lookup(ntohl(vxlan.vni) >> 8)) is None:
        return Outcome.UNKNOWN
    outcome = check_inner(ctx, tenant)
    if outcome == Outcome.PASSED:
        tenant.packets += 1
        tenant.bytes += ctx.length - INNER
    return outcome


@xdp
def vxlan_guard(ctx: XdpContext) -> XdpAction:
    if not is_plain_udp(ctx):
        return XdpAction.PASS
    if (udp := ctx.at(IP_OFFSET + 20, Udp)) is None or udp.target != VXLAN_PORT:
        return XdpAction.PASS
    outcome = check(ctx)
    outcomes[outcome] += 1
    return XdpAction.PASS if outcome == Outcome.PASSED else XdpAction.DROP
