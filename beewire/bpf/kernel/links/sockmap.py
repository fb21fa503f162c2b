"""Programs on the messages of the sockets in a sockmap or sockhash."""

import errno

from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.bpf.kernel.links.base import Link, LinkKind, attach_error
from beewire.bpf.kernel.maps import AnyMap
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import AttachKind, MapKind
from beewire.errors import AttachError, KernelError, NotPermitted, NotSupported


class DirectLink(Link):
    """An attachment by BPF_PROG_ATTACH, which kernels before 6.10 have instead of links.

    The map holds the program, so `close` takes it off, but the end of the process does
    not: the map must go as well.
    """

    __slots__ = ("_hook", "_program")

    def __init__(
        self, program: Program, sockets: AnyMap, hook: AttachKind, description: str
    ) -> None:
        self._program = Descriptor(syscall.duplicate(program.fd))
        self._hook = hook
        super().__init__(syscall.duplicate(sockets.fd), LinkKind.SOCKMAP, description)

    def close(self) -> None:
        """Take the program off the map.

        Raises:
            KernelError: the kernel refuses, and the program stays.
        """
        if self.closed:
            return
        record = attr.PROG_ATTACH.pack(
            target_fd=self.fd,
            attach_bpf_fd=self._program.fd,
            attach_type=self._hook,
        )
        result = syscall.try_bpf(syscall.Cmd.PROG_DETACH, record)
        self._program.close()
        super().close()
        # ENOENT: another program took the place meanwhile.
        if result not in (0, -errno.ENOENT):
            from beewire.bpf.kernel import explain  # noqa: PLC0415 - errors only

            need = ("CAP_NET_ADMIN",)
            about = f"take {self.description} off again, where it stays"
            raise explain.refusal(-result, "PROG_DETACH", about, need)

    def detach(self) -> None:
        """End the attachment; the same as `close`."""
        self.close()

    def update(self, program: Program) -> None:
        """Refused: close this one and attach the other."""
        raise NotSupported(errno.EOPNOTSUPP, f"another program ({program.name!r}) here")


def attach_sockmap(program: Program, sockets: AnyMap, *, as_link: bool = True) -> Link:
    """Run `program` on what the sockets in `sockets` send (sk_msg) or receive (sk_skb).

    `as_link=False` takes the older way (BPF_PROG_ATTACH), which is also the fallback for
    kernels without sockmap links (before Linux 6.10).

    Raises:
        AttachError: the map or the program is not of the right kind.
        NotPermitted: CAP_NET_ADMIN or CAP_BPF is missing.
    """
    if sockets.spec.kind not in (MapKind.SOCKMAP, MapKind.SOCKHASH):
        raise AttachError(
            f"cannot attach {program.name!r} to map {sockets.name!r}: it holds no "
            f"sockets, it is a {sockets.spec.kind.name} map"
        )
    hook = program.spec.attach_kind or AttachKind.SK_MSG_VERDICT
    place = f"map {sockets.name!r}"
    description = f"{program.name!r} on {place}"
    if as_link:
        record = attr.LINK_CREATE.pack(
            prog_fd=program.fd, target_fd=sockets.fd, attach_type=hook
        )
        fd = syscall.try_bpf(syscall.Cmd.LINK_CREATE, record)
        if fd >= 0:
            return Link(fd, LinkKind.SOCKMAP, description)
    record = attr.PROG_ATTACH.pack(
        target_fd=sockets.fd, attach_bpf_fd=program.fd, attach_type=hook
    )
    # What can fail comes before what would have to be undone.
    link = DirectLink(program, sockets, hook, description)
    try:
        about, need = f"attach {program.name!r} to {place}", ("CAP_NET_ADMIN",)
        syscall.bpf(syscall.Cmd.PROG_ATTACH, record, about, need)
    except NotPermitted:
        link.close()
        raise
    except KernelError as error:
        link.close()
        raise attach_error(error, program, place) from error
    return link
