"""Every connection that was considered and is still there: an iterator over `flows`.

    for each in rows(loaded[live].read(map=loaded[flows])): ...

Of all namespaces; it takes as long as there are sockets in `flows`, and no others.
"""

from beewire.bpf import (
    Kernel,
    Struct,
    bpf_iter_meta,
    embedded,
    helpers,
    iter,  # noqa: A004 - the field's word
    kernel_address,
    kernel_ptr,
    pointer,
    seq_write,
    sizeof,
    u32,
    u64,
)
from beewire.mesh.programs.bypass.sockets import sock_common
from beewire.mesh.programs.bypass.state import Flow

# Of sk_user_data (include/net/sock.h): flags beside the pointer.
IS_PSOCK = 4  # SK_USER_DATA_PSOCK
FLAGS = 7


class bpf_map(Kernel):
    """`struct bpf_map`."""


class sock(Kernel):
    """`struct sock`."""

    sk_user_data: int = pointer()


class tcp_sock(Kernel):
    """`struct tcp_sock`: what TCP itself has counted."""

    bytes_sent: u64
    bytes_retrans: u64
    bytes_received: u64
    data_segs_out: u32
    data_segs_in: u32


class list_head(Kernel):
    """`struct list_head`."""

    next: int = pointer()


class sk_psock(Kernel):
    """`struct sk_psock`: what a socket that is in a map has besides."""

    ingress_msg: list_head = embedded()


def waits(address: u64) -> u32:
    """Whether messages wait on the short path for the reader of a socket."""
    data = kernel_ptr(address, sock).sk_user_data
    if data & IS_PSOCK == 0:
        return 0
    waiting = kernel_ptr(data & ~FLAGS, sk_psock).ingress_msg
    return 1 if waiting.next != kernel_address(waiting) else 0


class Row(Struct):
    """One end of a connection; `sent`, `received` and segments are what TCP carried."""

    flow: Flow = Flow()
    sent: u64 = 0
    received: u64 = 0
    segments_out: u32 = 0
    segments_in: u32 = 0
    state: u32 = 0  # TcpState
    waits: u32 = 0  # whether messages wait for its reader on the short path


@iter("bpf_sk_storage_map")
def live(
    meta: bpf_iter_meta,
    map: bpf_map | None,  # noqa: A002 - the field's word
    sk: sock | None,
    value: u64,
) -> None:
    """Write a Row for each."""
    if sk is None or value == 0:
        return
    # Read as any memory: of a sock the verifier sees no further than its end.
    address = kernel_address(sk)
    tcp = kernel_ptr(address, tcp_sock)
    row = Row(
        sent=tcp.bytes_sent - tcp.bytes_retrans,
        received=tcp.bytes_received,
        segments_out=tcp.data_segs_out,
        segments_in=tcp.data_segs_in,
        state=kernel_ptr(address, sock_common).skc_state,
        waits=waits(address),
    )
    helpers.probe_read_kernel(row.flow, sizeof(Flow), value)
    seq_write(meta.seq, row)
