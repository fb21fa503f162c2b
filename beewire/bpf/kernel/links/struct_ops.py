"""struct_ops: tables of callbacks, registered with the subsystem that they are for."""

from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.bpf.kernel.links.base import Link, LinkKind
from beewire.bpf.kernel.maps import AnyMap
from beewire.bpf.kernel.maps.struct_ops import StructOpsMap
from beewire.bpf.object import AttachKind
from beewire.errors import AttachError

_KEY = bytes(4)


def attach_struct_ops(table: AnyMap) -> Link:
    """Register the callbacks of a struct_ops map of a Loaded until the Link is closed.

    A congestion control, say, is then there to be chosen by its name.

    Raises:
        AttachError: the map is none of struct_ops.
        KernelError: the kernel refuses the table; EEXIST: one of this name is there.
    """
    if not isinstance(table, StructOpsMap):
        raise AttachError(f"map {table.name!r} is no table of struct_ops")
    about = f"register the struct_ops {table.name!r}"
    key, value = bytearray(_KEY), bytearray(table.content())
    record = attr.MAP_ELEM.pack(
        map_fd=table.fd, key=syscall.address(key), value=syscall.address(value)
    )
    if not table.uses_link:
        # What can fail comes before what would have to be undone.
        with Descriptor(syscall.duplicate(table.fd)) as own:
            syscall.bpf(syscall.Cmd.MAP_UPDATE_ELEM, record, about, ("CAP_NET_ADMIN",))
            return _Registration(own.release(), LinkKind.STRUCT_OPS, table.name)
    syscall.bpf(syscall.Cmd.MAP_UPDATE_ELEM, record, about, ("CAP_NET_ADMIN",))
    record = attr.LINK_CREATE.pack(prog_fd=table.fd, attach_type=AttachKind.STRUCT_OPS)
    fd = syscall.bpf(syscall.Cmd.LINK_CREATE, record, about, ("CAP_NET_ADMIN",))
    return Link(fd, LinkKind.STRUCT_OPS, f"struct_ops {table.name!r}")


class _Registration(Link):
    """A table that no link registers (`.struct_ops`): what is held is the map."""

    __slots__ = ()

    def close(self) -> None:
        """Take the table back."""
        if not self.closed:
            key = bytearray(_KEY)
            record = attr.MAP_ELEM.pack(map_fd=self.fd, key=syscall.address(key))
            syscall.try_bpf(syscall.Cmd.MAP_DELETE_ELEM, record)
        super().close()
