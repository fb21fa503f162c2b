"""Spread IPv6 flows over the slots of a rendezvous table: MurmurHash3 x64, 128 bits."""

from beewire.bpf import (
    Array,
    PerCpuArray,
    Struct,
    XdpAction,
    XdpContext,
    array,
    u8,
    u16,
    u32,
    u64,
    xdp,
)
from corpus.headers import (
    ETH_P_IPV6,
    IP_OFFSET,
    IPPROTO_TCP,
    IPPROTO_UDP,
    Ethernet,
    Ports,
    join,
)

C1 = 0x87C37B91114253D5
C2 = 0x4CF5AD432745937F
SLOTS = 64
SEED = 0x2A


class Ipv6Wide(Struct, packed=True):
    """The header of IPv6, its addresses as pairs of 64 bits."""

    flow: u32
    length: u16
    next: u8
    hops: u8
    source: list[u64] = array(u64, 2)
    target: list[u64] = array(u64, 2)


class Hash(Struct):
    low: u64
    high: u64


class Server(Struct):
    seed_low: u64
    seed_high: u64
    weight: u32
    mark: u32


servers = Array[Server](max_entries=4)
chosen = PerCpuArray[u64](max_entries=SLOTS)


def rotate(x: u64, k: u32) -> u64:
    return x << k | x >> (64 - k)


def final(k: u64) -> u64:
    k = (k ^ k >> 33) * 0xFF51AFD7ED558CCD
    k = (k ^ k >> 33) * 0xC4CEB9FE1A85EC53
    return k ^ k >> 33


def absorb(h: Hash, first: u64, second: u64) -> None:
    """Mix one block of 16 bytes into the hash."""
    h.low ^= rotate(first * C1, 31) * C2
    h.low = (rotate(h.low, 27) + h.high) * 5 + 0x52DCE729
    h.high ^= rotate(second * C2, 33) * C1
    h.high = (rotate(h.high, 31) + h.low) * 5 + 0x38495AB5


def finish(h: Hash, tail: u64, length: u32) -> None:
    h.low ^= rotate(tail * C1, 31) * C2
    h.low ^= length
    h.high ^= length
    h.low += h.high
    h.high += h.low
    h.low = final(h.low)
    h.high = final(h.high)
    h.low += h.high
    h.high += h.low


@xdp
def rendezvous(ctx: XdpContext) -> XdpAction:
    if (eth := ctx.at(0, Ethernet)) is None or eth.protocol != ETH_P_IPV6:
        return XdpAction.PASS
    if (ip := ctx.at(IP_OFFSET, Ipv6Wide)) is None:
        return XdpAction.PASS
    if ip.next not in (IPPROTO_TCP, IPPROTO_UDP):
        return XdpAction.PASS
    if (ports := ctx.at(IP_OFFSET + 40, Ports)) is None:
        return XdpAction.PASS
    h = Hash(low=SEED, high=SEED)
    absorb(h, ip.source[0], ip.source[1])
    absorb(h, ip.target[0], ip.target[1])
    finish(h, join(ip.next, ports.source | ports.target << 16), 37)
    best: u64 = 0
    winner: u32 = 0
    for i in range(4):
        if (server := servers.lookup(i)) is not None and server.weight != 0:
            low: u64 = h.low ^ server.seed_low
            high: u64 = h.high ^ server.seed_high
            score: u64 = (final(low + high) >> 32) * server.weight
            if score > best:
                best = score
                winner = server.mark
    chosen[winner % SLOTS] += 1
    return XdpAction.PASS
