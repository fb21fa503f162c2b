"""What is left of a connection when it closes: nothing but what it taught and counted.

STATE_CB, and RTT_CB of those that stay on TCP, by which they teach while they live.
"""

from beewire.bpf import (
    BpfSock,
    SockOps,
    SockOpsFlag,
    TcpState,
    sock_ops_cb_flags_set,
    u32,
)
from beewire.mesh.programs.bypass.admission import LONG, dialled_by, learn
from beewire.mesh.programs.bypass.keys import whoever
from beewire.mesh.programs.bypass.state import (
    Destination,
    End,
    Flow,
    Role,
    Why,
    flows,
    greetings,
    totals,
)
from beewire.mesh.programs.straight import Between, Straight, carried

FLAGS = 0x7F  # BPF_SOCK_OPS_ALL_CB_FLAGS


def teach(ctx: SockOps, flow: Flow) -> None:
    """What a connection tells of its destination when it closes, or has lived for long."""
    destination = Destination()
    if flow.dialled != 0:
        dialled_by(destination, flow.own, flow.role)
    else:
        dialled_by(destination, flow.peer, flow.peer_role)
    messages: u32 = flow.short_messages + ctx.data_segs_out
    if flow.why >= Why.UNMET and ctx.data_segs_in > messages:
        messages = ctx.data_segs_in
    # To join is of no use where nobody does.
    learn(destination, messages if flow.why != Why.UNMET else 0)


def forgo(ctx: SockOps, flag: u32) -> None:
    """Be told less of a socket."""
    sock_ops_cb_flags_set(ctx, ctx.bpf_sock_ops_cb_flags & (FLAGS ^ flag))


def go_on(ctx: SockOps, sk: BpfSock, role: u32) -> None:
    """A connection that stays on TCP has gone round: it may have lived for long by now."""
    if ctx.data_segs_out < LONG and ctx.data_segs_in < LONG:
        return
    if (flow := flows.get(sk)) is None or flow.role != role:
        return
    teach(ctx, flow)
    forgo(ctx, SockOpsFlag.RTT_CB)


def count(flow: Flow) -> None:
    """Add what an end has sent to its pod's totals."""
    if (total := totals.lookup(flow.pod)) is None:
        return
    total.short_bytes += flow.short_bytes
    total.short_messages += flow.short_messages
    total.tcp_bytes += flow.tcp_bytes
    total.tcp_messages += flow.tcp_messages
    total.turns += flow.turns
    total.connections[flow.why & 31] += 1


def count_past(flow: Flow) -> None:
    """Count what a connection past a sidecar has carried by the short path."""
    if flow.short_bytes == 0 or flow.own.netns == flow.peer.netns:
        return
    if flow.role == Role.SIDECAR and flow.peer_role == Role.SIDECAR:
        return
    pair = Between(
        client=flow.own.netns,
        server=flow.peer.netns,
        port=flow.own.remote_port,
        kind=Straight.SPLICE,
    )
    if Role.SIDECAR in (flow.role, flow.peer_role):
        pair.kind = Straight.SHORTCUT
    if flow.dialled != 0:
        carried(pair, flow.short_bytes, 0)
        return
    pair.client = flow.peer.netns
    pair.server = flow.own.netns
    pair.port = flow.own.local_port
    carried(pair, 0, flow.short_bytes)


def forget(flow: Flow) -> None:
    """A greeting that nobody has taken goes with its socket."""
    if flow.dialled == 0 or flow.address != 0:
        return
    own = End()
    whoever(own, flow.own)
    if (greeting := greetings.lookup(own)) is None:
        return
    if greeting.socket == flow.own.socket:
        del greetings[own]


def leave(ctx: SockOps, sk: BpfSock, role: u32) -> None:
    """A socket that has joined closes. Both programs are told of a sidecar's."""
    if ctx.args[1] != TcpState.CLOSE:
        return
    if (flow := flows.get(sk)) is None or flow.role != role:
        return
    forget(flow)
    teach(ctx, flow)
    count(flow)
    count_past(flow)
