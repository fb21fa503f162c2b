"""Everything of a kind that the kernel has, by id."""

import errno

from beewire.bpf.kernel import attr, explain, syscall
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.bpf.kernel.syscall import Cmd
from beewire.errors import UsageError
from beewire.hints import Iterator

PROGRAM, MAP, LINK, BTF = "program", "map", "link", "BTF"
_NEXT = {
    PROGRAM: Cmd.PROG_GET_NEXT_ID,
    MAP: Cmd.MAP_GET_NEXT_ID,
    LINK: Cmd.LINK_GET_NEXT_ID,
    BTF: Cmd.BTF_GET_NEXT_ID,
}
_OPEN = {
    PROGRAM: Cmd.PROG_GET_FD_BY_ID,
    MAP: Cmd.MAP_GET_FD_BY_ID,
    LINK: Cmd.LINK_GET_FD_BY_ID,
    BTF: Cmd.BTF_GET_FD_BY_ID,
}
_ADMIN = ("CAP_SYS_ADMIN",)


def ids(kind: str) -> Iterator[int]:
    """The ids of all programs, maps, links or BTF objects there are, ascending.

    Raises:
        NotPermitted: CAP_SYS_ADMIN is missing.
    """
    number = 0
    while True:
        record = attr.GET_ID.pack(start_id=number)
        result = syscall.try_bpf(_NEXT[kind], record)
        if result == -errno.ENOENT:
            return
        # Links have ids since Linux 5.8: before there is none to tell.
        if result == -errno.EINVAL and kind == LINK:
            return
        if result < 0:
            about = f"list the {kind}s of this machine"
            raise explain.refusal(-result, _NEXT[kind].name, about, _ADMIN)
        number = attr.GET_ID.integer(record, "next_id")
        yield number


def descriptors(kind: str) -> Iterator[tuple[int, Descriptor]]:
    """Each id, and a descriptor that is closed behind it; what ends meanwhile is left out.

    Raises:
        NotPermitted: CAP_SYS_ADMIN is missing.
    """
    for number in ids(kind):
        fd = try_open(kind, number)
        if fd >= 0:
            with Descriptor(fd) as handle:
                yield number, handle


def try_open(kind: str, number: int) -> int:
    """A new descriptor of the object with this id, or -errno."""
    return syscall.try_bpf(_OPEN[kind], attr.GET_ID.pack(start_id=number))


def open_id(kind: str, number: int) -> Descriptor:
    """The object with this id; the caller closes it.

    Raises:
        UsageError: there is none.
        NotPermitted: CAP_SYS_ADMIN is missing.
        KernelError: any other refusal.
    """
    result = try_open(kind, number)
    if result == -errno.ENOENT:
        raise UsageError(f"there is no {kind} {number}: {_ADVICE[kind]} lists them")
    if result < 0:
        about = f"open {kind} {number}"
        raise explain.refusal(-result, _OPEN[kind].name, about, _ADMIN)
    return Descriptor(result)


_ADVICE = {
    PROGRAM: "`beewire ps`",
    MAP: "`beewire maps`",
    LINK: "`beewire links`",
    BTF: "`bpftool btf`",
}
