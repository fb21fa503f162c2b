"""What the short path reads of the kernel's sockets.

One's own socket is read as the kernel types it. The other end's is memory that may be given
to another socket at any time (its slab is SLAB_TYPESAFE_BY_RCU): it is read in ways that never
fault, and give 0 where there is nothing; why it may be believed stands in `message`. What each
message asks is read through `bpf_rdonly_cast` where the kernel has it (Linux 6.2), which makes a
plain load of it, and by `bpf_probe_read_kernel` elsewhere, which is a call.
"""

from beewire.bpf import (
    Kernel,
    embedded,
    exists,
    kernel_address,
    kernel_ptr,
    kernel_type_id,
    kfunc,
    pointer,
    u8,
    u32,
    u64,
)
from beewire.mesh.programs.bypass.state import Why

O_NONBLOCK = 0o4000
SEND_SHUTDOWN = 2  # include/net/sock.h
# Of sk_user_data (include/net/sock.h): flags beside the pointer.
IS_PSOCK = 4  # SK_USER_DATA_PSOCK
FLAGS = 7


class atomic_t(Kernel):
    """`atomic_t`."""

    counter: u32


class sock_common(Kernel):
    """`struct sock_common`."""

    skc_state: u8


class sk_buff_head(Kernel):
    """`struct sk_buff_head`."""

    qlen: u32


class backlog(Kernel):
    """What `sk_backlog` is: a struct without a name."""

    rmem_alloc: atomic_t = embedded()


class file(Kernel):
    """`struct file`."""

    f_flags: u32


class socket(Kernel):
    """`struct socket`."""

    file: "file"


class sock(Kernel):
    """`struct sock`."""

    sk_receive_queue: sk_buff_head = embedded()
    sk_backlog: backlog = embedded()
    sk_socket: socket
    sk_shutdown: u8
    sk_user_data: int = pointer()


class list_head(Kernel):
    """`struct list_head`."""

    next: int = pointer()


class sk_psock(Kernel):
    """`struct sk_psock`: what a socket that is in a map has besides."""

    ingress_msg: list_head = embedded()


class inet_connection_sock(Kernel):
    """`struct inet_connection_sock`."""

    icsk_ulp_ops: int = pointer()


class tcp_sock(Kernel):
    """`struct tcp_sock`."""

    write_seq: u32
    rcv_nxt: u32
    copied_seq: u32
    is_mptcp: u8


@kfunc
def bpf_rdonly_cast___sock(  # type: ignore[empty-body]
    obj: u64, btf_id: u32
) -> sock:
    """The memory at an address as a `sock`."""


@kfunc
def bpf_rdonly_cast___icsk(  # type: ignore[empty-body]
    obj: u64, btf_id: u32
) -> inet_connection_sock:
    """The memory at an address as an `inet_connection_sock`."""


def waiting_at(address: u64) -> u64:
    """How many bytes of memory wait for a reader."""
    if exists(bpf_rdonly_cast___sock):
        there = bpf_rdonly_cast___sock(address, kernel_type_id(sock))
        return there.sk_backlog.rmem_alloc.counter
    return kernel_ptr(address, sock).sk_backlog.rmem_alloc.counter


def is_joined(address: u64) -> bool:
    """Whether a socket is in a map of sockets."""
    return kernel_ptr(address, sock).sk_user_data & IS_PSOCK != 0


def is_empty(address: u64) -> bool:
    """Whether no message waits on the short path for the reader of a socket."""
    data = kernel_ptr(address, sock).sk_user_data
    if data & IS_PSOCK == 0:
        return True
    waiting = kernel_ptr(data & ~FLAGS, sk_psock).ingress_msg
    return waiting.next == kernel_address(waiting)


def has_ulp(address: u64) -> bool:
    """Whether something lies between the socket's owner and TCP: TLS, MPTCP."""
    if exists(bpf_rdonly_cast___icsk):
        there = bpf_rdonly_cast___icsk(address, kernel_type_id(inet_connection_sock))
        return there.icsk_ulp_ops != 0
    return kernel_ptr(address, inet_connection_sock).icsk_ulp_ops != 0


def has_read(address: u64, seq: u32) -> bool:
    """Whether the owner of a socket has read all that TCP carried up to `seq`.

    `copied_seq` moves when bytes are in the reader's memory, and alone would do. Linux
    before January 2026 lets it count what came by the short path as well where a stream
    parser is attached: there it could be equal by chance, with as many bytes unread. The
    receive queue alone would not do: tcp_queue_rcv() moves `rcv_nxt` before the bytes are
    in it.
    """
    tcp = kernel_ptr(address, tcp_sock)
    if tcp.copied_seq != seq or tcp.rcv_nxt != seq:
        return False
    return kernel_ptr(address, sock).sk_receive_queue.qlen == 0


def is_shut(own: tcp_sock) -> bool:
    """Whether this end has said its last word."""
    return kernel_ptr(own, sock).sk_shutdown & SEND_SHUTDOWN != 0


def is_covered(own: tcp_sock) -> bool:
    """As `has_ulp`, of this end, which is read as the kernel types it."""
    return kernel_ptr(own, inet_connection_sock).icsk_ulp_ops != 0


def is_mptcp(address: u64) -> bool:
    """Whether a socket is one of several of an MPTCP connection."""
    if exists(tcp_sock.is_mptcp):
        return kernel_ptr(address, tcp_sock).is_mptcp != 0
    return False


def waits(address: u64) -> u32:
    """Whether the owner of a socket waits inside recv(): BLOCKING, UNACCEPTED, NOTHING.

    tcp_bpf_recvmsg() waits once and then gives up, whatever woke it, and one that waits in
    tcp_recvmsg() for more (MSG_WAITALL) does not look at what comes by the short path.
    """
    if exists(bpf_rdonly_cast___sock):
        there = bpf_rdonly_cast___sock(address, kernel_type_id(sock)).sk_socket
        if kernel_address(there) == 0:
            return Why.UNACCEPTED
        return Why.NOTHING if there.file.f_flags & O_NONBLOCK != 0 else Why.BLOCKING
    owned = kernel_ptr(address, sock).sk_socket
    if kernel_address(owned) == 0:
        return Why.UNACCEPTED
    if owned.file.f_flags & O_NONBLOCK != 0:
        return Why.NOTHING
    return Why.BLOCKING
