"""Two ends of a connection find each other while they connect: sock_ops.

The end that dialled is told first (ACTIVE_ESTABLISHED_CB: the SYN-ACK has come, its ACK has
not gone). It puts itself among `peers` and leaves a greeting under the connection's name.
The end that was dialled is told when that ACK comes (PASSIVE_ESTABLISHED_CB), finds the
greeting under the name that the other end must have, joins too and answers. The first end
takes the answer with its first message after that, and with it the greeting.

That nobody meets a stranger does not hang on names. Besides the name, the second end has to
know the first sequence numbers of both directions: of two connections with one tuple, in
two namespaces or one after the other, they differ, because the kernel counts them on with
the clock (secure_tcp_seq(), a tick is 64 ns). And what each end keeps of the other is the
cookie of its socket, which is never given twice and is part of the key in `peers`: a
message goes to that socket or to none.

- Data in the SYN (fast open): the second end exists before the first one is told, finds no
  greeting, and never joins.
- Data that the first end sends before the second has joined: there is no answer yet, so it
  goes by TCP.
- A handshake that is given up leaves nothing: a greeting is written once it has succeeded.
- A greeting goes with its socket (`leaving`: STATE_CB at CLOSE, which runs before the kernel
  gives the tuple away); entries of `peers` go with theirs, by the kernel's own hand (sock_map_unhash).
"""

from beewire.bpf import (
    BpfSock,
    SockOp,
    SockOps,
    SockOpsFlag,
    helpers,
    kernel_address,
    sock_ops,
    sock_ops_cb_flags_set,
    socket_cookie,
    u32,
    u64,
)
from beewire.mesh.programs.bypass.admission import dialled_by, refusal
from beewire.mesh.programs.bypass.keys import mirror, name, netns_beyond
from beewire.mesh.programs.bypass.leaving import count, forgo, go_on, leave
from beewire.mesh.programs.bypass.parting import has_parted
from beewire.mesh.programs.bypass.sockets import has_ulp, is_mptcp, waits
from beewire.mesh.programs.bypass.state import (
    Destination,
    End,
    Flow,
    Greeting,
    PodTier,
    Role,
    Tier,
    TierFlag,
    Why,
    flows,
    greetings,
    peers,
    tiers,
)
from beewire.mesh.programs.bypass.switching import is_off
from beewire.mesh.programs.bypass.waking import has_woken
from beewire.mesh.programs.state import pods


def is_on(pod: PodTier) -> bool:
    """Whether a pod's new connections are shortened."""
    return pod.tier != Tier.OFF and not is_off(pod.number)


def both(one: PodTier, other: PodTier, flag: u32) -> bool:
    """Whether two pods whose applications' connections are shortened both have a flag."""
    if one.tier != Tier.ALL or other.tier != Tier.ALL:
        return False
    return one.flags & other.flags & flag != 0


def may_meet(pod: PodTier, role: u32, other: PodTier, other_role: u32) -> bool:
    """Whether a socket of one pod may join with one of another pod, which it dialled."""
    if role == Role.SIDECAR:
        if other_role == Role.SIDECAR:
            return True
        return both(pod, other, TierFlag.SHORTCUT)
    if other_role == Role.APPLICATION:
        return both(pod, other, TierFlag.SPLICE)
    return False


def may_dial(own: End, pod: PodTier, netns: u64, role: u32) -> bool:
    """Whether who listens in `netns` may be one whom a socket of this pod may join with."""
    if netns == own.netns:
        if pod.tier != Tier.ALL:
            return False
        if role == Role.SIDECAR:
            return True
        if (known := pods.lookup(netns)) is None:
            return False
        return own.remote_port == known.settings.outbound_port
    if (other := tiers.lookup(netns)) is None or not is_on(other):
        return False
    if role == Role.SIDECAR:
        return True
    return both(pod, other, TierFlag.SPLICE)


def may_answer(own: End, pod: PodTier, netns: u64, role: u32, dialling: u32) -> bool:
    """Whether a socket of this pod may join with one in `netns` that has dialled it."""
    if netns == own.netns:
        if pod.tier != Tier.ALL:
            return False
        return Role.SIDECAR in (dialling, role)
    if (other := tiers.lookup(netns)) is None or not is_on(other):
        return False
    return may_meet(other, dialling, pod, role)


def hindrance(address: u64) -> u32:
    """Why a socket stays on TCP whatever its pod allows (Why); NOTHING if it need not."""
    if is_mptcp(address):
        return Why.MPTCP
    if has_ulp(address):
        return Why.ULP
    return Why.NOTHING


def begin(flow: Flow, own: End, pod: PodTier, role: u32) -> None:
    """What is known of a socket at first."""
    flow.own = own
    flow.pod = pod.number
    flow.role = role
    flow.why = Why.SILENT


def watch(ctx: SockOps, flags: u32) -> None:
    """Be told more of a socket; its flags are those of all programs at its hooks."""
    sock_ops_cb_flags_set(ctx, ctx.bpf_sock_ops_cb_flags | flags)


def enter(ctx: SockOps, own: End) -> bool:
    """Put this socket among `peers`; whether there was room."""
    return peers.update(ctx, own) == 0


