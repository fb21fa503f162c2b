"""Every connection that was considered and is still there: an iterator over `flows`.

    for each in rows(loaded[live].read(map=loaded[flows])): ...

Of all namespaces; it takes as long as there are sockets in `flows`, and no others.
"""

from beewire.bpf import (
    Kernel,
    Struct,
    bpf_iter_meta,
    helpers,
    iter,  # noqa: A004 - the field's word
    kernel_address,
    kernel_ptr,
    seq_write,
    sizeof,
    u32,
    u64,
)
from beewire.mesh.programs.bypass.sockets import sock_common
from beewire.mesh.programs.bypass.state import Flow


class bpf_map(Kernel):
    """`struct bpf_map`."""


class sock(Kernel):
    """`struct sock`."""


class tcp_sock(Kernel):
    """`struct tcp_sock`: what TCP itself has counted."""

    bytes_sent: u64
    bytes_retrans: u64
    bytes_received: u64
    data_segs_out: u32
    data_segs_in: u32


class Row(Struct):
    """One end of a connection; `sent`, `received` and segments are what TCP carried."""

    flow: Flow = Flow()
    sent: u64 = 0
    received: u64 = 0
    segments_out: u32 = 0
    segments_in: u32 = 0
    state: u32 = 0  # TcpState
    unused: u32 = 0


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
    )
    helpers.probe_read_kernel(row.flow, sizeof(Flow), value)
    seq_write(meta.seq, row)
