"""Filters of the clsact qdisc, by rtnetlink: programs on an interface before Linux 6.6.

A filter runs its program itself (direct action) and belongs to the interface: it stays
until it is taken off. Filters with lower priorities run first.
"""

import errno
import socket

from beewire.bpf.kernel import netlink, syscall
from beewire.bpf.kernel.links.base import Link
from beewire.bpf.kernel.links.direct import DirectLink, program_id
from beewire.bpf.kernel.links.info import FilterInfo
from beewire.bpf.kernel.links.kinds import LinkKind
from beewire.bpf.kernel.netlink import TCMSG, Route
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import AttachKind
from beewire.errors import AttachError, KernelError, NotPermitted
from beewire.rows import Row

# linux/pkt_sched.h, linux/pkt_cls.h
_CLSACT, _CLSACT_HANDLE = 0xFFFF_FFF1, 0xFFFF_0000
_PARENTS = {AttachKind.TCX_INGRESS: 0xFFFF_FFF2, AttachKind.TCX_EGRESS: 0xFFFF_FFF3}
_KIND, _OPTIONS = 1, 2
_FD, _NAME, _FLAGS, _ID = 6, 7, 8, 11
_DIRECT_ACTION = 1
_ANY_PROTOCOL = socket.htons(3)  # ETH_P_ALL
# The filter, its qdisc or the interface is gone already.
_GONE = (errno.ENOENT, errno.ENODEV, errno.EINVAL, errno.EOPNOTSUPP)


class Filter(Row):
    """A filter of clsact that runs a program."""

    program_id: int
    name: str
    priority: int
    handle: int


def attach_clsact(
    program: Program,
    index: int,
    hook: AttachKind,
    *,
    priority: int = 0,
    handle: int = 0,
) -> Link:
    """Add a filter that runs `program`; its qdisc, too, where there is none.

    Where this made the qdisc, the end of the last filter is the qdisc's.

    Raises:
        AttachError: there is a filter of this priority and handle.
        NotPermitted: CAP_NET_ADMIN is missing.
    """
    return _link(program, index, hook, priority, handle)


def find_clsact(program: Program, index: int, hook: AttachKind) -> Link | None:
    """The filter of this namespace that runs `program`; None: there is none (any more).

    Its qdisc stays when it ends: who made it is not known.
    """
    number = program_id(program.fd)
    with Route() as route:
        try:
            there = filters(route, index, hook)
        except KernelError:  # the interface is gone
            return None
    found = next((each for each in there if each.program_id == number), None)
    if found is None:
        return None
    return _link(program, index, hook, found.priority, found.handle, is_there=True)


def _link(
    program: Program,
    index: int,
    hook: AttachKind,
    priority: int,
    handle: int,
    *,
    is_there: bool = False,
) -> Link:
    direction = "ingress" if hook is AttachKind.TCX_INGRESS else "egress"
    place = f"clsact {direction} of {syscall.interface_name(index)}"
    about = f"attach {program.name!r} to {place}"
    parent = _PARENTS[hook]
    number = program_id(
        program.fd
    )  # here: a refusal at the end would leave it attached
    route = Route()  # of this namespace, also where the link is closed in another
    made = False

    def put() -> None:
        nonlocal made, priority, handle
        if is_there:
            return
        flags = netlink.CREATE | netlink.EXCLUSIVE
        body = _message(index, parent, priority, handle, program)
        try:
            made = _make_qdisc(route, index, about)
            told = route.change(netlink.NEWTFILTER, body, about, flags=flags)
        except KernelError as error:
            if made:
                remove_qdisc(route, index)
            raise _refusal(error, index, hook, about, priority) from error
        if told is not None:
            _, _, handle, _, info = TCMSG.unpack_from(told)
            priority = info >> 16

    def take_off(_fd: int) -> None:
        remove(route, index, hook, Filter(number, "", priority, handle))
        if made and not any(filters(route, index, each) for each in _PARENTS):
            remove_qdisc(route, index)

    def replace(other: Program, _fd: int) -> None:
        nonlocal number
        told = program_id(other.fd)
        body = _message(index, parent, priority, handle, other)
        change = f"put {other.name!r} in the place of {program.name!r} on {place}"
        flags = netlink.CREATE | netlink.REPLACE
        route.change(netlink.NEWTFILTER, body, change, flags=flags)
        number = told

    def tell(id_: int) -> FilterInfo:
        where = (hook, index, syscall.interface_name(index), priority, handle)
        return FilterInfo(LinkKind.UNSPEC, 0, id_, *where)

    return DirectLink(
        program,
        "clsact",
        f"{program.name!r} on {place}",
        put=put,
        take_off=take_off,
        replace=replace,
        tell=tell,
        held_open=(route.close,),
    )


