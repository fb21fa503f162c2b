"""The decorators: one for each hook, by the kernel's name for it.

    @tracepoint("sched:sched_process_exec")
    def on_exec(ctx: Tracepoint) -> None: ...

    @connect4
    def outbound(ctx: SockAddr) -> int: ...

A function annotated `-> None` returns what changes nothing: 0 when tracing, 1 (allow) on
cgroups, SK_PASS and XDP_PASS elsewhere.
"""

from __future__ import annotations

from beewire.bpf.author.program import (
    CgroupProgram,
    NetnsProgram,
    Program,
    RawTracepointProgram,
    SkMsgProgram,
    TracepointProgram,
    XdpProgram,
)
from beewire.bpf.author.signature import check_signature
from beewire.bpf.lang.contexts import (
    BpfSock,
    Context,
    RawTracepoint,
    Tracepoint,
    XdpContext,
)
from beewire.bpf.object.kinds import AttachKind, ProgramKind
from beewire.errors import SpecError
from beewire.hints import TYPE_CHECKING, Any, Callable, TypeVar

if TYPE_CHECKING:
    from beewire.bpf.lang.socket_contexts import (
        SkBuff,
        SkLookup,
        SkMsg,
        SockAddr,
        SockOps,
        SockOpt,
    )

T = TypeVar("T", bound=Tracepoint)
R = TypeVar("R", bound="int | None")
RawF = TypeVar("RawF", bound=Callable[[RawTracepoint], "int | None"])
AddrF = TypeVar("AddrF", bound="Callable[[SockAddr], int | None]")
OptF = TypeVar("OptF", bound="Callable[[SockOpt], int | None]")
OpsF = TypeVar("OpsF", bound="Callable[[SockOps], int | None]")
SockF = TypeVar("SockF", bound=Callable[[BpfSock], "int | None"])
SkbF = TypeVar("SkbF", bound="Callable[[SkBuff], int | None]")
MsgF = TypeVar("MsgF", bound="Callable[[SkMsg], int | None]")
LookupF = TypeVar("LookupF", bound="Callable[[SkLookup], int | None]")
XdpF = TypeVar("XdpF", bound=Callable[[XdpContext], "int | None"])

ALLOW = 1
SK_PASS = 1
XDP_PASS = 2


class Hook:
    """What the programs of one hook have in common; `section` is libbpf's name for it.

    A context of `socket_contexts` is given by its name.
    """

    __slots__ = ("_context", "attach_kind", "kind", "neutral", "section")

    def __init__(
        self,
        kind: ProgramKind,
        attach_kind: AttachKind | None,
        section: str,
        context: type[Context] | str,
        neutral: int = ALLOW,
    ) -> None:
        self.kind = kind
        self.attach_kind = attach_kind
        self.section = section
        self._context = context
        self.neutral = neutral

    @property
    def context(self) -> type[Context]:
        """What programs are passed."""
        if not isinstance(self._context, str):
            return self._context
        from beewire.bpf.lang import socket_contexts  # noqa: PLC0415 - not for tracing

        found: type[Context] = getattr(socket_contexts, self._context)
        return found


def _addr(attach_kind: AttachKind, section: str) -> Hook:
    return Hook(ProgramKind.CGROUP_SOCK_ADDR, attach_kind, section, "SockAddr")


