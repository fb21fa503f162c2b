"""Outbound capture: connect4 and connect6 on the pod's cgroup.

Decides as Istio's OUTPUT rules do and rewrites the destination to the sidecar's listener,
at an address that stands for what was dialled; without one, the socket remembers it. A
connection that should be captured and cannot be is refused: never open.
"""

from beewire.bpf import (
    SockAddr,
    ancestor_cgroup_id,
    bind,
    connect4,
    connect6,
    htonl,
    ip4,
    random_u32,
    u32,
)
from datapath.addresses import (
    AF_INET,
    AF_INET6,
    LOOPBACK_NET,
    MAPPED,
    NET8,
    Address,
    Endpoint,
    SockaddrIn,
    SockaddrIn6,
)
from datapath.aliases import alias_of
from datapath.state import (
    ALLOW,
    DENY,
    IPPROTO_TCP,
    Decision,
    count,
    dialled,
    local_addresses,
    settings,
)

# Targets of what has no alias: one alone runs out of ports at 28,232 connections.
SPREAD = 64
FIRST_TARGET = 0x7F400001  # 127.64.0.1
ENVOY_INBOUND4 = ip4("127.0.0.6")  # what the sidecar binds to when it calls the app
ENVOY_INBOUND6 = htonl(6)  # the last word of ::6
LOCALHOST4 = ip4("127.0.0.1")
ANY = 0  # connect(2) takes 0.0.0.0 and :: for localhost
LOCALHOST6 = htonl(1)


def is_sidecar() -> bool:
    """Whether the caller runs in the sidecar's cgroup or below it."""
    return ancestor_cgroup_id(settings.proxy_level) == settings.proxy_cgroup


def decide4(wanted: Endpoint, ip: u32, bound: u32) -> u32:
    """What happens to a connection to an IPv4 address, by Istio's OUTPUT rules."""
    if ip & NET8 != LOOPBACK_NET and wanted.address not in local_addresses:
        if is_sidecar():
            return Decision.OUTBOUND_PROXY
        return Decision.OUTBOUND_CAPTURED
    if not is_sidecar():
        return Decision.OUTBOUND_LOCAL
    if bound == ENVOY_INBOUND4 or ip in (LOCALHOST4, ANY):
        return Decision.OUTBOUND_PROXY
    if wanted.port == settings.tunnel_port:
        return Decision.OUTBOUND_PROXY
    return Decision.OUTBOUND_SELF_CALL


def is_localhost6(address: Address) -> bool:
    """Whether an IPv6 address is `::1`, or is taken for it."""
    if address.words[0] | address.words[1] | address.words[2] != 0:
        return False
    return address.words[3] in (LOCALHOST6, ANY)


def decide6(wanted: Endpoint, bound: u32) -> u32:
    """As `decide4`, for IPv6 addresses; `::1` stands in `local_addresses`."""
    if wanted.address not in local_addresses:
        if is_sidecar():
            return Decision.OUTBOUND_PROXY
        return Decision.OUTBOUND_CAPTURED
    if not is_sidecar():
        return Decision.OUTBOUND_LOCAL
    if bound == ENVOY_INBOUND6 or is_localhost6(wanted.address):
        return Decision.OUTBOUND_PROXY
    if wanted.port == settings.tunnel_port:
        return Decision.OUTBOUND_PROXY
    return Decision.OUTBOUND_SELF_CALL


def listener_port(decision: u32) -> u32:
    """The sidecar's listener for a decision; 0 leaves the connection alone."""
    if decision == Decision.OUTBOUND_CAPTURED:
        return settings.outbound_port
    if decision == Decision.OUTBOUND_SELF_CALL:
        return settings.inbound_port
    return 0


def spread_target() -> u32:
    """One of the loopback addresses that the sidecar's listener answers on."""
    return htonl(FIRST_TARGET + (random_u32() & (SPREAD - 1)))


def keep_source4(ctx: SockAddr) -> bool:
    """Bind the socket to the address that the network would have seen it use.

    A socket that its owner has bound keeps what it was bound to.
    """
    if ctx.sk.src_ip4 != 0 or ctx.sk.src_port != 0:
        return True
    source = SockaddrIn(family=AF_INET, addr=settings.source4)
    return bind(ctx, source) == 0


