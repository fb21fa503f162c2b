"""Programs on routes (light-weight tunnels), by rtnetlink.

The route holds the program: it stays until the route goes, whatever becomes of the
process that made it.
"""

import errno
import ipaddress
import socket
import struct

from beewire.bpf.kernel import netlink
from beewire.bpf.kernel.links.base import Link
from beewire.bpf.kernel.links.direct import DirectLink, program_id
from beewire.bpf.kernel.links.info import RouteInfo
from beewire.bpf.kernel.links.interface import interface_index
from beewire.bpf.kernel.links.kinds import LinkKind
from beewire.bpf.kernel.netlink import RTMSG, Route
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import ProgramKind
from beewire.errors import AttachError, KernelError, NotPermitted
from beewire.rows import Row

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# linux/rtnetlink.h
_DST, _OIF, _GATEWAY, _PRIORITY, _TABLE, _ENCAP_TYPE, _ENCAP = 1, 4, 5, 6, 15, 21, 22
_MAIN, _PROTO_STATIC, _UNICAST = 254, 4, 1
_SCOPE_GLOBAL, _SCOPE_LINK = 0, 253
# linux/lwtunnel.h, linux/seg6_local.h
_OF_BPF, _OF_SEG6LOCAL = 6, 7
_HOOKS = {
    ProgramKind.LWT_IN: ("in", 1),
    ProgramKind.LWT_OUT: ("out", 2),
    ProgramKind.LWT_XMIT: ("xmit", 3),
    ProgramKind.LWT_SEG6LOCAL: ("seg6local", 0),
}
_PROG_FD, _PROG_NAME, _XMIT_HEADROOM = 1, 2, 4
_SEG6_ACTION, _SEG6_BPF, _END_BPF = 1, 8, 15
_GONE = (errno.ESRCH, errno.ENOENT, errno.ENODEV)


class Path(Row):
    """A route: where to, through what, in which table, and how much room is made.

    `headroom` bytes before the packet are what an lwt_xmit program may push (0 to 256).
    """

    destination: Network
    ifindex: int
    via: str = ""
    table: int = _MAIN
    metric: int = 0
    headroom: int = 0


def attach_route(  # noqa: PLR0913 - what a route is
    program: Program,
    destination: str,
    interface: str | int,
    *,
    via: str = "",
    table: int = _MAIN,
    metric: int = 0,
    headroom: int = 0,
) -> Link:
    """Make a route whose packets `program` sees; the end of the link is the route's.

    The program's kind says when: lwt_in what arrives by the route, lwt_out what leaves
    through its socket, lwt_xmit all that leaves by it, lwt_seg6local IPv6 packets whose
    segment it is. `destination` is a network ("10.1.0.0/16") or an address, `interface`
    a name or index in the namespace of this thread, `via` the next hop, `headroom` how
    many bytes an lwt_xmit program may put before a packet.

    Raises:
        AttachError: no such interface, or there is such a route already.
        NotPermitted: CAP_NET_ADMIN is missing.
        NotSupported: the kernel is built without CONFIG_LWTUNNEL_BPF.
    """
    if program.spec.kind not in _HOOKS:
        section = program.spec.section
        raise AttachError(
            f"program {program.name!r} ({section}) is not for routes: lwt_in, lwt_out, "
            "lwt_xmit and lwt_seg6local programs are"
        )
    path = Path(
        network(destination, via),
        interface_index(interface),
        via,
        table,
        metric,
        headroom,
    )
    hook = _HOOKS[program.spec.kind][0]
    place = f"the route to {path.destination} ({hook})"
    about = f"attach {program.name!r} to {place}"
    route = Route()  # of this namespace, also where the link is closed in another

    def put() -> None:
        flags = netlink.CREATE | netlink.EXCLUSIVE
        try:
            route.change(netlink.NEWROUTE, _message(path, program), about, flags=flags)
        except KernelError as error:
            raise _refusal(error, about, path) from error

    def replace(other: Program, _own: int) -> None:
        change = f"put {other.name!r} in the place of {program.name!r} on {place}"
        flags = netlink.CREATE | netlink.REPLACE
        route.change(netlink.NEWROUTE, _message(path, other), change, flags=flags)

    def tell(number: int) -> RouteInfo:
        where = (hook, str(path.destination), path.table, path.ifindex)
        return RouteInfo(LinkKind.UNSPEC, 0, number, *where)

    return DirectLink(
        program,
        "lwt",
        f"{program.name!r} on {place}",
        put=put,
        take_off=lambda _own: remove(route, path),
        replace=replace,
        tell=tell,
        held_open=(route.close,),
    )


