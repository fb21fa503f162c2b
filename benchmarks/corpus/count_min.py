"""Find heavy hitters with a count-min sketch: four rows, each with a hash of its own."""

from beewire.bpf import (
    LruHash,
    PerCpuArray,
    Struct,
    XdpAction,
    XdpContext,
    array,
    u32,
    u64,
    xdp,
)
from corpus.headers import ETH_P_IP, IP_OFFSET, Ethernet, Ipv4

COLUMNS = 512
HEAVY = 1000


class Sketch(Struct):
    row0: list[u32] = array(u32, COLUMNS)
    row1: list[u32] = array(u32, COLUMNS)
    row2: list[u32] = array(u32, COLUMNS)
    row3: list[u32] = array(u32, COLUMNS)


sketches = PerCpuArray[Sketch](max_entries=1)
hitters = LruHash[u32, u64](max_entries=1024)


def scramble(value: u32, factor: u32) -> u32:
    """A column for `value`, by multiplication and the higher half."""
    h: u32 = value * factor
    h = (h ^ h >> 15) * 0x2C1B3C6D
    return (h ^ h >> 16) & (COLUMNS - 1)


def add(sketch: Sketch, value: u32) -> u32:
    """Count `value`; gives the estimate, the least of its four counters."""
    column0 = scramble(value, 0x9E3779B1)
    column1 = scramble(value, 0x85EBCA6B)
    column2 = scramble(value, 0xC2B2AE35)
    column3 = scramble(value, 0x27D4EB2F)
    sketch.row0[column0] += 1
    sketch.row1[column1] += 1
    sketch.row2[column2] += 1
    sketch.row3[column3] += 1
    return min(
        sketch.row0[column0],
        sketch.row1[column1],
        sketch.row2[column2],
        sketch.row3[column3],
    )


@xdp
def heavy_hitters(ctx: XdpContext) -> XdpAction:
    if (eth := ctx.at(0, Ethernet)) is None or eth.protocol != ETH_P_IP:
        return XdpAction.PASS
    if (ip := ctx.at(IP_OFFSET, Ipv4)) is None:
        return XdpAction.PASS
    if (sketch := sketches.lookup(0)) is None:
        return XdpAction.PASS
    estimate = add(sketch, ip.source)
    if estimate >= HEAVY:
        hitters[ip.source] = estimate
    return XdpAction.PASS
