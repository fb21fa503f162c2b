"""Programs on a cgroup: they see the sockets of the processes in it and below."""

import errno
import os

from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.links.base import Link, LinkKind
from beewire.bpf.kernel.links.order import Neighbour, Order, create_ordered, order
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import AttachKind, ProgramKind
from beewire.errors import AttachError, KernelError, NotPermitted, NotSupported

PREORDER = 1 << 6  # BPF_F_PREORDER

# Kinds of program with one hook, whose section may leave it out.
_ONLY_HOOK = {
    ProgramKind.SOCK_OPS: AttachKind.CGROUP_SOCK_OPS,
    ProgramKind.CGROUP_DEVICE: AttachKind.CGROUP_DEVICE,
    ProgramKind.CGROUP_SYSCTL: AttachKind.CGROUP_SYSCTL,
    ProgramKind.CGROUP_SOCK: AttachKind.CGROUP_INET_SOCK_CREATE,
}
_OTHER_NAMES = (AttachKind.LSM_CGROUP,)
_LINK, _MULTI, _OVERRIDE = "link", "multi", "override"  # ways to attach


def attach_cgroup(  # noqa: PLR0913 - where it is, and where among the others
    program: Program,
    cgroup: str | int,
    *,
    before: Neighbour | None = None,
    after: Neighbour | None = None,
    preorder: bool = False,
    revision: int = 0,
    flags: int = 0,
    as_link: bool = True,
    override: bool = False,
) -> Link:
    """Run `program` for every process in `cgroup` and below until the Link is closed.

    `cgroup` is a directory of the cgroup2 file system, or a descriptor of one, which
    stays the caller's. Programs of child cgroups run first; within one cgroup in the
    order of attaching, unless it comes `before` or `after` another (a Link
    there, `LinkId(n)`, or "all"; Linux 6.16). Programs with `preorder`
    run before those without, an ancestor's before a child's (Linux 6.15).

    Kernels without such links (before Linux 5.7), and `as_link=False`, take the older way
    (BPF_PROG_ATTACH): `link.kind` is "cgroup.attach" then, and the program stays when the
    process dies. There programs stand beside each other (BPF_F_ALLOW_MULTI), unless
    `override` lets a child's program take the place of this one.

    Raises:
        AttachError: the path is no cgroup, or the program no cgroup program.
        NotPermitted: CAP_NET_ADMIN or CAP_BPF is missing.
        NotSupported: the kernel keeps no such order.
    """
    hook = hook_of(program)
    wanted = order(before, after, revision)
    wanted = wanted._replace(flags=wanted.flags | flags | (PREORDER if preorder else 0))
    way = _OVERRIDE if override else _LINK if as_link else _MULTI
    if isinstance(cgroup, int):
        place = f"the cgroup of descriptor {cgroup}"
        return _attach(program, cgroup, hook, wanted, place, way=way)
    fd = open_cgroup(cgroup)
    try:
        return _attach(program, fd, hook, wanted, f"cgroup {cgroup}", way=way)
    finally:
        os.close(fd)


def hook_of(program: Program) -> AttachKind:
    """The hook of a cgroup that a program is for.

    Raises:
        AttachError: it is for none.
    """
    hook = program.spec.attach_kind
    if hook is None:
        hook = _ONLY_HOOK.get(program.spec.kind)
    if hook is None or not (hook in _OTHER_NAMES or hook.name.startswith("CGROUP_")):
        section = program.spec.section
        which = f"{section}/ingress or {section}/egress"
        more = f": write {which}" if program.spec.kind is ProgramKind.CGROUP_SKB else ""
        raise AttachError(
            f"program {program.name!r} ({section}) has no cgroup hook{more}"
        )
    return hook


def _attach(
    program: Program,
    fd: int,
    hook: AttachKind,
    wanted: Order,
    place: str,
    *,
    way: str,
) -> Link:
    description = f"{program.name!r} on {place}"
    if way == _LINK:
        try:
            link = create_ordered(program, fd, hook, place, wanted)
        except NotPermitted as error:
            raise _exclusive(error, program, fd, hook, place) from error
        except (AttachError, KernelError) as error:
            _check_order(error, program, hook, wanted, place)
            if hook is AttachKind.LSM_CGROUP or _knows_links():
                raise
        else:
            return Link(link, LinkKind.CGROUP, description)
    from beewire.bpf.kernel.links.cgroup_direct import attach_direct  # noqa: PLC0415 - older kernels

    if wanted.is_given:
        raise NotSupported(errno.EINVAL, "an order of programs without links", "6.16")
    try:
        return attach_direct(program, fd, hook, place, override=way == _OVERRIDE)
    except NotPermitted as error:
        raise _exclusive(error, program, fd, hook, place) from error


def _check_order(
    error: Exception, program: Program, hook: AttachKind, wanted: Order, place: str
) -> None:
    """Raise what it means that the kernel finds an order invalid."""
    cause = error.__cause__
    refused = isinstance(cause, KernelError) and cause.errno == errno.EINVAL
    if not (refused and wanted.is_given):
        return
    # Flags are looked at before the target: EBADF, where the kernel knows them.
    record = attr.ORDERED_LINK.pack(
        prog_fd=program.fd,
        target_fd=0xFFFF_FFFF,
        attach_type=hook,
        flags=wanted.flags,
    )
    if syscall.try_bpf(syscall.Cmd.LINK_CREATE, record) == -errno.EBADF:
        if wanted.relative:
            raise AttachError(
                f"cannot attach {program.name!r} to {place}: what it shall come before or "
                "after is not attached there; here a neighbour is a Link or LinkId, for "
                "the kernel takes no program in its place"
            ) from error
        return
    preorder = wanted.flags & PREORDER
    since = "6.15" if preorder else "6.16"
    what = "BPF_F_PREORDER" if preorder else "an order among the programs of a cgroup"
    raise NotSupported(errno.EINVAL, what, since) from error


def _knows_links() -> bool:
    from beewire.bpf.kernel import features  # noqa: PLC0415 - errors only

    return bool(features.attach_kind(AttachKind.CGROUP_SOCK_OPS).available)


def _exclusive(
    refused: NotPermitted, program: Program, fd: int, hook: AttachKind, place: str
) -> Exception:
    """The kernel's other EPERM (hierarchy_allows_attach), told from a lack of rights."""
    from beewire.bpf.kernel import privilege  # noqa: PLC0415 - errors only
    from beewire.bpf.kernel.links.query import others, query  # noqa: PLC0415

    lacking = privilege.missing(("CAP_BPF", "CAP_NET_ADMIN"))
    if lacking or privilege.in_user_namespace():
        return refused
    there = others(query(fd, hook, effective=True))
    who = f" ({there})" if there else ""
    return AttachError(
        f"cannot attach {program.name!r} to {place}: a program there, or above it, was "
        f"attached without BPF_F_ALLOW_MULTI and lets none beside it{who}; `bpftool "
        "cgroup tree` shows where, and detach.cgroup() takes it off"
    )


def open_cgroup(path: str) -> int:
    """A descriptor of a directory of the cgroup2 file system; the caller closes it.

    Raises:
        AttachError: it is none.
    """
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
