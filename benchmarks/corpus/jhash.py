"""Spread IPv6 flows over queues with Bob Jenkins' hash (lookup3), as the kernel's jhash2."""

from beewire.bpf import PerCpuArray, Struct, XdpAction, XdpContext, u32, u64, xdp
from corpus.headers import ETH_P_IPV6, IP_OFFSET, Ethernet, Ipv6, Ports

JHASH_INITVAL = 0xDEADBEEF
QUEUES = 64
SEED = 0x5EED

queues = PerCpuArray[u64](max_entries=QUEUES)


class Jhash(Struct):
    a: u32
    b: u32
    c: u32


def rotate(x: u32, k: u32) -> u32:
    return x << k | x >> (32 - k)


def mix(s: Jhash) -> None:
    s.a = (s.a - s.c) ^ rotate(s.c, 4)
    s.c += s.b
    s.b = (s.b - s.a) ^ rotate(s.a, 6)
    s.a += s.c
    s.c = (s.c - s.b) ^ rotate(s.b, 8)
    s.b += s.a
    s.a = (s.a - s.c) ^ rotate(s.c, 16)
    s.c += s.b
    s.b = (s.b - s.a) ^ rotate(s.a, 19)
    s.a += s.c
    s.c = (s.c - s.b) ^ rotate(s.b, 4)
    s.b += s.a


def final(s: Jhash) -> None:
    s.c = (s.c ^ s.b) - rotate(s.b, 14)
    s.a = (s.a ^ s.c) - rotate(s.c, 11)
    s.b = (s.b ^ s.a) - rotate(s.a, 25)
    s.c = (s.c ^ s.b) - rotate(s.b, 16)
    s.a = (s.a ^ s.c) - rotate(s.c, 4)
    s.b = (s.b ^ s.a) - rotate(s.a, 14)
    s.c = (s.c ^ s.b) - rotate(s.b, 24)


@xdp
def spread_ipv6(ctx: XdpContext) -> XdpAction:
    if (eth := ctx.at(0, Ethernet)) is None or eth.protocol != ETH_P_IPV6:
        return XdpAction.PASS
    if (ip := ctx.at(IP_OFFSET, Ipv6)) is None:
        return XdpAction.PASS
    if (ports := ctx.at(IP_OFFSET + 40, Ports)) is None:
        return XdpAction.PASS
    start: u32 = JHASH_INITVAL + (10 << 2) + SEED
    s = Jhash(a=start, b=start, c=start)
    s.a += ip.source[0]
    s.b += ip.source[1]
    s.c += ip.source[2]
    mix(s)
    s.a += ip.source[3]
    s.b += ip.target[0]
    s.c += ip.target[1]
    mix(s)
    s.a += ip.target[2]
    s.b += ip.target[3]
    s.c += ports.source << 16 | ports.target
    mix(s)
    s.a += ip.next
    final(s)
    queues[s.c & (QUEUES - 1)] += 1
    return XdpAction.PASS
