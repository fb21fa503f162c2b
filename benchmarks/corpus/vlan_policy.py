"""Per-VLAN accounting and admission, with up to two tags (QinQ)."""

from beewire.bpf import (
    Array,
    HashMap,
    PerCpuArray,
    Struct,
    XdpAction,
    XdpContext,
    ntohs,
    u8,
    u16,
    u32,
    u64,
    xdp,
)
from corpus.headers import ETH_P_8021AD, ETH_P_8021Q, Ethernet, Vlan

VLANS = 4096
VID = 0x0FFF
PRIORITY_SHIFT = 13


class Policy(Struct):
    admit: bool
    top_priority: u8
    quota: u64


class Usage(Struct):
    packets: u64
    bytes: u64
    dropped: u64


class Path(Struct):
    outer: u16
    inner: u16


policies = Array[Policy](max_entries=VLANS)
usage = PerCpuArray[Usage](max_entries=VLANS)
paths = HashMap[Path, u64](max_entries=8192)


def is_tag(protocol: u16) -> bool:
    return protocol in (ETH_P_8021Q, ETH_P_8021AD)


def admits(policy: Policy, priority: u32, used: u64) -> bool:
    if not policy.admit or priority > policy.top_priority:
        return False
    return policy.quota == 0 or used < policy.quota


@xdp
def vlan_policy(ctx: XdpContext) -> XdpAction:
    if (eth := ctx.at(0, Ethernet)) is None or not is_tag(eth.protocol):
        return XdpAction.PASS
    if (outer := ctx.at(14, Vlan)) is None:
        return XdpAction.DROP
    outer_tci: u32 = ntohs(outer.tci)
    vid: u32 = outer_tci & VID
    priority: u32 = outer_tci >> PRIORITY_SHIFT
    if is_tag(outer.protocol):
        if (inner := ctx.at(18, Vlan)) is None:
            return XdpAction.DROP
        inner_vid = ntohs(inner.tci) & VID
        paths[Path(outer=vid, inner=inner_vid)] += 1
        vid = inner_vid
    if (policy := policies.lookup(vid)) is None:
        return XdpAction.DROP
    if (used := usage.lookup(vid)) is None:
        return XdpAction.DROP
    if not admits(policy, priority, used.bytes):
        used.dropped += 1
        return XdpAction.DROP
    used.packets += 1
    used.bytes += ctx.length
    return XdpAction.PASS
