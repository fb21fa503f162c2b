"""Answer SYNs with a cookie in place of the server, and check the cookies that come back."""

from enum import IntEnum

from beewire.bpf import (
    Global,
    HashMap,
    LruHash,
    PerCpuArray,
    Struct,
    XdpAction,
    XdpContext,
    htonl,
    htons,
    ktime_coarse_ns,
    ntohl,
    u16,
    u32,
    u64,
    xdp,
)
from corpus.headers import ETH_P_IP, IP_OFFSET, IPPROTO_TCP, Ethernet, Ipv4, Tcp

FIN = 0x01
SYN = 0x02
RST = 0x04
ACK = 0x10
PERIOD_SHIFT = 36  # 2**36 ns are 69 seconds
JHASH_INITVAL = 0xDEADBEEF
MSS_CLASSES = 4


class Outcome(IntEnum):
    PASSED = 0
    COOKIE = 1
    ADMITTED = 2
    FORGED = 3
    KNOWN = 4
    MALFORMED = 5


class Client(Struct):
    address: u32
    target: u32
    port: u16
    target_port: u16


class Service(Struct):
    address: u32
    port: u16
    window: u16


class Keys(Struct):
    first: u32
    second: u32


admitted = LruHash[Client, u64](max_entries=65536)
services = HashMap[u32, Service](max_entries=256)
outcomes = PerCpuArray[u64](max_entries=len(Outcome))
keys = Global(Keys)


def rotate(x: u32, k: u32) -> u32:
    return x << k | x >> (32 - k)


def jhash_3words(first: u32, second: u32, third: u32, seed: u32) -> u32:
    """The kernel's hash of three words."""
    start: u32 = JHASH_INITVAL + (3 << 2) + seed
    a: u32 = first + start
    b: u32 = second + start
    c: u32 = third + start
    c = (c ^ b) - rotate(b, 14)
    a = (a ^ c) - rotate(c, 11)
    b = (b ^ a) - rotate(a, 25)
    c = (c ^ b) - rotate(b, 16)
    a = (a ^ c) - rotate(c, 4)
    b = (b ^ a) - rotate(a, 14)
    return (c ^ b) - rotate(b, 24)


def cookie_of(client: Client, seq: u32, period: u32, mss: u32) -> u32:
    """24 bits of hash, 6 of time and 2 of segment size, added to the peer's number."""
    ports: u32 = client.port << 16 | client.target_port
    first = jhash_3words(client.address, client.target, ports, keys.first)
    second = jhash_3words(client.address, client.target, ports, keys.second + period)
    return first + seq + ((period & 63) << 26) + ((second + mss) & 0xFFFFFF)


def is_good(client: Client, seq: u32, cookie: u32, period: u32) -> bool:
    for mss in range(MSS_CLASSES):
        if cookie_of(client, seq, period, mss) == cookie:
            return True
    return False


def folded(total: u32) -> u32:
    total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFFFF) + (total >> 16)


def halves(word: u32) -> u32:
    return (word & 0xFFFF) + (word >> 16)


def reply(eth: Ethernet, ip: Ipv4, tcp: Tcp, cookie: u32, window: u16) -> None:
    """Make the SYN a SYN-ACK, in place."""
    eth.target, eth.source = eth.source, eth.target
    ip.source, ip.target = ip.target, ip.source
    ip.ttl = 64
    ip.length = htons(40)
    ip.check = 0
    total: u32 = 0x45 | ip.tos << 8
    total += htons(40) + ip.id + ip.fragment
    total += 64 | IPPROTO_TCP << 8
    total += halves(ip.source) + halves(ip.target)
    ip.check = folded(total) ^ 0xFFFF
    tcp.source, tcp.target = tcp.target, tcp.source
    tcp.ack = htonl(ntohl(tcp.seq) + 1 & 0xFFFFFFFF)
    tcp.seq = htonl(cookie)
    tcp.offset = 5 << 4
    tcp.flags = SYN | ACK
    tcp.window = window
    tcp.urgent = 0
    total = htons(IPPROTO_TCP) + htons(20) + halves(ip.source) + halves(ip.target)
    total += tcp.source + tcp.target + halves(tcp.seq) + halves(tcp.ack)
    total += (5 << 4 | (SYN | ACK) << 8) + window
    tcp.check = folded(total) ^ 0xFFFF


def protect(eth: Ethernet, ip: Ipv4, tcp: Tcp, service: Service) -> u32:
    client = Client(
        address=ip.source,
        target=ip.target,
        port=tcp.source,
        target_port=tcp.target,
    )
    now = ktime_coarse_ns()
    period: u32 = now >> PERIOD_SHIFT
    flags = tcp.flags & (SYN | ACK | RST | FIN)
    if flags == SYN:
        cookie = cookie_of(client, ntohl(tcp.seq), period, 0)
        reply(eth, ip, tcp, cookie, service.window)
        return Outcome.COOKIE
    if client in admitted:
        return Outcome.KNOWN
    if flags != ACK:
        return Outcome.FORGED
    seq: u32 = ntohl(tcp.seq) - 1
    cookie = ntohl(tcp.ack) - 1
    if is_good(client, seq, cookie, period) or is_good(client, seq, cookie, period - 1):
        admitted[client] = now
        return Outcome.ADMITTED
    return Outcome.FORGED


@xdp
def syn_proxy(ctx: XdpContext) -> XdpAction:
    if (eth := ctx.at(0, Ethernet)) is None or eth.protocol != ETH_P_IP:
        return XdpAction.PASS
    if (ip := ctx.at(IP_OFFSET, Ipv4)) is None or ip.protocol != IPPROTO_TCP:
        return XdpAction.PASS
    if ip.version_length != 0x45 or (tcp := ctx.at(IP_OFFSET + 20, Tcp)) is None:
        return XdpAction.PASS
    if (service := services.lookup(ip.target)) is None or service.port != tcp.target:
        return XdpAction.PASS
    outcome = protect(eth, ip, tcp, service)
    outcomes[outcome] += 1
    match outcome:
        case Outcome.COOKIE:
            return XdpAction.TX
        case Outcome.FORGED:
            return XdpAction.DROP
        case _:
            return XdpAction.PASS
