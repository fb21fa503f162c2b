"""DNS: queries go to the agent's resolver; its answers look as if they were the asked one's.

connect, sendmsg and recvmsg on the pod's cgroup. Other datagrams are left alone, as Istio
leaves them alone, in a pod that is configured.

A query goes to 127.0.0.1:15053 or [::1]:15053, where Istio's agent listens. The socket
remembers whom it asked last, and that is what the source of the next answer is rewritten
to. A socket that asks a second resolver before the first has answered may be shown one for
the other: answers that it is shown meanwhile are counted (DNS_PIPELINED). Whoever does not
ask whom an answer is from is shown nothing. With `dns_alias` an IPv4 resolver has a loopback
address that stands for it (aliases.py), and the answer comes from there: nothing needs to
be remembered, and nothing is confused. That takes a listener which answers from the
address that was asked (IP_PKTINFO): ours does, Istio's listens on 127.0.0.1 only.
"""

from beewire.bpf import (
    SockAddr,
    htons,
    netns_cookie,
    recvmsg4,
    recvmsg6,
    sendmsg4,
    sendmsg6,
    u32,
    u64,
)
from beewire.mesh.decision.vocabulary import AGENT_DNS_PORT, Action
from beewire.mesh.programs.addresses import MAPPED, Address, Endpoint
from beewire.mesh.programs.aliases import is_alias, meaning
from beewire.mesh.programs.counting import count_rule
from beewire.mesh.programs.decision import Flow, action_of, decide_outbound
from beewire.mesh.programs.events import Matter, Reason, report
from beewire.mesh.programs.flows import complete, dial4, dial6
from beewire.mesh.programs.outbound import DNS, refuse, target_of
from beewire.mesh.programs.shadow import observe
from beewire.mesh.programs.state import (
    ALLOW,
    IPPROTO_UDP,
    Asked,
    PodMode,
    PodState,
    asked,
    dialled,
    pods,
)

AGENT = htons(AGENT_DNS_PORT)  # what comes from another port is not told here


def is_other(one: Address, other: Address) -> bool:
    """Whether two addresses differ."""
    return (
        one.words[0] != other.words[0]
        or one.words[1] != other.words[1]
        or one.words[2] != other.words[2]
        or one.words[3] != other.words[3]
    )


def tell_pipelined(ctx: SockAddr, state: Asked) -> None:
    """Tell of an answer that may be another resolver's than the one that it is shown as."""
    matter = Matter(protocol=IPPROTO_UDP, is_own=1)
    matter.source_port = htons(ctx.sk.src_port)
    if state.wanted.address.words[2] == MAPPED:
        matter.source.words[2] = MAPPED
    matter.target = state.wanted.address
    matter.port = state.wanted.port
    report(netns_cookie(ctx), Reason.DNS_PIPELINED, matter)


def note(ctx: SockAddr, flow: Flow, target: u32, port: u32) -> bool:
    """Keep in the socket whom it asks, without connecting; whether there is room."""
    if (state := asked.get_or_create(ctx.sk)) is None:
        return False
    if state.waiting == 0:
        state.mixed = 0
    elif is_other(state.wanted.address, flow.destination):
        state.mixed = 1
    state.wanted.address = flow.destination
    state.wanted.port = flow.port
    state.target = target
    state.target_port = port
    state.waiting += 1
    return True


def is_no_query(ctx: SockAddr, pod: PodState) -> bool:
    """Whether a datagram is none that Istio captures, by its port alone."""
    if ctx.user_port == DNS or pod.config == 0:
        return False
    if ctx.user_port == AGENT:  # asked by its own address, and shown by it
        asked.delete(ctx.sk)
    return True


def is_query(ctx: SockAddr, pod: PodState, flow: Flow, netns: u64) -> bool:
    """Whether the agent is to answer, by Istio's rules."""
    complete(flow, ctx, pod, netns)
    verdict = decide_outbound(pod.settings, flow)
    if pod.mode == PodMode.SHADOW:
        observe(ctx, netns, flow, verdict)
        return False
    count_rule(pod, verdict)
    return action_of(verdict) == Action.TO_DNS


