"""Limit the packets of each IPv4 source by a token bucket that refills with time."""

from beewire.bpf import (
    Global,
    LruHash,
    PerCpuArray,
    Struct,
    XdpAction,
    XdpContext,
    ktime_ns,
    u32,
    u64,
    xdp,
)
from corpus.headers import ETH_P_IP, IP_OFFSET, Ethernet, Ipv4

NANOSECONDS = 1_000_000_000
PASSED = 0
LIMITED = 1


class Bucket(Struct):
    tokens: u64
    filled_ns: u64


class Limits(Struct):
    rate: u64  # tokens a second
    burst: u64


buckets = LruHash[u32, Bucket](max_entries=65536)
verdicts = PerCpuArray[u64](max_entries=2)
limits = Global(Limits, Limits(rate=1000, burst=100))


def take(bucket: Bucket, now: u64) -> bool:
    """Take a token, after adding what has come since the last time."""
    elapsed = min(now - bucket.filled_ns, NANOSECONDS)
    earned = elapsed * limits.rate // NANOSECONDS
    if earned != 0:
        bucket.tokens = min(bucket.tokens + earned, limits.burst)
        bucket.filled_ns = now
    if bucket.tokens == 0:
        return False
    bucket.tokens -= 1
    return True


@xdp
def limit(ctx: XdpContext) -> XdpAction:
    if (eth := ctx.at(0, Ethernet)) is None or eth.protocol != ETH_P_IP:
        return XdpAction.PASS
    if (ip := ctx.at(IP_OFFSET, Ipv4)) is None:
        return XdpAction.PASS
    source: u32 = ip.source
    now = ktime_ns()
    if (bucket := buckets.lookup(source)) is None:
        buckets[source] = Bucket(tokens=limits.burst - 1, filled_ns=now)
        verdicts[PASSED] += 1
        return XdpAction.PASS
    if take(bucket, now):
        verdicts[PASSED] += 1
        return XdpAction.PASS
    verdicts[LIMITED] += 1
    return XdpAction.DROP
