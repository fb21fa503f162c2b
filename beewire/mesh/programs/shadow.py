"""Shadow mode: what Beewire decides is compared with what Istio's rules did.

The hooks decide and leave everything alone. What the rules did is seen where it shows:

    outbound   the socket keeps the decision until its first packet leaves the pod, which
               the rules have rewritten by then, or not (cgroup_skb, behind all tables)
    inbound    left alone: a connection that is accepted on another port than the
               sidecar's (sock_ops)
    inbound    redirected: the sidecar asks where the connection was going, and the kernel
               tells what the rules took away (getsockopt)
    inbound    by TPROXY: a packet comes to a listener with another port (cgroup_skb)

Outcomes are counted by rule and by what both sides did, each with the first connection
that had it. A new configuration has counts of its own.
"""

from enum import IntEnum

from beewire.bpf import (
    BpfSock,
    HashMap,
    Kernel,
    SkBuff,
    SkStorage,
    SockAddr,
    SockOps,
    SockOpt,
    Struct,
    TcpState,
    cgroup_skb_egress,
    cgroup_skb_ingress,
    exists,
    helpers,
    htons,
    i32,
    kernel_ptr,
    netns_cookie,
    ntohl,
    sizeof,
    subprogram,
    u8,
    u16,
    u32,
    u64,
)
from beewire.mesh.decision.vocabulary import NO_OWNER, TCP, UDP
from beewire.mesh.programs.addresses import (
    MAPPED,
    Address,
    Endpoint,
    SockaddrIn,
    SockaddrIn6,
)
from beewire.mesh.programs.arrivals import accepting, keep_arrival
from beewire.mesh.programs.decision import (
    Flow,
    action_of,
    decide_inbound,
    rule_of,
)
from beewire.mesh.programs.events import Matter, Reason, report
from beewire.mesh.programs.flows import own
from beewire.mesh.programs.packets import IPV6_HEADER, Ipv4, Ipv6, Ports
from beewire.mesh.programs.sockets import is_loopback4, is_loopback6, is_own
from beewire.mesh.programs.state import (
    NO_PREALLOC,
    Config,
    ConfigFlag,
    PodMode,
    PodState,
    configs,
    owners,
    pods,
)
from beewire.mesh.programs.task import own_namespace

ACCEPT = 1
TCP_FLAGS = 13  # their offset in a TCP header
SYN, ACK = 0x02, 0x10
ETH_IPV4 = htons(0x0800)
SOL_IP = 0
SOL_IPV6 = 41
MAX_OUTCOMES = 1 << 18


class sock(Kernel):
    """`struct sock`."""

    sk_rx_dst_ifindex: i32


class Seen(IntEnum):
    """What the rules did; the first ones are those of `Action`."""

    PASS = 0
    TO_OUTBOUND = 1
    TO_INBOUND = 2
    TO_DNS = 3
    REFUSE = 4
    ELSEWHERE = 5  # rewritten to a port that is none of the sidecar's
    NOTHING = 6  # not yet, or nothing ever left: there was no way, say


class Outcome(Struct):
    """Key of `outcomes`; `decided` is an Action."""

    netns: u64
    config: u32
    rule: u8
    decided: u8
    seen: u8
    inbound: u8 = 0


class Observed(Struct):
    """How often, and the first connection of the kind; ports in network order."""

    count: u64 = 0
    source: Address = Address()
    destination: Address = Address()
    source_port: u16 = 0
    port: u16 = 0
    uid: u32 = 0
    gid: u32 = 0
    protocol: u8 = 0
    in_proxy: u8 = 0
    local: u8 = 0
    unused: u8 = 0


class Waiting(Struct):
    """In a socket: what was decided, until its first packet shows what the rules did."""

    netns: u64
    wanted: Endpoint
    config: u32
    verdict: u32
    uid: u32
    gid: u32
    in_proxy: u8
    local: u8
    is_open: u8
    unused: u8


class TcpFlags(Struct):
    """The flags of a TCP header."""

    bits: u8 = 0


class Accepted(Struct):
    """In a socket that was accepted: by which interface, and whether it was compared."""

    interface: u32
    is_compared: u32


