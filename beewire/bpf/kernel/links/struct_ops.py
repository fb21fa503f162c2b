"""struct_ops: tables of callbacks, registered with the subsystem that they are for."""

import errno

from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.bpf.kernel.links.base import Link, LinkKind, fixed
from beewire.bpf.kernel.maps import AnyMap
from beewire.bpf.kernel.maps.struct_ops import StructOpsMap
from beewire.bpf.object import AttachKind
from beewire.errors import AttachError, KernelError, NotSupported
from beewire.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from beewire.bpf.kernel.links.info import LinkInfo

_KEY = bytes(4)


def attach_struct_ops(table: AnyMap) -> Link:
    """Register the callbacks of a struct_ops map of a Loaded until the Link is closed.

    A congestion control, say, is then there to be chosen by its name. The link is of
    kind "struct_ops", or "struct_ops.map" where none registers the table (section
    `.struct_ops`, and kernels before Linux 6.4): then the table stays if this process is
    killed.

    Raises:
        AttachError: the map is none of struct_ops, or the kernel refuses the table.
    """
    about = f"register the struct_ops {table.name!r}"
    description = f"struct_ops {table.name!r}"
    if isinstance(table, StructOpsMap) and not table.uses_link:
        # What can fail comes before what would have to be undone.
        with Descriptor(syscall.duplicate(table.fd)) as own:
            _fill(table, about)
            return _Registration(own.release(), "struct_ops.map", description)
    _fill(table, about)
    record = attr.LINK_CREATE.pack(prog_fd=table.fd, attach_type=AttachKind.STRUCT_OPS)
    try:
        fd = syscall.bpf(syscall.Cmd.LINK_CREATE, record, about, ("CAP_NET_ADMIN",))
    except KernelError as error:
        raise _refusal(error, about) from error
    return StructOpsLink(fd, LinkKind.STRUCT_OPS, description)


def _fill(table: AnyMap, about: str) -> None:
    """Give a table to the kernel; without a link it is registered with that."""
    if not isinstance(table, StructOpsMap):
        raise AttachError(f"map {table.name!r} is no table of struct_ops")
    key, value = bytearray(_KEY), bytearray(table.content())
    record = attr.MAP_ELEM.pack(
        map_fd=table.fd, key=syscall.address(key), value=syscall.address(value)
    )
    try:
        syscall.bpf(syscall.Cmd.MAP_UPDATE_ELEM, record, about, ("CAP_NET_ADMIN",))
    except KernelError as error:
        # EBUSY: it was given before, as its second registration by a link needs.
        if not (table.uses_link and error.errno == errno.EBUSY):
            raise _refusal(error, about) from error


def _refusal(error: KernelError, about: str) -> Exception:
    reasons = {
        errno.EEXIST: "one of this name is there already",
        errno.EBUSY: "it is registered already, or another one is that excludes it",
        errno.EINVAL: "the subsystem finds it incomplete, or one of its fields wrong",
    }
    if error.errno not in reasons:
        return error
    return AttachError(f"cannot {about}: {reasons[error.errno]}")


def take_back(number: int) -> None:
    """Unregister the table of the map with this id, which a killed process left.

    Raises:
        AttachError: there is no such map, or its table is registered by a link, or not
            at all.
    """
    record = attr.GET_ID.pack(start_id=number)
    fd = syscall.try_bpf(syscall.Cmd.MAP_GET_FD_BY_ID, record)
    if fd < 0:
        raise AttachError(f"there is no map {number}")
    with Descriptor(fd):
        key = bytearray(_KEY)
        record = attr.MAP_ELEM.pack(map_fd=fd, key=syscall.address(key))
        if syscall.try_bpf(syscall.Cmd.MAP_DELETE_ELEM, record) < 0:
            raise AttachError(
                f"map {number} holds no registered table: it is none of struct_ops, or a "
                "link registers it"
            )


class StructOpsLink(Link):
    """A registered table."""

    __slots__ = ()

    def update(self, table: AnyMap) -> None:  # type: ignore[override]  # a table has programs
        """Put another table in the place of the present one, without a gap (Linux 6.4).

        Raises:
            AttachError: it is no table, or of another name or kind.
            NotSupported: the subsystem cannot change tables (sched_ext).
        """
        about = f"put the struct_ops {table.name!r} in the place of {self.description}"
        _fill(table, about)
        record = attr.LINK_UPDATE.pack(link_fd=self.fd, new_prog_fd=table.fd)
        try:
            syscall.bpf(syscall.Cmd.LINK_UPDATE, record, about, ("CAP_NET_ADMIN",))
        except KernelError as error:
            if error.errno != errno.EINVAL:
                raise
            why = "it is of another kind, has another name, or is there already"
            raise AttachError(f"cannot {about}: {why}") from error


class _Registration(Link):
    """A table that no link registers (`.struct_ops`): what is held is the map."""

    __slots__ = ()

    def update(self, program: object) -> None:
        """Refused: a table that no link registers is taken back first."""
        del program
        raise fixed(self.kind)

    def detach(self) -> None:
        """Take the table back; the same as `close`."""
        self.close()

    @property
    def info(self) -> "LinkInfo":
        """Refused: there is no link of which the kernel could tell."""
        raise NotSupported(errno.EOPNOTSUPP, "links of struct_ops", "6.4")

    def pin(self, path: str) -> None:
        """Refused: the table stays without a pin, until somebody takes it back."""
        raise NotSupported(errno.EOPNOTSUPP, f"pinning struct_ops at {path}", "6.4")

    def close(self) -> None:
        """Take the table back."""
        if not self.closed:
            key = bytearray(_KEY)
            record = attr.MAP_ELEM.pack(map_fd=self.fd, key=syscall.address(key))
            syscall.try_bpf(syscall.Cmd.MAP_DELETE_ELEM, record)
        super().close()
