"""Decorators of the rarer networking and cgroup hooks.

What a program returns is the kernel's: TC_ACT_*, BPF_OK, NF_ACCEPT, ... A function that
is annotated `-> None` lets the packet, or the access, pass.
"""

from __future__ import annotations

from beewire.bpf.author.net_programs import (
    InterfaceProgram,
    LircProgram,
    NetfilterProgram,
    ReuseportProgram,
    RouteProgram,
    SkSkbProgram,
    SocketFilterProgram,
    TcProgram,
)
from beewire.bpf.author.program import (
    CgroupProgram,
    NetnsProgram,
    Program,
    XdpProgram,
)
from beewire.bpf.author.signature import check_signature
from beewire.bpf.lang.contexts import (
    BpfSock,
    Context,
    XdpContext,
)
from beewire.bpf.lang.net_contexts import (
    DeviceAccess,
    FlowDissector,
    LircSample,
    Netfilter,
    SkReuseport,
    SocketFilter,
    Sysctl,
)
from beewire.bpf.lang.socket_contexts import (
    SkBuff,
    SockAddr,
)
from beewire.bpf.object.sections import parse_section
from beewire.hints import Any, Callable, TypeVar

SkbF = TypeVar("SkbF", bound=Callable[[SkBuff], "int | None"])
FilterF = TypeVar("FilterF", bound=Callable[[SocketFilter], "int | None"])
SockF = TypeVar("SockF", bound=Callable[[BpfSock], "int | None"])
AddrF = TypeVar("AddrF", bound=Callable[[SockAddr], "int | None"])
XdpF = TypeVar("XdpF", bound=Callable[[XdpContext], "int | None"])
SysctlF = TypeVar("SysctlF", bound=Callable[[Sysctl], "int | None"])
DeviceF = TypeVar("DeviceF", bound=Callable[[DeviceAccess], "int | None"])
ReuseF = TypeVar("ReuseF", bound=Callable[[SkReuseport], "int | None"])
FlowF = TypeVar("FlowF", bound=Callable[[FlowDissector], "int | None"])
NetF = TypeVar("NetF", bound=Callable[[Netfilter], "int | None"])
LircF = TypeVar("LircF", bound=Callable[[LircSample], "int | None"])
P = TypeVar("P", bound="Program[Any]")

ALLOW = SK_PASS = NF_ACCEPT = 1
TC_ACT_OK = BPF_OK = 0
TCX_NEXT = -1
XDP_PASS = 2
EVERYTHING = 0xFFFF_FFFF  # as many bytes of the packet as there are


def _mark(
    cls: type[P], section: str, function: object, context: type[Context], neutral: int
) -> P:
    found = parse_section(section)
    return cls(
        check_signature(function, section.replace("/", "_"), context),
        kind=found.kind,
        section=section,
        context=context,
        attach_kind=found.attach_kind,
        neutral=neutral,
        flags=found.flags,
    )


def tc(function: SkbF) -> TcProgram[SkbF]:
    """Packets of an interface in the direction that `attach` says: a TC_ACT_*."""
    return _mark(TcProgram, "tc", function, SkBuff, TC_ACT_OK)


def tc_action(function: SkbF) -> Program[SkbF]:
    """An action of `tc`: a TC_ACT_*."""
    return _mark(Program, "action", function, SkBuff, TC_ACT_OK)


def tcx_ingress(function: SkbF) -> InterfaceProgram[SkbF]:
    """Packets that an interface receives: TCX_NEXT (-1) goes on (Linux 6.6)."""
    return _mark(InterfaceProgram, "tcx/ingress", function, SkBuff, TCX_NEXT)


def tcx_egress(function: SkbF) -> InterfaceProgram[SkbF]:
    """Packets that an interface sends: TCX_NEXT (-1) goes on (Linux 6.6)."""
    return _mark(InterfaceProgram, "tcx/egress", function, SkBuff, TCX_NEXT)


def netkit_primary(function: SkbF) -> InterfaceProgram[SkbF]:
    """Packets that the host's end of a netkit pair sends (Linux 6.7)."""
    return _mark(InterfaceProgram, "netkit/primary", function, SkBuff, TCX_NEXT)


def netkit_peer(function: SkbF) -> InterfaceProgram[SkbF]:
    """Packets that the container's end of a netkit pair sends (Linux 6.7)."""
    return _mark(InterfaceProgram, "netkit/peer", function, SkBuff, TCX_NEXT)


def socket_filter(function: FilterF) -> SocketFilterProgram[FilterF]:
    """A filter of one socket: how many bytes of the packet it gets, 0 drops it."""
    return _mark(SocketFilterProgram, "socket", function, SocketFilter, EVERYTHING)


def xdp_frags(function: XdpF) -> XdpProgram[XdpF]:
    """As `xdp`, also of packets that come in pieces, as long ones do (Linux 5.18).

    The window of the packet is its first piece; `helpers.xdp_load_bytes` reads all.
    """
    return _mark(XdpProgram, "xdp.frags", function, XdpContext, XDP_PASS)


def xdp_devmap(function: XdpF) -> Program[XdpF]:
    """Frames that are redirected by a device map, before they are sent (Linux 5.8)."""
    return _mark(Program, "xdp/devmap", function, XdpContext, XDP_PASS)


def xdp_cpumap(function: XdpF) -> Program[XdpF]:
    """Frames that are redirected by a CPU map, on the other CPU (Linux 5.9)."""
    return _mark(Program, "xdp/cpumap", function, XdpContext, XDP_PASS)


def lwt_in(function: SkbF) -> RouteProgram[SkbF]:
    """Packets that a route receives: BPF_OK, BPF_DROP (Linux 4.10)."""
    return _mark(RouteProgram, "lwt_in", function, SkBuff, BPF_OK)


