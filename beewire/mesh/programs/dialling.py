"""What a connecting socket is to remember: what was dialled, and what was decided.

Making room in a socket is dearer than a decision, and a connection whose address says where
it was going can do without until its SYN. connect() leaves a note under the thread, and
TCP_CONNECT_CB, which runs in the same thread, puts it into the socket (take). What has to be
handed over, or is no TCP, goes into the socket at once, and refuses the connection where
there is no room.
"""

from beewire.bpf import BpfSock, SockAddr, SockOps, htons, ntohl, u32, u64
from beewire.mesh.programs.addresses import AF_INET6, MAPPED
from beewire.mesh.programs.aliases import is_alias
from beewire.mesh.programs.decision import Flow
from beewire.mesh.programs.state import (
    IPPROTO_TCP,
    NOTE_BITS,
    Dialled,
    dialled,
    notes,
)
from beewire.mesh.programs.task import this_thread


def write(kept: Dialled, flow: Flow, verdict: u32, target: u32, port: u32) -> None:
    """What was dialled, what decided, and what was made of it."""
    kept.wanted.address = flow.destination
    kept.wanted.port = flow.port
    kept.target = target
    kept.target_port = port
    kept.verdict = verdict
    kept.config = flow.owner


def place_of(thread: u64) -> u32:
    """Where a thread leaves its notes."""
    return (thread * 0x9E3779B97F4A7C15) >> (64 - NOTE_BITS)


def note(flow: Flow, verdict: u32, target: u32, port: u32) -> None:
    """Leave a note for the socket that this thread connects."""
    if flow.protocol != IPPROTO_TCP:
        return
    thread = this_thread()
    if (place := notes.lookup(place_of(thread))) is not None:
        write(place.kept, flow, verdict, target, port)
        place.thread = thread


def keep(ctx: SockAddr, flow: Flow, verdict: u32, target: u32, port: u32) -> bool:
    """Remember a redirected connection; whether there was room."""
    if flow.protocol == IPPROTO_TCP and is_alias(target):
        note(flow, verdict, target, port)
        return True
    if (kept := dialled.get_or_create(ctx.sk)) is None:
        return False
    write(kept, flow, verdict, target, port)
    return True


def is_about(kept: Dialled, ctx: SockOps) -> bool:
    """Whether a note is about the connection that begins, by its far end."""
    remote = ctx.remote_ip4
    if ctx.family == AF_INET6 and ctx.remote_ip6[2] != MAPPED:
        remote = ctx.remote_ip6[3]
    port = htons(ntohl(ctx.remote_port))
    if kept.target != 0:
        return remote == kept.target and port == kept.target_port
    return remote == kept.wanted.address.words[3] and port == kept.wanted.port


def take(ctx: SockOps, sk: BpfSock) -> u32:
    """Put this thread's note into the socket that it connects.

    The verdict in it, which is never 0; 0 where there was none.
    """
    thread = this_thread()
    if (place := notes.lookup(place_of(thread))) is None:
        return 0
    if place.thread != thread:
        return 0
    place.thread = 0
    if not is_about(place.kept, ctx):
        return 0
    if (kept := dialled.get_or_create(sk)) is not None:
        kept.wanted = place.kept.wanted
        kept.target = place.kept.target
        kept.target_port = place.kept.target_port
        kept.verdict = place.kept.verdict
        kept.config = place.kept.config
    return place.kept.verdict
