"""Past the sidecars: connections between two pods of a node that need no proxy.

    shortcut   the client's sidecar calls the other application directly
    splice     the client's application does

User space says which (`ways`, `l4_ports`), from what the sidecars themselves say. Both
pods have to have said yes (`PodState.straight`); of those that did not, a connection costs
one comparison.

connect() decides, and says so by a rule of its own. From before the SYN until its end the
connection has a claim, under its ends. That is what the other pod's sk_lookup goes by: it
lets nobody past its sidecar who has none. The claim knows what became of the connection,
and what it carried is counted when it ends; so `claims` are those that are open now.

    ways       cookie, address, port -> where that leads, and who may go there
    l4_ports   cookie, address, port -> whether the sidecar there has nothing to do
    lease      until when both hold: whoever reads the sidecars renews it again and again
    claims     ends of a connection  -> Claim
    traffic    client, server, port  -> what Envoy would have counted
"""

from enum import IntEnum, IntFlag

from beewire.bpf import (
    Array,
    HashMap,
    Kernel,
    SkLookup,
    SockAddr,
    SockOps,
    SockOpsFlag,
    Struct,
    TcpState,
    embedded,
    helpers,
    htons,
    kernel_ptr,
    ktime_ns,
    netns_cookie,
    ntohl,
    sock_ops_cb_flags_set,
    socket_cookie,
    u16,
    u32,
    u64,
)
from beewire.mesh.decision.vocabulary import Action, Rule
from beewire.mesh.programs.addresses import AF_INET6, MAPPED, Address
from beewire.mesh.programs.counting import count_rule
from beewire.mesh.programs.decision import Flow, action_of, rule_of, settled
from beewire.mesh.programs.dialling import keep, note
from beewire.mesh.programs.listening import is_listening
from beewire.mesh.programs.state import (
    IPPROTO_TCP,
    NO_PREALLOC,
    PodMode,
    PodState,
    owners,
    pods,
)

MAX_WAYS = 1 << 15
MAX_PORTS = 1 << 13
MAX_CLAIMS = 1 << 16
MAX_TRAFFIC = 1 << 14


class Straight(IntFlag):
    """What a pod says yes to: `PodState.straight`."""

    SHORTCUT = 1
    SPLICE = 2


class Stage(IntEnum):
    """What became of a claim."""

    OFFERED = 0  # the SYN is on its way
    TAKEN = 1  # the other pod has let it past its sidecar
    OPEN = 2


class PodPlace(Struct):
    """An address and a port (network order) as one pod dials it, or has it."""

    netns: u64
    address: Address = Address()
    port: u32 = 0
    unused: u32 = 0


class Way(Struct):
    """Where a destination leads to: a pod of this node, and there an address and a port."""

    server: u64
    kinds: u32  # Straight
    port: u32
    address: Address


class Ends(Struct):
    """A connection as its client sees it; ports in network order."""

    source: Address = Address()
    target: Address = Address()
    source_port: u16 = 0
    port: u16 = 0
    unused: u32 = 0


class Claim(Struct):
    """One connection past a sidecar; `cookie` is that of the socket that dialled."""

    client: u64
    server: u64
    cookie: u64
    kind: u32  # Straight
    stage: u32  # Stage


class Between(Struct):
    """Two pods, by their cookies, and a port of the second (network order)."""

    client: u64
    server: u64
    port: u32
    kind: u32  # Straight


class Traffic(Struct):
    """Connections, and the bytes of those that have ended, as the client sees them."""

    opened: u64 = 0
    closed: u64 = 0
    sent: u64 = 0
    received: u64 = 0


class sock_common(Kernel):
    """`struct sock_common`."""

    skc_flags: u64


class sock(Kernel):
    """`struct sock`."""

    __sk_common: sock_common = embedded()


class tcp_sock(Kernel):
    """`struct tcp_sock`: what was sent without headers, and what came, its FIN included."""

    bytes_sent: u64  # since Linux 4.19, retransmissions included
    bytes_retrans: u64
    bytes_received: u64


SOCK_DONE = 1 << 1  # enum sock_flags: the other end's FIN has come

ways = HashMap[PodPlace, Way](max_entries=MAX_WAYS, flags=NO_PREALLOC)
l4_ports = HashMap[PodPlace, u32](max_entries=MAX_PORTS, flags=NO_PREALLOC)
claims = HashMap[Ends, Claim](max_entries=MAX_CLAIMS, flags=NO_PREALLOC)
traffic = HashMap[Between, Traffic](max_entries=MAX_TRAFFIC, flags=NO_PREALLOC)
claimed = Array[u64](max_entries=1)  # whether there ever was a claim
lease = Array[u64](max_entries=1)  # until when `ways` hold, as ktime_ns() tells it


