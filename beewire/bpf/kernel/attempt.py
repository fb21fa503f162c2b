"""BPF_PROG_LOAD of one program, ready to be called more than once."""

import sys

from beewire.bpf import isa
from beewire.bpf.btf import ext
from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.assemble import Image
from beewire.bpf.kernel.names import kernel_name
from beewire.bpf.kernel.target import Hook
from beewire.bpf.kernel.type_ids import TypeIds
from beewire.bpf.object import ProgramSpec


class Records:
    """func_info, line_info and CO-RE records of one image, encoded for BPF_PROG_LOAD.

    Made before the object's types are loaded: they add types and strings to them.
    """

    __slots__ = ("core", "funcs", "lines")

    def __init__(self, image: Image, types: TypeIds) -> None:
        builder = types.builder
        self.funcs = ext.encode_func_info(builder, image.funcs)
        self.lines = ext.encode_line_info(builder, image.lines)
        self.core = ext.encode_core_relos(builder, image.core_relos)
        types.empty = types.empty and not self.funcs and not self.core


def _descriptors(fds: list[int]) -> bytes:
    """`fd_array`: the kernel counts from 1, as 0 is its own BTF."""
    return b"".join([fd.to_bytes(4, sys.byteorder) for fd in (0, *fds)])


class Attempt:
    """One program as BPF_PROG_LOAD wants it, to be called more than once.

    Holds the buffers whose addresses are in the fields.
    """

    __slots__ = ("_buffers", "_fields", "_record")

    def __init__(
        self,
        program: ProgramSpec,
        image: Image,
        records: Records,
        types: TypeIds,
        hook: Hook,
    ) -> None:
        code = isa.encode([insn for insn in image.insns if insn is not None])
        self._buffers: list[bytearray] = []
        self._fields: dict[str, int | bytes] = {
            "prog_type": program.kind,
            "insn_cnt": len(image.insns),
            "prog_flags": program.flags,
            "prog_name": kernel_name(program.name),
            "expected_attach_type": hook.expected,
            "attach_btf_id": hook.btf_id,
            # One field with attach_btf_obj_fd.
            "attach_prog_fd": hook.module_fd,
        }
        self._point("insns", code)
        if image.module_fds:
            self._point("fd_array", _descriptors(image.module_fds))
        self._point("license", program.license.encode() + b"\0")
        if types.fd < 0:
            return
        if image.funcs:
            self._records("func_info", ext.FUNC_INFO.size, records.funcs, types.fd)
            self._records("line_info", ext.LINE_INFO.size, records.lines, types.fd)
        if image.core_relos:
            self._records("core_relo", ext.CORE_RELO.size, records.core, types.fd)

    def _records(self, name: str, size: int, content: bytes, btf_fd: int) -> None:
        self._fields["prog_btf_fd"] = btf_fd
        self._fields[f"{name}_rec_size"] = size
        self._fields[f"{name}_cnt"] = len(content) // size
        self._point("core_relos" if name == "core_relo" else name, content)

    def _point(self, name: str, content: bytes) -> None:
        buffer = bytearray(content)
        self._buffers.append(buffer)
        self._fields[name] = syscall.address(buffer)

    def call(self, **extra: int) -> int:
        """A descriptor, or -errno; `extra` adds fields, such as those of a log."""
        self._record = attr.PROG_LOAD.pack(**{**self._fields, **extra})
        return syscall.try_load(self._record)

    @property
    def log_true_size(self) -> int:
        """What the last call's log would have taken; 0 before Linux 6.4."""
        return attr.PROG_LOAD.integer(self._record, "log_true_size")