outcomes = HashMap[Outcome, Observed](max_entries=MAX_OUTCOMES, flags=NO_PREALLOC)
waiting = SkStorage[Waiting]()
accepted = SkStorage[Accepted]()


@subprogram
def tally(key: Outcome, first: Observed) -> None:
    """Count one outcome; `first` stays with it if it is the first one."""
    if (known := outcomes.lookup(key)) is None:
        outcomes.insert(key, first)
        if (known := outcomes.lookup(key)) is None:
            return
    known.count += 1
    if key.seen not in (key.decided, Seen.NOTHING):
        tell(key, first)


def tell(key: Outcome, first: Observed) -> None:
    """Tell that the two sides disagree."""
    matter = Matter(
        source=first.source,
        target=first.destination,
        source_port=first.source_port,
        port=first.port,
        rule=key.rule,
        protocol=first.protocol,
        inbound=key.inbound,
    )
    # A packet that is sent again leaves in whatever process is interrupted.
    matter.is_own = key.inbound == 0 and own_namespace() == key.netns
    report(key.netns, Reason.SHADOW_DISAGREES, matter)


def outcome_of(netns: u64, config: u32, verdict: u32, seen: u32) -> Outcome:
    """The key of what was decided and what was seen."""
    return Outcome(
        netns=netns,
        config=config,
        rule=rule_of(verdict),
        decided=action_of(verdict),
        seen=seen,
    )


def observe(ctx: SockAddr, netns: u64, flow: Flow, verdict: u32) -> None:
    """Keep in the socket what was decided about the connection that it makes."""
    if (kept := waiting.get_or_create(ctx.sk)) is None:
        return
    own(flow, ctx)  # the decision may not have asked; whoever reads the outcome does
    kept.netns = netns
    kept.wanted.address = flow.destination
    kept.wanted.port = flow.port
    kept.config = flow.owner
    kept.verdict = verdict
    kept.uid = flow.uid
    kept.gid = flow.gid
    kept.in_proxy = flow.in_proxy
    kept.local = flow.local
    kept.is_open = 1
    # Nothing has left so far, and nothing will where there is no way.
    first = Observed(protocol=flow.protocol)
    describe(first, kept)
    tally(outcome_of(netns, kept.config, verdict, Seen.NOTHING), first)


def describe(first: Observed, kept: Waiting) -> None:
    """Whose connection it is, and where it was to go."""
    first.destination = kept.wanted.address
    first.port = kept.wanted.port
    first.uid = kept.uid
    first.gid = kept.gid
    first.in_proxy = kept.in_proxy
    first.local = kept.local


def is_at(address: Address, port: u32, wanted: Endpoint) -> bool:
    """Whether a packet goes where its socket calls."""
    return (
        port == wanted.port
        and address.words[0] == wanted.address.words[0]
        and address.words[1] == wanted.address.words[1]
        and address.words[2] == wanted.address.words[2]
        and address.words[3] == wanted.address.words[3]
    )


def went_to(config: Config, port: u32) -> u32:
    """What the rules did with a packet that they rewrote."""
    if port == config.outbound_port:
        return Seen.TO_OUTBOUND
    if port == config.inbound_port:
        return Seen.TO_INBOUND
    if port == config.dns_port:
        return Seen.TO_DNS
    return Seen.ELSEWHERE


def read(ctx: SkBuff, first: Observed) -> u32:
    """Read addresses and ports of a packet; where they begin, 0 if it has none."""
    ports = Ports()
    offset = IPV6_HEADER
    if ctx.protocol == ETH_IPV4:
        header = Ipv4()
        if helpers.skb_load_bytes(ctx, 0, header, sizeof(Ipv4)) != 0:
            return 0
        first.protocol = header.protocol
        first.source.words[2] = MAPPED
        first.source.words[3] = header.source
        first.destination.words[2] = MAPPED
        first.destination.words[3] = header.target
        offset = (header.words & 15) * 4
    else:
        header6 = Ipv6()
        if helpers.skb_load_bytes(ctx, 0, header6, sizeof(Ipv6)) != 0:
            return 0
        first.protocol = header6.next
        for i in range(4):
            first.source.words[i] = header6.source[i]
            first.destination.words[i] = header6.target[i]
    if first.protocol not in (TCP, UDP):
        return 0
    if helpers.skb_load_bytes(ctx, offset, ports, sizeof(Ports)) != 0:
        return 0
    first.source_port = ports.source
    first.port = ports.target
    return offset


