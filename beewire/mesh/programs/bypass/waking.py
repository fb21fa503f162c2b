"""An application that has stopped before nothing is left is told of it again.

An application that stops to read altogether is sent the bound by the short path, and the rest
by TCP, behind. When it reads on, a read gives what waits on the short path or what TCP has
brought, never both (tcp_bpf_recvmsg). So the read that empties the first is shorter than there
is room for. Whoever waits for the next edge of epoll then (nginx, Rust's tokio) has had the
edge of TCP's bytes long ago: if they were the last ones, it waits for ever. The same goes for
one that believes FIONREAD, which does not count what TCP has brought to a socket in `peers`.

So when bytes of TCP have lain there for half a second, with nothing in front of them, and none
of them was read meanwhile, their owner is told again, and its socket is TCP's own from then on
(`parting`): no read is short any more while there are others. Telling is SO_RCVLOWAT, set to
what it is: tcp_set_rcvlowat() ends in tcp_data_ready(). An owner that did not need it finds
what it knows of already.

Who does it, where nobody sends any more, and no agent lives? The socket. HDR_OPT_LEN_CB comes
with each segment that it sends, and so with the one that acknowledges TCP's bytes: if they
are unread by then, the socket gets keepalives, a second apart, each of which is another such
call. Afterwards it has what its owner had set before. With no bytes of TCP unread there are no
calls: who only reads what comes by the short path sends no segment.
"""

from beewire.bpf import (
    BpfSock,
    SockOps,
    Struct,
    helpers,
    kernel_address,
    kernel_ptr,
    ktime_ns,
    u32,
)
from beewire.mesh.programs.bypass.sockets import is_empty, is_joined, tcp_sock
from beewire.mesh.programs.bypass.state import (
    Flow,
    Unread,
    large,
    overdue,
    peers,
    unread,
)

SOL_SOCKET = 1
SO_KEEPALIVE = 9  # include/uapi/asm-generic/socket.h
SO_RCVLOWAT = 18
SOL_TCP = 6
TCP_KEEPIDLE = 4  # include/uapi/linux/tcp.h
TCP_KEEPINTVL = 5
TCP_KEEPCNT = 6
# Ours: a second, and as many without an answer as there may be.
SECOND = 1
MOST = 127


class Option(Struct):
    """What getsockopt() and setsockopt() take."""

    value: u32 = 0


def option(ctx: SockOps, level: u32, name: u32) -> u32:
    """What a socket's option is; 0 where the kernel does not tell."""
    told = Option()
    helpers.getsockopt(ctx, level, name, told, 4)
    return told.value


def set_option(ctx: SockOps, level: u32, name: u32, value: u32) -> None:
    """Set a socket's option."""
    wanted = Option(value=value)
    helpers.setsockopt(ctx, level, name, wanted, 4)


def put_back(ctx: SockOps, name: u32, ours: u32, before: u32) -> None:
    """Let an option be what it was, unless its owner has set it since."""
    if option(ctx, SOL_TCP, name) == ours:
        set_option(ctx, SOL_TCP, name, before)


def begin(ctx: SockOps, sk: BpfSock, copied: u32) -> None:
    """Look again in a second, and each second from then on."""
    idle = option(ctx, SOL_TCP, TCP_KEEPIDLE)
    if idle == 0:
        return  # this kernel does not tell programs of options (before Linux 6.1)
    if (found := unread.get_or_create(sk)) is None:
        return
    found.since = ktime_ns()
    found.copied = copied
    found.alive = option(ctx, SOL_SOCKET, SO_KEEPALIVE)
    found.idle = idle
    found.interval = option(ctx, SOL_TCP, TCP_KEEPINTVL)
    found.count = option(ctx, SOL_TCP, TCP_KEEPCNT)
    set_option(ctx, SOL_TCP, TCP_KEEPIDLE, SECOND)
    set_option(ctx, SOL_TCP, TCP_KEEPINTVL, SECOND)
    set_option(ctx, SOL_TCP, TCP_KEEPCNT, MOST)
    set_option(ctx, SOL_SOCKET, SO_KEEPALIVE, 1)


def end(ctx: SockOps, sk: BpfSock, found: Unread) -> None:
    """Look no more."""
    if found.alive == 0 and option(ctx, SOL_TCP, TCP_KEEPIDLE) == SECOND:
        set_option(ctx, SOL_SOCKET, SO_KEEPALIVE, 0)
    put_back(ctx, TCP_KEEPIDLE, SECOND, found.idle)
    put_back(ctx, TCP_KEEPINTVL, SECOND, found.interval)
    put_back(ctx, TCP_KEEPCNT, MOST, found.count)
    unread.delete(sk)


def is_overdue(found: Unread, copied: u32, *, waits: bool) -> bool:
    """Whether nothing was read for so long; `waits`: on the short path there is something."""
    now = ktime_ns()
    if waits or copied != found.copied:
        found.since = now
        found.copied = copied
        return False
    return now - found.since >= overdue.value


def tell(ctx: SockOps, flow: Flow) -> None:
    """Let the owner have its socket, and tell it that there is something to read."""
    if large.value != 0:
        peers.delete(flow.own)
    set_option(ctx, SOL_SOCKET, SO_RCVLOWAT, option(ctx, SOL_SOCKET, SO_RCVLOWAT))


def has_woken(ctx: SockOps, sk: BpfSock, flow: Flow) -> bool:
    """An application's socket sends a segment; whether it need not be looked after any more."""
    if (tcp := helpers.skc_to_tcp_sock(sk)) is None:
        return False
    address = kernel_address(tcp)
    own = kernel_ptr(tcp, tcp_sock)
    copied = own.copied_seq
    is_unread = copied != own.rcv_nxt
    if (found := unread.get(sk)) is None:
        if not is_joined(address):
            return True
        if is_unread:
            begin(ctx, sk, copied)
        return False
    if is_overdue(found, copied, waits=not is_empty(address)):
        if is_unread:
            tell(ctx, flow)
        end(ctx, sk, found)
    return False
