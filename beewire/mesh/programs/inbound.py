"""Inbound capture: sk_lookup in the pod's network namespace.

The packet is not touched and no state is kept: the accepted socket's own address is the
original destination. No listener means refused, never past the sidecar. The program is
told no namespace: whose packet it is, its destination says (`owners`).
"""

from beewire.bpf import Const, SkAction, SkLookup, htonl, htons, sk_lookup, u32, u64
from beewire.mesh.programs.addresses import (
    AF_INET,
    AF_INET6,
    LOOPBACK_NET,
    MAPPED,
    NET8,
    Address,
)
from beewire.mesh.programs.listening import assign
from beewire.mesh.programs.lists import has
from beewire.mesh.programs.state import (
    IPPROTO_TCP,
    Config,
    ConfigFlag,
    Decision,
    Listed,
    PodAddress,
    addresses,
    configs,
    count,
    count_closed,
    owners,
    pods,
)

LOCALHOST6 = htonl(1)
ENVOY_INBOUND6 = htonl(6)

alone = Const(u64)  # whose packets inbound_alone sees


def is_inside6(first: u32, second: u32, third: u32, last: u32) -> bool:
    """Whether an IPv6 address is `::1`, or `::6`, from which the sidecar calls."""
    if first | second | third != 0:
        return False
    return last in (LOCALHOST6, ENVOY_INBOUND6)


def is_loopback(ctx: SkLookup) -> bool:
    """Whether a connection stays on the loopback network at one of its ends.

    Above all the application's way to its sidecar, and the sidecar's to the application.
    """
    if ctx.family == AF_INET:
        if ctx.local_ip4 & NET8 == LOOPBACK_NET:
            return True
        return ctx.remote_ip4 & NET8 == LOOPBACK_NET
    return is_inside6(
        ctx.local_ip6[0], ctx.local_ip6[1], ctx.local_ip6[2], ctx.local_ip6[3]
    ) or is_inside6(
        ctx.remote_ip6[0], ctx.remote_ip6[1], ctx.remote_ip6[2], ctx.remote_ip6[3]
    )


def local_of(ctx: SkLookup) -> Address:
    """The address that a packet was sent to."""
    local = Address()
    if ctx.family == AF_INET:
        local.words[2] = MAPPED
        local.words[3] = ctx.local_ip4
    else:
        local.words[0] = ctx.local_ip6[0]
        local.words[1] = ctx.local_ip6[1]
        local.words[2] = ctx.local_ip6[2]
        local.words[3] = ctx.local_ip6[3]
    return local


def comes_from_inside(ctx: SkLookup, netns: u64) -> bool:
    """Whether the peer is this pod itself; a foreign packet cannot claim so (martian).

    The interface does not tell: a packet to the pod's own address that went over lo
    carries the index of the address's interface.
    """
    peer = PodAddress(netns=netns)
    if ctx.family == AF_INET:
        peer.address.words[2] = MAPPED
        peer.address.words[3] = ctx.remote_ip4
    else:
        peer.address.words[0] = ctx.remote_ip6[0]
        peer.address.words[1] = ctx.remote_ip6[1]
        peer.address.words[2] = ctx.remote_ip6[2]
        peer.address.words[3] = ctx.remote_ip6[3]
    return peer in addresses


def is_excluded(config: Config, owner: u32, port: u32) -> bool:
    """Whether connections to a port go straight to the application."""
    if port == config.tunnel_port:
        return True
    if config.flags & ConfigFlag.INBOUND_ALL != 0:
        return has(config.flags, owner, Listed.EXCLUDED_INBOUND_PORTS, port)
    return not has(config.flags, owner, Listed.INCLUDED_INBOUND_PORTS, port)


def capture(ctx: SkLookup, netns: u64, port: u32) -> bool:
    """Give the connection to the sidecar; IPv4 to its IPv6 listener if it has no other."""
    if ctx.family == AF_INET and assign(ctx, netns, port, AF_INET):
        return True
    return assign(ctx, netns, port, AF_INET6)


def serve(ctx: SkLookup, netns: u64) -> int:
    """Send a new TCP connection from outside to the sidecar of a pod."""
    if (pod := pods.lookup(netns)) is None or (
        config := configs.lookup(pod.config)
    ) is None:
        count(netns, Decision.INBOUND_REFUSED)
        return SkAction.SK_DROP
    if comes_from_inside(ctx, netns):
        count(netns, Decision.INBOUND_LOCAL)
        return SkAction.SK_PASS
    listed = Listed.EXCLUDED_INTERFACES
    if has(pod.flags, pod.scope, listed, ctx.ingress_ifindex):
        count(netns, Decision.INBOUND_EXCLUDED)
        return SkAction.SK_PASS
    if is_excluded(config, pod.config, htons(ctx.local_port)):
        count(netns, Decision.INBOUND_EXCLUDED)
        return SkAction.SK_PASS
    if capture(ctx, netns, config.inbound_port):
        count(netns, Decision.INBOUND_CAPTURED)
        return SkAction.SK_PASS
    count(netns, Decision.INBOUND_REFUSED)
    return SkAction.SK_DROP


@sk_lookup
def inbound(ctx: SkLookup) -> int:
    """Send every new TCP connection from outside to the sidecar."""
    if ctx.protocol != IPPROTO_TCP or is_loopback(ctx):
        return SkAction.SK_PASS
    if (owner := owners.lookup(local_of(ctx))) is None:
        count_closed(Decision.INBOUND_REFUSED)
        return SkAction.SK_DROP
    return serve(ctx, owner.value)


@sk_lookup
def inbound_alone(ctx: SkLookup) -> int:
    """As `inbound`, loaded for one pod: another one of the node has its address, too."""
    if ctx.protocol != IPPROTO_TCP or is_loopback(ctx):
        return SkAction.SK_PASS
    return serve(ctx, alone.value)
