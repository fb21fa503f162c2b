"""Socket lookup programs, and flow dissectors, on a network namespace."""

import errno
import os

from beewire.bpf.kernel import syscall
from beewire.bpf.kernel.links.base import Link, LinkKind, create_link
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import AttachKind, ProgramKind
from beewire.errors import AttachError, KernelError, NotPermitted

# What a descriptor below /proc/PID/ns is, as ioctl_ns(2) tells (Linux 4.11).
_NS_GET_NSTYPE, _CLONE_NEWNET = 0xB703, 0x4000_0000


def attach_netns(
    program: Program,
    netns: str | int = "/proc/thread-self/ns/net",
    *,
    as_link: bool = True,
) -> Link:
    """Let `program` choose sockets, or dissect packets, in a network namespace.

    `netns` is a path such as /run/netns/NAME or /proc/PID/ns/net, or a descriptor of
    one, which stays the caller's; this thread's own where none is given. Lookup programs
    run in the order of attaching, up to 64; of flow dissectors a namespace takes one, and
    none where the initial namespace has one. The link does not keep the namespace alive.

    Flow dissectors are attached by BPF_PROG_ATTACH where the kernel has no links for them
    (before Linux 5.7), and with `as_link=False`, to this thread's namespace only: `link.kind` is "netns.attach".

    Raises:
        AttachError: the path is no network namespace, or the program no lookup program.
        NotPermitted: CAP_NET_ADMIN or CAP_BPF is missing.
        NotSupported: the kernel has no sk_lookup (before Linux 5.9).
    """
    if isinstance(netns, int):
        return _link(program, netns, f"the namespace of descriptor {netns}", as_link)
    try:
        fd = syscall.open_file(netns)
    except OSError as error:
        raise AttachError(
            f"cannot open network namespace {netns}: {error.strerror}; give a path "
            "such as /run/netns/NAME (`ip netns list` shows names) or /proc/PID/ns/net"
        ) from error
    try:
        return _link(program, fd, f"network namespace {netns}", as_link)
    finally:
        os.close(fd)


def _link(program: Program, fd: int, place: str, as_link: bool) -> Link:  # noqa: FBT001 - passed on
    kind = syscall.ioctl(fd, _NS_GET_NSTYPE, 0)
    if kind not in (_CLONE_NEWNET, -errno.EBADF):
        raise AttachError(
            f"cannot attach {program.name!r} to {place}: it is no network namespace"
        )
    hook = _hook(program)
    if not as_link and hook is AttachKind.FLOW_DISSECTOR:
        return _directly(program, fd, place)
    try:
        link = create_link(program, fd, hook, place)
    except NotPermitted:
        raise
    except (AttachError, KernelError) as error:
        if hook is AttachKind.FLOW_DISSECTOR and not _knows_links(hook):
            return _directly(program, fd, place)
        raise _taken(error, program, fd, hook, place) or error from error
    return Link(link, LinkKind.NETNS, f"{program.name!r} on {place}")


def _directly(program: Program, fd: int, place: str) -> Link:
    from beewire.bpf.kernel.links.netns_direct import attach_dissector  # noqa: PLC0415 - older kernels

    return attach_dissector(program, fd, place)


def _hook(program: Program) -> AttachKind:
    kinds = {
        ProgramKind.SK_LOOKUP: AttachKind.SK_LOOKUP,
        ProgramKind.FLOW_DISSECTOR: AttachKind.FLOW_DISSECTOR,
    }
    if program.spec.kind not in kinds:
        section = program.spec.section
        message = f"program {program.name!r} ({section}) is not for a network namespace"
        raise AttachError(f"{message}: sk_lookup and flow_dissector programs are")
    return kinds[program.spec.kind]


def _knows_links(hook: AttachKind) -> bool:
    from beewire.bpf.kernel import features  # noqa: PLC0415 - errors only

    return bool(features.attach_kind(hook).available)


def _taken(
    error: Exception, program: Program, fd: int, hook: AttachKind, place: str
) -> AttachError | None:
    """The error for a namespace whose place is taken, which says by whom."""
    cause = error.__cause__
    number = getattr(cause, "errno", 0)
    about = f"cannot attach {program.name!r} to {place}"
    if number == errno.E2BIG and hook is AttachKind.SK_LOOKUP:
        return AttachError(f"{about}: 64 lookup programs are there already")
    if number not in (errno.EEXIST, errno.EBUSY, errno.E2BIG):
        return None
    from beewire.bpf.kernel.links.query import others, query  # noqa: PLC0415 - errors only

    who = others(query(fd, hook))
    where = f"here: {who}" if who else "in the initial namespace, which decides for all"
    return AttachError(
        f"{about}: a namespace takes one flow dissector, and another is {where}; "
        "`beewire links` shows its owner"
    )
