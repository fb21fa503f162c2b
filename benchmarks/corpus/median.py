"""The median of the last nine inter-arrival times of a queue: a sorting network."""

from beewire.bpf import (
    PerCpuArray,
    Struct,
    XdpAction,
    XdpContext,
    array,
    ktime_ns,
    u32,
    u64,
    xdp,
)
from corpus.headers import Ethernet

QUEUES = 16
WINDOW = 9


class Window(Struct):
    gaps: list[u64] = array(u64, WINDOW)
    next: u32
    filled: u32
    last_ns: u64
    median_ns: u64


class Nine(Struct):
    a: u64
    b: u64
    c: u64
    d: u64
    e: u64
    f: u64
    g: u64
    h: u64
    i: u64


windows = PerCpuArray[Window](max_entries=QUEUES)


def median(v: Nine) -> u64:
    """The middle one of nine, by 19 comparisons (Smith, Graphics Gems)."""
    v.b, v.c = min(v.b, v.c), max(v.b, v.c)
    v.e, v.f = min(v.e, v.f), max(v.e, v.f)
    v.h, v.i = min(v.h, v.i), max(v.h, v.i)
    v.a, v.b = min(v.a, v.b), max(v.a, v.b)
    v.d, v.e = min(v.d, v.e), max(v.d, v.e)
    v.g, v.h = min(v.g, v.h), max(v.g, v.h)
    v.b, v.c = min(v.b, v.c), max(v.b, v.c)
    v.e, v.f = min(v.e, v.f), max(v.e, v.f)
    v.h, v.i = min(v.h, v.i), max(v.h, v.i)
    v.d = max(v.a, v.d)
    v.f = min(v.f, v.i)
    v.e, v.h = min(v.e, v.h), max(v.e, v.h)
    v.g = max(v.d, v.g)
    v.e = max(v.b, v.e)
    v.c = min(v.c, v.f)
    v.e = min(v.e, v.h)
    v.e, v.c = min(v.e, v.c), max(v.e, v.c)
    v.e = max(v.g, v.e)
    return min(v.e, v.c)


@xdp
def arrival_median(ctx: XdpContext) -> XdpAction:
    if ctx.at(0, Ethernet) is None:
        return XdpAction.PASS
    if (w := windows.lookup(ctx.rx_queue_index % QUEUES)) is None:
        return XdpAction.PASS
    now = ktime_ns()
    slot: u32 = w.next
    if slot < WINDOW:
        w.gaps[slot] = now - w.last_ns
    w.next = slot + 1 if slot < WINDOW - 1 else 0
    w.last_ns = now
    if w.filled < WINDOW:
        w.filled += 1
        return XdpAction.PASS
    w.median_ns = median(
        Nine(
            a=w.gaps[0],
            b=w.gaps[1],
            c=w.gaps[2],
            d=w.gaps[3],
            e=w.gaps[4],
            f=w.gaps[5],
            g=w.gaps[6],
            h=w.gaps[7],
            i=w.gaps[8],
        )
    )
    return XdpAction.PASS
