"""Send the connections to a range of ports to a few listeners, by address and source."""

from beewire.bpf import (
    HashMap,
    LpmTrie,
    PerCpuArray,
    SkLookup,
    SockMap,
    Struct,
    array,
    sk_assign,
    sk_lookup,
    sk_release,
    u16,
    u32,
    u64,
)
from corpus.headers import AF_INET6, IPPROTO_TCP

PASS = 1
DROP = 0
LISTENERS = 16
ASSIGNED = 0
REFUSED = 1
MISSED = 2


class Prefix(Struct):
    length: u32
    family: u32
    address: list[u32] = array(u32, 4)


class Range(Struct):
    first: u16
    last: u16
    listener: u32


class Rule(Struct):
    ranges: list[Range] = array(Range, 4)
    default: u32


rules = HashMap[u32, Rule](max_entries=256)
refused = LpmTrie[Prefix, u32](max_entries=1024, flags=1)
listeners = SockMap[u32](max_entries=LISTENERS)
counters = PerCpuArray[u64](max_entries=3)


def prefix_of(ctx: SkLookup) -> Prefix:
    """The peer, as a key of `refused`."""
    key = Prefix(length=160, family=ctx.family)
    if ctx.family == AF_INET6:
        key.address[0] = ctx.remote_ip6[0]
        key.address[1] = ctx.remote_ip6[1]
        key.address[2] = ctx.remote_ip6[2]
        key.address[3] = ctx.remote_ip6[3]
    else:
        key.address[0] = ctx.remote_ip4
    return key


def listener_of(rule: Rule, port: u32) -> u32:
    for i in range(4):
        if rule.ranges[i].first <= port <= rule.ranges[i].last:
            return rule.ranges[i].listener
    return rule.default


@sk_lookup
def dispatch(ctx: SkLookup) -> int:
    if ctx.protocol != IPPROTO_TCP:
        return PASS
    if prefix_of(ctx) in refused:
        counters[REFUSED] += 1
        return DROP
    if (rule := rules.lookup(ctx.family)) is None:
        return PASS
    listener = listener_of(rule, ctx.local_port)
    if listener >= LISTENERS:
        return PASS
    if (sk := listeners.lookup(listener)) is None:
        counters[MISSED] += 1
        return PASS
    error = sk_assign(ctx, sk, 0)
    sk_release(sk)
    if error != 0:
        counters[MISSED] += 1
        return DROP
    counters[ASSIGNED] += 1
    return PASS
