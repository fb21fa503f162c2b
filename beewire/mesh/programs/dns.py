"""DNS: queries go to the agent's resolver; its answers look as if they were the asked one's.

connect, sendmsg and recvmsg on the pod's cgroup. Other datagrams are left alone, as Istio
leaves them alone, in a pod that is configured.

A query goes to 127.0.0.1:15053 or [::1]:15053, where Istio's agent listens. The socket
remembers whom it asked last, and that is what the source of the next answer is rewritten
to. A socket that asks a second resolver before the first has answered may be shown one for
the other: that is counted (DNS_PIPELINED). With `dns_alias` an IPv4 resolver has a loopback
address that stands for it (aliases.py), and the answer comes from there: nothing needs to
be remembered, and nothing is confused. That takes a listener which answers from the
address that was asked (IP_PKTINFO): ours does, Istio's listens on 127.0.0.1 only.
"""

from beewire.bpf import (
    SkStorage,
    SockAddr,
    Struct,
    current_gid,
    current_uid,
    htons,
    netns_cookie,
    recvmsg4,
    recvmsg6,
    sendmsg4,
    sendmsg6,
    subprogram,
    u32,
    u64,
)
from beewire.mesh.decision.vocabulary import DNS_PORT, TCP, Action
from beewire.mesh.programs.addresses import MAPPED, Address, Endpoint
from beewire.mesh.programs.aliases import alias_of, is_alias, meaning
from beewire.mesh.programs.counting import count
from beewire.mesh.programs.decision import Flow, action_of, decide_outbound
from beewire.mesh.programs.events import Matter, Reason, report
from beewire.mesh.programs.routes import interface_to
from beewire.mesh.programs.sockets import (
    ANY,
    LOCALHOST4,
    LOCALHOST6,
    is_loopback4,
    is_loopback6,
    is_own,
    is_sidecar,
)
from beewire.mesh.programs.state import (
    ALLOW,
    DENY,
    Config,
    ConfigFlag,
    Decision,
    PodState,
    configs,
    dialled,
    pods,
)

DNS = htons(DNS_PORT)


class Query(Struct):
    """One connect() or sendmsg() with an address, of a socket that is not TCP's."""

    netns: u64
    wanted: Endpoint = Endpoint()
    source: Address = Address()
    ipv6: u32 = 0


class Asked(Struct):
    """On a socket that sends queries without connecting: whom it asked last.

    `target` is the last word of the address that it was rewritten to, `target_port` its
    port. `waiting` counts the answers that have not come.
    """

    wanted: Endpoint
    target: u32
    target_port: u32
    waiting: u32


asked = SkStorage[Asked]()


def want4(query: Query, ctx: SockAddr) -> None:
    """What an AF_INET socket wants; 0.0.0.0 means localhost."""
    query.wanted.port = ctx.user_port
    query.wanted.address.words[2] = MAPPED
    query.wanted.address.words[3] = ctx.user_ip4
    if ctx.user_ip4 == ANY:
        query.wanted.address.words[3] = LOCALHOST4


def want6(query: Query, ctx: SockAddr) -> None:
    """What an AF_INET6 socket wants; `::` means localhost."""
    query.wanted.port = ctx.user_port
    query.wanted.address.words[0] = ctx.user_ip6[0]
    query.wanted.address.words[1] = ctx.user_ip6[1]
    query.wanted.address.words[2] = ctx.user_ip6[2]
    query.wanted.address.words[3] = ctx.user_ip6[3]
    rest = ctx.user_ip6[0] | ctx.user_ip6[1]
    if rest == 0 and ctx.user_ip6[2] == MAPPED:
        return
    query.ipv6 = 1
    if rest | ctx.user_ip6[2] | ctx.user_ip6[3] == ANY:
        query.wanted.address.words[3] = LOCALHOST6


# By itself: the verifier then looks at the decision once, and not for all ways that lead
# here. Before Linux 6.8 it believes that any reference may be None.
@subprogram(is_global=True)
def is_captured(
    ctx: SockAddr, pod: PodState | None, config: Config | None, query: Query | None
) -> bool:
    """Whether the agent is to answer, by Istio's rules."""
    if pod is None or config is None or query is None:
        return True
    flow = Flow(
        owner=pod.config,
        scope=pod.scope,
        scope_flags=pod.flags,
        protocol=ctx.protocol,
        ipv6=query.ipv6,
        local=0,
        in_proxy=is_sidecar(pod),
        port=query.wanted.port,
        uid=current_uid(),
        gid=current_gid(),
        interface=interface_to(ctx, pod, query.wanted.address),
        mark=ctx.sk.mark,
        source=query.source,
        destination=query.wanted.address,
    )
    if query.ipv6 == 0:
        flow.local = is_loopback4(query.wanted.address.words[3])
    else:
        flow.local = is_loopback6(query.wanted.address)
    if is_own(query.netns, query.wanted.address):
        flow.local = 1
    return action_of(decide_outbound(config, flow)) == Action.TO_DNS


def tell(ctx: SockAddr, query: Query, reason: u32) -> None:
    """Tell what happened to a datagram."""
    matter = Matter(protocol=ctx.protocol, is_own=1)
    matter.source = query.source
    matter.target = query.wanted.address
    matter.port = query.wanted.port
    report(query.netns, reason, matter)


