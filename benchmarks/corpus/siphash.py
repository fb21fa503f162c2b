"""SipHash-2-4 of a flow with a secret key: a SYN cookie that nobody can forge."""

from beewire.bpf import (
    Global,
    Struct,
    XdpAction,
    XdpContext,
    htonl,
    ntohl,
    u32,
    u64,
    xdp,
)
from corpus.headers import ETH_P_IP, IP_OFFSET, IPPROTO_TCP, Ethernet, Ipv4, Tcp, join

ACK = 0x10
SYN = 0x02


class Secret(Struct):
    k0: u64
    k1: u64


class Stats(Struct):
    cookies: u64
    good: u64
    bad: u64
    last: u32


class Sip(Struct):
    v0: u64
    v1: u64
    v2: u64
    v3: u64


secret = Global(Secret)
stats = Global(Stats)


def rotate(x: u64, k: u32) -> u64:
    return x << k | x >> (64 - k)


def sip_round(s: Sip) -> None:
    s.v0 += s.v1
    s.v1 = rotate(s.v1, 13) ^ s.v0
    s.v0 = rotate(s.v0, 32)
    s.v2 += s.v3
    s.v3 = rotate(s.v3, 16) ^ s.v2
    s.v0 += s.v3
    s.v3 = rotate(s.v3, 21) ^ s.v0
    s.v2 += s.v1
    s.v1 = rotate(s.v1, 17) ^ s.v2
    s.v2 = rotate(s.v2, 32)


def absorb(s: Sip, word: u64) -> None:
    s.v3 ^= word
    sip_round(s)
    sip_round(s)
    s.v0 ^= word


def cookie_of(addresses: u64, ports: u32, seq: u32) -> u32:
    """The cookie for a connection whose first sequence number is `seq`."""
    s = Sip(
        v0=0x736F6D6570736575 ^ secret.k0,
        v1=0x646F72616E646F6D ^ secret.k1,
        v2=0x6C7967656E657261 ^ secret.k0,
        v3=0x7465646279746573 ^ secret.k1,
    )
    absorb(s, addresses)
    absorb(s, join(ports, seq))
    absorb(s, 16 << 56)
    s.v2 ^= 0xFF
    sip_round(s)
    sip_round(s)
    sip_round(s)
    sip_round(s)
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3


@xdp
def syn_cookie(ctx: XdpContext) -> XdpAction:
    if (eth := ctx.at(0, Ethernet)) is None or eth.protocol != ETH_P_IP:
        return XdpAction.PASS
    if (ip := ctx.at(IP_OFFSET, Ipv4)) is None or ip.protocol != IPPROTO_TCP:
        return XdpAction.PASS
    if ip.version_length != 0x45 or (tcp := ctx.at(IP_OFFSET + 20, Tcp)) is None:
        return XdpAction.PASS
    flags = tcp.flags & (SYN | ACK)
    if flags not in (SYN, ACK):
        return XdpAction.PASS
    seq = ntohl(tcp.seq)
    if flags == ACK:
        seq -= 1
    addresses = join(ip.source, ip.target)
    cookie = cookie_of(addresses, tcp.source << 16 | tcp.target, seq)
    stats.last = cookie
    if flags == SYN:
        stats.cookies += 1
        return XdpAction.PASS
    if tcp.ack == htonl(cookie + 1 & 0xFFFFFFFF):
        stats.good += 1
        return XdpAction.PASS
    stats.bad += 1
    return XdpAction.DROP
