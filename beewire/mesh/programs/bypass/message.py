"""Each message: straight into the other end's queue, or by TCP. sk_msg on `peers`.

What order a reader sees. It takes what came by the short path before what TCP has for it
(tcp_bpf_recvmsg). So a message that follows others by the other way is in order

- by TCP after the short path, always;
- by the short path after TCP, only when the reader has all that TCP had carried: then it
  cannot find the later one first.

The second is what `has_read` asks: the other end's `copied_seq` is this end's `write_seq`.
This end's lock is held, so that nothing is written meanwhile; what the reader has read, it
will not have unread later. A reader on another CPU may still be in tcp_recvmsg(), having
read the last byte: it holds its socket's lock, which bpf_tcp_ingress() takes before it
queues, and this end's next message comes after that.

Bytes on the short path take the reader's memory without asking: TCP's windows know nothing
of them. So they take it only while less than `bound` waits there. Beyond it everything goes
by TCP, whose windows close, and comes back when it has been read: a reader that stalls costs
the bound, and what TCP lets through. The kernel charges for bytes, and not for the head of a
kilobyte that each message has: so messages are counted, too (`is_crowded`).

What is read of the other end is memory that another socket may have by now. It counts only
if a socket is found in `peers` afterwards: the key has the cookie of the very socket that was
agreed upon, which is never given twice, so that it is there, was there all along, and the
memory its own. Where none is found it has closed, and the message goes by TCP, which answers
as always.
"""

from beewire.bpf import (
    SkAction,
    SkMsg,
    helpers,
    kernel_ptr,
    sk_msg,
    u32,
    u64,
)
from beewire.mesh.programs.bypass.admission import expects, saw
from beewire.mesh.programs.bypass.keys import mirror, whoever
from beewire.mesh.programs.bypass.parting import must_part, parts
from beewire.mesh.programs.bypass.sockets import (
    has_read,
    has_ulp,
    is_covered,
    is_shut,
    tcp_sock,
    waiting_at,
    waits,
)
from beewire.mesh.programs.bypass.state import (
    MOST_MESSAGES,
    End,
    Flow,
    Mode,
    Owner,
    Role,
    Why,
    bound,
    flows,
    greetings,
    peers,
)
from beewire.mesh.programs.bypass.switching import is_off, is_set


def meet(flow: Flow, tcp: tcp_sock) -> u32:
    """Take the other end's answer; why there is none (Why).

    Once this end has received something, the other one has had its turn.
    """
    name = End()
    whoever(name, flow.own)
    if flow.dialled == 0 or (greeting := greetings.lookup(name)) is None:
        return Why.UNMET
    if greeting.socket != flow.own.socket:
        return Why.STRANGER
    if greeting.answered == 0:
        if tcp.rcv_nxt == greeting.received:
            return Why.ALONE
        del greetings[name]
        return Why.UNMET
    mirror(flow.peer, flow.own, greeting.answer_netns)
    flow.peer.socket = greeting.answered
    flow.peer_role = greeting.answer_role
    flow.peer_pod = greeting.answer_pod
    flow.address = greeting.answer_address
    del greetings[name]
    return Why.NOTHING


def sidecars(flow: Flow) -> u32:
    """Why nothing may go to a sidecar but by TCP (Why): asked once, when it has accepted."""
    if flow.checked != 0:
        return Why.NOTHING
    why = waits(flow.address)
    if why == Why.UNACCEPTED:
        return Why.NOTHING
    flow.checked = 1
    return why


def applications(flow: Flow) -> u32:
    """Why nothing may go to an application but by TCP (Why): it may change its mind."""
    why = waits(flow.address)
    if why == Why.UNACCEPTED:
        return Why.NOTHING if expects(flow) else Why.UNACCEPTED
    if flow.checked == 0 and flow.dialled != 0:
        flow.checked = 1
        saw(flow, Owner.WAITING if why == Why.BLOCKING else Owner.READY)
    return why


