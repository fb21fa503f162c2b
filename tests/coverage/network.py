"""Features of the selftests: XDP, tc, sockets and the hooks around them."""

from beewire.bpf import (
    Array,
    FlowDissector,
    Kernel,
    LircSample,
    Netfilter,
    ReusePortSockArray,
    SkBuff,
    SkLookup,
    SkReuseport,
    SocketFilter,
    SockMap,
    Struct,
    XdpAction,
    XdpContext,
    array,
    be16,
    be32,
    cgroup_skb_ingress,
    flow_dissector,
    held,
    helpers,
    htons,
    ip4,
    kernel_ptr,
    lirc_mode2,
    lwt_xmit,
    netfilter,
    redirect,
    sizeof,
    sk_assign,
    sk_lookup,
    sk_lookup_tcp,
    sk_lookup_udp,
    sk_release,
    sk_reuseport,
    sk_reuseport_migrate,
    sk_skb_stream_verdict,
    socket_filter,
    tc,
    tcx_ingress,
    u8,
    u16,
    u32,
    u64,
    xdp,
    xdp_devmap,
)
from tests.coverage.packets import Ethernet, Ipv4, Tcp


class Tuple(Struct):
    source: be32
    target: be32
    source_port: be16
    target_port: be16


class FibLookup(Struct):
    family: u8 = 0
    protocol: u8 = 0
    source_port: be16 = 0
    target_port: be16 = 0
    length: u16 = 0
    ifindex: u32 = 0
    flow: u32 = 0
    source: list[be32] = array(be32, 4, default=0)
    target: list[be32] = array(be32, 4, default=0)
    vlan: u32 = 0
    source_mac: bytes = array(u8, 6, default=0)
    target_mac: bytes = array(u8, 6, default=0)


class sk_buff(Kernel):
    len: u32


listeners = ReusePortSockArray(max_entries=4)
sockets = SockMap[u32](max_entries=4)
samples = Array[u64](max_entries=1)


@xdp
def head_room(ctx: XdpContext) -> XdpAction:
    if helpers.xdp_adjust_head(ctx, -sizeof(Ipv4)) != 0:
        return XdpAction.ABORTED
    if (frame := ctx.at(0, Ethernet)) is None:
        return XdpAction.ABORTED
    frame.protocol = be16(0x0800)
    return XdpAction.PASS


@xdp
def tail_room(ctx: XdpContext) -> XdpAction:
    before = ctx.length
    if helpers.xdp_adjust_tail(ctx, -4) != 0:
        return XdpAction.ABORTED
    return XdpAction.PASS if ctx.length == before - 4 else XdpAction.DROP


@xdp
def room_for_metadata(ctx: XdpContext) -> XdpAction:
    failed = helpers.xdp_adjust_meta(ctx, -4)
    return XdpAction.PASS if failed == 0 else XdpAction.DROP


@xdp
def frames_sent_back(ctx: XdpContext) -> XdpAction:
    if (frame := ctx.at(0, Ethernet)) is None or ctx.length > 9000:
        return XdpAction.PASS
    if frame.protocol != be16(0x88B5):
        return XdpAction.PASS
    frame.target, frame.source = frame.source, frame.target
    return XdpAction.TX


@xdp
def redirect_to_interfaces(ctx: XdpContext) -> XdpAction:
    return redirect(1) if ctx.length < 20 else XdpAction.PASS


@xdp_devmap
def programs_of_devices(ctx: XdpContext) -> XdpAction:
    return XdpAction.PASS if ctx.egress_ifindex else XdpAction.DROP


@xdp
def routes_looked_up(ctx: XdpContext) -> XdpAction:
    where = FibLookup(family=2, length=64, ifindex=1)
    where.target[0] = ip4("127.0.0.1")
    found = helpers.fib_lookup(ctx, where, sizeof(FibLookup), 0)
    return XdpAction.PASS if found >= 0 else XdpAction.DROP


@xdp
def sockets_looked_up(ctx: XdpContext) -> XdpAction:
    where = Tuple(
        source=ip4("127.0.0.1"),
        target=ip4("127.0.0.1"),
        source_port=htons(1),
        target_port=htons(1),
    )
    with held(sk_lookup_tcp(ctx, where)) as sk:
        return XdpAction.DROP if sk is not None else XdpAction.PASS


