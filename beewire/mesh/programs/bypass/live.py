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
from beewire.mesh.programs.bypass.sockets import is_empty, is_joined, sock_common
from beewire.mesh.programs.bypass.state import Flow, Mode, Why


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
        waits=0 if is_empty(address) else 1,
    )
    helpers.probe_read_kernel(row.flow, sizeof(Flow), value)
    if row.flow.address != 0 and not is_joined(address):
        row.flow.mode = (
            Mode.TCP
        )  # the other end has taken it out, which it was not told
        row.flow.why = Why.BULK
    seq_write(meta.seq, row)