def keep_source6(ctx: SockAddr, *, mapped: bool) -> bool:
    """As `keep_source4`, for AF_INET6 sockets."""
    if ctx.sk.src_ip6[3] != 0 or ctx.sk.src_port != 0:
        return True
    source = SockaddrIn6(family=AF_INET6)
    if mapped:
        source.addr[2] = MAPPED
        source.addr[3] = settings.source4
    else:
        source.addr[0] = settings.source6.words[0]
        source.addr[1] = settings.source6.words[1]
        source.addr[2] = settings.source6.words[2]
        source.addr[3] = settings.source6.words[3]
    return bind(ctx, source) == 0


def remember(ctx: SockAddr, wanted: Endpoint, target: u32, port: u32) -> bool:
    """Keep in the socket what was dialled and what it was rewritten to."""
    if (state := dialled.get_or_create(ctx.sk)) is None:
        return False
    state.wanted = wanted
    state.target = target
    state.target_port = port
    return True


def target_of(ctx: SockAddr, wanted: Endpoint, port: u32) -> u32:
    """The loopback address that an IPv4 connection is sent to; 0 if it cannot be."""
    if (alias := alias_of(wanted)) != 0:
        return alias
    target = spread_target()
    return target if remember(ctx, wanted, target, port) else 0


def redirect4(ctx: SockAddr, wanted: Endpoint, port: u32) -> int:
    """Send an AF_INET socket to the sidecar, or refuse the connection."""
    target = target_of(ctx, wanted, port)
    if target == 0 or not keep_source4(ctx):
        count(Decision.OUTBOUND_REFUSED)
        return DENY
    ctx.user_ip4 = target
    ctx.user_port = port
    return ALLOW


def redirect_mapped(ctx: SockAddr, wanted: Endpoint, port: u32) -> int:
    """As `redirect4`, for an AF_INET6 socket that calls an IPv4 address."""
    target = target_of(ctx, wanted, port)
    if target == 0 or not keep_source6(ctx, mapped=True):
        count(Decision.OUTBOUND_REFUSED)
        return DENY
    ctx.user_ip6[3] = target
    ctx.user_port = port
    return ALLOW


def redirect6(ctx: SockAddr, wanted: Endpoint, port: u32) -> int:
    """As `redirect4`, for IPv6; there is one loopback address only."""
    if not keep_source6(ctx, mapped=False) or not remember(
        ctx, wanted, LOCALHOST6, port
    ):
        count(Decision.OUTBOUND_REFUSED)
        return DENY
    ctx.user_ip6[0] = 0
    ctx.user_ip6[1] = 0
    ctx.user_ip6[2] = 0
    ctx.user_ip6[3] = LOCALHOST6
    ctx.user_port = port
    return ALLOW


@connect4
def outbound4(ctx: SockAddr) -> int:
    """Capture the IPv4 connections of AF_INET sockets."""
    if ctx.protocol != IPPROTO_TCP:
        return ALLOW
    if settings.outbound_port == 0:  # not configured yet: closed, not open
        count(Decision.OUTBOUND_REFUSED)
        return DENY
    wanted = Endpoint(port=ctx.user_port)
    wanted.address.words[2] = MAPPED
    wanted.address.words[3] = ctx.user_ip4
    decision = decide4(wanted, ctx.user_ip4, ctx.sk.src_ip4)
    count(decision)
    port = listener_port(decision)
    if port == 0:
        return ALLOW
    return redirect4(ctx, wanted, port)


@connect6
def outbound6(ctx: SockAddr) -> int:
    """Capture the connections of AF_INET6 sockets, `::ffff:a.b.c.d` included."""
    if ctx.protocol != IPPROTO_TCP:
        return ALLOW
    if settings.outbound_port == 0:
        count(Decision.OUTBOUND_REFUSED)
        return DENY
    wanted = Endpoint(port=ctx.user_port)
    wanted.address.words[0] = ctx.user_ip6[0]
    wanted.address.words[1] = ctx.user_ip6[1]
    wanted.address.words[2] = ctx.user_ip6[2]
    wanted.address.words[3] = ctx.user_ip6[3]
    mapped = (
        wanted.address.words[0] | wanted.address.words[1] == 0
        and wanted.address.words[2] == MAPPED
    )
    if mapped:
        decision = decide4(wanted, wanted.address.words[3], ctx.sk.src_ip4)
    else:
        decision = decide6(wanted, ctx.sk.src_ip6[3])
    count(decision)
    port = listener_port(decision)
    if port == 0:
        return ALLOW
    if mapped:
        return redirect_mapped(ctx, wanted, port)
    return redirect6(ctx, wanted, port)
