"""Outbound capture: connect4 and connect6 on the pod's cgroup.

Decides as Istio's OUTPUT rules do and rewrites the destination to the sidecar's listener,
at an address that stands for what was dialled; without one, the socket remembers it. A
connection that should be captured and cannot be is refused: never open.
"""

from beewire.bpf import (
    SockAddr,
    Struct,
    bind,
    connect4,
    connect6,
    htonl,
    ip4,
    netns_cookie,
    random_u32,
    u32,
    u64,
)
from beewire.mesh.programs.addresses import (
    AF_INET,
    AF_INET6,
    MAPPED,
    Endpoint,
    SockaddrIn,
    SockaddrIn6,
)
from beewire.mesh.programs.aliases import alias_of, is_alias
from beewire.mesh.programs.dns import (
    forget,
    is_query4,
    is_query6,
    resolver_of,
    send_to6,
)
from beewire.mesh.programs.lists import covers, has
from beewire.mesh.programs.routes import interface_to, source_of
from beewire.mesh.programs.sockets import (
    ANY,
    ENVOY_INBOUND6,
    LOCALHOST4,
    LOCALHOST6,
    is_loopback4,
    is_loopback6,
    is_own,
    is_sidecar,
    remember,
)
from beewire.mesh.programs.state import (
    ALLOW,
    DENY,
    IPPROTO_TCP,
    Config,
    ConfigFlag,
    Decision,
    Listed,
    PodState,
    configs,
    count,
    count_closed,
    pods,
)

# Targets of what has no alias: one alone runs out of ports at 28,232 connections.
SPREAD = 64
FIRST_TARGET = 0x7F400001  # 127.64.0.1
ENVOY_INBOUND4 = ip4("127.0.0.6")  # what the sidecar binds to when it calls the app


class Call(Struct):
    """One connect() of one pod.

    `bound` is the last word of the socket's own address, `interface` the index of the one
    that leads to where it goes, where that matters.
    """

    netns: u64
    wanted: Endpoint = Endpoint()
    bound: u32 = 0
    interface: u32 = 0


def is_included(pod: PodState, config: Config, call: Call) -> bool:
    """Whether an application's connection is captured, by the lists."""
    flags, owner, port = config.flags, pod.config, call.wanted.port
    if has(pod.flags, pod.scope, Listed.EXCLUDED_INTERFACES, call.interface):
        return False
    if has(flags, owner, Listed.EXCLUDED_OUTBOUND_PORTS, port):
        return False
    if covers(flags, owner, Listed.EXCLUDED_RANGES, call.wanted.address):
        return False
    if flags & ConfigFlag.OUTBOUND_ALL != 0:
        return True
    if has(flags, owner, Listed.INCLUDED_OUTBOUND_PORTS, port):
        return True
    return covers(flags, owner, Listed.INCLUDED_RANGES, call.wanted.address)


def decide4(pod: PodState, config: Config, call: Call) -> u32:
    """What happens to a connection to an IPv4 address, by Istio's OUTPUT rules."""
    ip = call.wanted.address.words[3]
    if not is_loopback4(ip) and not is_own(call.netns, call.wanted):
        if is_sidecar(pod):
            return Decision.OUTBOUND_PROXY
        if not is_included(pod, config, call):
            return Decision.OUTBOUND_EXCLUDED
        return Decision.OUTBOUND_CAPTURED
    if not is_sidecar(pod):
        return Decision.OUTBOUND_LOCAL
    if call.bound == ENVOY_INBOUND4 or ip in (LOCALHOST4, ANY):
        return Decision.OUTBOUND_PROXY
    if call.wanted.port == config.tunnel_port:
        return Decision.OUTBOUND_PROXY
    return Decision.OUTBOUND_SELF_CALL


def decide6(pod: PodState, config: Config, call: Call) -> u32:
    """As `decide4`, for IPv6 addresses."""
    loopback = is_loopback6(call.wanted.address)
    if not loopback and not is_own(call.netns, call.wanted):
        if is_sidecar(pod):
            return Decision.OUTBOUND_PROXY
        if not is_included(pod, config, call):
            return Decision.OUTBOUND_EXCLUDED
        return Decision.OUTBOUND_CAPTURED
    if not is_sidecar(pod):
        return Decision.OUTBOUND_LOCAL
    if loopback or call.bound == ENVOY_INBOUND6:
        return Decision.OUTBOUND_PROXY
    if call.wanted.port == config.tunnel_port:
        return Decision.OUTBOUND_PROXY
    return Decision.OUTBOUND_SELF_CALL