def is_first(ctx: SkBuff, offset: u32) -> bool:
    """Whether a packet whose TCP header is at `offset` begins a connection."""
    flags = TcpFlags()
    if helpers.skb_load_bytes(ctx, offset + TCP_FLAGS, flags, sizeof(TcpFlags)) != 0:
        return False
    return flags.bits & (SYN | ACK) == SYN


def goes_where_it_was_sent(kept: Waiting, sk: BpfSock, packet: Observed) -> bool:
    """Whether nothing behind the socket has rewritten a packet.

    A program on a parent cgroup may have rewritten what the socket calls after ours; the
    rules saw that.
    """
    if is_at(packet.destination, packet.port, kept.wanted):
        return True
    if packet.port != sk.dst_port:
        return False
    if packet.destination.words[2] == MAPPED:
        return packet.destination.words[3] == sk.dst_ip4
    return packet.destination.words[3] == sk.dst_ip6[3]


@cgroup_skb_egress
def leaving(ctx: SkBuff) -> int:
    """The first packet of each connection of a pod in shadow mode, behind all tables."""
    if (sk := ctx.sk) is None or (kept := waiting.get(sk)) is None:
        return ACCEPT
    if kept.is_open == 0:
        return ACCEPT
    kept.is_open = 0
    if (
        nothing := outcomes.lookup(
            outcome_of(kept.netns, kept.config, kept.verdict, Seen.NOTHING)
        )
    ) is not None:
        nothing.count -= 1
    first = Observed()
    if read(ctx, first) == 0 or (config := configs.lookup(kept.config)) is None:
        return ACCEPT
    seen: u32 = Seen.PASS
    if not goes_where_it_was_sent(kept, sk, first):
        seen = went_to(config, first.port)
    describe(first, kept)
    tally(outcome_of(kept.netns, kept.config, kept.verdict, seen), first)
    return ACCEPT


def is_from_inside(netns: u64, pod: PodState, flow: Flow) -> bool:
    """Whether a connection comes from the pod itself: it was decided on its way out."""
    if flow.ipv6 != 0:
        if is_loopback6(flow.source) or is_loopback6(flow.destination):
            return True
    elif is_loopback4(flow.source.words[3]) or is_loopback4(flow.destination.words[3]):
        return True
    return is_own(netns, pod, flow.source)


def compare_inbound(
    netns: u64, pod: PodState, config: Config, flow: Flow, port: u32, seen: u32
) -> u32:
    """Compare what came from outside, from the peer's `port`; the verdict, 0 if inside."""
    if is_from_inside(netns, pod, flow):
        return 0
    flow.owner = pod.config
    flow.scope = pod.scope
    flow.scope_flags = pod.flags
    verdict = decide_inbound(config, flow)
    key = outcome_of(netns, pod.config, verdict, seen)
    key.inbound = 1
    first = Observed(
        protocol=TCP, source_port=port, port=flow.port, uid=NO_OWNER, gid=NO_OWNER
    )
    first.source = flow.source
    first.destination = flow.destination
    tally(key, first)
    return verdict


def interface_of(ctx: SockOps) -> u32:
    """The interface that a connection came by; 0 where the kernel does not keep it."""
    if not exists(sock.sk_rx_dst_ifindex):  # before Linux 5.16
        return 0
    if (sk := ctx.sk) is None or (tcp := helpers.skc_to_tcp_sock(sk)) is None:
        return 0
    return kernel_ptr(tcp, sock).sk_rx_dst_ifindex


@subprogram
def compare_accepted(ctx: SockOps) -> None:
    """A connection that was accepted, whoever accepted it.

    One that the rules have left alone has the port that it called. One at the sidecar's
    ports was redirected, and the sidecar asks where it was going.
    """
    netns = netns_cookie(ctx)
    if (pod := pods.lookup(netns)) is None or (
        config := configs.lookup(pod.config)
    ) is None:
        return
    flow = Flow(protocol=TCP, interface=interface_of(ctx))
    if htons(ctx.local_port) in (config.outbound_port, config.inbound_port):
        if (sk := ctx.sk) is not None and (kept := accepted.get_or_create(sk)):
            kept.interface = flow.interface
        return
    accepting(flow, ctx)
    if config.flags & ConfigFlag.MODE_TPROXY != 0:
        return  # TPROXY changes no port: see `arriving`
    port = htons(ntohl(ctx.remote_port))
    verdict = compare_inbound(netns, pod, config, flow, port, Seen.PASS)
    if verdict != 0 and (sk := ctx.sk) is not None:
        keep_arrival(sk, verdict, flow.owner)


