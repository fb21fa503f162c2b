"""Short-circuit local TCP: sockets enter a map when they connect, messages go across it."""

from beewire.bpf import (
    PerCpuArray,
    SkAction,
    SkMsg,
    SockHash,
    SockOp,
    SockOps,
    Struct,
    ip4,
    ntohl,
    sk_msg,
    sock_ops,
    u32,
    u64,
)
from corpus.headers import AF_INET

NET8 = ip4("255.0.0.0")
LOOPBACK = ip4("127.0.0.0")
ENTERED = 0
CROSSED = 1
BYTES = 2


class Pair(Struct):
    local_ip: u32
    remote_ip: u32
    local_port: u32
    remote_port: u32


socks = SockHash[Pair](max_entries=65536)
counters = PerCpuArray[u64](max_entries=3)


@sock_ops
def enter(ctx: SockOps) -> None:
    if ctx.op not in (SockOp.ACTIVE_ESTABLISHED_CB, SockOp.PASSIVE_ESTABLISHED_CB):
        return
    if ctx.family != AF_INET or ctx.remote_ip4 & NET8 != LOOPBACK:
        return
    key = Pair(
        local_ip=ctx.local_ip4,
        remote_ip=ctx.remote_ip4,
        local_port=ctx.local_port,
        remote_port=ntohl(ctx.remote_port),
    )
    socks.update(ctx, key)
    counters[ENTERED] += 1


@sk_msg
def cross(ctx: SkMsg) -> SkAction:
    if ctx.family != AF_INET or ctx.remote_ip4 & NET8 != LOOPBACK:
        return SkAction.SK_PASS
    # The key of the other end: what is local here is remote there.
    key = Pair(
        local_ip=ctx.remote_ip4,
        remote_ip=ctx.local_ip4,
        local_port=ntohl(ctx.remote_port),
        remote_port=ctx.local_port,
    )
    counters[CROSSED] += 1
    counters[BYTES] += ctx.size
    return socks.redirect(ctx, key, ingress=True)
