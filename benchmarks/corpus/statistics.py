"""Mean, deviation and jitter of packet sizes per queue, without floating point."""

from beewire.bpf import (
    PerCpuArray,
    Struct,
    XdpAction,
    XdpContext,
    i64,
    u32,
    u64,
    xdp,
)
from corpus.headers import Ethernet

QUEUES = 32
FRACTION = 8  # bits behind the binary point
ROUNDS = 18


class Moments(Struct):
    count: u64
    mean: i64  # with FRACTION bits
    squares: u64  # sum of squared differences
    jitter: i64
    last: i64
    deviation: u32
    outliers: u32


moments = PerCpuArray[Moments](max_entries=QUEUES)


def square_root(value: u64) -> u32:
    """The integer square root by Newton's iteration, of values below 2**31."""
    root: u64 = 1 << 16
    for _ in range(ROUNDS):
        root = (root + value // root) >> 1
    return root


def absolute(value: i64) -> i64:
    return -value if value < 0 else value


def update(m: Moments, size: i64) -> None:
    """Welford's algorithm, and the jitter of RFC 3550."""
    scaled: i64 = size << FRACTION
    m.count += 1
    before: i64 = scaled - m.mean
    count: i64 = m.count
    m.mean += before // count
    after: i64 = scaled - m.mean
    product: i64 = before * after
    if product > 0:
        m.squares += product >> FRACTION * 2
    m.jitter += (absolute(scaled - m.last) - m.jitter) // 16
    m.last = scaled
    variance: u64 = m.squares // m.count
    variance = min(variance, 0x7FFFFFFF)
    m.deviation = square_root(variance)
    limit: i64 = m.deviation * 3 << FRACTION
    if absolute(scaled - m.mean) > limit:
        m.outliers += 1


@xdp
def size_moments(ctx: XdpContext) -> XdpAction:
    if ctx.at(0, Ethernet) is None:
        return XdpAction.PASS
    if (m := moments.lookup(ctx.rx_queue_index % QUEUES)) is not None:
        update(m, ctx.length)
    return XdpAction.PASS