@cgroup_skb_ingress
def arriving(ctx: SkBuff) -> int:
    """What begins a connection to a listener of the pod, where TPROXY chooses it.

    It changes no address: the sidecar's listener gets packets for other ports than its.
    """
    if (sk := ctx.sk) is None or sk.state != TcpState.LISTEN:
        return ACCEPT
    first = Observed()
    if (offset := read(ctx, first)) == 0 or not is_first(ctx, offset):
        return ACCEPT
    # As sk_lookup finds the pod: older kernels tell no packet's namespace here.
    if (owner := owners.lookup(first.destination)) is None:
        return ACCEPT
    netns = owner.value
    if (pod := pods.lookup(netns)) is None or pod.mode != PodMode.SHADOW:
        return ACCEPT
    if (config := configs.lookup(pod.config)) is None:
        return ACCEPT
    if config.flags & ConfigFlag.MODE_TPROXY == 0:
        return ACCEPT
    # Of those that call the sidecar's ports themselves nothing can be told.
    if first.port in (config.inbound_port, config.outbound_port):
        return ACCEPT
    flow = Flow(protocol=TCP, port=first.port, interface=ctx.ingress_ifindex)
    flow.source = first.source
    flow.destination = first.destination
    flow.ipv6 = ctx.protocol != ETH_IPV4
    chosen = htons(sk.src_port) == config.inbound_port
    seen: u32 = Seen.TO_INBOUND if chosen else Seen.PASS
    compare_inbound(netns, pod, config, flow, first.source_port, seen)
    return ACCEPT


def told_of(flow: Flow, ctx: SockOpt) -> bool:
    """Where a redirected connection was going, by the kernel's answer; whether there is."""
    if ctx.level == SOL_IP:
        if (told := ctx.at(0, SockaddrIn)) is None:
            return False
        flow.port = told.port
        flow.source.words[2] = MAPPED
        flow.source.words[3] = ctx.sk.dst_ip4
        flow.destination.words[2] = MAPPED
        flow.destination.words[3] = told.addr
        return True
    if ctx.level != SOL_IPV6 or (told6 := ctx.at(0, SockaddrIn6)) is None:
        return False
    flow.port = told6.port
    flow.ipv6 = 1
    flow.source.words[0] = ctx.sk.dst_ip6[0]
    flow.source.words[1] = ctx.sk.dst_ip6[1]
    flow.source.words[2] = ctx.sk.dst_ip6[2]
    flow.source.words[3] = ctx.sk.dst_ip6[3]
    flow.destination.words[0] = told6.addr[0]
    flow.destination.words[1] = told6.addr[1]
    flow.destination.words[2] = told6.addr[2]
    flow.destination.words[3] = told6.addr[3]
    return True


@subprogram
def compare_asked(ctx: SockOpt) -> None:
    """The kernel has told the sidecar where a redirected connection was going."""
    netns = netns_cookie(ctx)
    if (pod := pods.lookup(netns)) is None or pod.mode != PodMode.SHADOW:
        return
    if (config := configs.lookup(pod.config)) is None:
        return
    seen: u32 = Seen.TO_INBOUND
    if htons(ctx.sk.src_port) == config.outbound_port:
        seen = Seen.TO_OUTBOUND  # of a virtual machine's interface
    elif htons(ctx.sk.src_port) != config.inbound_port:
        return
    if (kept := accepted.get_or_create(ctx.sk)) is None or kept.is_compared != 0:
        return
    kept.is_compared = 1
    flow = Flow(protocol=TCP, interface=kept.interface)
    if not told_of(flow, ctx):
        return
    verdict = compare_inbound(netns, pod, config, flow, ctx.sk.dst_port, seen)
    if verdict != 0:
        keep_arrival(ctx.sk, verdict, flow.owner)
