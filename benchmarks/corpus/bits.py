"""Bit tricks on addresses: population, leading zeros, reversal, Morton order, parity."""

from beewire.bpf import Array, Struct, XdpAction, XdpContext, ntohl, u32, u64, xdp
from corpus.headers import ETH_P_IP, IP_OFFSET, Ethernet, Ipv4


class Features(Struct):
    ones: u32
    common_prefix: u32
    lowest: u32
    parity: u32
    reversed: u32
    gray: u32
    morton: u64
    rounded: u32
    average: u32


features = Array[Features](max_entries=64)


def population(x: u32) -> u32:
    """How many bits are set."""
    x = x - (x >> 1 & 0x55555555)
    x = (x & 0x33333333) + (x >> 2 & 0x33333333)
    x = x + (x >> 4) & 0x0F0F0F0F
    return x * 0x01010101 >> 24 & 0xFF


def smear(x: u32) -> u32:
    """All bits below the highest one set too."""
    x |= x >> 1
    x |= x >> 2
    x |= x >> 4
    x |= x >> 8
    x |= x >> 16
    return x


def reverse(x: u32) -> u32:
    """The bits from the other end."""
    x = x >> 1 & 0x55555555 | (x & 0x55555555) << 1
    x = x >> 2 & 0x33333333 | (x & 0x33333333) << 2
    x = x >> 4 & 0x0F0F0F0F | (x & 0x0F0F0F0F) << 4
    x = x >> 8 & 0x00FF00FF | (x & 0x00FF00FF) << 8
    return x >> 16 | x << 16


def spread(x: u64) -> u64:
    """A zero between every two bits of the low half."""
    x = (x | x << 16) & 0x0000FFFF0000FFFF
    x = (x | x << 8) & 0x00FF00FF00FF00FF
    x = (x | x << 4) & 0x0F0F0F0F0F0F0F0F
    x = (x | x << 2) & 0x3333333333333333
    return (x | x << 1) & 0x5555555555555555


@xdp
def address_bits(ctx: XdpContext) -> XdpAction:
    if (eth := ctx.at(0, Ethernet)) is None or eth.protocol != ETH_P_IP:
        return XdpAction.PASS
    if (ip := ctx.at(IP_OFFSET, Ipv4)) is None:
        return XdpAction.PASS
    source: u32 = ntohl(ip.source)
    target: u32 = ntohl(ip.target)
    ones = population(source)
    if (f := features.lookup(ones)) is None:
        return XdpAction.PASS
    f.ones = ones
    f.common_prefix = 32 - population(smear(source ^ target))
    f.lowest = population((source & -source) - 1)
    f.parity = (population(source) ^ population(target)) & 1
    f.reversed = reverse(source)
    f.gray = source ^ source >> 1
    f.morton = spread(source) | spread(target) << 1
    f.rounded = smear(source - 1) + 1
    f.average = (source & target) + ((source ^ target) >> 1)
    return XdpAction.PASS