# The client: connect().


def asked(pod: PodState, flow: Flow, verdict: u32) -> u32:
    """What a decision may become, if the pod says yes; 0: nothing."""
    if flow.protocol != IPPROTO_TCP:
        return 0
    if action_of(verdict) == Action.TO_OUTBOUND:
        return pod.straight & Straight.SPLICE
    if rule_of(verdict) == Rule.OUT_PROXY:
        return pod.straight & Straight.SHORTCUT
    return 0


def is_known() -> bool:
    """Whether what the sidecars said was read lately; nobody knows what they say by now."""
    if (until := lease.lookup(0)) is None:
        return False
    return ktime_ns() < until.value


def allows(netns: u64, kind: u32) -> bool:
    """Whether a pod says yes, and the programs act in it."""
    if (pod := pods.lookup(netns)) is None:
        return False
    return pod.straight & kind != 0 and pod.mode != PodMode.SHADOW


def has_nothing_to_do(netns: u64, address: Address, port: u32) -> bool:
    """Whether the sidecar of a pod would only pass bytes on at a port."""
    return PodPlace(netns=netns, address=address, port=port) in l4_ports


def way_of(netns: u64, pod: PodState, flow: Flow, kind: u32) -> Way | None:
    """Where a destination leads to, past a sidecar; None: there is no such way."""
    if not is_listening(netns, pod.settings.inbound_port):
        return None  # a dead sidecar refuses what it would have handled
    place = PodPlace(netns=netns, address=flow.destination, port=flow.port)
    if (way := ways.lookup(place)) is None:
        return None
    if way.kinds & kind == 0 or not allows(way.server, kind) or not is_known():
        return None
    if not has_nothing_to_do(way.server, way.address, way.port):
        return None
    return way


def is_other(way: Way, flow: Flow) -> bool:
    """Whether it leads to another place than the one that was dialled: a Service's."""
    return (
        way.port != flow.port
        or way.address.words[3] != flow.destination.words[3]
        or way.address.words[2] != flow.destination.words[2]
        or way.address.words[1] != flow.destination.words[1]
        or way.address.words[0] != flow.destination.words[0]
    )


def verdict_on(kind: u32) -> u32:
    """The decision to go past one sidecar, or past both."""
    if kind == Straight.SPLICE:
        return settled(Action.PASS, Rule.OUT_SPLICE)
    return settled(Action.PASS, Rule.OUT_SHORTCUT)


def pass_by4(
    ctx: SockAddr, netns: u64, pod: PodState, flow: Flow, decided: u32
) -> bool:
    """Let an AF_INET socket go past a sidecar; whether it does."""
    if (kind := asked(pod, flow, decided)) == 0:
        return False
    if (way := way_of(netns, pod, flow, kind)) is None:
        return False
    verdict = verdict_on(kind)
    if not is_other(way, flow):
        note(flow, verdict, 0, 0)
    elif keep(ctx, flow, verdict, way.address.words[3], way.port):
        ctx.user_ip4 = way.address.words[3]
        ctx.user_port = way.port
    else:
        return False
    count_rule(pod, verdict)
    return True


def pass_by6(
    ctx: SockAddr, netns: u64, pod: PodState, flow: Flow, decided: u32
) -> bool:
    """As `pass_by4`, for AF_INET6 sockets, `::ffff:a.b.c.d` included."""
    if (kind := asked(pod, flow, decided)) == 0:
        return False
    if (way := way_of(netns, pod, flow, kind)) is None:
        return False
    verdict = verdict_on(kind)
    if not is_other(way, flow):
        note(flow, verdict, 0, 0)
    elif keep(ctx, flow, verdict, way.address.words[3], way.port):
        ctx.user_ip6[0] = way.address.words[0]
        ctx.user_ip6[1] = way.address.words[1]
        ctx.user_ip6[2] = way.address.words[2]
        ctx.user_ip6[3] = way.address.words[3]
        ctx.user_port = way.port
    else:
        return False
    count_rule(pod, verdict)
    return True


# The client: its socket.


