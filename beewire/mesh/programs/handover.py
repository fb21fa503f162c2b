"""Hand the original destination from the dialling socket to the accepted one.

sock_ops on the pod's cgroup, for connections whose address does not say it (aliases.py).
The entry in `handshakes` lives from before the SYN, so that data in the SYN (TCP fast
open) finds it, until the sidecar's socket exists; it goes with the connection when that
never happens.
"""

from beewire.bpf import (
    SockOp,
    SockOps,
    SockOpsFlag,
    TcpState,
    htons,
    netns_cookie,
    ntohl,
    sock_ops,
    sock_ops_cb_flags_set,
)
from beewire.mesh.decision.vocabulary import Action
from beewire.mesh.programs.addresses import AF_INET6, MAPPED
from beewire.mesh.programs.aliases import is_alias, meaning
from beewire.mesh.programs.arrivals import take_arrival
from beewire.mesh.programs.counting import count, count_in
from beewire.mesh.programs.decision import action_of
from beewire.mesh.programs.dialling import is_about, take
from beewire.mesh.programs.events import Matter, Reason, report
from beewire.mesh.programs.listening import keep_listener
from beewire.mesh.programs.shadow import compare_accepted
from beewire.mesh.programs.state import (
    IPPROTO_TCP,
    Decision,
    Handshake,
    PodMode,
    arrived,
    dialled,
    handshakes,
    pods,
)
from beewire.mesh.programs.straight import claim, follow, passes_by
from beewire.mesh.programs.transparent import name_by_client, own_calls, write_down


# The target tells IPv4 from IPv6: it is ::ffff:127.64.0.x or ::1, never in between.
def name_by_server(key: Handshake, ctx: SockOps) -> None:
    """Name the same connection from the end that accepts."""
    key.netns = netns_cookie(ctx)
    key.source_port = ntohl(ctx.remote_port)
    key.target_port = ctx.local_port
    if ctx.family == AF_INET6 and ctx.local_ip6[2] != MAPPED:
        key.source.words[0] = ctx.remote_ip6[0]
        key.source.words[1] = ctx.remote_ip6[1]
        key.source.words[2] = ctx.remote_ip6[2]
        key.source.words[3] = ctx.remote_ip6[3]
        key.target = ctx.local_ip6[3]
    else:
        key.source.words[2] = MAPPED
        key.source.words[3] = ctx.remote_ip4
        key.target = ctx.local_ip4


def begin(ctx: SockOps) -> None:
    """Before the SYN: publish what this socket dialled, if we redirected it."""
    if (sk := ctx.sk) is None:
        return
    if (mark := sk.mark) != 0:
        write_down(ctx, mark)
    if (taken := take(ctx, sk)) != 0:
        if passes_by(taken):
            claim(ctx, taken)
        return  # left alone; or its address says where it was going
    if (state := dialled.get(sk)) is None or state.target == 0:
        return
    if passes_by(state.verdict):
        if is_about(state, ctx):
            claim(ctx, state.verdict)
        return
    if action_of(state.verdict) == Action.TO_DNS:
        return  # the agent does not ask where a query was going
    key = Handshake()
    name_by_client(key, ctx)
    if key.target != state.target or htons(key.target_port) != state.target_port:
        return  # the socket was redirected once and is now connected elsewhere
    handshakes[key] = state.wanted
    sock_ops_cb_flags_set(ctx, ctx.bpf_sock_ops_cb_flags | SockOpsFlag.STATE_CB)


def miss(key: Handshake) -> None:
    """Tell that the sidecar does not know where a connection was going."""
    matter = Matter(protocol=IPPROTO_TCP, inbound=1)
    matter.source = key.source
    matter.source_port = htons(key.source_port)
    matter.target.words[3] = key.target
    if key.source.words[2] == MAPPED:
        matter.target.words[2] = MAPPED
    matter.port = htons(key.target_port)
    count_in(key.netns, Decision.HANDOVER_MISSED)
    report(key.netns, Reason.HANDOVER_MISSED, matter)


def complete(ctx: SockOps) -> None:
    """A socket was accepted: into it what was decided, or the original destination."""
    netns = netns_cookie(ctx)
    if (pod := pods.lookup(netns)) is None:
        return
    if pod.config == 0:
        return
    if pod.mode == PodMode.SHADOW:
        compare_accepted(ctx)
    if htons(ctx.local_port) not in (
        pod.settings.outbound_port,
        pod.settings.inbound_port,
    ):
        if pod.mode != PodMode.SHADOW:
            take_arrival(ctx)
        return
    if is_alias(ctx.local_ip4) and meaning(netns, ctx.local_ip4) is not None:
        count(pod, Decision.HANDED_OVER)
        return
    key = Handshake()
    name_by_server(key, ctx)
    if (wanted := handshakes.lookup(key)) is None:
        # In shadow mode Istio's rules have redirected it.
        if pod.mode != PodMode.SHADOW:
            miss(key)
        return
    if (sk := ctx.sk) is None or (place := arrived.get_or_create(sk)) is None:
        miss(key)
        return
    place.address = wanted.address
    place.port = wanted.port
    del handshakes[key]
    count(pod, Decision.HANDED_OVER)


def abandon(ctx: SockOps) -> None:
    """The dialling socket is gone: nothing of it stays behind."""
    if ctx.args[1] != TcpState.CLOSE:
        return
    key = Handshake()
    name_by_client(key, ctx)
    if (sk := ctx.sk) is not None and sk.mark != 0:
        own_calls.delete(key)
    if key in handshakes:
        del handshakes[key]
        count_in(key.netns, Decision.HANDOVER_ABANDONED)


@sock_ops
def handover(ctx: SockOps) -> None:
    """Follow a redirected connection from connect() to the sidecar's accept()."""
    match ctx.op:
        case SockOp.TCP_CONNECT_CB:
            begin(ctx)
        case SockOp.PASSIVE_ESTABLISHED_CB:
            complete(ctx)
        case SockOp.STATE_CB:
            abandon(ctx)
            follow(ctx)
        case SockOp.TCP_LISTEN_CB:
            keep_listener(ctx)
        case _:
            pass
