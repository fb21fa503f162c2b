"""Programs on a cgroup by BPF_PROG_ATTACH: the way of before Linux 5.7.

The cgroup holds the program: it stays until it is taken off, or the cgroup is removed.
"""

import errno
import os

from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.links.base import Link, attach_error
from beewire.bpf.kernel.links.direct import DirectLink
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import AttachKind
from beewire.errors import KernelError, NotPermitted
from beewire.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from beewire.bpf.kernel.links.info import CgroupInfo

_OVERRIDE, _MULTI, _REPLACE = (
    1,
    2,
    4,
)  # BPF_F_ALLOW_OVERRIDE, _ALLOW_MULTI, BPF_F_REPLACE
# The program, or the cgroup, is gone already.
_GONE = (errno.ENOENT, errno.ENODEV)


def attach_direct(
    program: Program, fd: int, hook: AttachKind, place: str, *, override: bool
) -> Link:
    """BPF_PROG_ATTACH to the cgroup behind `fd`, which stays the caller's.

    Raises:
        AttachError: the cgroup does not take it.
        NotPermitted: a capability is missing, or a program above lets none beside it.
    """
    flags = _OVERRIDE if override else _MULTI
    cgroup = syscall.duplicate(fd)

    def put() -> None:
        try:
            _put(program, cgroup, hook, f"attach {program.name!r} to {place}", flags)
        except NotPermitted:
            raise
        except KernelError as error:
            raise attach_error(error, program, place) from error

    def take_off(own: int) -> None:
        end(cgroup, hook, own, f"take {program.name!r} off {place}")

    def replace(other: Program, own: int) -> None:
        about = f"put {other.name!r} in the place of {program.name!r} on {place}"
        if override:  # one program only: the new one takes its place
            _put(other, cgroup, hook, about, flags)
        else:
            _put(other, cgroup, hook, about, flags | _REPLACE, own)

    def tell(number: int) -> "CgroupInfo":
        from beewire.bpf.kernel import places  # noqa: PLC0415 - rare
        from beewire.bpf.kernel.links.info import CgroupInfo  # noqa: PLC0415
        from beewire.bpf.kernel.links.kinds import LinkKind  # noqa: PLC0415

        inode = os.fstat(cgroup).st_ino
        path = places.cgroup_path(inode)
        return CgroupInfo(LinkKind.UNSPEC, 0, number, hook, inode, path)

    return DirectLink(
        program,
        "cgroup.attach",
        f"{program.name!r} on {place}",
        put=put,
        take_off=take_off,
        replace=replace,
        tell=tell,
        held_open=(lambda: os.close(cgroup),),
    )


def end(target: int, hook: AttachKind, program: int, about: str) -> None:
    """Take the program with this descriptor off; what is gone already is no error.

    Raises:
        KernelError: the kernel refuses, and the program stays.
    """
    result = detach_direct(target, hook, program)
    if result < 0 and -result not in _GONE:
        from beewire.bpf.kernel import explain  # noqa: PLC0415 - errors only

        about = f"{about}, where it stays"
        raise explain.refusal(-result, "PROG_DETACH", about, ("CAP_NET_ADMIN",))


def detach_direct(target: int, hook: AttachKind, program: int) -> int:
    """BPF_PROG_DETACH of the program with this descriptor: 0, or -errno."""
    record = attr.PROG_ATTACH.pack(
        target_fd=target, attach_bpf_fd=program, attach_type=hook
    )
    return syscall.try_bpf(syscall.Cmd.PROG_DETACH, record)


def _put(
    program: Program,
    target: int,
    hook: AttachKind,
    about: str,
    flags: int,
    replaced: int = 0,
) -> None:
    record = attr.PROG_ATTACH.pack(
        target_fd=target,
        attach_bpf_fd=program.fd,
        attach_type=hook,
        attach_flags=flags,
        replace_bpf_fd=replaced,
    )
    # Kernels without the last field take the shorter record only (before Linux 5.6).
    size = 0 if replaced else attr.PROG_ATTACH.size - 4
    syscall.bpf(
        syscall.Cmd.PROG_ATTACH, record[: size or None], about, ("CAP_NET_ADMIN",)
    )