@sendmsg4
def ask4(ctx: SockAddr) -> int:
    """Datagrams with an address, over IPv4; of AF_INET6 sockets, too."""
    netns = netns_cookie(ctx)
    pod = pods.lookup(netns)
    if pod is not None and is_no_query(ctx, pod):
        return ALLOW
    flow = Flow(protocol=ctx.protocol)
    dial4(flow, ctx)
    flow.source.words[3] = ctx.msg_src_ip4
    if pod is None or pod.config == 0:
        return refuse(netns, Reason.POD_CLOSED, flow, 0)
    if not is_query(ctx, pod, flow, netns):
        return ALLOW
    target = target_of(netns, pod.settings, flow, Action.TO_DNS)
    port = pod.settings.dns_port
    if not is_alias(target) and not note(ctx, flow, target, port):
        return refuse(netns, Reason.NOT_REDIRECTED, flow, 0)
    ctx.user_ip4 = target
    ctx.user_port = port
    return ALLOW


@sendmsg6
def ask6(ctx: SockAddr) -> int:
    """Datagrams with an address, over IPv6."""
    netns = netns_cookie(ctx)
    pod = pods.lookup(netns)
    if pod is not None and is_no_query(ctx, pod):
        return ALLOW
    flow = Flow(protocol=ctx.protocol)
    dial6(flow, ctx)
    if pod is None or pod.config == 0:
        return refuse(netns, Reason.POD_CLOSED, flow, 0)
    flow.source.words[0] = ctx.msg_src_ip6[0]
    flow.source.words[1] = ctx.msg_src_ip6[1]
    flow.source.words[2] = ctx.msg_src_ip6[2]
    flow.source.words[3] = ctx.msg_src_ip6[3]
    if not is_query(ctx, pod, flow, netns):
        return ALLOW
    target = target_of(netns, pod.settings, flow, Action.TO_DNS)
    port = pod.settings.dns_port
    if not note(ctx, flow, target, port):
        return refuse(netns, Reason.NOT_REDIRECTED, flow, 0)
    ctx.user_ip6[0] = 0
    ctx.user_ip6[1] = 0
    ctx.user_ip6[2] = 0
    ctx.user_ip6[3] = target
    ctx.user_port = port
    return ALLOW


def by_socket(ctx: SockAddr, source: u32) -> Endpoint | None:
    """The resolver that the socket asked, if the agent's resolver answers."""
    if (state := asked.get(ctx.sk)) is not None:
        if source != state.target or ctx.user_port != state.target_port:
            return None
        if state.mixed != 0:
            tell_pipelined(ctx, state)
        if state.waiting != 0:
            state.waiting -= 1
        return state.wanted
    if (known := dialled.get(ctx.sk)) is not None:
        if source != known.target or ctx.user_port != known.target_port:
            return None
        return known.wanted
    return None


@recvmsg4
def answer4(ctx: SockAddr) -> int:
    """Datagrams that an AF_INET socket receives: whom they are from."""
    if ctx.user_port != AGENT:
        return ALLOW
    if is_alias(ctx.user_ip4):
        if (meant := meaning(netns_cookie(ctx), ctx.user_ip4)) is not None:
            ctx.user_ip4 = meant.address.words[3]
            ctx.user_port = meant.port
        return ALLOW
    if (wanted := by_socket(ctx, ctx.user_ip4)) is not None:
        ctx.user_ip4 = wanted.address.words[3]
        ctx.user_port = wanted.port
    return ALLOW


@recvmsg6
def answer6(ctx: SockAddr) -> int:
    """Datagrams that an AF_INET6 socket receives, over IPv4 as well."""
    if ctx.user_port != AGENT:
        return ALLOW
    if ctx.user_ip6[2] == MAPPED and is_alias(ctx.user_ip6[3]):
        if (meant := meaning(netns_cookie(ctx), ctx.user_ip6[3])) is not None:
            ctx.user_ip6[3] = meant.address.words[3]
            ctx.user_port = meant.port
        return ALLOW
    if (wanted := by_socket(ctx, ctx.user_ip6[3])) is not None:
        ctx.user_ip6[0] = wanted.address.words[0]
        ctx.user_ip6[1] = wanted.address.words[1]
        ctx.user_ip6[2] = wanted.address.words[2]
        ctx.user_ip6[3] = wanted.address.words[3]
        ctx.user_port = wanted.port
    return ALLOW
