"""Features of the selftests: choices and loops."""

from beewire.bpf import (
    Struct,
    Target,
    XdpAction,
    XdpContext,
    loop,
    u32,
    u64,
    xdp,
)


class Sum(Struct):
    total: u64


TARGETS = {
    "loops_by_an_iterator": Target(3, ["iterators", "bpf_loop", "fetch"]),
    "loops_by_may_goto": Target(4, ["may_goto", "iterators", "bpf_loop", "fetch"]),
}
"""Kernels that single programs are compiled for."""


@xdp
def bounded_loops(ctx: XdpContext) -> XdpAction:
    total = 0
    for i in range(20):
        if i % 2:
            continue
        total += i
    total += 1
    return XdpAction.PASS if total == 91 else XdpAction.DROP


@xdp
def loops_by_may_goto(ctx: XdpContext) -> XdpAction:
    total = 0
    for i in range(100_000):
        total += i & 3
    return XdpAction.PASS if total == 150_000 else XdpAction.DROP


@xdp
def loops_by_an_iterator(ctx: XdpContext) -> XdpAction:
    mixed: u32 = 0
    for i in range(100_000):
        mixed += i ^ ctx.length
    return XdpAction.PASS if mixed else XdpAction.DROP


def add(i: u32, sums: Sum) -> bool:
    sums.total += i
    return sums.total > 4950


@xdp
def loops_by_callbacks(ctx: XdpContext) -> XdpAction:
    sums = Sum(total=0)
    rounds = loop(1000, add, sums)
    return XdpAction.PASS if rounds == 101 else XdpAction.DROP
