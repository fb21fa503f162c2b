"""Flow records for IPv4 and IPv6, NetFlow style: sizes, gaps, flags, exported when they end."""

from beewire.bpf import (
    LruHash,
    PerCpuArray,
    RingBuf,
    Struct,
    XdpAction,
    XdpContext,
    array,
    htonl,
    ktime_ns,
    u8,
    u16,
    u32,
    u64,
    xdp,
)
from corpus.headers import (
    ETH_P_IP,
    ETH_P_IPV6,
    IP_OFFSET,
    IPPROTO_TCP,
    IPPROTO_UDP,
    Ethernet,
    Ipv4,
    Ipv6,
    Ports,
    Tcp,
)

FIN = 0x01
RST = 0x04
MAPPED = htonl(0xFFFF)
OTHER = 0
COUNTED = 1
EXPORTED = 2
LOST = 3


class Address(Struct):
    words: list[u32] = array(u32, 4)


class Flow(Struct):
    source: Address
    target: Address
    source_port: u16
    target_port: u16
    protocol: u8
    padding: u8
    more_padding: u16


class Stats(Struct):
    first_ns: u64
    last_ns: u64
    packets: u64
    bytes: u64
    shortest: u32
    longest: u32
    gap_ewma_ns: u64
    flags: u32
    hops: u32


class Record(Struct):
    flow: Flow
    stats: Stats


flows = LruHash[Flow, Stats](max_entries=65536)
records = RingBuf[Record](size=1 << 20, count_dropped=False)
counters = PerCpuArray[u64](max_entries=4)


def transport(ctx: XdpContext, flow: Flow, offset: u32) -> u32:
    """Fill in the ports; gives the TCP flags, or 0."""
    if flow.protocol not in (IPPROTO_TCP, IPPROTO_UDP):
        return 0
    if (ports := ctx.at(offset, Ports)) is None:
        return 0
    flow.source_port = ports.source
    flow.target_port = ports.target
    if flow.protocol == IPPROTO_UDP or (tcp := ctx.at(offset, Tcp)) is None:
        return 0
    return tcp.flags


def update(stats: Stats, now: u64, size: u32, flags: u32) -> None:
    """Take a packet into the statistics of its flow."""
    gap = now - stats.last_ns
    stats.gap_ewma_ns = stats.gap_ewma_ns - (stats.gap_ewma_ns >> 3) + (gap >> 3)
    stats.last_ns = now
    stats.packets += 1
    stats.bytes += size
    stats.flags = stats.flags | flags
    stats.shortest = min(stats.shortest, size)
    stats.longest = max(stats.longest, size)


def export(flow: Flow, stats: Stats) -> None:
    with records.reserve() as record:
        if record is None:
            counters[LOST] += 1
            return
        record.flow = flow
        record.stats = stats
    counters[EXPORTED] += 1


def account(flow: Flow, size: u32, flags: u32, hops: u32) -> None:
    now = ktime_ns()
    if (stats := flows.lookup(flow)) is None:
        flows[flow] = Stats(
            first_ns=now,
            last_ns=now,
            packets=1,
            bytes=size,
            shortest=size,
            longest=size,
            flags=flags,
            hops=hops,
        )
        counters[COUNTED] += 1
        return
    update(stats, now, size, flags)
    counters[COUNTED] += 1
    if flags & (FIN | RST) != 0:
        export(flow, stats)
        del flows[flow]


@xdp
def flow_stats(ctx: XdpContext) -> XdpAction:
    if (eth := ctx.at(0, Ethernet)) is None:
        return XdpAction.PASS
    flow = Flow()
    if eth.protocol == ETH_P_IP:
        if (ip4 := ctx.at(IP_OFFSET, Ipv4)) is None or ip4.version_length & 15 < 5:
            return XdpAction.PASS
        flow.source.words[2] = MAPPED
        flow.source.words[3] = ip4.source
        flow.target.words[2] = MAPPED
        flow.target.words[3] = ip4.target
        flow.protocol = ip4.protocol
        hops: u32 = ip4.ttl
        offset: u32 = IP_OFFSET + (ip4.version_length & 15) * 4
    elif eth.protocol == ETH_P_IPV6:
        if (ip6 := ctx.at(IP_OFFSET, Ipv6)) is None:
            return XdpAction.PASS
        flow.source.words = ip6.source
        flow.target.words = ip6.target
        flow.protocol = ip6.next
        hops = ip6.hops
        offset = IP_OFFSET + 40
    else:
        counters[OTHER] += 1
        return XdpAction.PASS
    flags = transport(ctx, flow, offset)
    account(flow, ctx.length, flags, hops)
    return XdpAction.PASS
