"""Link: what keeps a program attached."""

import errno

from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.bpf.kernel.program import Program
from beewire.enums import WireEnum
from beewire.errors import AttachError, KernelError, NotPermitted, NotSupported
from beewire.rows import Row


class LinkKind(WireEnum):
    """`enum bpf_link_type`."""

    UNSPEC = 0
    RAW_TRACEPOINT = 1
    TRACING = 2
    CGROUP = 3
    ITER = 4
    NETNS = 5
    XDP = 6
    PERF_EVENT = 7
    KPROBE_MULTI = 8
    STRUCT_OPS = 9
    NETFILTER = 10
    TCX = 11
    UPROBE_MULTI = 12
    NETKIT = 13
    SOCKMAP = 14


# They keep the program that they were made with.
_FIXED = (LinkKind.RAW_TRACEPOINT, LinkKind.TRACING, LinkKind.PERF_EVENT)


class LinkInfo(Row):
    """What the kernel knows of a link.

    `target` is the cgroup's id, the namespace's inode or the interface's index; 0 once
    detached, and for kinds without such a target.
    """

    kind: LinkKind
    id: int
    program_id: int
    target: int


class Link(Descriptor):
    """A program attached to a hook.

    Closing it detaches the program, unless the link is pinned. It keeps the program
    alive: the Program may be closed meanwhile.
    """

    __slots__ = ("description", "kind")

    def __init__(self, fd: int, kind: LinkKind, description: str) -> None:
        super().__init__(fd)
        self.kind = kind
        self.description = description

    @classmethod
    def from_pin(cls, path: str) -> "Link":
        """Open the link pinned at `path`.

        Raises:
            KernelError: nothing is pinned there, or it is no link.
        """
        from beewire.bpf.kernel import pins  # noqa: PLC0415 - not on the start-up path

        with Descriptor(pins.open_pin(path, "link")) as handle:
            info = syscall.read_info(handle.fd, attr.LINK_INFO)
            kind = LinkKind(attr.LINK_INFO.integer(info, "type"))
            return cls(handle.release(), kind, f"the link pinned at {path}")

    def __repr__(self) -> str:
        return f"<Link {self.description}>"

    def detach(self) -> None:
        """End the attachment at once, also where the link is pinned or held elsewhere.

        Raises:
            NotSupported: this kind of link ends only when its last holder closes it.
        """
        record = attr.LINK_DETACH.pack(link_fd=self.fd)
        syscall.bpf(syscall.Cmd.LINK_DETACH, record, f"detach {self.description}")

    def update(self, program: Program) -> None:
        """Put `program` in the place of the present one, without a gap.

        Raises:
            NotSupported: this kind of link cannot change its program.
            KernelError: the program is of another kind.
        """
        record = attr.LINK_UPDATE.pack(link_fd=self.fd, new_prog_fd=program.fd)
        about = f"put {program.name!r} in the place of {self.description}"
        try:
            syscall.bpf(syscall.Cmd.LINK_UPDATE, record, about)
        except KernelError as error:
            if error.errno != errno.EINVAL:
                raise
            if self.kind in _FIXED:
                what = f"another program on a link of kind {self.kind.name}"
                raise NotSupported(errno.EINVAL, what) from error
            why = f"a program of section {program.spec.section!r} does not belong there"
            raise KernelError(
                errno.EINVAL, "LINK_UPDATE", f"cannot {about}: {why}"
            ) from error

    def pin(self, path: str) -> None:
        """Keep the program attached under `path` on a BPF file system."""
        from beewire.bpf.kernel import pins  # noqa: PLC0415 - not on the start-up path

        pins.pin(self.fd, path)

    def info(self) -> LinkInfo:
        """What the kernel knows of the link."""
        info = syscall.read_info(self.fd, attr.LINK_INFO)
        number = attr.LINK_INFO.integer
        kind = LinkKind(number(info, "type"))
        target = number(info, "target")
        if kind is LinkKind.CGROUP:
            target |= number(info, "target_high") << 32
        elif kind not in (LinkKind.NETNS, LinkKind.XDP):
            target = 0
        return LinkInfo(kind, number(info, "id"), number(info, "prog_id"), target)


def create_link(
    program: Program, target_fd: int, attach_type: int, place: str, flags: int = 0
) -> int:
    """BPF_LINK_CREATE on a target; returns the descriptor of the link.

    Raises:
        AttachError: the target does not take this program; the message says why.
        NotPermitted: a capability is missing.
        NotSupported: this kernel has no such links.
    """
    record = attr.LINK_CREATE.pack(
        prog_fd=program.fd, target_fd=target_fd, attach_type=attach_type, flags=flags
    )
    about = f"attach {program.name!r} to {place}"
    try:
        return syscall.bpf(syscall.Cmd.LINK_CREATE, record, about, ("CAP_NET_ADMIN",))
    except (NotPermitted, NotSupported):
        raise
    except KernelError as error:
        raise attach_error(error, program, place) from error


def attach_error(error: KernelError, program: Program, place: str) -> AttachError:
    """The AttachError that tells what a refused attachment means."""
    section = program.spec.section
    reasons = {
        errno.EBUSY: "another program is there already",
        errno.EEXIST: "another program is there already",
        errno.EINVAL: f"a program of section {section!r} does not belong there",
        errno.ENODEV: "it does not exist",
        errno.ENOENT: "it does not exist",
        errno.E2BIG: "no more programs fit there (64 to a cgroup and hook)",
    }
    reason = reasons.get(error.errno or 0)
    if reason is None:
        return AttachError(str(error))
    return AttachError(f"cannot attach {program.name!r} to {place}: {reason}")
