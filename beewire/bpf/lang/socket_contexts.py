"""What the hooks of sockets and of their packets pass to programs."""

from beewire.bpf.lang.contexts import (
    Context,
    CopiedPacket,
    MaybeSocket,
    PacketContext,
    Readable,
    ReadableWords,
    Socket,
    Writable,
    WritableArray,
    outside,
)
from beewire.bpf.lang.types import I32, U8, U64, network_type

# In network order: they go into be32 and be16, and into plain integers as they are.
_IP4 = network_type(32, 32)
_PORT = network_type(32, 16)


class SockAddr(Context):
    """`struct bpf_sock_addr`: connect, bind, sendmsg, recvmsg, getpeername, getsockname.

    `user_ip4`, `user_ip6`, `user_port` (low 16 bits) and `msg_src_*` are in network
    order.
    """

    struct_name = "bpf_sock_addr"
    user_family = Readable(0)
    user_ip4 = Writable(4, _IP4)
    user_ip6 = WritableArray(8, 4, _IP4)
    user_port = Writable(24, _PORT)
    family = Readable(28)
    type = Readable(32)
    protocol = Readable(36)
    msg_src_ip4 = Writable(40, _IP4)
    msg_src_ip6 = WritableArray(44, 4, _IP4)
    sk = Socket(64)


class SockOpt(PacketContext):
    """`struct bpf_sockopt`: getsockopt and setsockopt; `at` reaches into optval.

    `level` and `optname` may be written in setsockopt, `retval` in getsockopt.
    """

    struct_name = "bpf_sockopt"
    window = (8, 16, 8)
    sk = Socket(0)
    level = Writable(24, I32)
    optname = Writable(28, I32)
    optlen = Writable(32, I32)
    retval = Writable(36, I32)


class SockOps(PacketContext):
    """`struct bpf_sock_ops`: events in a TCP connection's life.

    Addresses and `remote_port` (high 16 bits on little-endian machines: `ntohl` it) are
    in network order, `local_port` in host order. `at` reaches into the packet.
    """

    struct_name = "bpf_sock_ops"
    window = (192, 200, 8)
    op = Readable(0)
    reply = Writable(4)
    args = ReadableWords(4, 4)
    family = Readable(20)
    remote_ip4 = Readable(24, _IP4)
    local_ip4 = Readable(28, _IP4)
    remote_ip6 = ReadableWords(32, 4, _IP4)
    local_ip6 = ReadableWords(48, 4, _IP4)
    remote_port = Readable(64)
    local_port = Readable(68)
    is_fullsock = Readable(72)
    snd_cwnd = Readable(76)
    srtt_us = Readable(80)
    bpf_sock_ops_cb_flags = Readable(84)
    state = Readable(88)
    rtt_min = Readable(92)
    snd_ssthresh = Readable(96)
    rcv_nxt = Readable(100)
    snd_nxt = Readable(104)
    snd_una = Readable(108)
    mss_cache = Readable(112)
    ecn_flags = Readable(116)
    rate_delivered = Readable(120)
    rate_interval_us = Readable(124)
    packets_out = Readable(128)
    retrans_out = Readable(132)
    total_retrans = Readable(136)
    segs_in = Readable(140)
    data_segs_in = Readable(144)
    segs_out = Readable(148)
    data_segs_out = Readable(152)
    lost_out = Readable(156)
    sacked_out = Readable(160)
    sk_txhash = Writable(164)
    bytes_received = Readable(168, U64)
    bytes_acked = Readable(176, U64)
    sk = MaybeSocket(184)
    skb_len = Readable(208)
    skb_tcp_flags = Readable(212)


class SkMsg(PacketContext):
    """`struct sk_msg_md`: a message that a socket of a sockmap sends.

    Addresses and `remote_port` are in network order (`ntohl` the port), `local_port` in
    host order.
    """

    struct_name = "sk_msg_md"
    window = (0, 8, 8)
    family = Readable(16)
    remote_ip4 = Readable(20, _IP4)
    local_ip4 = Readable(24, _IP4)
    remote_ip6 = ReadableWords(28, 4, _IP4)
    local_ip6 = ReadableWords(44, 4, _IP4)
    remote_port = Readable(60)
    local_port = Readable(64)
    size = Readable(68)
    sk = Socket(72)

    def pull(self, length: int) -> int:  # noqa: ARG002
        """Let `at` see the first `length` bytes; 0, or a negative error."""
        outside("pull")


class SkLookup(Context):
    """`struct bpf_sk_lookup`: which listener gets an incoming connection.

    Addresses and `remote_port` (16 bits) are in network order, `local_port` in host
    order. `sk` is the socket chosen so far.
    """

    struct_name = "bpf_sk_lookup"
    sk = MaybeSocket(0)
    family = Readable(8)
    protocol = Readable(12)
    remote_ip4 = Readable(16, _IP4)
    remote_ip6 = ReadableWords(20, 4, _IP4)
    remote_port = Readable(36, network_type(16, 16))
    local_ip4 = Readable(40, _IP4)
    local_ip6 = ReadableWords(44, 4, _IP4)
    local_port = Readable(60)
    ingress_ifindex = Readable(64)


class SkBuff(CopiedPacket):
    """`struct __sk_buff`: a packet with its metadata; `length` counts bytes.

    `protocol` and the addresses are in network order, `local_port` in host order.
    """

    struct_name = "__sk_buff"
    window = (76, 80, 4)
    length = Readable(0)
    pkt_type = Readable(4)
    mark = Writable(8)
    queue_mapping = Writable(12)
    protocol = Readable(16, _PORT)
    vlan_present = Readable(20)
    vlan_tci = Readable(24)
    vlan_proto = Readable(28)
    priority = Writable(32)
    ingress_ifindex = Readable(36)
    ifindex = Readable(40)
    tc_index = Writable(44)
    cb = WritableArray(48, 5)
    hash = Readable(68)
    tc_classid = Writable(72)
    napi_id = Readable(84)
    family = Readable(88)
    remote_ip4 = Readable(92, _IP4)
    local_ip4 = Readable(96, _IP4)
    remote_ip6 = ReadableWords(100, 4, _IP4)
    local_ip6 = ReadableWords(116, 4, _IP4)
    remote_port = Readable(132)
    local_port = Readable(136)
    tstamp = Writable(152, U64)
    wire_len = Readable(160)
    gso_segs = Readable(164)
    sk = MaybeSocket(168)
    gso_size = Readable(176)
    tstamp_type = Readable(180, U8)
    hwtstamp = Readable(184, U64)

    def pull(self, length: int) -> int:  # noqa: ARG002
        """Let `at` see the first `length` bytes; 0, or a negative error.

        References from `at` are gone afterwards (tc programs, Linux 4.9).
        """
        outside("pull")
