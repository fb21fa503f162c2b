"""The kernel's enums that programs speak in: verdicts, events, states.

Apart from the contexts, since few programs name one and each costs start-up time.
"""

from enum import IntEnum, IntFlag


class XdpAction(IntEnum):
    """`enum xdp_action`: what becomes of the frame."""

    ABORTED = 0
    DROP = 1
    PASS = 2
    TX = 3
    REDIRECT = 4


class SkAction(IntEnum):
    """`enum sk_action`."""

    SK_DROP = 0
    SK_PASS = 1


class SockOp(IntEnum):
    """`BPF_SOCK_OPS_*`: why a sock_ops program runs."""

    VOID = 0
    TIMEOUT_INIT = 1
    RWND_INIT = 2
    TCP_CONNECT_CB = 3
    ACTIVE_ESTABLISHED_CB = 4
    PASSIVE_ESTABLISHED_CB = 5
    NEEDS_ECN = 6
    BASE_RTT = 7
    RTO_CB = 8
    RETRANS_CB = 9
    STATE_CB = 10
    TCP_LISTEN_CB = 11
    RTT_CB = 12
    PARSE_HDR_OPT_CB = 13
    HDR_OPT_LEN_CB = 14
    WRITE_HDR_OPT_CB = 15


class SockOpsFlag(IntFlag):
    """`BPF_SOCK_OPS_*_FLAG`: further events to be told, for `sock_ops_cb_flags_set`."""

    RTO_CB = 1
    RETRANS_CB = 2
    STATE_CB = 4
    RTT_CB = 8
    PARSE_ALL_HDR_OPT_CB = 16
    PARSE_UNKNOWN_HDR_OPT_CB = 32
    WRITE_HDR_OPT_CB = 64


class TcpState(IntEnum):
    """`BPF_TCP_*`: the states of a TCP socket (`SockOps.args`, `BpfSock.state`)."""

    ESTABLISHED = 1
    SYN_SENT = 2
    SYN_RECV = 3
    FIN_WAIT1 = 4
    FIN_WAIT2 = 5
    TIME_WAIT = 6
    CLOSE = 7
    CLOSE_WAIT = 8
    LAST_ACK = 9
    LISTEN = 10
    CLOSING = 11
    NEW_SYN_RECV = 12
