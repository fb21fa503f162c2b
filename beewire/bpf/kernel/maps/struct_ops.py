"""Maps of struct_ops: a table of callbacks that the kernel takes when it is registered."""

import errno
import sys

from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.maps.keyless import KeylessMap
from beewire.bpf.kernel.names import kernel_name
from beewire.bpf.kernel.program import Program
from beewire.bpf.kernel.struct_ops import Table
from beewire.hints import Mapping

LINK = 1 << 13  # BPF_F_LINK: registered by a link


class StructOpsMap(KeylessMap):
    """A table of callbacks; `attach_struct_ops` registers it with the kernel."""

    __slots__ = ("_programs", "_table", "uses_link")

    def __init__(
        self, fd: int, table: Table, programs: Mapping[str, Program], *, uses_link: bool
    ) -> None:
        super().__init__(fd, table.spec)
        self._table = table
        # Whether a link registers it (`.struct_ops.link`), and its end takes it back.
        self.uses_link = uses_link
        # Filled later: programs are loaded after the maps that they use.
        self._programs = programs

    def content(self) -> bytes:
        """The table with the descriptors of its programs, as the kernel wants it."""
        content = bytearray(self._table.value)
        for offset, name in self._table.programs.items():
            fd = self._programs[name].fd
            content[offset : offset + 8] = fd.to_bytes(8, sys.byteorder)
        return bytes(content)


def create_table(
    table: Table, programs: Mapping[str, Program], btf_fd: int
) -> StructOpsMap:
    """Create the map; `programs` may be filled until it is registered.

    `btf_fd` are the types of any object: the kernel insists on some.

    Raises:
        NotPermitted: CAP_BPF or CAP_NET_ADMIN is missing.
        KernelError: the kernel refuses.
    """
    flags = table.spec.flags
    fd = _create(table, flags, btf_fd)
    if fd == -errno.EINVAL and flags & LINK:
        # Before Linux 6.4 there is no link: the map itself registers its table.
        flags &= ~LINK
        fd = _create(table, flags, btf_fd)
    if fd < 0:
        from beewire.bpf.kernel import explain  # noqa: PLC0415 - errors only

        about = f"create struct_ops map {table.spec.name!r}"
        raise explain.refusal(-fd, "MAP_CREATE", about, ("CAP_NET_ADMIN",))
    return StructOpsMap(fd, table, programs, uses_link=bool(flags & LINK))


def _create(table: Table, flags: int, btf_fd: int) -> int:
    record = attr.MAP_CREATE.pack(
        map_type=table.spec.kind,
        key_size=4,
        value_size=len(table.value),
        max_entries=1,
        map_flags=flags,
        map_name=kernel_name(table.spec.name),
        btf_fd=btf_fd,
        btf_vmlinux_value_type_id=table.value_type_id,
    )
    return syscall.try_bpf(syscall.Cmd.MAP_CREATE, record)
