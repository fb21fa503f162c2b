"""Iterators: programs that are run by reading a file."""

import errno
import os

from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.links.base import Link, LinkKind, create_link
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import AttachKind
from beewire.errors import KernelError

_CHUNK = 1 << 16
# The kernel gives up for the moment after each million objects of which nothing is told.
_TRIES = 1000


def attach_iterator(program: Program) -> Link:
    """Make `program` readable; each reader runs it for all objects of its kind.

    Raises:
        AttachError: it is no iterator, or one that needs a map.
        NotPermitted: CAP_BPF or CAP_PERFMON is missing.
        NotSupported: the kernel has no iterators (before Linux 5.8).
    """
    place = f"iterator {program.spec.attach_to!r}"
    fd = create_link(program, 0, AttachKind.TRACE_ITER, place)
    return Link(fd, LinkKind.ITER, f"{program.name!r} on {place}")


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