def listener_port(config: Config, decision: u32) -> u32:
    """The sidecar's listener for a decision; 0 leaves the connection alone."""
    if decision == Decision.OUTBOUND_CAPTURED:
        return config.outbound_port
    if decision == Decision.OUTBOUND_SELF_CALL:
        return config.inbound_port
    return 0


def spread_target() -> u32:
    """One of the loopback addresses that the sidecar's listener answers on."""
    return htonl(FIRST_TARGET + (random_u32() & (SPREAD - 1)))


def keep_source4(ctx: SockAddr, pod: PodState, call: Call) -> bool:
    """Bind the socket to the address that the network would have seen it use.

    A socket that its owner has bound keeps what it was bound to.
    """
    if ctx.sk.src_ip4 != 0 or ctx.sk.src_port != 0:
        return True
    source = SockaddrIn(family=AF_INET, addr=pod.source4)
    if (own := source_of(pod, AF_INET, call.interface)) is not None:
        source.addr = own.words[3]
    return bind(ctx, source) == 0


def keep_source_mapped(ctx: SockAddr, pod: PodState, call: Call) -> bool:
    """As `keep_source4`, for an AF_INET6 socket that calls an IPv4 address."""
    if ctx.sk.src_ip6[3] != 0 or ctx.sk.src_port != 0:
        return True
    source = SockaddrIn6(family=AF_INET6)
    source.addr[2] = MAPPED
    source.addr[3] = pod.source4
    if (own := source_of(pod, AF_INET, call.interface)) is not None:
        source.addr[3] = own.words[3]
    return bind(ctx, source) == 0


def keep_source6(ctx: SockAddr, pod: PodState, call: Call) -> bool:
    """As `keep_source4`, for IPv6."""
    if ctx.sk.src_ip6[3] != 0 or ctx.sk.src_port != 0:
        return True
    source = SockaddrIn6(family=AF_INET6)
    if (own := source_of(pod, AF_INET6, call.interface)) is None:
        own = pod.source6
    source.addr[0] = own.words[0]
    source.addr[1] = own.words[1]
    source.addr[2] = own.words[2]
    source.addr[3] = own.words[3]
    return bind(ctx, source) == 0


def target_of(ctx: SockAddr, call: Call, port: u32) -> u32:
    """The loopback address that an IPv4 connection is sent to; 0 if it cannot be."""
    wanted = call.wanted
    if (alias := alias_of(call.netns, wanted.address.words[3], wanted.port)) != 0:
        return alias
    target = spread_target()
    return target if remember(ctx, wanted, target, port) else 0


def refused(netns: u64) -> int:
    """Refuse a connection that should have been captured."""
    count(netns, Decision.OUTBOUND_REFUSED)
    return DENY


def redirect4(ctx: SockAddr, pod: PodState, call: Call, port: u32) -> int:
    """Send an AF_INET socket to the sidecar, or refuse the connection."""
    target = target_of(ctx, call, port)
    if target == 0 or not keep_source4(ctx, pod, call):
        return refused(call.netns)
    ctx.user_ip4 = target
    ctx.user_port = port
    return ALLOW


def redirect_mapped(ctx: SockAddr, pod: PodState, call: Call, port: u32) -> int:
    """As `redirect4`, for an AF_INET6 socket that calls an IPv4 address."""
    target = target_of(ctx, call, port)
    if target == 0 or not keep_source_mapped(ctx, pod, call):
        return refused(call.netns)
    ctx.user_ip6[3] = target
    ctx.user_port = port
    return ALLOW


def redirect6(ctx: SockAddr, pod: PodState, call: Call, port: u32) -> int:
    """As `redirect4`, for IPv6; there is one loopback address only."""
    if not keep_source6(ctx, pod, call) or not remember(
        ctx, call.wanted, LOCALHOST6, port
    ):
        return refused(call.netns)
    ctx.user_ip6[0] = 0
    ctx.user_ip6[1] = 0
    ctx.user_ip6[2] = 0
    ctx.user_ip6[3] = LOCALHOST6
    ctx.user_port = port
    return ALLOW


