"""The TCP side of a socket: `helpers.tcp_sock(sk)`, which few programs need."""

from beewire.bpf import ir
from beewire.bpf.lang.contexts import Context, Readable
from beewire.bpf.lang.types import U64
from beewire.bpf.lang.values import Socket


class BpfTcpSock(Context):
    """`struct bpf_tcp_sock`: what TCP knows of a connection (`helpers.tcp_sock`)."""

    struct_name = "bpf_tcp_sock"
    snd_cwnd = Readable(0)
    srtt_us = Readable(4)
    rtt_min = Readable(8)
    snd_ssthresh = Readable(12)
    rcv_nxt = Readable(16)
    snd_nxt = Readable(20)
    snd_una = Readable(24)
    mss_cache = Readable(28)
    ecn_flags = Readable(32)
    rate_delivered = Readable(36)
    rate_interval_us = Readable(40)
    packets_out = Readable(44)
    retrans_out = Readable(48)
    total_retrans = Readable(52)
    segs_in = Readable(56)
    data_segs_in = Readable(60)
    segs_out = Readable(64)
    data_segs_out = Readable(68)
    lost_out = Readable(72)
    sacked_out = Readable(76)
    bytes_received = Readable(80, U64)
    bytes_acked = Readable(88, U64)
    dsack_dups = Readable(96)
    delivered = Readable(100)
    delivered_ce = Readable(104)
    icsk_retransmits = Readable(108)


class TcpSocket(Socket):
    """A `struct bpf_tcp_sock`, as `tcp_sock` gives it."""

    __slots__ = ()
    cls = BpfTcpSock

    def at(self, op: ir.Op) -> "TcpSocket":
        """The same kind of pointer with another address."""
        return TcpSocket(op, nullable=self.nullable)

    def describe(self) -> str:
        """A noun phrase."""
        return "a TCP socket"
