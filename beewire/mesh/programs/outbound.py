"""Outbound capture: connect4 and connect6 on the pod's cgroup.

Asks the decision, and rewrites the destination to the sidecar's listener, at an address
that stands for what was dialled. What was decided stays in the socket. A connection that
should be captured and cannot be is refused: never open.
"""

from beewire.bpf import (
    SockAddr,
    connect4,
    connect6,
    htonl,
    htons,
    netns_cookie,
    random_u32,
    u32,
    u64,
)
from beewire.mesh.decision.vocabulary import DNS_PORT, Action
from beewire.mesh.programs.addresses import MAPPED
from beewire.mesh.programs.aliases import alias_of
from beewire.mesh.programs.counting import count_in, count_rule
from beewire.mesh.programs.decision import (
    Flow,
    action_of,
    decide_outbound,
    listener_of,
    rule_of,
)
from beewire.mesh.programs.dialling import keep, note
from beewire.mesh.programs.events import Matter, Reason, report
from beewire.mesh.programs.flows import complete, dial4, dial6
from beewire.mesh.programs.shadow import observe
from beewire.mesh.programs.sockets import LOCALHOST4, LOCALHOST6, is_loopback4
from beewire.mesh.programs.source import keep_source4, keep_source6, keep_source_mapped
from beewire.mesh.programs.state import (
    ALLOW,
    DENY,
    IPPROTO_TCP,
    Config,
    ConfigFlag,
    Decision,
    PodMode,
    PodState,
    asked,
    pods,
)
from beewire.mesh.programs.straight import pass_by4, pass_by6

DNS = htons(DNS_PORT)

# Targets of what has no alias: one alone runs out of ports at 28,232 connections.
SPREAD = 64
FIRST_TARGET = 0x7F400001  # 127.64.0.1


def refuse(netns: u64, reason: u32, flow: Flow, verdict: u32) -> int:
    """Refuse a connection, and tell it."""
    about = Matter(
        source=flow.source,
        target=flow.destination,
        port=flow.port,
        rule=rule_of(verdict),
        protocol=flow.protocol,
        is_own=1,
    )
    count_in(netns, Decision.OUTBOUND_REFUSED)
    report(netns, reason, about)
    return DENY


def spread_target() -> u32:
    """One of the loopback addresses that the sidecar's listener answers on."""
    return htonl(FIRST_TARGET + (random_u32() & (SPREAD - 1)))


def spread_target6(pod: PodState) -> u32:
    """The last word of `::1`, or of the pod's own address: its listener answers on both.

    Each takes 28,232 connections at a time. Handshakes are named by this word, so that an
    own address that ends as `::1` does is of no use. REDIRECT uses `::1`: where it did,
    conntrack would change the ports of connections that meet the ones it still knows.
    """
    own = pod.source6.words[3]
    if own == 0:
        return LOCALHOST6
    if pod.mode == PodMode.BESIDE or random_u32() & 1 != 0:
        return own
    return LOCALHOST6


def target_of(netns: u64, config: Config, flow: Flow, action: u32) -> u32:
    """The last word of the loopback address that a connection is sent to."""
    if flow.ipv6 != 0:
        return LOCALHOST6
    # Istio's resolver listens on that address only; one of ours on any.
    if action == Action.TO_DNS and config.flags & ConfigFlag.DNS_ALIAS == 0:
        return LOCALHOST4
    # As REDIRECT does: istio-validation listens there, and dials 127.0.0.6.
    if is_loopback4(flow.destination.words[3]):
        return LOCALHOST4
    if (alias := alias_of(netns, flow.destination.words[3], flow.port)) != 0:
        return alias
    return LOCALHOST4 if action == Action.TO_DNS else spread_target()


def forget(ctx: SockAddr) -> None:
    """A socket connects: whom it asked before, without connecting, means nothing now."""
    if ctx.protocol != IPPROTO_TCP:
        asked.delete(ctx.sk)


