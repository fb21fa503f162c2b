"""Programs on a cgroup: they see the sockets of the processes in it and below."""

import os

from beewire.bpf.kernel import syscall
from beewire.bpf.kernel.links.base import Link, LinkKind, create_link
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import AttachKind, ProgramKind
from beewire.errors import AttachError, NotPermitted

BEFORE, AFTER, PREORDER = 1 << 3, 1 << 4, 1 << 6

# Kinds of program with one hook, whose section may leave it out.
_ONLY_HOOK = {
    ProgramKind.SOCK_OPS: AttachKind.CGROUP_SOCK_OPS,
    ProgramKind.CGROUP_DEVICE: AttachKind.CGROUP_DEVICE,
    ProgramKind.CGROUP_SYSCTL: AttachKind.CGROUP_SYSCTL,
    ProgramKind.CGROUP_SOCK: AttachKind.CGROUP_INET_SOCK_CREATE,
}


def attach_cgroup(program: Program, cgroup: str | int, *, flags: int = 0) -> Link:
    """Run `program` for every process in `cgroup` and below until the Link is closed.

    `cgroup` is a directory of the cgroup2 file system, or a descriptor of one, which
    stays the caller's. Programs of child cgroups run first; within one cgroup in the
    order of attaching, unless `flags` says otherwise (BPF_F_BEFORE and BPF_F_AFTER,
    Linux 6.16; BPF_F_PREORDER, 6.15).

    Raises:
        AttachError: the path is no cgroup, or the program no cgroup program.
        NotPermitted: CAP_NET_ADMIN or CAP_BPF is missing.
        NotSupported: BPF_LINK_CREATE knows no cgroups (before Linux 5.7).
    """
    hook = program.spec.attach_kind
    if hook is None:
        hook = _ONLY_HOOK.get(program.spec.kind)
    if hook is None:
        raise AttachError(
            f"program {program.name!r} ({program.spec.section}) has no cgroup hook"
        )
    if isinstance(cgroup, int):
        place = f"the cgroup of descriptor {cgroup}"
        return _link(program, cgroup, hook, place, flags)
    fd = _open(cgroup)
    try:
        return _link(program, fd, hook, f"cgroup {cgroup}", flags)
    finally:
        os.close(fd)


def _link(program: Program, fd: int, hook: AttachKind, place: str, flags: int) -> Link:
    try:
        link = create_link(program, fd, hook, place, flags)
    except NotPermitted as error:
        raise _exclusive(error, program, place) from error
    return Link(link, LinkKind.CGROUP, f"{program.name!r} on {place}")


def _exclusive(refused: NotPermitted, program: Program, place: str) -> Exception:
    """The kernel's other EPERM (hierarchy_allows_attach), told from a lack of rights."""
    from beewire.bpf.kernel import privilege  # noqa: PLC0415 - errors only

    lacking = privilege.missing(("CAP_BPF", "CAP_NET_ADMIN"))
    if lacking or privilege.in_user_namespace():
        return refused
    return AttachError(
        f"cannot attach {program.name!r} to {place}: a program there, or above it, was "
        "attached without BPF_F_ALLOW_MULTI and lets none beside it; `bpftool cgroup "
        "tree` shows which"
    )


def _open(path: str) -> int:
    try:
        fd = syscall.open_file(path, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        below = _mount() or "the cgroup2 mount, which is missing"
        raise AttachError(
            f"cgroup {path} does not exist: create it with `mkdir {path}`, or look for "
            f"it below {below}"
        ) from None
    except NotADirectoryError:
        raise AttachError(f"{path} is a file; a cgroup is a directory") from None
    except OSError as error:
        raise AttachError(f"cannot open cgroup {path}: {error.strerror}") from error
    # Every cgroup2 directory has this file, and no other file system does; cgroup v1
    # has tasks and cgroup.procs, but not this.
    if not os.access(f"{path}/cgroup.controllers", os.F_OK):
        os.close(fd)
        raise AttachError(
            f"{path} is not a cgroup2 directory: use one below "
            f"{_mount() or '/sys/fs/cgroup, after `mount -t cgroup2`'}"
        )
    return fd


def _mount() -> str:
    from beewire.bpf.kernel import places  # noqa: PLC0415 - errors only

    return places.cgroup2_mount()