def filters(route: Route, index: int, hook: AttachKind) -> list[Filter]:
    """The filters of clsact that run programs, in the order in which they run."""
    request = TCMSG.pack(socket.AF_UNSPEC, index, 0, _PARENTS[hook], 0)
    found = []
    for body in route.dump(netlink.GETTFILTER, request):
        _, _, handle, _, info = TCMSG.unpack_from(body)
        parts = netlink.attributes(body[TCMSG.size :])
        if parts.get(_KIND, b"").rstrip(b"\0") != b"bpf" or _OPTIONS not in parts:
            continue
        options = netlink.attributes(parts[_OPTIONS])
        number = netlink.integer(options.get(_ID))
        if number:
            name = options.get(_NAME, b"").rstrip(b"\0").decode(errors="replace")
            found.append(Filter(number, name, info >> 16, handle))
    return found


def remove(route: Route, index: int, hook: AttachKind, wanted: Filter) -> bool:
    """Take a filter off, if it still runs that program: whether it did.

    Raises:
        KernelError: the kernel refuses.
    """
    try:
        there = [
            each
            for each in filters(route, index, hook)
            if (each.priority, each.handle) == (wanted.priority, wanted.handle)
        ]
    except KernelError as error:
        if error.errno in _GONE:
            return False
        raise
    if not there or there[0].program_id != wanted.program_id:
        return False
    info = wanted.priority << 16 | _ANY_PROTOCOL
    body = TCMSG.pack(0, index, wanted.handle, _PARENTS[hook], info)
    body += netlink.text(_KIND, "bpf")
    route.change(netlink.DELTFILTER, body, f"take a filter off interface {index}")
    return True


def remove_qdisc(route: Route, index: int) -> None:
    """Take clsact off an interface, and all filters with it."""
    body = TCMSG.pack(0, index, _CLSACT_HANDLE, _CLSACT, 0)
    route.try_change(netlink.DELQDISC, body + netlink.text(_KIND, "clsact"))


def _make_qdisc(route: Route, index: int, about: str) -> bool:
    """Whether the qdisc was made, because there was none."""
    body = TCMSG.pack(0, index, _CLSACT_HANDLE, _CLSACT, 0)
    body += netlink.text(_KIND, "clsact")
    flags = netlink.CREATE | netlink.EXCLUSIVE
    try:
        route.change(netlink.NEWQDISC, body, about, flags=flags)
    except KernelError as error:
        if error.errno != errno.EEXIST:
            raise
        return False
    return True


def _message(
    index: int, parent: int, priority: int, handle: int, program: Program
) -> bytes:
    info = priority << 16 | _ANY_PROTOCOL
    options = (
        netlink.number(_FD, program.fd),
        netlink.text(_NAME, program.name),
        netlink.number(_FLAGS, _DIRECT_ACTION),
    )
    return b"".join((
        TCMSG.pack(0, index, handle, parent, info),
        netlink.text(_KIND, "bpf"),
        netlink.nested(_OPTIONS, *options),
    ))  # fmt: skip


def _refusal(
    error: KernelError, index: int, hook: AttachKind, about: str, priority: int
) -> Exception:
    if isinstance(error, NotPermitted):
        return error
    if error.errno == errno.EEXIST:
        with Route() as route:
            there = filters(route, index, hook)
        who = ", ".join(
            f"program {each.program_id} ({each.name}) at priority {each.priority}, "
            f"handle {each.handle}"
            for each in there
        )
        return AttachError(
            f"cannot {about}: priority {priority} and this handle are taken; there are "
            f"{who or 'filters of another kind'}"
        )
    return AttachError(str(error))
