"""A stateful firewall for IPv4: TCP by its states, UDP and ICMP by first direction."""

from enum import IntEnum

from beewire.bpf import (
    Global,
    LruHash,
    PerCpuArray,
    Struct,
    XdpAction,
    XdpContext,
    ktime_coarse_ns,
    u8,
    u16,
    u32,
    u64,
    xdp,
)
from corpus.headers import (
    ETH_P_IP,
    IP_OFFSET,
    IPPROTO_ICMP,
    IPPROTO_TCP,
    IPPROTO_UDP,
    Ethernet,
    Ipv4,
    Ports,
    Tcp,
)

FIN = 0x01
SYN = 0x02
RST = 0x04
ACK = 0x10
SECOND = 1_000_000_000


class State(IntEnum):
    NONE = 0
    SYN_SENT = 1
    SYN_RECEIVED = 2
    ESTABLISHED = 3
    FIN_SENT = 4
    FIN_BOTH = 5
    CLOSED = 6
    DATAGRAM = 7


class Verdict(IntEnum):
    PASSED = 0
    NEW = 1
    MALFORMED = 2
    INVALID = 3
    UNSOLICITED = 4
    EXPIRED = 5


class Flow(Struct):
    inside: u32
    outside: u32
    inside_port: u16
    outside_port: u16
    protocol: u8
    padding: u8
    more_padding: u16


class Connection(Struct):
    expires_ns: u64
    packets_out: u64
    packets_in: u64
    bytes_out: u64
    bytes_in: u64
    state: u32
    flags_seen: u32


class Settings(Struct):
    network: u32  # what is inside, in network order
    mask: u32
    seconds_established: u32
    seconds_other: u32


connections = LruHash[Flow, Connection](max_entries=65536)
verdicts = PerCpuArray[u64](max_entries=len(Verdict))
settings = Global(
    Settings,
    Settings(
        network=0x0000000A, mask=0x000000FF, seconds_established=3600, seconds_other=30
    ),
)


def opening(protocol: u32, flags: u32) -> u32:
    """The state in which a packet from inside opens a connection; NONE if it may not."""
    if protocol != IPPROTO_TCP:
        return State.DATAGRAM
    if flags & (SYN | ACK | RST | FIN) == SYN:
        return State.SYN_SENT
    return State.NONE


def step(state: u32, flags: u32, *, outgoing: bool) -> u32:
    """The state after a TCP segment; NONE if it does not belong there."""
    if flags & RST != 0:
        return State.CLOSED
    match state:
        case State.SYN_SENT:
            if outgoing:
                return State.SYN_SENT if flags & SYN != 0 else State.NONE
            if flags & (SYN | ACK) == SYN | ACK:
                return State.SYN_RECEIVED
            return State.NONE
        case State.SYN_RECEIVED:
            if outgoing and flags & (SYN | ACK) == ACK:
                return State.ESTABLISHED
            return State.SYN_RECEIVED if flags & SYN != 0 else State.NONE
        case State.ESTABLISHED:
            if flags & SYN != 0:
                return State.NONE
            return State.FIN_SENT if flags & FIN != 0 else State.ESTABLISHED
        case State.FIN_SENT:
            return State.FIN_BOTH if flags & FIN != 0 else State.FIN_SENT
        case State.FIN_BOTH | State.CLOSED:
            return State.CLOSED if flags & ACK != 0 else State.NONE
        case _:
            return State.NONE


def lifetime(state: u32) -> u64:
    if state == State.ESTABLISHED:
        return settings.seconds_established * SECOND
    return settings.seconds_other * SECOND


def follow(flow: Flow, flags: u32, size: u32, *, outgoing: bool) -> u32:
    """Find or make the packet's connection, and move it on."""
    now = ktime_coarse_ns()
    if (connection := connections.lookup(flow)) is None:
        if not outgoing:
            return Verdict.UNSOLICITED
        state = opening(flow.protocol, flags)
        if state == State.NONE:
            return Verdict.INVALID
        connections[flow] = Connection(
            expires_ns=now + lifetime(state),
            packets_out=1,
            bytes_out=size,
            state=state,
            flags_seen=flags,
        )
        return Verdict.NEW
    if connection.expires_ns < now:
        del connections[flow]
        return Verdict.EXPIRED
    if flow.protocol == IPPROTO_TCP:
        state = step(connection.state, flags, outgoing=outgoing)
        if state == State.NONE:
            return Verdict.INVALID
        connection.state = state
        connection.flags_seen = connection.flags_seen | flags
    connection.expires_ns = now + lifetime(connection.state)
    if outgoing:
        connection.packets_out += 1
        connection.bytes_out += size
    else:
        connection.packets_in += 1
        connection.bytes_in += size
    return Verdict.PASSED


def inspect(ctx: XdpContext, ip: Ipv4) -> u32:
    outgoing: bool = ip.source & settings.mask == settings.network
    flow = Flow(protocol=ip.protocol)
    flags: u32 = 0
    if ip.protocol in (IPPROTO_TCP, IPPROTO_UDP):
        if (ports := ctx.at(IP_OFFSET + 20, Ports)) is None:
            return Verdict.MALFORMED
        if outgoing:
            flow.inside_port = ports.source
            flow.outside_port = ports.target
        else:
            flow.inside_port = ports.target
            flow.outside_port = ports.source
        if ip.protocol == IPPROTO_TCP:
            if (tcp := ctx.at(IP_OFFSET + 20, Tcp)) is None:
                return Verdict.MALFORMED
            flags = tcp.flags
    elif ip.protocol != IPPROTO_ICMP:
        return Verdict.INVALID
    if outgoing:
        flow.inside = ip.source
        flow.outside = ip.target
    else:
        flow.inside = ip.target
        flow.outside = ip.source
    return follow(flow, flags, ctx.length, outgoing=outgoing)


@xdp
def conntrack(ctx: XdpContext) -> XdpAction:
    if (eth := ctx.at(0, Ethernet)) is None or eth.protocol != ETH_P_IP:
        return XdpAction.PASS
    if (ip := ctx.at(IP_OFFSET, Ipv4)) is None or ip.version_length != 0x45:
        return XdpAction.DROP
    verdict = inspect(ctx, ip)
    verdicts[verdict] += 1
    if verdict in (Verdict.PASSED, Verdict.NEW):
        return XdpAction.PASS
    return XdpAction.DROP
