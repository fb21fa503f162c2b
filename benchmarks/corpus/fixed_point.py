"""Signal arithmetic without floats: logarithm, exponential decay and power of rates, Q16.16."""

from beewire.bpf import (
    Array,
    Struct,
    XdpAction,
    XdpContext,
    ktime_coarse_ns,
    u32,
    u64,
    xdp,
)
from corpus.headers import Ethernet

ONE = 1 << 16
QUEUES = 64
LN2 = 45426  # ln 2 in Q16.16
DECAY_SHIFT = 20


class Signal(Struct):
    last_ns: u64
    rate: u64  # Q16.16, bytes decayed
    log_rate: u32
    decibel: u32
    score: u64
    peak: u64


signals = Array[Signal](max_entries=QUEUES)


def multiply(a: u64, b: u64) -> u64:
    """The product of two numbers in Q16.16, the first below 2**32."""
    return a * (b >> 16) + (a * (b & 0xFFFF) >> 16)


def log2(x: u64) -> u32:
    """The binary logarithm of an integer above 0, in Q16.16: whole part, then 8 digits."""
    whole: u32 = 0
    rest: u64 = x
    for i in range(6):
        shift: u32 = 32 >> i
        if rest >> shift != 0:
            rest >>= shift
            whole += shift
    mantissa: u64 = x << (63 - whole) >> 32
    result: u32 = whole << 16
    for i in range(8):
        mantissa = mantissa * mantissa >> 31
        if mantissa >> 32 != 0:
            mantissa >>= 1
            result += 0x8000 >> i
    return result


def exp2_negative(x: u64) -> u64:
    """2 ** -x in Q16.16, by shifts and a polynomial of the third degree."""
    whole: u64 = x >> 16
    if whole > 30:
        return 0
    f: u64 = x & 0xFFFF
    # 1 - f ln 2 + (f ln 2)**2 / 2 - (f ln 2)**3 / 6
    t = f * LN2 >> 16
    t2 = t * t >> 16
    t3 = t2 * t >> 16
    return (ONE - t + (t2 >> 1) - t3 // 6) >> whole


def update(s: Signal, now: u64, size: u32) -> None:
    elapsed: u64 = now - s.last_ns
    factor = exp2_negative(elapsed << 16 >> DECAY_SHIFT)
    rate = multiply(factor, s.rate) + (size << 16)
    s.last_ns = now
    s.rate = rate
    level = log2((rate >> 16) + 1)
    s.log_rate = level
    s.decibel = level * 197283 >> 16  # 10 log10(2) in Q16.16
    s.score = multiply(level, level) + (level >> 2)
    s.peak = max(s.peak, rate)


@xdp
def measure_signal(ctx: XdpContext) -> XdpAction:
    if ctx.at(0, Ethernet) is None:
        return XdpAction.PASS
    if (s := signals.lookup(ctx.rx_queue_index & (QUEUES - 1))) is not None:
        update(s, ktime_coarse_ns(), ctx.length)
    return XdpAction.PASS
