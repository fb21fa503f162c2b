"""Inbound capture: sk_lookup in the pod's network namespace.

The packet is not touched: the accepted socket's own address is the original destination.
The verdict is kept for it (arrivals.py). No listener means refused, never past the sidecar. The program is
told no namespace: whose packet it is, its destination says (`owners`).
"""

from beewire.bpf import (
    Const,
    SkAction,
    SkLookup,
    htons,
    sk_lookup,
    u32,
    u64,
)
from beewire.mesh.decision.vocabulary import Action, Rule
from beewire.mesh.programs.addresses import AF_INET, AF_INET6, MAPPED
from beewire.mesh.programs.arrivals import note_arrival
from beewire.mesh.programs.counting import count, count_in, count_rule
from beewire.mesh.programs.decision import (
    Flow,
    action_of,
    decide_inbound,
    listener_of,
    rule_of,
    settled,
)
from beewire.mesh.programs.events import Matter, Reason, report
from beewire.mesh.programs.listening import assign
from beewire.mesh.programs.sockets import is_loopback4, is_loopback6, is_own
from beewire.mesh.programs.state import IPPROTO_TCP, Decision, PodMode, owners, pods
from beewire.mesh.programs.straight import let_pass
from beewire.mesh.programs.transparent import is_own_call

alone = Const(u64)  # whose packets inbound_alone sees


def arrive(flow: Flow, ctx: SkLookup) -> None:
    """Where a packet comes from, and where it goes."""
    flow.port = htons(ctx.local_port)
    flow.interface = ctx.ingress_ifindex
    if ctx.family == AF_INET:
        flow.source.words[2] = MAPPED
        flow.source.words[3] = ctx.remote_ip4
        flow.destination.words[2] = MAPPED
        flow.destination.words[3] = ctx.local_ip4
        return
    flow.ipv6 = 1
    flow.source.words[0] = ctx.remote_ip6[0]
    flow.source.words[1] = ctx.remote_ip6[1]
    flow.source.words[2] = ctx.remote_ip6[2]
    flow.source.words[3] = ctx.remote_ip6[3]
    flow.destination.words[0] = ctx.local_ip6[0]
    flow.destination.words[1] = ctx.local_ip6[1]
    flow.destination.words[2] = ctx.local_ip6[2]
    flow.destination.words[3] = ctx.local_ip6[3]


def is_loopback(flow: Flow) -> bool:
    """Whether a connection stays on the loopback network at one of its ends.

    Above all the application's way to its sidecar, and the sidecar's to the application.
    """
    if flow.ipv6 != 0:
        return is_loopback6(flow.destination) or is_loopback6(flow.source)
    return is_loopback4(flow.destination.words[3]) or is_loopback4(flow.source.words[3])


def capture(ctx: SkLookup, netns: u64, port: u32) -> bool:
    """Give the connection to the sidecar; IPv4 to its IPv6 listener if it has no other."""
    if ctx.family == AF_INET and assign(ctx, netns, port, AF_INET):
        return True
    return assign(ctx, netns, port, AF_INET6)


def refuse(netns: u64, reason: u32, ctx: SkLookup, flow: Flow, verdict: u32) -> int:
    """Refuse a connection, and tell it."""
    about = Matter(
        source=flow.source,
        target=flow.destination,
        source_port=ctx.remote_port,
        port=flow.port,
        rule=rule_of(verdict),
        protocol=IPPROTO_TCP,
        inbound=1,
    )
    count_in(netns, Decision.INBOUND_REFUSED)
    report(netns, reason, about)
    return SkAction.SK_DROP


def serve(ctx: SkLookup, netns: u64, flow: Flow) -> int:
    """Send a new TCP connection from outside to the sidecar of a pod.

    One from inside was decided on its way out. The interface does not tell: a packet to
    the pod's own address that went over lo carries the index of the address's interface.
    A foreign packet cannot claim to be from here (martian).
    """
    if (pod := pods.lookup(netns)) is None or pod.config == 0:
        return refuse(netns, Reason.POD_CLOSED, ctx, flow, 0)
    if pod.mode == PodMode.SHADOW:
        return SkAction.SK_PASS
    flow.owner = pod.config
    if is_own(netns, pod, flow.source) or is_own_call(ctx, netns, pod, flow):
        count(pod, Decision.INBOUND_LOCAL)
        local = settled(Action.PASS, Rule.IN_LOCAL)
        note_arrival(netns, flow, ctx.remote_port, local)
        return SkAction.SK_PASS
    flow.scope = pod.scope
    flow.scope_flags = pod.flags
    verdict = decide_inbound(pod.settings, flow)
    if pod.straight != 0 and action_of(verdict) == Action.TO_INBOUND:
        verdict = let_pass(ctx, netns, pod, flow, verdict)
    action = action_of(verdict)
    count_rule(pod, verdict)
    note_arrival(netns, flow, ctx.remote_port, verdict)
    if action == Action.PASS:
        return SkAction.SK_PASS
    if action != Action.REFUSE and capture(
        ctx, netns, listener_of(pod.settings, action)
    ):
        return SkAction.SK_PASS
    return refuse(netns, Reason.NO_LISTENER, ctx, flow, verdict)


@sk_lookup
def inbound(ctx: SkLookup) -> int:
    """Send every new TCP connection from outside to the sidecar."""
    if ctx.protocol != IPPROTO_TCP:
        return SkAction.SK_PASS
    flow = Flow(protocol=IPPROTO_TCP)
    arrive(flow, ctx)
    if is_loopback(flow):
        return SkAction.SK_PASS
    if (owner := owners.lookup(flow.destination)) is None:
        return refuse(0, Reason.POD_CLOSED, ctx, flow, 0)
    return serve(ctx, owner.value, flow)


@sk_lookup
def inbound_alone(ctx: SkLookup) -> int:
    """As `inbound`, loaded for one pod: another one of the node has its address, too."""
    if ctx.protocol != IPPROTO_TCP:
        return SkAction.SK_PASS
    flow = Flow(protocol=IPPROTO_TCP)
    arrive(flow, ctx)
    if is_loopback(flow):
        return SkAction.SK_PASS
    return serve(ctx, alone.value, flow)
