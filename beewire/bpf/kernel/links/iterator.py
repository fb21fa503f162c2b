"""Iterators: programs that are run by reading a file."""

import errno
import os
import struct

from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.links.base import Link, LinkKind, create_link
from beewire.bpf.kernel.maps import AnyMap
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import AttachKind
from beewire.errors import AttachError, KernelError

_CHUNK = 1 << 16
# The kernel gives up for the moment after each million objects of which nothing is told.
_TRIES = 1000


# enum bpf_cgroup_iter_order
_ORDERS = {"self": 1, "down": 2, "up_from_leaves": 3, "up": 4, "children": 5}


class IteratorLink(Link):
    """A program that can be read: `read()`, or the file that `pin` makes."""

    __slots__ = ()

    def read(self) -> bytes:
        """Run the program for all objects there are now; what it wrote.

        Raises:
            KernelError: it cannot be read.
        """
        return read_iterator(self)


def attach_iterator(
    program: Program,
    *,
    map: AnyMap | None = None,  # noqa: A002 - the word of the field
    cgroup: str | None = None,
    order: str = "self",
    pid: int = 0,
    tid: int = 0,
) -> IteratorLink:
    """Make `program` readable; each reader runs it for all objects of its kind.

    `map` is the one whose elements are walked (bpf_map_elem, bpf_sk_storage_map).
    `cgroup` is where a walk of cgroups begins (Linux 6.1), in this `order`: "self" alone,
    "down" (parents first), "up_from_leaves" (children first), "up" to the root, or its
    "children" (Linux 6.18). `pid` or `tid` limits iterators of tasks to one process, or
    thread (Linux 6.1).

    Raises:
        AttachError: it is no iterator, or needs another target.
        NotPermitted: CAP_BPF or CAP_PERFMON is missing.
        NotSupported: the kernel has no iterators (before Linux 5.8).
    """
    place = f"iterator {program.spec.attach_to!r}"
    description = f"{program.name!r} on {place}"
    target: bytes | None = None
    opened = -1
    if map is not None:
        target = struct.pack("=I", map.fd)
    elif cgroup is not None:
        if order not in _ORDERS:
            known = ", ".join(_ORDERS)
            raise AttachError(f"order={order!r} is none of cgroup walks: {known}")
        opened = _open_cgroup(cgroup)
        target = struct.pack("=IIQ", _ORDERS[order], opened, 0)
    elif pid or tid:
        target = struct.pack("=III", tid, pid, 0)
    try:
        if target is None:
            fd = create_link(program, 0, AttachKind.TRACE_ITER, place)
        else:
            fd = _limited(program, target, place)
    finally:
        if opened >= 0:
            os.close(opened)
    return IteratorLink(fd, LinkKind.ITER, description)


def _open_cgroup(path: str) -> int:
    try:
        return syscall.open_file(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise AttachError(f"cannot walk the cgroup {path}: {reason}") from None


def _limited(program: Program, target: bytes, place: str) -> int:
    about = bytearray(target)
    record = attr.ITER_LINK.pack(
        prog_fd=program.fd,
        attach_type=AttachKind.TRACE_ITER,
        iter_info=syscall.address(about),
        iter_info_len=len(about),
    )
    what = f"attach {program.name!r} to {place}"
    try:
        return syscall.bpf(syscall.Cmd.LINK_CREATE, record, what)
    except KernelError as error:
        reasons = {
            errno.EINVAL: "it walks no such target, or a map of another kind",
            errno.EBADF: "its target is no map, or no cgroup",
            errno.EACCES: "its program reads more of an element than the map has",
            errno.ESRCH: "there is no such task",
            errno.E2BIG: "this kernel's iterators take no such target",
        }
        if error.errno not in reasons:
            raise
        raise AttachError(f"cannot {what}: {reasons[error.errno]}") from error


def read_iterator(link: Link) -> bytes:
    """Run the iterator once for all objects; what it wrote.

    Raises:
        KernelError: the link is no iterator's.
    """
    record = attr.ITER_CREATE.pack(link_fd=link.fd)
    fd = syscall.bpf(syscall.Cmd.ITER_CREATE, record, f"read {link.description}")
    try:
        parts = []
        while chunk := _read(fd):
            parts.append(chunk)
        return b"".join(parts)
    finally:
        os.close(fd)


def _read(fd: int) -> bytes:
    """The next part; b"" is the end."""
    tries = _TRIES
    while True:
        try:
            return syscall.read(fd, _CHUNK)
        except KernelError as error:
            tries -= 1
            if error.errno != errno.EAGAIN or not tries:
                raise
