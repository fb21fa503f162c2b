"""Account the traffic of cgroups, and drop what goes over their quota, both directions."""

from beewire.bpf import (
    Global,
    HashMap,
    LruHash,
    SkBuff,
    Struct,
    cgroup_skb_egress,
    cgroup_skb_ingress,
    ktime_coarse_ns,
    u32,
    u64,
)
from corpus.headers import ETH_P_IP, ETH_P_IPV6, Ipv4, Ipv6

ALLOW = 1
DENY = 0
WINDOW = 1_000_000_000
LOCAL4 = 127


class Quota(Struct):
    bytes_in: u64  # in a window; 0 means no limit
    bytes_out: u64


class Usage(Struct):
    window_ns: u64
    bytes_in: u64
    bytes_out: u64
    packets_in: u64
    packets_out: u64
    dropped: u64
    protocols: u64


class Account(Struct):
    id: u64


quotas = HashMap[u64, Quota](max_entries=1024)
usages = LruHash[u64, Usage](max_entries=4096)
group = Global(Account)


def protocol_of(ctx: SkBuff) -> u32:
    """The transport protocol; 0 for local traffic and for what is not IP."""
    if ctx.protocol == ETH_P_IP:
        if (ip4 := ctx.at(0, Ipv4)) is None or ip4.target & 0xFF == LOCAL4:
            return 0
        return ip4.protocol
    if ctx.protocol == ETH_P_IPV6:
        if (ip6 := ctx.at(0, Ipv6)) is None:
            return 0
        return ip6.next
    return 0


def usage_of(group_id: u64, now: u64) -> Usage | None:
    """The usage in the current window."""
    if (usage := usages.lookup(group_id)) is None:
        usages[group_id] = Usage(window_ns=now)
        return usages.lookup(group_id)
    if now - usage.window_ns > WINDOW:
        usage.window_ns = now
        usage.bytes_in = 0
        usage.bytes_out = 0
    return usage


@cgroup_skb_ingress
def receive(ctx: SkBuff) -> int:
    protocol = protocol_of(ctx)
    if protocol == 0:
        return ALLOW
    group_id: u64 = group.id
    if (usage := usage_of(group_id, ktime_coarse_ns())) is None:
        return ALLOW
    usage.protocols = usage.protocols | 1 << (protocol & 63)
    usage.packets_in += 1
    usage.bytes_in += ctx.length
    if (quota := quotas.lookup(group_id)) is None or quota.bytes_in == 0:
        return ALLOW
    if usage.bytes_in > quota.bytes_in:
        usage.dropped += 1
        return DENY
    return ALLOW


@cgroup_skb_egress
def send(ctx: SkBuff) -> int:
    protocol = protocol_of(ctx)
    if protocol == 0:
        return ALLOW
    group_id: u64 = group.id
    if (usage := usage_of(group_id, ktime_coarse_ns())) is None:
        return ALLOW
    usage.protocols = usage.protocols | 1 << (protocol & 63)
    usage.packets_out += 1
    usage.bytes_out += ctx.length
    if (quota := quotas.lookup(group_id)) is None or quota.bytes_out == 0:
        return ALLOW
    if usage.bytes_out > quota.bytes_out:
        usage.dropped += 1
        return DENY
    return ALLOW