HOOKS = {
    "tracepoint": Hook(ProgramKind.TRACEPOINT, None, "tracepoint", Tracepoint, 0),
    "raw_tracepoint": Hook(
        ProgramKind.RAW_TRACEPOINT, None, "raw_tracepoint", RawTracepoint, 0
    ),
    "bind4": _addr(AttachKind.CGROUP_INET4_BIND, "cgroup/bind4"),
    "bind6": _addr(AttachKind.CGROUP_INET6_BIND, "cgroup/bind6"),
    "connect4": _addr(AttachKind.CGROUP_INET4_CONNECT, "cgroup/connect4"),
    "connect6": _addr(AttachKind.CGROUP_INET6_CONNECT, "cgroup/connect6"),
    "getpeername4": _addr(AttachKind.CGROUP_INET4_GETPEERNAME, "cgroup/getpeername4"),
    "getpeername6": _addr(AttachKind.CGROUP_INET6_GETPEERNAME, "cgroup/getpeername6"),
    "getsockname4": _addr(AttachKind.CGROUP_INET4_GETSOCKNAME, "cgroup/getsockname4"),
    "getsockname6": _addr(AttachKind.CGROUP_INET6_GETSOCKNAME, "cgroup/getsockname6"),
    "sendmsg4": _addr(AttachKind.CGROUP_UDP4_SENDMSG, "cgroup/sendmsg4"),
    "sendmsg6": _addr(AttachKind.CGROUP_UDP6_SENDMSG, "cgroup/sendmsg6"),
    "recvmsg4": _addr(AttachKind.CGROUP_UDP4_RECVMSG, "cgroup/recvmsg4"),
    "recvmsg6": _addr(AttachKind.CGROUP_UDP6_RECVMSG, "cgroup/recvmsg6"),
    "getsockopt": Hook(
        ProgramKind.CGROUP_SOCKOPT,
        AttachKind.CGROUP_GETSOCKOPT,
        "cgroup/getsockopt",
        "SockOpt",
    ),
    "setsockopt": Hook(
        ProgramKind.CGROUP_SOCKOPT,
        AttachKind.CGROUP_SETSOCKOPT,
        "cgroup/setsockopt",
        "SockOpt",
    ),
    "sock_ops": Hook(
        ProgramKind.SOCK_OPS, AttachKind.CGROUP_SOCK_OPS, "sockops", "SockOps"
    ),
    "cgroup_skb_ingress": Hook(
        ProgramKind.CGROUP_SKB,
        AttachKind.CGROUP_INET_INGRESS,
        "cgroup_skb/ingress",
        "SkBuff",
    ),
    "cgroup_skb_egress": Hook(
        ProgramKind.CGROUP_SKB,
        AttachKind.CGROUP_INET_EGRESS,
        "cgroup_skb/egress",
        "SkBuff",
    ),
    "cgroup_sock_create": Hook(
        ProgramKind.CGROUP_SOCK,
        AttachKind.CGROUP_INET_SOCK_CREATE,
        "cgroup/sock_create",
        BpfSock,
    ),
    "cgroup_sock_release": Hook(
        ProgramKind.CGROUP_SOCK,
        AttachKind.CGROUP_INET_SOCK_RELEASE,
        "cgroup/sock_release",
        BpfSock,
    ),
    "sk_msg": Hook(
        ProgramKind.SK_MSG, AttachKind.SK_MSG_VERDICT, "sk_msg", "SkMsg", SK_PASS
    ),
    "sk_lookup": Hook(
        ProgramKind.SK_LOOKUP, AttachKind.SK_LOOKUP, "sk_lookup", "SkLookup", SK_PASS
    ),
    "xdp": Hook(ProgramKind.XDP, AttachKind.XDP, "xdp", XdpContext, XDP_PASS),
}

P = TypeVar("P", bound="Program[Any]")


def _program(cls: type[P], hook_name: str, function: object, target: str = "") -> P:
    """The Program that a decorator makes of a function."""
    hook = HOOKS[hook_name]
    return cls(
        check_signature(function, hook_name, hook.context),
        kind=hook.kind,
        section=f"{hook.section}/{target}" if target else hook.section,
        context=hook.context,
        attach_kind=hook.attach_kind,
        attach_to=target,
        neutral=hook.neutral,
    )


def _text(name: object) -> str:
    # `@tracepoint` without parentheses hands the function itself over.
    return name if isinstance(name, str) else ""


def _shown(name: object) -> str:
    return repr(name) if isinstance(name, str) else "the function itself"


def tracepoint(
    name: str,
) -> Callable[[Callable[[T], R]], TracepointProgram[Callable[[T], R]]]:
    """A static tracepoint, with its category: `@tracepoint("sched:sched_switch")`.

    The context's class names the fields that are read: see `Tracepoint`.

    Raises:
        SpecError: `name` is not of the form category:name.
    """
    category, _, event = _text(name).partition(":")
    if not category.isidentifier() or not event.isidentifier():
        raise SpecError(
            "@tracepoint takes category and name, as in "
            f'@tracepoint("sched:sched_process_exec"), not {_shown(name)}'
        )

    def mark(function: Callable[[T], R]) -> TracepointProgram[Callable[[T], R]]:
        target = f"{category}/{event}"
        return _program(TracepointProgram, "tracepoint", function, target)

    return mark


def raw_tracepoint(name: str) -> Callable[[RawF], RawTracepointProgram[RawF]]:
    """A raw tracepoint: `@raw_tracepoint("sched_switch")`; `ctx.args[n]` (Linux 4.17).

    Raises:
        SpecError: `name` is no name of a tracepoint, which has no category here.
    """
    if not _text(name).isidentifier():
        raise SpecError(
            "@raw_tracepoint takes a tracepoint's name without its category, as in "
            f'@raw_tracepoint("sched_switch"), not {_shown(name)}'
        )

    def mark(function: RawF) -> RawTracepointProgram[RawF]:
        return _program(RawTracepointProgram, "raw_tracepoint", function, name)

    return mark


def bind4(function: AddrF) -> CgroupProgram[AddrF]:
    """bind() of IPv4 sockets: the address may be read, refused (0) or allowed (1)."""
    return _program(CgroupProgram, "bind4", function)


