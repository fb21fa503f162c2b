"""How long TCP connections last, and where they lead: from their first state to their last."""

from beewire.bpf import (
    HashMap,
    Kernel,
    LruHash,
    PerCpuHash,
    RawTracepoint,
    RingBuf,
    Struct,
    TcpState,
    chars,
    current_comm,
    current_tgid,
    embedded,
    kernel_ptr,
    ktime_ns,
    ntohs,
    raw_tracepoint,
    u16,
    u32,
    u64,
)
from corpus.headers import AF_INET, AF_INET6

MICROSECOND = 1000
SLOTS = 32


class sock_common(Kernel):
    skc_family: u16
    skc_num: u16
    skc_dport: u16


class sock(Kernel):
    __sk_common: sock_common = embedded()


class Start(Struct):
    at_ns: u64
    pid: u32
    comm: str = chars(16)


class Lifetime(Struct):
    lasted_us: u64
    pid: u32
    family: u16
    sport: u16
    dport: u16
    last_state: u16
    comm: str = chars(16)


class Port(Struct):
    family: u16
    port: u16


starts = LruHash[u64, Start](max_entries=16384)
lifetimes = RingBuf[Lifetime](size=1 << 18, count_dropped=False)
histogram = PerCpuHash[u32, u64](max_entries=SLOTS)
by_port = HashMap[Port, u64](max_entries=4096)


def log2(value: u64) -> u32:
    """The position of the highest bit, at most SLOTS - 1."""
    position: u32 = 0
    for _ in range(SLOTS - 1):
        value >>= 1
        if value == 0:
            break
        position += 1
    return position


@raw_tracepoint("inet_sock_set_state")
def on_state(ctx: RawTracepoint) -> None:
    address = ctx.args[0]
    old: u32 = ctx.args[1]
    new: u32 = ctx.args[2]
    connection = kernel_ptr(address, sock)
    family: u16 = connection.__sk_common.skc_family
    if family not in (AF_INET, AF_INET6):
        return
    if new in (TcpState.SYN_SENT, TcpState.SYN_RECV):
        starts[address] = Start(
            at_ns=ktime_ns(), pid=current_tgid(), comm=current_comm()
        )
        return
    if new != TcpState.CLOSE:
        return
    if (start := starts.lookup(address)) is None:
        return
    lasted = (ktime_ns() - start.at_ns) // MICROSECOND
    port: u16 = ntohs(connection.__sk_common.skc_dport)
    histogram[log2(lasted)] += 1
    by_port[Port(family=family, port=port)] += 1
    with lifetimes.reserve() as e:
        if e is not None:
            e.lasted_us = lasted
            e.pid = start.pid
            e.family = family
            e.sport = connection.__sk_common.skc_num
            e.dport = port
            e.last_state = old
            e.comm = start.comm
    del starts[address]