def lwt_out(function: SkbF) -> RouteProgram[SkbF]:
    """Packets that a route sends: BPF_OK, BPF_DROP (Linux 4.10)."""
    return _mark(RouteProgram, "lwt_out", function, SkBuff, BPF_OK)


def lwt_xmit(function: SkbF) -> RouteProgram[SkbF]:
    """Packets of a route before they are sent: BPF_OK, BPF_DROP, BPF_REDIRECT."""
    return _mark(RouteProgram, "lwt_xmit", function, SkBuff, BPF_OK)


def lwt_seg6local(function: SkbF) -> RouteProgram[SkbF]:
    """IPv6 segment routing at this node (End.BPF): BPF_OK, BPF_DROP (Linux 4.18)."""
    return _mark(RouteProgram, "lwt_seg6local", function, SkBuff, BPF_OK)


def sk_skb_verdict(function: SkbF) -> SkSkbProgram[SkbF]:
    """Data that a socket of a sockmap received: SK_PASS, SK_DROP (Linux 5.13)."""
    return _mark(SkSkbProgram, "sk_skb/verdict", function, SkBuff, SK_PASS)


def sk_skb_stream_verdict(function: SkbF) -> SkSkbProgram[SkbF]:
    """As `sk_skb_verdict`, of whole messages, beside a parser (Linux 4.14)."""
    return _mark(SkSkbProgram, "sk_skb/stream_verdict", function, SkBuff, SK_PASS)


def sk_skb_stream_parser(function: SkbF) -> SkSkbProgram[SkbF]:
    """How long the message at the start of a stream is; 0 when more is needed."""
    return _mark(SkSkbProgram, "sk_skb/stream_parser", function, SkBuff, 0)


def sk_reuseport(function: ReuseF) -> ReuseportProgram[ReuseF]:
    """Which socket of a SO_REUSEPORT group gets a packet (Linux 4.19).

    SK_PASS after `helpers.sk_select_reuseport`, or as the kernel chose; SK_DROP drops.
    """
    return _mark(ReuseportProgram, "sk_reuseport", function, SkReuseport, SK_PASS)


def sk_reuseport_migrate(function: ReuseF) -> ReuseportProgram[ReuseF]:
    """As `sk_reuseport`, also when a listener closes with connections (Linux 5.14)."""
    return _mark(
        ReuseportProgram, "sk_reuseport/migrate", function, SkReuseport, SK_PASS
    )


def flow_dissector(function: FlowF) -> NetnsProgram[FlowF]:
    """How the headers of packets are parsed, into `ctx.flow_keys`: BPF_OK (Linux 5.0)."""
    return _mark(NetnsProgram, "flow_dissector", function, FlowDissector, BPF_OK)


def netfilter(function: NetF) -> NetfilterProgram[NetF]:
    """A hook of netfilter: NF_DROP (0), NF_ACCEPT (1) (Linux 6.4)."""
    return _mark(NetfilterProgram, "netfilter", function, Netfilter, NF_ACCEPT)


def lirc_mode2(function: LircF) -> LircProgram[LircF]:
    """What an infrared receiver sees, to be decoded (Linux 4.18)."""
    return _mark(LircProgram, "lirc_mode2", function, LircSample, 0)


def sysctl(function: SysctlF) -> CgroupProgram[SysctlF]:
    """Reads and writes below /proc/sys: 0 refuses, 1 allows (Linux 5.2)."""
    return _mark(CgroupProgram, "cgroup/sysctl", function, Sysctl, ALLOW)


def device(function: DeviceF) -> CgroupProgram[DeviceF]:
    """Access to device nodes: 0 refuses, 1 allows (Linux 4.15)."""
    return _mark(CgroupProgram, "cgroup/dev", function, DeviceAccess, ALLOW)


def post_bind4(function: SockF) -> CgroupProgram[SockF]:
    """After bind() of IPv4 sockets: 0 undoes it (Linux 4.17)."""
    return _mark(CgroupProgram, "cgroup/post_bind4", function, BpfSock, ALLOW)


def post_bind6(function: SockF) -> CgroupProgram[SockF]:
    """After bind() of IPv6 sockets: 0 undoes it (Linux 4.17)."""
    return _mark(CgroupProgram, "cgroup/post_bind6", function, BpfSock, ALLOW)


def connect_unix(function: AddrF) -> CgroupProgram[AddrF]:
    """connect() of Unix sockets: 0 refuses, 1 allows (Linux 6.7)."""
    return _mark(CgroupProgram, "cgroup/connect_unix", function, SockAddr, ALLOW)


def sendmsg_unix(function: AddrF) -> CgroupProgram[AddrF]:
    """sendmsg() with an address on Unix sockets: 0 refuses, 1 allows (Linux 6.7)."""
    return _mark(CgroupProgram, "cgroup/sendmsg_unix", function, SockAddr, ALLOW)


def recvmsg_unix(function: AddrF) -> CgroupProgram[AddrF]:
    """recvmsg() on Unix sockets; returns 1 (Linux 6.7)."""
    return _mark(CgroupProgram, "cgroup/recvmsg_unix", function, SockAddr, ALLOW)


def getpeername_unix(function: AddrF) -> CgroupProgram[AddrF]:
    """getpeername() of Unix sockets; returns 1 (Linux 6.7)."""
    return _mark(CgroupProgram, "cgroup/getpeername_unix", function, SockAddr, ALLOW)


def getsockname_unix(function: AddrF) -> CgroupProgram[AddrF]:
    """getsockname() of Unix sockets; returns 1 (Linux 6.7)."""
    return _mark(CgroupProgram, "cgroup/getsockname_unix", function, SockAddr, ALLOW)