def is_left_alone(protocol: u32, port: u32) -> bool:
    """Whether Istio has no rule for what a socket does: it captures TCP and queries."""
    return protocol != IPPROTO_TCP and port != DNS


@connect4
def outbound4(ctx: SockAddr) -> int:
    """Capture the IPv4 connections of AF_INET sockets."""
    netns = netns_cookie(ctx)
    flow = Flow(protocol=ctx.protocol)
    dial4(flow, ctx)
    if (pod := pods.lookup(netns)) is None or pod.config == 0:
        return refuse(netns, Reason.POD_CLOSED, flow, 0)
    forget(ctx)
    if is_left_alone(ctx.protocol, flow.port):
        return ALLOW
    complete(flow, ctx, pod, netns)
    verdict = decide_outbound(pod.settings, flow)
    if pod.mode == PodMode.SHADOW:
        observe(ctx, netns, flow, verdict)
        return ALLOW
    if pod.straight != 0 and pass_by4(ctx, netns, pod, flow, verdict):
        return ALLOW
    count_rule(pod, verdict)
    action = action_of(verdict)
    if action == Action.PASS:
        note(flow, verdict, 0, 0)
        return ALLOW
    if action == Action.REFUSE:
        return refuse(netns, Reason.NOT_REDIRECTED, flow, verdict)
    target = target_of(netns, pod.settings, flow, action)
    port = listener_of(pod.settings, action)
    if not keep(ctx, flow, verdict, target, port) or not keep_source4(ctx, pod, flow):
        return refuse(netns, Reason.NOT_REDIRECTED, flow, verdict)
    ctx.user_ip4 = target
    ctx.user_port = port
    return ALLOW


def send_to6(ctx: SockAddr, pod: PodState, flow: Flow, target: u32) -> bool:
    """Rewrite the address of an AF_INET6 socket; whether its source could be kept."""
    if flow.ipv6 == 0:
        if not keep_source_mapped(ctx, pod, flow):
            return False
        ctx.user_ip6[2] = MAPPED
    else:
        if not keep_source6(ctx, pod, flow):
            return False
        own = target != LOCALHOST6
        ctx.user_ip6[0] = pod.source6.words[0] if own else 0
        ctx.user_ip6[1] = pod.source6.words[1] if own else 0
        ctx.user_ip6[2] = pod.source6.words[2] if own else 0
    ctx.user_ip6[3] = target
    return True


@connect6
def outbound6(ctx: SockAddr) -> int:
    """Capture the connections of AF_INET6 sockets, `::ffff:a.b.c.d` included."""
    netns = netns_cookie(ctx)
    flow = Flow(protocol=ctx.protocol)
    dial6(flow, ctx)
    if (pod := pods.lookup(netns)) is None or pod.config == 0:
        return refuse(netns, Reason.POD_CLOSED, flow, 0)
    forget(ctx)
    if is_left_alone(ctx.protocol, flow.port):
        return ALLOW
    complete(flow, ctx, pod, netns)
    verdict = decide_outbound(pod.settings, flow)
    if pod.mode == PodMode.SHADOW:
        observe(ctx, netns, flow, verdict)
        return ALLOW
    if pod.straight != 0 and pass_by6(ctx, netns, pod, flow, verdict):
        return ALLOW
    count_rule(pod, verdict)
    action = action_of(verdict)
    if action == Action.PASS:
        note(flow, verdict, 0, 0)
        return ALLOW
    if action == Action.REFUSE:
        return refuse(netns, Reason.NOT_REDIRECTED, flow, verdict)
    target = target_of(netns, pod.settings, flow, action)
    if flow.ipv6 != 0 and action == Action.TO_OUTBOUND:
        target = spread_target6(pod)
    port = listener_of(pod.settings, action)
    if not keep(ctx, flow, verdict, target, port) or not send_to6(
        ctx, pod, flow, target
    ):
        return refuse(netns, Reason.NOT_REDIRECTED, flow, verdict)
    ctx.user_port = port
    return ALLOW
