"""Link: what keeps a program attached."""

import errno

from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.bpf.kernel.links import kinds
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import ProgramKind
from beewire.errors import AttachError, KernelError, NotPermitted, NotSupported
from beewire.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from beewire.bpf.kernel.links.info import LinkInfo


LinkKind = kinds.LinkKind


class Link(Descriptor):
    """A program attached to a hook.

    `kind` names the way that was taken: "tcx", "clsact", "kprobe.multi", "tracefs", ...
    `cookie` is what `get_attach_cookie` gives in the program. Closing the link detaches
    the program, unless the link is pinned. It keeps the program alive: the Program may
    be closed meanwhile.
    """

    __slots__ = ("_held", "cookie", "description", "kind")

    def __init__(
        self, fd: int, kind: str | LinkKind, description: str, *, cookie: int = 0
    ) -> None:
        super().__init__(fd)
        # The kernel's name for the kind is the name where there is one way only.
        self.kind = kind.name.lower() if isinstance(kind, LinkKind) else kind
        self.description = description
        self.cookie = cookie
        self._held = ""

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
            # Not what a subclass makes of a descriptor: a bpf_link is all there is.
            link = Link(handle.release(), kind, f"the link pinned at {path}")
        link._held = f"the pin {path}"
        return link

    def __repr__(self) -> str:
        return f"<Link {self.description}>"

    def detach(self) -> None:
        """End the attachment at once, also where the link is pinned or held elsewhere.

        Kinds that the kernel cannot end otherwise (tracing) are closed.

        Raises:
            NotSupported: such a link is pinned: remove the pin, and close the link.
        """
        record = attr.LINK_DETACH.pack(link_fd=self.fd)
        result = syscall.try_bpf(syscall.Cmd.LINK_DETACH, record)
        if result >= 0:
            return
        if -result not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTSUP):
            from beewire.bpf.kernel import explain  # noqa: PLC0415 - errors only

            raise explain.refusal(-result, "LINK_DETACH", f"detach {self.description}")
        if self._held:
            what = (
                f"detaching {self.description} while {self._held} holds it (remove that, "
                "and close the link)"
            )
            raise NotSupported(-result, what)
        self.close()

    def update(self, program: Program) -> None:
        """Put `program` in the place of the present one, without a gap.

        Raises:
            NotSupported: this kind of link cannot change its program: attach the other
                one, then close this link.
            KernelError: the program is of another kind.
        """
        record = attr.LINK_UPDATE.pack(link_fd=self.fd, new_prog_fd=program.fd)
        about = f"put {program.name!r} in the place of {self.description}"
        try:
            syscall.bpf(syscall.Cmd.LINK_UPDATE, record, about)
        except KernelError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            if self.info.kind not in _UPDATED:
                raise fixed(self.kind) from error
            why = f"a program of section {program.spec.section!r} does not belong there"
            raise KernelError(
                errno.EINVAL, "LINK_UPDATE", f"cannot {about}: {why}"
            ) from error

    def pin(self, path: str) -> None:
        """Keep the program attached under `path` on a BPF file system.

        Raises:
            NotSupported: this kernel attaches in an older way, which ends with the
                process.
            KernelError: the path is taken, or on no BPF file system.
        """
        from beewire.bpf.kernel import pins  # noqa: PLC0415 - not on the start-up path

        pins.pin(self.fd, path)
        self._held = f"the pin {path}"

    @property
    def info(self) -> "LinkInfo":
        """What the kernel knows of the link, typed by its kind.

        Raises:
            KernelError: the kernel does not tell.
        """
        from beewire.bpf.kernel.links.info import link_info  # noqa: PLC0415 - not on the start-up path

        return link_info(self.fd)


# Those whose program can be replaced (bpf_link_ops.update_prog); struct_ops: its table.
_UPDATED = (
    *(LinkKind.CGROUP, LinkKind.ITER, LinkKind.NETNS, LinkKind.XDP, LinkKind.TCX),
    *(LinkKind.NETKIT, LinkKind.SOCKMAP, LinkKind.STRUCT_OPS),
)


def fixed(kind: str) -> NotSupported:
    """The refusal of another program on a link that keeps its own."""
    what = (
        f"another program on a link of kind {kind!r}: attach the other program, then "
        "close this link"
    )
    return NotSupported(errno.EOPNOTSUPP, what)


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
    # Of programs of cgroups' packets, which anybody may load; others took it already.
    need = () if program.spec.kind is ProgramKind.TRACING else ("CAP_NET_ADMIN",)
    try:
        return syscall.bpf(syscall.Cmd.LINK_CREATE, record, about, need)
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