def obstacle(flow: Flow) -> u32:
    """Why nothing may go to the other end's owner but by TCP (Why)."""
    if has_ulp(flow.address):
        return Why.ULP
    return sidecars(flow) if flow.peer_role == Role.SIDECAR else applications(flow)


def is_crowded(flow: Flow, waiting: u64) -> bool:
    """Whether more than MOST_MESSAGES may wait for the reader, whatever their size.

    What waits are the last `waiting` bytes of those sent. That messages were read is looked
    at where a mark was set, half of MOST_MESSAGES further on each time: a reader that is
    never so far behind is never in the way.
    """
    if flow.short_messages - flow.read_messages < MOST_MESSAGES // 2:
        return False
    if flow.mark_messages <= flow.read_messages:
        flow.mark_messages = flow.short_messages
        flow.mark_bytes = flow.short_bytes
    if flow.mark_bytes + waiting <= flow.short_bytes:
        flow.read_messages = flow.mark_messages
        return False
    return flow.short_messages - flow.read_messages >= MOST_MESSAGES


def hindrance(flow: Flow, own: tcp_sock, size: u32) -> u32:
    """Why this message goes by TCP (Why); NOTHING: it need not."""
    if is_off(flow.pod) or is_set(flow.peer_pod):
        return Why.SWITCHED_OFF
    if is_shut(own):
        return Why.CLOSING
    if is_covered(own):
        return Why.ULP
    if (why := obstacle(flow)) != Why.NOTHING:
        return why
    # In the short mode, and without a byte by TCP since: all of them were read.
    written = own.write_seq
    is_known = flow.mode == Mode.SHORT and flow.written == written
    if not is_known and not has_read(flow.address, written):
        return Why.UNREAD
    waiting = waiting_at(flow.address)
    if waiting >= bound.value or is_crowded(flow, waiting):
        return Why.FULL
    return Why.BULK if parts(flow, size, waiting) else Why.NOTHING


def by_tcp(flow: Flow, size: u32, why: u32) -> int:
    """Let a message go by TCP."""
    if flow.mode != Mode.TCP:
        flow.mode = Mode.TCP
        flow.turns = flow.turns + 1
    flow.why = why
    must_part(flow, why)
    flow.tcp_bytes = flow.tcp_bytes + size
    flow.tcp_messages = flow.tcp_messages + 1
    return SkAction.SK_PASS


def shortly(flow: Flow, size: u32, written: u32) -> int:
    """Count a message that goes by the short path."""
    if flow.mode != Mode.SHORT:
        flow.mode = Mode.SHORT
        flow.turns = flow.turns + 1
    flow.why = Why.NOTHING
    flow.written = written
    flow.short_bytes = flow.short_bytes + size
    flow.short_messages = flow.short_messages + 1
    return SkAction.SK_PASS


@sk_msg
def shorten(ctx: SkMsg) -> int:
    """Send a message to the other end's queue, where it may go there."""
    if (flow := flows.get(ctx.sk)) is None:
        return SkAction.SK_PASS
    if (tcp := helpers.skc_to_tcp_sock(ctx.sk)) is None:
        return SkAction.SK_PASS
    own = kernel_ptr(tcp, tcp_sock)
    why: u32 = flow.why
    if flow.parted != 0 and why < Why.UNMET:
        why = Why.BULK
    if why < Why.UNMET:
        why = Why.NOTHING if flow.address != 0 else meet(flow, own)
    if why == Why.NOTHING:
        why = hindrance(flow, own, ctx.size)
    if why != Why.NOTHING:
        return by_tcp(flow, ctx.size, why)
    if peers.redirect(ctx, flow.peer, ingress=True) != SkAction.SK_PASS:
        return by_tcp(flow, ctx.size, Why.GONE)
    return shortly(flow, ctx.size, own.write_seq)
