"""Histograms of frame sizes in powers of two, by direction of the well-known port."""

from beewire.bpf import (
    PerCpuArray,
    Struct,
    XdpAction,
    XdpContext,
    array,
    ntohs,
    u32,
    u64,
    xdp,
)
from corpus.headers import (
    ETH_P_IP,
    IP_OFFSET,
    IPPROTO_TCP,
    IPPROTO_UDP,
    Ethernet,
    Ipv4,
    Ports,
)

SLOTS = 16
WELL_KNOWN = 1024
REQUEST = 0
RESPONSE = 1
OTHER = 2


class Histogram(Struct):
    slots: list[u64] = array(u64, SLOTS)
    total: u64


histograms = PerCpuArray[Histogram](max_entries=3)


def log2(value: u32) -> u32:
    """The position of the highest bit."""
    r: u32 = (value > 0xFFFF) << 4
    v: u32 = value >> r
    shift: u32 = (v > 0xFF) << 3
    v >>= shift
    r |= shift
    shift = (v > 0xF) << 2
    v >>= shift
    r |= shift
    shift = (v > 0x3) << 1
    v >>= shift
    r |= shift
    return r | v >> 1


def direction(ctx: XdpContext) -> u32:
    if (eth := ctx.at(0, Ethernet)) is None or eth.protocol != ETH_P_IP:
        return OTHER
    if (ip := ctx.at(IP_OFFSET, Ipv4)) is None or ip.version_length != 0x45:
        return OTHER
    if ip.protocol not in (IPPROTO_TCP, IPPROTO_UDP):
        return OTHER
    if (ports := ctx.at(IP_OFFSET + 20, Ports)) is None:
        return OTHER
    if ntohs(ports.target) < WELL_KNOWN:
        return REQUEST
    return RESPONSE if ntohs(ports.source) < WELL_KNOWN else OTHER


@xdp
def size_histogram(ctx: XdpContext) -> XdpAction:
    if (histogram := histograms.lookup(direction(ctx))) is not None:
        size = ctx.length
        slot = log2(size)
        if slot >= SLOTS:
            slot = SLOTS - 1
        histogram.slots[slot] += 1
        histogram.total += size
    return XdpAction.PASS