def greet(ctx: SockOps, flow: Flow, own: End, address: u64) -> u32:
    """Join, and tell the other end; why not (Why)."""
    if not enter(ctx, own):
        return Why.NO_ROOM
    greeting = Greeting(
        address=address,
        socket=own.socket,
        sent=ctx.snd_una,
        received=ctx.rcv_nxt,
        role=flow.role,
        pod=flow.pod,
    )
    own.socket = 0
    if greetings.update(own, greeting) != 0:
        return Why.NO_ROOM
    return Why.SILENT


def objection(address: u64, own: End, pod: PodTier, role: u32) -> u32:
    """Why the end that has dialled stays on TCP (Why); NOTHING if it need not."""
    if (why := hindrance(address)) != Why.NOTHING:
        return why
    if (why := waits(address)) != Why.NOTHING:
        return why
    destination = Destination()
    dialled_by(destination, own, role)
    return refusal(destination, pod)


def dial(ctx: SockOps, sk: BpfSock, role: u32) -> None:
    """This end has dialled, and the other one has agreed."""
    own = End()
    name(own, ctx)
    if (pod := tiers.lookup(own.netns)) is None or not is_on(pod):
        return
    netns = netns_beyond(own)
    if netns == 0 or not may_dial(own, pod, netns, role):
        return
    if (tcp := helpers.skc_to_tcp_sock(sk)) is None:
        return
    address = kernel_address(tcp)
    if (flow := flows.get_or_create(sk)) is None:
        return
    if flow.role != Role.NONE:
        return  # the sidecar's: the program at its own cgroup runs before
    own.socket = socket_cookie(ctx)
    begin(flow, own, pod, role)
    flow.dialled = 1
    if (why := objection(address, own, pod, role)) == Why.NOTHING:
        watch(ctx, SockOpsFlag.STATE_CB | SockOpsFlag.WRITE_HDR_OPT_CB)
        flow.why = greet(ctx, flow, own, address)
        return
    flow.why = why
    count(flow)
    if why in (Why.SHORT_LIVED, Why.UNKNOWN):
        watch(ctx, SockOpsFlag.RTT_CB)


def is_same(greeting: Greeting, ctx: SockOps) -> bool:
    """Whether a greeting is that of the connection that was accepted."""
    return greeting.sent == ctx.rcv_nxt and greeting.received == ctx.snd_nxt


def answer(ctx: SockOps, sk: BpfSock, role: u32) -> None:
    """This end was dialled, and the other one knows that it has agreed."""
    own = End()
    name(own, ctx)
    if (pod := tiers.lookup(own.netns)) is None or not is_on(pod):
        return
    netns = netns_beyond(own)
    if netns == 0:
        return
    other = End()
    mirror(other, own, netns)
    if (greeting := greetings.lookup(other)) is None or not is_same(greeting, ctx):
        return
    if greeting.answered != 0 or (tcp := helpers.skc_to_tcp_sock(sk)) is None:
        return
    if not may_answer(own, pod, netns, role, greeting.role):
        return
    address = kernel_address(tcp)
    if hindrance(address) != Why.NOTHING or (flow := flows.get_or_create(sk)) is None:
        return
    own.socket = socket_cookie(ctx)
    begin(flow, own, pod, role)
    watch(ctx, SockOpsFlag.STATE_CB)
    if Role.APPLICATION in (role, greeting.role):
        watch(ctx, SockOpsFlag.WRITE_HDR_OPT_CB)
    if not enter(ctx, own):
        flow.why = Why.NO_ROOM
        return
    other.socket = greeting.socket
    flow.peer = other
    flow.peer_role = greeting.role
    flow.peer_pod = greeting.pod
    flow.address = greeting.address
    greeting.answer_netns = own.netns
    greeting.answer_address = address
    greeting.answer_role = role
    greeting.answer_pod = pod.number
    greeting.answered = own.socket


def write(ctx: SockOps, sk: BpfSock, role: u32) -> None:
    """A segment leaves by TCP: there may be something to do before, for either end."""
    if (flow := flows.get(sk)) is None or flow.role != role:
        return
    is_done = has_parted(flow)
    if role == Role.APPLICATION and not has_woken(ctx, sk, flow):
        is_done = False
    if is_done:
        forgo(ctx, SockOpsFlag.WRITE_HDR_OPT_CB)


def follow(ctx: SockOps, role: u32) -> None:
    """Follow a connection of one end's owner; most of what is told is none of it."""
    op = ctx.op
    if op < SockOp.ACTIVE_ESTABLISHED_CB or (sk := ctx.sk) is None:
        return
    if op == SockOp.ACTIVE_ESTABLISHED_CB:
        dial(ctx, sk, role)
    elif op == SockOp.PASSIVE_ESTABLISHED_CB:
        answer(ctx, sk, role)
    elif op == SockOp.STATE_CB:
        leave(ctx, sk, role)
    elif op == SockOp.RTT_CB:
        go_on(ctx, sk, role)
    elif op == SockOp.HDR_OPT_LEN_CB:
        write(ctx, sk, role)


@sock_ops
def bypass_sidecar(ctx: SockOps) -> None:
    """The sidecar's sockets: at its cgroup."""
    follow(ctx, Role.SIDECAR)


@sock_ops
def bypass_application(ctx: SockOps) -> None:
    """The application's sockets: at the pod's cgroup, whose sockets are all of them.

    Programs of cgroups further down run before: what has a role is the sidecar's.
    """
    follow(ctx, Role.APPLICATION)