def remove(route: Route, path: Path) -> None:
    """Take a route away; one that is gone is no error.

    Raises:
        KernelError: the kernel refuses.
    """
    about = f"take the route to {path.destination} away"
    try:
        route.change(netlink.DELROUTE, _message(path, None), about)
    except KernelError as error:
        if error.errno not in _GONE:
            raise


def network(text: str, via: str) -> Network:
    """A destination, from its text; `via` is checked, too.

    Raises:
        AttachError: it is none.
    """
    try:
        found = ipaddress.ip_network(text, strict=False)
        if via:
            ipaddress.ip_address(via)
    except ValueError as error:
        raise AttachError(
            f"{text!r} is no destination of a route: give a network such as 10.1.0.0/16, "
            f"and addresses ({error})"
        ) from None
    return found


def _message(path: Path, program: Program | None) -> bytes:
    """`struct rtmsg` and its attributes; without a program, what names the route."""
    is_v6 = path.destination.version == 6
    header = RTMSG.pack(
        socket.AF_INET6 if is_v6 else socket.AF_INET,
        path.destination.prefixlen,
        0,
        0,
        path.table if path.table < 256 else 0,
        _PROTO_STATIC if program else 0,
        _SCOPE_GLOBAL if path.via or is_v6 else _SCOPE_LINK,
        _UNICAST if program else 0,
        0,
    )
    parts = [
        header,
        netlink.attribute(_DST, path.destination.network_address.packed),
        netlink.number(_OIF, path.ifindex),
        netlink.number(_TABLE, path.table),
    ]
    if path.via:
        gateway = ipaddress.ip_address(path.via).packed
        parts.append(netlink.attribute(_GATEWAY, gateway))
    if path.metric:
        parts.append(netlink.number(_PRIORITY, path.metric))
    if program:
        parts.extend(_tunnel(path, program))
    return b"".join(parts)


def _tunnel(path: Path, program: Program) -> tuple[bytes, bytes]:
    hook, number = _HOOKS[program.spec.kind]
    # The kernel takes routes for the same when their programs' names are (bpf_encap_cmp).
    name = f"{program.name} {program_id(program.fd)}"
    which = netlink.number(_PROG_FD, program.fd), netlink.text(_PROG_NAME, name)
    if hook == "seg6local":
        action = netlink.number(_SEG6_ACTION, _END_BPF)
        content = netlink.nested(_ENCAP, action, netlink.nested(_SEG6_BPF, *which))
        return netlink.attribute(_ENCAP_TYPE, struct.pack("=H", _OF_SEG6LOCAL)), content
    inner = [netlink.nested(number, *which)]
    if path.headroom:
        inner.append(netlink.number(_XMIT_HEADROOM, path.headroom))
    kind = netlink.attribute(_ENCAP_TYPE, struct.pack("=H", _OF_BPF))
    return kind, netlink.nested(_ENCAP, *inner)


def _refusal(error: KernelError, about: str, path: Path) -> Exception:
    if isinstance(error, NotPermitted):
        return error
    if error.errno == errno.EEXIST:
        return AttachError(
            f"cannot {about}: there is a route to {path.destination} in table "
            f"{path.table} already; give this one a table or a metric of its own, or "
            f"take that one away (`ip route del {path.destination}`)"
        )
    return AttachError(str(error))