def name_ends(ends: Ends, ctx: SockOps) -> None:
    """The ends of a connection, from the socket that dialled."""
    ends.source_port = htons(ctx.local_port)
    ends.port = htons(ntohl(ctx.remote_port))
    if ctx.family == AF_INET6 and ctx.remote_ip6[2] != MAPPED:
        ends.source.words[0] = ctx.local_ip6[0]
        ends.source.words[1] = ctx.local_ip6[1]
        ends.source.words[2] = ctx.local_ip6[2]
        ends.source.words[3] = ctx.local_ip6[3]
        ends.target.words[0] = ctx.remote_ip6[0]
        ends.target.words[1] = ctx.remote_ip6[1]
        ends.target.words[2] = ctx.remote_ip6[2]
        ends.target.words[3] = ctx.remote_ip6[3]
        return
    ends.source.words[2] = MAPPED
    ends.source.words[3] = ctx.local_ip4
    ends.target.words[2] = MAPPED
    ends.target.words[3] = ctx.remote_ip4


def passes_by(verdict: u32) -> bool:
    """Whether a decision was to go past a sidecar."""
    return rule_of(verdict) in (Rule.OUT_SPLICE, Rule.OUT_SHORTCUT)


def between(found: Claim, ends: Ends) -> Traffic | None:
    """The counters of two pods and a port."""
    pair = Between(
        client=found.client, server=found.server, port=ends.port, kind=found.kind
    )
    if (known := traffic.lookup(pair)) is not None:
        return known
    traffic.insert(pair, Traffic())
    return traffic.lookup(pair)


def claim(ctx: SockOps, verdict: u32) -> None:
    """Before the SYN: tell the other pod. Without it, its sidecar has the connection."""
    ends = Ends()
    name_ends(ends, ctx)
    if (owner := owners.lookup(ends.target)) is None:
        return
    made = Claim(
        client=netns_cookie(ctx),
        server=owner.value,
        cookie=socket_cookie(ctx),
        kind=Straight.SPLICE
        if rule_of(verdict) == Rule.OUT_SPLICE
        else Straight.SHORTCUT,
        stage=Stage.OFFERED,
    )
    # What cannot be counted is for the sidecar, too.
    if between(made, ends) is None or claims.update(ends, made) != 0:
        return
    if (ever := claimed.lookup(0)) is not None:
        ever.value = 1
    sock_ops_cb_flags_set(ctx, ctx.bpf_sock_ops_cb_flags | SockOpsFlag.STATE_CB)


def follow(ctx: SockOps) -> None:
    """A socket's state has changed: if it has a claim, it is open by now, or has ended."""
    if (ever := claimed.lookup(0)) is None or ever.value == 0:
        return
    state = ctx.args[1]
    if state not in (TcpState.ESTABLISHED, TcpState.CLOSE):
        return
    ends = Ends()
    name_ends(ends, ctx)
    if (found := claims.lookup(ends)) is None:
        return
    if found.cookie != socket_cookie(ctx):
        return
    if state == TcpState.CLOSE:
        if found.stage == Stage.OPEN:
            end(ctx, found, ends)
        claims.delete(ends)
    elif found.stage == Stage.TAKEN:
        found.stage = Stage.OPEN
        if (counted := between(found, ends)) is not None:
            counted.opened += 1
    else:
        claims.delete(ends)  # the other sidecar has it


def carried(pair: Between, sent: u64, received: u64) -> None:
    """Count what went between two pods by the short path: TCP knows nothing of it."""
    if (counted := traffic.lookup(pair)) is not None:
        counted.sent += sent
        counted.received += received


def end(ctx: SockOps, found: Claim, ends: Ends) -> None:
    """Count what a connection has carried."""
    if (counted := between(found, ends)) is None:
        return
    counted.closed += 1
    if (sk := ctx.sk) is None or (tcp := helpers.skc_to_tcp_sock(sk)) is None:
        return
    kept = kernel_ptr(tcp, tcp_sock)
    counted.sent += kept.bytes_sent - kept.bytes_retrans
    received = kept.bytes_received
    if kernel_ptr(tcp, sock).__sk_common.skc_flags & SOCK_DONE != 0:
        received -= 1
    counted.received += received


# The server: sk_lookup.


def let_pass(ctx: SkLookup, netns: u64, pod: PodState, flow: Flow, decided: u32) -> u32:
    """What becomes of a captured connection: it may have a claim to go past the sidecar."""
    ends = Ends(source=flow.source, target=flow.destination)
    ends.source_port = ctx.remote_port
    ends.port = flow.port
    if (found := claims.lookup(ends)) is None:
        return decided
    if found.server != netns or found.kind & pod.straight == 0:
        return decided
    if not is_known() or not has_nothing_to_do(netns, flow.destination, flow.port):
        return decided
    if not is_listening(netns, pod.settings.inbound_port):
        return decided
    if found.stage == Stage.OFFERED:
        found.stage = Stage.TAKEN
    if found.kind == Straight.SPLICE:
        return settled(Action.PASS, Rule.IN_SPLICE)
    return settled(Action.PASS, Rule.IN_SHORTCUT)
