"""Back to TCP for good: an application that is sent much is taken off the short path.

A reader who is behind is brought the rest by TCP. One that reads until nothing is left, as
Envoy does, sees no difference. Others stop before: nginx does when a read gives less than it
has room for, or FIONREAD says 0, Rust's tokio when a read gives less. They wait for the next
edge of epoll then. With messages waiting on the short path in front of bytes that TCP has
brought, a read gives the first and not the second, and FIONREAD does not count the second:
if these were the last, nobody wakes the reader again.

So bytes for an application are not to come by both ways. One that was dialled and is sent a
large message is likely to be sent many; so is one that is behind by three quarters of the
bound, which a single answer of a megabyte is not. Its socket is taken out of `peers`, which
makes it one of TCP's own again, as soon as no message waits there, and before the first byte
by TCP leaves: HDR_OPT_LEN_CB comes when tcp_sendmsg() asks how long a header will be. What
this end has sent was read then, and the other end's own messages are read before what it will
send by TCP.

So does one whose pod is switched off, and one whose owner waits inside recv() after all.
One that stops to read altogether is still sent the bound, and the rest by TCP: `waking`.
"""

from beewire.bpf import u32, u64
from beewire.mesh.programs.bypass.sockets import is_empty
from beewire.mesh.programs.bypass.state import (
    Flow,
    Mode,
    Role,
    Why,
    bound,
    large,
    peers,
)


def must_part(flow: Flow, why: u32) -> None:
    """Note that an application that gets nothing by the short path is to have its socket."""
    if flow.peer_role != Role.APPLICATION or large.value == 0:
        return
    if why in (Why.SWITCHED_OFF, Why.BLOCKING):
        flow.parts = 1
    if why == Why.GONE:
        flow.parted = 1  # by itself: see `waking`


def parts(flow: Flow, size: u32, waiting: u64) -> bool:
    """Whether this message, and all that follow it, go by TCP."""
    if flow.peer_role != Role.APPLICATION or large.value == 0:
        return False
    if waiting >= bound.value // 4 * 3 or (flow.dialled != 0 and size >= large.value):
        flow.parts = 1
    return flow.parts != 0 and is_empty(flow.address)


def has_parted(flow: Flow) -> bool:
    """Take the other end out, if it is to go; whether that is done, or will never be."""
    if flow.address == 0:
        return False
    if flow.peer_role != Role.APPLICATION or flow.parted != 0:
        return True
    # In that mode no message of this end can be on its way there.
    if flow.parts == 0 or flow.mode != Mode.TCP or not is_empty(flow.address):
        return False
    flow.parted = 1
    peers.delete(flow.peer)
    return True