def refuse(ctx: SockAddr, query: Query, reason: u32) -> int:
    """Refuse a datagram, and tell it."""
    tell(ctx, query, reason)
    count(query.netns, Decision.OUTBOUND_REFUSED)
    return DENY


def resolver_of(config: Config, netns: u64, wanted: Endpoint) -> u32:
    """The IPv4 address that a query is sent to in its resolver's place."""
    if config.flags & ConfigFlag.DNS_ALIAS == 0:
        return LOCALHOST4
    alias = alias_of(netns, wanted.address.words[3], wanted.port)
    return LOCALHOST4 if alias == 0 else alias


def is_other(one: Address, other: Address) -> bool:
    """Whether two addresses differ."""
    return (
        one.words[0] != other.words[0]
        or one.words[1] != other.words[1]
        or one.words[2] != other.words[2]
        or one.words[3] != other.words[3]
    )


def note(ctx: SockAddr, config: Config, query: Query, target: u32) -> bool:
    """Keep in the socket whom it asks, without connecting."""
    if (state := asked.get_or_create(ctx.sk)) is None:
        return False
    if state.waiting != 0 and is_other(state.wanted.address, query.wanted.address):
        tell(ctx, query, Reason.DNS_PIPELINED)
        state.waiting = 0
    state.wanted = query.wanted
    state.target = target
    state.target_port = config.dns_port
    state.waiting += 1
    return True


def forget(ctx: SockAddr) -> None:
    """A socket connects: whom it asked before, without connecting, means nothing now."""
    if ctx.protocol != TCP:
        asked.delete(ctx.sk)


def send_to6(ctx: SockAddr, target: u32, port: u32) -> None:
    """Rewrite the destination of an AF_INET6 socket: to ::1, or to a mapped address."""
    if target == LOCALHOST6:
        ctx.user_ip6[0] = 0
        ctx.user_ip6[1] = 0
        ctx.user_ip6[2] = 0
    ctx.user_ip6[3] = target
    ctx.user_port = port


def is_pass(ctx: SockAddr, pod: PodState) -> bool:
    """Whether a datagram is none that Istio captures: its port says so already."""
    if ctx.user_port == DNS or pod.config == 0:
        return False
    # To the agent's own address: then its answer is shown as it is.
    if (state := asked.get(ctx.sk)) is not None and ctx.user_port == state.target_port:
        asked.delete(ctx.sk)
    return True


@sendmsg4
def ask4(ctx: SockAddr) -> int:
    """Datagrams with an address, over IPv4; of AF_INET6 sockets, too."""
    query = Query(netns=netns_cookie(ctx))
    pod = pods.lookup(query.netns)
    if pod is not None and is_pass(ctx, pod):
        return ALLOW
    query.source.words[2] = MAPPED
    query.source.words[3] = ctx.msg_src_ip4
    want4(query, ctx)
    if pod is None or (config := configs.lookup(pod.config)) is None:
        return refuse(ctx, query, Reason.POD_CLOSED)
    if not is_captured(ctx, pod, config, query):
        return ALLOW
    target = resolver_of(config, query.netns, query.wanted)
    if not is_alias(target) and not note(ctx, config, query, target):
        return refuse(ctx, query, Reason.NOT_REDIRECTED)
    count(query.netns, Decision.DNS_CAPTURED)
    ctx.user_ip4 = target
    ctx.user_port = config.dns_port
    return ALLOW


@sendmsg6
def ask6(ctx: SockAddr) -> int:
    """Datagrams with an address, over IPv6."""
    query = Query(netns=netns_cookie(ctx))
    pod = pods.lookup(query.netns)
    if pod is not None and is_pass(ctx, pod):
        return ALLOW
    query.source.words[0] = ctx.msg_src_ip6[0]
    query.source.words[1] = ctx.msg_src_ip6[1]
    query.source.words[2] = ctx.msg_src_ip6[2]
    query.source.words[3] = ctx.msg_src_ip6[3]
    want6(query, ctx)
    if pod is None or (config := configs.lookup(pod.config)) is None:
        return refuse(ctx, query, Reason.POD_CLOSED)
    if not is_captured(ctx, pod, config, query):
        return ALLOW
    if not note(ctx, config, query, LOCALHOST6):
        return refuse(ctx, query, Reason.NOT_REDIRECTED)
    count(query.netns, Decision.DNS_CAPTURED)
    send_to6(ctx, LOCALHOST6, config.dns_port)
    return ALLOW


def by_alias(ctx: SockAddr, ip: u32) -> Endpoint | None:
    """The resolver that an answer's source stands for."""
    netns = netns_cookie(ctx)
    if (pod := pods.lookup(netns)) is None:
        return None
    if (config := configs.lookup(pod.config)) is None:
        return None
    if ctx.user_port != config.dns_port:
        return None
    return meaning(netns, ip)


def by_socket(ctx: SockAddr, source: u32) -> Endpoint | None:
    """The resolver that the socket asked, if the agent's resolver answers."""
    if (state := asked.get(ctx.sk)) is not None:
        if source != state.target or ctx.user_port != state.target_port:
            return None
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
    if is_alias(ctx.user_ip4):
        if (meant := by_alias(ctx, ctx.user_ip4)) is not None:
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
    if ctx.user_ip6[2] == MAPPED and is_alias(ctx.user_ip6[3]):
        if (meant := by_alias(ctx, ctx.user_ip6[3])) is not None:
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
