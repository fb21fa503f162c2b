"""What was decided about a connection that comes in: from its first packet to its socket.

sk_lookup decides when there is no socket yet. It leaves a note at a place that the two ends
of the connection choose, and PASSIVE_ESTABLISHED_CB puts it into the socket that is made.
The next connection with that place overwrites it, so that nothing has to be taken back of
those that are never accepted; of two that shake hands at one time and meet there, the first
one's socket keeps nothing. A note is two words, which CPUs may write at once: `check` says
of which connection, and of which verdict, it is.
"""

from beewire.bpf import BpfSock, SockOps, htons, netns_cookie, ntohl, u32, u64
from beewire.mesh.programs.addresses import AF_INET, MAPPED, Address
from beewire.mesh.programs.decision import Flow
from beewire.mesh.programs.sockets import is_loopback4, is_loopback6
from beewire.mesh.programs.state import ARRIVAL_BITS, arrivals, came

_ODD = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio


def mixed(so_far: u64, word: u64) -> u64:
    """Fold a word into a number that names a connection."""
    folded = (so_far ^ word) * _ODD
    return folded ^ (folded >> 29)


def joined(high: u64, low: u64) -> u64:
    """Two words of 32 bits as one of 64: a word alone would be shifted as 32 bits."""
    return high << 32 | low


def folded_in(so_far: u64, address: Address) -> u64:
    """Fold an address into it."""
    first = mixed(so_far, joined(address.words[0], address.words[1]))
    return mixed(first, joined(address.words[2], address.words[3]))


def named(netns: u64, flow: Flow, source_port: u32) -> u64:
    """The number of a connection, by its ends; ports are in network order."""
    ends = folded_in(folded_in(netns, flow.source), flow.destination)
    return mixed(ends, source_port << 16 | flow.port)


def place_of(name: u64) -> u32:
    """Where its note is left."""
    return name >> (64 - ARRIVAL_BITS)


def note_arrival(netns: u64, flow: Flow, source_port: u32, verdict: u32) -> None:
    """Leave a note of what was decided about a connection, by configuration `flow.owner`."""
    name = named(netns, flow, source_port)
    if (place := arrivals.lookup(place_of(name))) is not None:
        kept = joined(flow.owner, verdict)
        place.kept = kept
        place.check = mixed(name, kept)


def accepting(flow: Flow, ctx: SockOps) -> None:
    """Where an accepted connection comes from, and where it goes."""
    flow.port = htons(ctx.local_port)
    if ctx.family == AF_INET or ctx.local_ip6[2] == MAPPED:
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


def take_arrival(ctx: SockOps) -> None:
    """Put the note about a connection into the socket that it got."""
    flow = Flow()
    accepting(flow, ctx)
    if is_loopback6(flow.source) if flow.ipv6 else is_loopback4(flow.source.words[3]):
        return  # nothing is decided about the loopback network
    name = named(netns_cookie(ctx), flow, htons(ntohl(ctx.remote_port)))
    if (place := arrivals.lookup(place_of(name))) is None:
        return
    kept = place.kept
    if kept == 0 or place.check != mixed(name, kept):
        return
    place.check = place.kept = 0  # an upgrade copies what is left
    if (sk := ctx.sk) is not None:
        keep_arrival(sk, kept & 0xFFFFFFFF, kept >> 32)


def keep_arrival(sk: BpfSock, verdict: u32, config: u32) -> None:
    """Keep in an accepted socket what was decided, and by which configuration."""
    if (place := came.get_or_create(sk)) is not None:
        place.verdict = verdict
        place.config = config