def redirect_query4(ctx: SockAddr, pod: PodState, config: Config, call: Call) -> int:
    """Send a query to the agent's resolver."""
    target = resolver_of(config, call.netns, call.wanted)
    if not is_alias(target) and not remember(ctx, call.wanted, target, config.dns_port):
        return refused(call.netns)
    if not keep_source4(ctx, pod, call):
        return refused(call.netns)
    count(call.netns, Decision.DNS_CAPTURED)
    ctx.user_ip4 = target
    ctx.user_port = config.dns_port
    return ALLOW


def redirect_query6(ctx: SockAddr, pod: PodState, config: Config, call: Call) -> int:
    """As `redirect_query4`, for AF_INET6 sockets."""
    if ctx.user_ip6[2] == MAPPED and ctx.user_ip6[0] | ctx.user_ip6[1] == 0:
        target = resolver_of(config, call.netns, call.wanted)
        kept = keep_source_mapped(ctx, pod, call)
    else:
        target = LOCALHOST6
        kept = keep_source6(ctx, pod, call)
    if not kept or not (
        is_alias(target) or remember(ctx, call.wanted, target, config.dns_port)
    ):
        return refused(call.netns)
    count(call.netns, Decision.DNS_CAPTURED)
    send_to6(ctx, target, config.dns_port)
    return ALLOW


@connect4
def outbound4(ctx: SockAddr) -> int:
    """Capture the IPv4 connections of AF_INET sockets."""
    call = Call(netns=netns_cookie(ctx), bound=ctx.sk.src_ip4)
    if (pod := pods.lookup(call.netns)) is None:
        count_closed(Decision.OUTBOUND_REFUSED)
        return DENY
    if (config := configs.lookup(pod.config)) is None:
        return refused(call.netns)
    call.wanted.port = ctx.user_port
    call.wanted.address.words[2] = MAPPED
    call.wanted.address.words[3] = ctx.user_ip4
    call.interface = interface_to(ctx, pod, call.wanted.address)
    forget(ctx)
    if is_query4(ctx, pod, config, call.netns):
        return redirect_query4(ctx, pod, config, call)
    if ctx.protocol != IPPROTO_TCP:
        return ALLOW
    decision = decide4(pod, config, call)
    count(call.netns, decision)
    port = listener_port(config, decision)
    if port == 0:
        return ALLOW
    return redirect4(ctx, pod, call, port)


@connect6
def outbound6(ctx: SockAddr) -> int:
    """Capture the connections of AF_INET6 sockets, `::ffff:a.b.c.d` included."""
    call = Call(netns=netns_cookie(ctx), bound=ctx.sk.src_ip6[3])
    if (pod := pods.lookup(call.netns)) is None:
        count_closed(Decision.OUTBOUND_REFUSED)
        return DENY
    if (config := configs.lookup(pod.config)) is None:
        return refused(call.netns)
    call.wanted.port = ctx.user_port
    call.wanted.address.words[0] = ctx.user_ip6[0]
    call.wanted.address.words[1] = ctx.user_ip6[1]
    call.wanted.address.words[2] = ctx.user_ip6[2]
    call.wanted.address.words[3] = ctx.user_ip6[3]
    call.interface = interface_to(ctx, pod, call.wanted.address)
    mapped = (
        call.wanted.address.words[0] | call.wanted.address.words[1] == 0
        and call.wanted.address.words[2] == MAPPED
    )
    forget(ctx)
    if is_query6(ctx, pod, config, call.netns):
        return redirect_query6(ctx, pod, config, call)
    if ctx.protocol != IPPROTO_TCP:
        return ALLOW
    decision = decide4(pod, config, call) if mapped else decide6(pod, config, call)
    count(call.netns, decision)
    port = listener_port(config, decision)
    if port == 0:
        return ALLOW
    if mapped:
        return redirect_mapped(ctx, pod, call, port)
    return redirect6(ctx, pod, call, port)
