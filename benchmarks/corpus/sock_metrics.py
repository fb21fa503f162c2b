"""Export TCP metrics of every connection of a cgroup when it ends, and when it retransmits."""

from enum import IntEnum

from beewire.bpf import (
    LruHash,
    PerCpuArray,
    RingBuf,
    SkStorage,
    SockOp,
    SockOps,
    SockOpsFlag,
    Struct,
    TcpState,
    array,
    htonl,
    ktime_ns,
    ntohl,
    sock_ops,
    sock_ops_cb_flags_set,
    u16,
    u32,
    u64,
)
from corpus.headers import AF_INET6

MAPPED = htonl(0xFFFF)


class Counter(IntEnum):
    OPENED = 0
    ACCEPTED = 1
    CLOSED = 2
    RETRANSMITTED = 3
    LOST = 4


class Address(Struct):
    words: list[u32] = array(u32, 4)


class State(Struct):
    opened_ns: u64
    retransmits: u32
    timeouts: u32
    is_server: u32
    worst_srtt_us: u32


class Metrics(Struct):
    opened_ns: u64
    closed_ns: u64
    bytes_received: u64
    bytes_acked: u64
    local: Address
    remote: Address
    local_port: u16
    remote_port: u16
    is_server: u32
    last_state: u32
    snd_cwnd: u32
    snd_ssthresh: u32
    srtt_us: u32
    worst_srtt_us: u32
    rtt_min: u32
    mss_cache: u32
    rate_delivered: u32
    rate_interval_us: u32
    packets_out: u32
    retrans_out: u32
    total_retrans: u32
    segs_in: u32
    segs_out: u32
    data_segs_in: u32
    data_segs_out: u32
    lost_out: u32
    sacked_out: u32
    retransmits: u32
    timeouts: u32


class Destination(Struct):
    address: Address
    port: u32


class Quality(Struct):
    connections: u64
    bytes_received: u64
    bytes_acked: u64
    retransmits: u64
    srtt_us: u64  # moving average


states = SkStorage[State]()
metrics = RingBuf[Metrics](size=1 << 20, count_dropped=False)
quality = LruHash[Destination, Quality](max_entries=8192)
counters = PerCpuArray[u64](max_entries=len(Counter))


def is_ipv6(ctx: SockOps) -> bool:
    return ctx.family == AF_INET6 and ctx.remote_ip6[2] != MAPPED


def opened(ctx: SockOps, server: u32) -> None:
    """Begin to follow a connection."""
    if (sk := ctx.sk) is None or (state := states.get_or_create(sk)) is None:
        return
    state.opened_ns = ktime_ns()
    state.is_server = server
    flags = SockOpsFlag.STATE_CB | SockOpsFlag.RETRANS_CB | SockOpsFlag.RTO_CB
    sock_ops_cb_flags_set(ctx, flags)
    if server != 0:
        counters[Counter.ACCEPTED] += 1
    else:
        counters[Counter.OPENED] += 1


def retransmitted(ctx: SockOps, *, timeout: bool) -> None:
    if (sk := ctx.sk) is None or (state := states.get(sk)) is None:
        return
    if timeout:
        state.timeouts += 1
    else:
        state.retransmits += 1
    state.worst_srtt_us = max(state.worst_srtt_us, ctx.srtt_us)
    counters[Counter.RETRANSMITTED] += 1


def export(ctx: SockOps, state: State) -> None:
    with metrics.reserve() as m:
        if m is None:
            counters[Counter.LOST] += 1
            return
        m.opened_ns = state.opened_ns
        m.closed_ns = ktime_ns()
        m.is_server = state.is_server
        m.retransmits = state.retransmits
        m.timeouts = state.timeouts
        m.worst_srtt_us = state.worst_srtt_us
        if is_ipv6(ctx):
            m.local.words[0] = ctx.local_ip6[0]
            m.local.words[1] = ctx.local_ip6[1]
            m.local.words[2] = ctx.local_ip6[2]
            m.local.words[3] = ctx.local_ip6[3]
            m.remote.words[0] = ctx.remote_ip6[0]
            m.remote.words[1] = ctx.remote_ip6[1]
            m.remote.words[2] = ctx.remote_ip6[2]
            m.remote.words[3] = ctx.remote_ip6[3]
        else:
            m.local.words[0] = 0
            m.local.words[1] = 0
            m.local.words[2] = MAPPED
            m.local.words[3] = ctx.local_ip4
            m.remote.words[0] = 0
            m.remote.words[1] = 0
            m.remote.words[2] = MAPPED
            m.remote.words[3] = ctx.remote_ip4
        m.local_port = ctx.local_port
        m.remote_port = ntohl(ctx.remote_port)
        m.last_state = ctx.args[0]
        m.bytes_received = ctx.bytes_received
        m.bytes_acked = ctx.bytes_acked
        m.snd_cwnd = ctx.snd_cwnd
        m.snd_ssthresh = ctx.snd_ssthresh
        m.srtt_us = ctx.srtt_us
        m.rtt_min = ctx.rtt_min
        m.mss_cache = ctx.mss_cache
        m.rate_delivered = ctx.rate_delivered
        m.rate_interval_us = ctx.rate_interval_us
        m.packets_out = ctx.packets_out
        m.retrans_out = ctx.retrans_out
        m.total_retrans = ctx.total_retrans
        m.segs_in = ctx.segs_in
        m.segs_out = ctx.segs_out
        m.data_segs_in = ctx.data_segs_in
        m.data_segs_out = ctx.data_segs_out
        m.lost_out = ctx.lost_out
        m.sacked_out = ctx.sacked_out


def summarize(ctx: SockOps) -> None:
    """Add the connection to what is known of its destination."""
    key = Destination(port=ntohl(ctx.remote_port))
    if is_ipv6(ctx):
        key.address.words[0] = ctx.remote_ip6[0]
        key.address.words[1] = ctx.remote_ip6[1]
        key.address.words[2] = ctx.remote_ip6[2]
        key.address.words[3] = ctx.remote_ip6[3]
    else:
        key.address.words[2] = MAPPED
        key.address.words[3] = ctx.remote_ip4
    if (q := quality.lookup(key)) is None:
        quality[key] = Quality(
            connections=1,
            bytes_received=ctx.bytes_received,
            bytes_acked=ctx.bytes_acked,
            retransmits=ctx.total_retrans,
            srtt_us=ctx.srtt_us,
        )
        return
    q.connections += 1
    q.bytes_received += ctx.bytes_received
    q.bytes_acked += ctx.bytes_acked
    q.retransmits += ctx.total_retrans
    srtt: u64 = ctx.srtt_us
    q.srtt_us = q.srtt_us - (q.srtt_us >> 3) + (srtt >> 3)


def changed(ctx: SockOps) -> None:
    if ctx.args[1] != TcpState.CLOSE:
        return
    if (sk := ctx.sk) is None or (state := states.get(sk)) is None:
        return
    export(ctx, state)
    summarize(ctx)
    counters[Counter.CLOSED] += 1


@sock_ops
def sock_metrics(ctx: SockOps) -> None:
    match ctx.op:
        case SockOp.ACTIVE_ESTABLISHED_CB:
            opened(ctx, 0)
        case SockOp.PASSIVE_ESTABLISHED_CB:
            opened(ctx, 1)
        case SockOp.RETRANS_CB:
            retransmitted(ctx, timeout=False)
        case SockOp.RTO_CB:
            retransmitted(ctx, timeout=True)
        case SockOp.STATE_CB:
            changed(ctx)
        case _:
            pass