def bind6(function: AddrF) -> CgroupProgram[AddrF]:
    """bind() of IPv6 sockets."""
    return _program(CgroupProgram, "bind6", function)


def connect4(function: AddrF) -> CgroupProgram[AddrF]:
    """connect() of IPv4 sockets: 0 refuses (EPERM), 1 goes on to the address in `ctx`."""
    return _program(CgroupProgram, "connect4", function)


def connect6(function: AddrF) -> CgroupProgram[AddrF]:
    """connect() of IPv6 sockets, `::ffff:a.b.c.d` included."""
    return _program(CgroupProgram, "connect6", function)


def getpeername4(function: AddrF) -> CgroupProgram[AddrF]:
    """getpeername() of IPv4 sockets: what it shows may be rewritten (Linux 5.8)."""
    return _program(CgroupProgram, "getpeername4", function)


def getpeername6(function: AddrF) -> CgroupProgram[AddrF]:
    """getpeername() of IPv6 sockets (Linux 5.8)."""
    return _program(CgroupProgram, "getpeername6", function)


def getsockname4(function: AddrF) -> CgroupProgram[AddrF]:
    """getsockname() of IPv4 sockets: what it shows may be rewritten (Linux 5.8)."""
    return _program(CgroupProgram, "getsockname4", function)


def getsockname6(function: AddrF) -> CgroupProgram[AddrF]:
    """getsockname() of IPv6 sockets (Linux 5.8)."""
    return _program(CgroupProgram, "getsockname6", function)


def sendmsg4(function: AddrF) -> CgroupProgram[AddrF]:
    """sendmsg() with a destination on unconnected IPv4 UDP sockets: 0 refuses (EPERM)."""
    return _program(CgroupProgram, "sendmsg4", function)


def sendmsg6(function: AddrF) -> CgroupProgram[AddrF]:
    """sendmsg() with a destination on unconnected IPv6 UDP sockets."""
    return _program(CgroupProgram, "sendmsg6", function)


def recvmsg4(function: AddrF) -> CgroupProgram[AddrF]:
    """recvmsg() on unconnected IPv4 UDP sockets: the shown source may be rewritten; returns 1."""
    return _program(CgroupProgram, "recvmsg4", function)


def recvmsg6(function: AddrF) -> CgroupProgram[AddrF]:
    """recvmsg() on unconnected IPv6 UDP sockets; returns 1."""
    return _program(CgroupProgram, "recvmsg6", function)


def getsockopt(function: OptF) -> CgroupProgram[OptF]:
    """getsockopt(), after the kernel's answer: 0 makes it fail, `ctx.retval` is its result."""
    return _program(CgroupProgram, "getsockopt", function)


def setsockopt(function: OptF) -> CgroupProgram[OptF]:
    """setsockopt(), before the kernel sees it: 0 refuses (EPERM)."""
    return _program(CgroupProgram, "setsockopt", function)


def sock_ops(function: OpsF) -> CgroupProgram[OpsF]:
    """Events in the life of TCP connections; `ctx.op` says which."""
    return _program(CgroupProgram, "sock_ops", function)


def cgroup_skb_ingress(function: SkbF) -> CgroupProgram[SkbF]:
    """Packets to the sockets of a cgroup: 0 drops, 1 passes."""
    return _program(CgroupProgram, "cgroup_skb_ingress", function)


def cgroup_skb_egress(function: SkbF) -> CgroupProgram[SkbF]:
    """Packets from the sockets of a cgroup: 0 drops, 1 passes."""
    return _program(CgroupProgram, "cgroup_skb_egress", function)


def cgroup_sock_create(function: SockF) -> CgroupProgram[SockF]:
    """socket(): 0 refuses (EPERM), 1 allows."""
    return _program(CgroupProgram, "cgroup_sock_create", function)


def cgroup_sock_release(function: SockF) -> CgroupProgram[SockF]:
    """The end of a socket (Linux 5.9); returns 1."""
    return _program(CgroupProgram, "cgroup_sock_release", function)


def sk_msg(function: MsgF) -> SkMsgProgram[MsgF]:
    """Messages on the sockets of a socket map: SK_PASS or SK_DROP."""
    return _program(SkMsgProgram, "sk_msg", function)


def sk_lookup(function: LookupF) -> NetnsProgram[LookupF]:
    """Incoming connections of a network namespace: which listener gets them (Linux 5.9)."""
    return _program(NetnsProgram, "sk_lookup", function)


def xdp(function: XdpF) -> XdpProgram[XdpF]:
    """Frames that an interface receives, before the network stack: an XdpAction."""
    return _program(XdpProgram, "xdp", function)
