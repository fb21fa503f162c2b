"""Socket lookup programs, and flow dissectors, on a network namespace."""

import errno
import os

from beewire.bpf.kernel import syscall
from beewire.bpf.kernel.links.base import Link, LinkKind, create_link
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import AttachKind
from beewire.errors import AttachError

# What a descriptor below /proc/PID/ns is, as ioctl_ns(2) tells (Linux 4.11).
_NS_GET_NSTYPE, _CLONE_NEWNET = 0xB703, 0x4000_0000


def attach_netns(program: Program, netns: str | int) -> Link:
    """Let `program` choose the socket for what arrives in a network namespace.

    `netns` is a path such as /var/run/netns/NAME or /proc/PID/ns/net, or a descriptor of
    one, which stays the caller's. Several programs run in the order of attaching. The
    link does not keep the namespace alive.

    Raises:
        AttachError: the path is no network namespace, or the program no lookup program.
        NotPermitted: CAP_NET_ADMIN or CAP_BPF is missing.
        NotSupported: the kernel has no sk_lookup (before Linux 5.9).
    """
    if isinstance(netns, int):
        return _link(program, netns, f"the namespace of descriptor {netns}")
    try:
        fd = syscall.open_file(netns)
    except OSError as error:
        raise AttachError(
            f"cannot open network namespace {netns}: {error.strerror}; give a path "
            "such as /run/netns/NAME (`ip netns list` shows names) or /proc/PID/ns/net"
        ) from error
    try:
        return _link(program, fd, f"network namespace {netns}")
    finally:
        os.close(fd)


def _link(program: Program, fd: int, place: str) -> Link:
    kind = syscall.ioctl(fd, _NS_GET_NSTYPE, 0)
    if kind not in (_CLONE_NEWNET, -errno.EBADF):
        raise AttachError(
            f"cannot attach {program.name!r} to {place}: it is no network namespace"
        )
    hook = program.spec.attach_kind or AttachKind.SK_LOOKUP
    link = create_link(program, fd, hook, place)
    return Link(link, LinkKind.NETNS, f"{program.name!r} on {place}")
