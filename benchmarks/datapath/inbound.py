"""Inbound capture: sk_lookup in the pod's network namespace.

The packet is not touched and no state is kept: the accepted socket's own address is the
original destination. No listener means refused, never past the sidecar.
"""

from beewire.bpf import (
    SkAction,
    SkLookup,
    htonl,
    htons,
    sk_assign,
    sk_lookup,
    sk_release,
    u32,
)
from datapath.addresses import AF_INET, LOOPBACK_NET, MAPPED, NET8, Address
from datapath.state import (
    IPPROTO_TCP,
    V4_LISTENER,
    V6_LISTENER,
    Decision,
    count,
    excluded_inbound_ports,
    listeners,
    local_addresses,
)

ENVOY_INBOUND6 = htonl(6)


def comes_from_inside(ctx: SkLookup) -> bool:
    """Whether the peer is this pod itself; a foreign packet cannot claim so (martian).

    The interface does not tell: a packet to the pod's own address that went over lo
    carries the index of the address's interface.
    """
    peer = Address()
    if ctx.family == AF_INET:
        # To the loopback network: above all the application's way to its sidecar.
        if ctx.local_ip4 & NET8 == LOOPBACK_NET:
            return True
        if ctx.remote_ip4 & NET8 == LOOPBACK_NET:
            return True
        peer.words[2] = MAPPED
        peer.words[3] = ctx.remote_ip4
    else:
        peer.words[0] = ctx.remote_ip6[0]
        peer.words[1] = ctx.remote_ip6[1]
        peer.words[2] = ctx.remote_ip6[2]
        peer.words[3] = ctx.remote_ip6[3]
    return peer in local_addresses


def assign(ctx: SkLookup, slot: u32) -> bool:
    """Give the connection to the sidecar's listener in `slot`."""
    if (listener := listeners.lookup(slot)) is None:
        return False
    refused = sk_assign(ctx, listener, 0)
    sk_release(listener)
    return refused == 0


@sk_lookup
def inbound(ctx: SkLookup) -> int:
    """Send every new TCP connection from outside to the sidecar."""
    if ctx.protocol != IPPROTO_TCP:
        return SkAction.SK_PASS
    if comes_from_inside(ctx):
        count(Decision.INBOUND_LOCAL)
        return SkAction.SK_PASS
    if htons(ctx.local_port) in excluded_inbound_ports:
        count(Decision.INBOUND_EXCLUDED)
        return SkAction.SK_PASS
    if (ctx.family == AF_INET and assign(ctx, V4_LISTENER)) or assign(ctx, V6_LISTENER):
        count(Decision.INBOUND_CAPTURED)
        return SkAction.SK_PASS
    count(Decision.INBOUND_REFUSED)
    return SkAction.SK_DROP
