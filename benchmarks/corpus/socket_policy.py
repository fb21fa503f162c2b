"""What the processes of a cgroup may do with sockets: kinds, ports to bind, options to set."""

from beewire.bpf import (
    BpfSock,
    Global,
    HashMap,
    PerCpuArray,
    SockAddr,
    SockOpt,
    Struct,
    bind4,
    cgroup_sock_create,
    current_uid,
    ntohs,
    setsockopt,
    u8,
    u16,
    u32,
    u64,
)
from corpus.headers import AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP

ALLOW = 1
DENY = 0
SOCK_STREAM = 1
SOCK_DGRAM = 2
SOCK_RAW = 3
SOL_SOCKET = 1
SOL_TCP = 6
SO_SNDBUF = 7
SO_RCVBUF = 8
SO_MARK = 36
SO_RCVBUFFORCE = 33
TCP_CONGESTION = 13
TCP_MD5SIG = 14
ROOT = 0


class Grant(Struct):
    uid: u32
    port: u16
    protocol: u8
    padding: u8


class Limits(Struct):
    first_port: u16
    last_port: u16
    allow_raw: bool
    allow_mark: bool
    largest_buffer: u32


class Word(Struct):
    value: u32


limits = Global(
    Limits, Limits(first_port=1024, last_port=32767, largest_buffer=1 << 20)
)
grants = HashMap[Grant, u32](max_entries=1024)
denied = PerCpuArray[u64](max_entries=3)
CREATE = 0
BIND = 1
OPTION = 2


@cgroup_sock_create
def may_create(ctx: BpfSock) -> int:
    if ctx.family not in (AF_INET, AF_INET6):
        return ALLOW
    if ctx.type in (SOCK_STREAM, SOCK_DGRAM) and ctx.protocol in (
        0,
        IPPROTO_TCP,
        IPPROTO_UDP,
    ):
        return ALLOW
    if ctx.type == SOCK_RAW and limits.allow_raw:
        return ALLOW
    denied[CREATE] += 1
    return DENY


@bind4
def may_bind(ctx: SockAddr) -> int:
    port = ntohs(ctx.user_port)
    if port == 0 or limits.first_port <= port <= limits.last_port:
        return ALLOW
    uid = current_uid()
    if uid == ROOT:
        return ALLOW
    if Grant(uid=uid, port=port, protocol=ctx.protocol) in grants:
        return ALLOW
    denied[BIND] += 1
    return DENY


@setsockopt
def may_set(ctx: SockOpt) -> int:
    refuse: bool = False
    if ctx.level == SOL_SOCKET:
        match ctx.optname:
            case 36:
                refuse = not limits.allow_mark
            case 7 | 8 | 33:
                size = ctx.at(0, Word)
                refuse = size is not None and size.value > limits.largest_buffer
            case _:
                pass
    elif ctx.level == SOL_TCP:
        refuse = ctx.optname in (TCP_CONGESTION, TCP_MD5SIG)
    if refuse:
        denied[OPTION] += 1
        return DENY
    return ALLOW
