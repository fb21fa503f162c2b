"""Features of the selftests: the hooks of cgroups and of TCP connections."""

from beewire.bpf import (
    BpfSock,
    DeviceAccess,
    Global,
    SkBuff,
    SockAddr,
    SockOp,
    SockOps,
    SockOpsFlag,
    SockOpt,
    Struct,
    Sysctl,
    array,
    be16,
    be32,
    bind,
    bind4,
    cgroup_skb_egress,
    cgroup_sock_create,
    chars,
    connect4,
    connect_unix,
    device,
    get_retval,
    getpeername4,
    getsockopt,
    helpers,
    htons,
    i32,
    ip4,
    netns_cookie,
    sendmsg4,
    set_retval,
    sk_fullsock,
    sock_ops,
    sock_ops_cb_flags_set,
    socket_cookie,
    sysctl,
    u8,
    u16,
    u32,
    u64,
)


class Address(Struct):
    family: u16
    port: be16
    address: be32
    zero: bytes = array(u8, 8, default=0)


class Option(Struct):
    value: u32


class Name(Struct):
    text: str = chars(32, default="")


class HeaderOption(Struct):
    kind: u8
    length: u8
    magic: be16
    data: u8
    pad: bytes = array(u8, 3, default=0)


open_sockets = Global(i32)
bytes_sent = Global(u64)


@connect4
def addresses_rewritten(ctx: SockAddr) -> int:
    if ctx.user_ip4 == ip4("10.0.0.1") and ctx.user_port == htons(80):
        ctx.user_ip4 = ip4("127.0.0.1")
        ctx.user_port = htons(8080)
    return 1


@connect4
def sources_bound(ctx: SockAddr) -> int:
    source = Address(family=2, port=htons(0), address=ip4("127.0.0.1"))
    return 1 if bind(ctx, source) == 0 else 0


@bind4
def addresses_to_bind(ctx: SockAddr) -> int:
    ctx.user_port = htons(4040)
    return 1


@sendmsg4
def datagrams_rewritten(ctx: SockAddr) -> int:
    ctx.msg_src_ip4 = ip4("127.0.0.1")
    return 1


@getpeername4
def names_of_peers(ctx: SockAddr) -> int:
    ctx.user_ip4 = ip4("10.0.0.1")
    return 1


@connect_unix
def unix_sockets(ctx: SockAddr) -> int:
    return 1 if ctx.type == 1 else 0


@getsockopt
def options_read(ctx: SockOpt) -> int:
    if ctx.level == 0 and (option := ctx.at(0, Option)) is not None:
        option.value = 7
        ctx.optlen = 4
        ctx.retval = 0
    return 1


@cgroup_sock_create
def sockets_created(ctx: BpfSock) -> int:
    ctx.mark = 7
    open_sockets.value += 1
    return 1 if open_sockets.value <= 100 else 0


@cgroup_skb_egress
def traffic_counted(ctx: SkBuff) -> int:
    bytes_sent.value += ctx.length
    return 1


@cgroup_skb_egress
def fields_of_sockets(ctx: SkBuff) -> int:
    if (sk := ctx.sk) is None or (full := sk_fullsock(sk)) is None:
        return 1
    if (connection := helpers.tcp_sock(full)) is not None:
        bytes_sent.value += connection.snd_cwnd
    return 1


@sysctl
def settings_read(ctx: Sysctl) -> int:
    name = Name()
    helpers.sysctl_get_name(ctx, name.text, 32, 0)
    return 0 if ctx.write and name.text == "net/ipv4/tcp_mem" else 1


@device
def devices(ctx: DeviceAccess) -> int:
    return 1 if ctx.major == 1 and ctx.minor in (3, 5, 9) else 0


@connect4
def results_of_calls(ctx: SockAddr) -> int:
    if get_retval() == 0:
        set_retval(-13)
    return 1


@connect4
def cookies_of_sockets(ctx: SockAddr) -> int:
    return 1 if socket_cookie(ctx) and netns_cookie(ctx) else 0


@sock_ops
def events_of_connections(ctx: SockOps) -> None:
    if ctx.op == SockOp.TCP_CONNECT_CB:
        sock_ops_cb_flags_set(ctx, SockOpsFlag.STATE_CB | SockOpsFlag.RTT_CB)
    elif ctx.op == SockOp.RTT_CB:
        bytes_sent.value += ctx.srtt_us


@sock_ops
def options_of_headers(ctx: SockOps) -> None:
    if ctx.op == SockOp.HDR_OPT_LEN_CB:
        helpers.reserve_hdr_opt(ctx, 8)
    elif ctx.op == SockOp.WRITE_HDR_OPT_CB:
        option = HeaderOption(kind=254, length=8, magic=htons(0xEB9F), data=7)
        helpers.store_hdr_opt(ctx, option, 8)


@sock_ops
def options_set_by_programs(ctx: SockOps) -> None:
    if ctx.op == SockOp.ACTIVE_ESTABLISHED_CB:
        name = Name(text="reno")
        helpers.setsockopt(ctx, 6, 13, name.text, 5)