@tc
def sockets_assigned(ctx: SkBuff) -> int:
    where = Tuple(
        source=ip4("127.0.0.1"),
        target=ip4("127.0.0.1"),
        source_port=htons(1),
        target_port=htons(1),
    )
    if (sk := sk_lookup_udp(ctx, where)) is None:
        return 1
    failed = sk_assign(ctx, sk)
    sk_release(sk)
    return 0 if failed else 1


@tc
def checksums_replaced(ctx: SkBuff) -> int:
    if helpers.l3_csum_replace(ctx, 24, 1, 2, 2) != 0:
        return 0
    return 1 if helpers.l4_csum_replace(ctx, 50, 1, 2, 2) == 0 else 0


@socket_filter
def bytes_from_a_header(ctx: SocketFilter) -> int:
    version = array(u8, 1)
    if helpers.skb_load_bytes_relative(ctx, 0, version, 1, 1) != 0:
        return 0
    return 1 if version[0] == 0x45 else 0


@tc
def packets_pulled(ctx: SkBuff) -> int:
    if ctx.pull(54) != 0 or (tcp := ctx.at(34, Tcp)) is None:
        return 0
    tcp.flags |= 0x40
    return 1


@tc
def metadata_of_packets(ctx: SkBuff) -> int:
    ctx.mark, ctx.priority = 7, 3
    ctx.cb[0] = ctx.length
    ctx.tstamp = 1
    return 1 if ctx.mark == 7 and ctx.cb[0] == ctx.length else 0


@tc
def room_in_the_middle(ctx: SkBuff) -> int:
    # BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4: an outer header
    before = ctx.length
    if helpers.skb_adjust_room(ctx, sizeof(Ipv4), 1, 2) != 0:
        return 0
    return 1 if ctx.length == before + sizeof(Ipv4) else 0


@tc
def vlan_tags(ctx: SkBuff) -> int:
    if helpers.skb_vlan_push(ctx, htons(0x8100), 7) != 0:
        return 0
    return 1 if ctx.vlan_tci & 0xFFF == 7 else 0


@tc
def redirect_by_neighbours(ctx: SkBuff) -> int:
    if ctx.length < 20:
        return helpers.redirect_neigh(1, None, 0, 0)
    return 1


@tc
def sizes_checked(ctx: SkBuff) -> int:
    mtu = array(u32, 1)
    return 1 if helpers.check_mtu(ctx, 1, mtu, 0, 0) <= 1 and mtu[0] > 0 else 0


@tcx_ingress
def traffic_of_interfaces(ctx: SkBuff) -> int:
    return 1 if ctx.at(14, Ipv4) is not None else 0


@cgroup_skb_ingress
def ancestors_of_cgroups(ctx: SkBuff) -> int:
    return 1 if helpers.skb_ancestor_cgroup_id(ctx, 0) >= 0 else 0


@sk_lookup
def listeners_chosen(ctx: SkLookup) -> int:
    if ctx.local_port == 7007 and (sk := sockets.lookup(0)) is not None:
        sk_assign(ctx, sk)
        sk_release(sk)
    return 1


@sk_reuseport
def sockets_of_a_port(ctx: SkReuseport) -> int:
    return 1 if listeners.select(ctx, ctx.hash & 3) == 0 else 0


@sk_reuseport_migrate
def connections_migrated(ctx: SkReuseport) -> int:
    if ctx.migrating_sk is not None:
        listeners.select(ctx, 1)
    return 1


@sk_skb_stream_verdict
def streams_redirected(ctx: SkBuff) -> int:
    return helpers.sk_redirect_map(ctx, sockets, 0, 0)


@flow_dissector
def flows_dissected(ctx: FlowDissector) -> int:
    if (ip := ctx.at(0, Ipv4)) is None:
        return 1
    ctx.flow_keys.thoff = ctx.flow_keys.nhoff + ip.words * 4
    ctx.flow_keys.sport = htons(80)
    return 0


@lwt_xmit
def headers_pushed(ctx: SkBuff) -> int:
    outer = Ipv4(
        words=5,
        version=4,
        service=0,
        length=be16(20),
        id=0,
        fragment=0,
        ttl=64,
        protocol=4,
        checksum=0,
        source=ip4("10.0.0.1"),
        target=ip4("10.0.0.2"),
    )
    return 1 if helpers.lwt_push_encap(ctx, 2, outer, sizeof(Ipv4)) <= 0 else 0


@netfilter
def packets_filtered(ctx: Netfilter) -> int:
    return 1 if kernel_ptr(ctx.skb, sk_buff).len else 0


@lirc_mode2
def infrared(ctx: LircSample) -> None:
    samples[0] += ctx.sample & 0xFFFFFF
