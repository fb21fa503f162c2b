"""BPF_PROG_LOAD: hand one program over, and learn why when it is refused."""

import errno
import sys

from beewire.bpf import isa
from beewire.bpf.btf import ext
from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.assemble import Image
from beewire.bpf.kernel.names import kernel_name
from beewire.bpf.kernel.target import Hook, Target
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


def submit(
    program: ProgramSpec,
    image: Image,
    records: Records,
    types: TypeIds,
    target: Target,
    hook: Hook | None = None,
) -> int:
    """Load one program; returns its descriptor, which the caller closes.

    `hook` is what it hooks, where its section alone does not tell (struct_ops).

    Raises:
        VerifierError: the verifier refused it; carries its log and the Python line.
        NotPermitted: a capability is missing.
        NotSupported: the kernel lacks something that the program needs.
    """
    purpose = (
        f"program {program.name!r}, which reads kernel structures by name (CO-RE),"
    )
    if image.core_relos:
        if target.core_types is None:
            target.require_btf(purpose)
        if not target.applies_core or target.core_types is not None:
            _apply_core(image, target, types, purpose)
    hook = hook or target.hook(program)
    attempt = Attempt(program, image, records, types, hook)
    result = attempt.call()
    # Before 5.17 the attr with CO-RE records is longer than what the kernel knows. A
    # program that is too large comes this way too, and is refused again.
    if result == -errno.E2BIG and image.core_relos:
        _apply_core(image, target, types, purpose)
        attempt = Attempt(program, image, records, types, hook)
        result = attempt.call()
        target.applies_core = result < 0
    if result == -errno.EPERM and _raise_memlock():
        result = attempt.call()
    if result >= 0:
        return result
    from beewire.bpf.kernel import verdict  # noqa: PLC0415 - errors only

    return verdict.second_try(program, image, attempt, -result)


def _apply_core(image: Image, target: Target, types: TypeIds, purpose: str) -> None:
    # On older kernels, or for other types, only.
    from beewire.bpf.btf import Resolver  # noqa: PLC0415
    from beewire.bpf.object.core import patch  # noqa: PLC0415

    if target.core_types is not None:
        resolver = Resolver(target.core_types, types.builder.id)
    else:
        index = target.index(purpose)
        resolver = Resolver(index, types.builder.id, target.modules_with)
    patch(image.insns, image.core_relos, resolver)
    image.core_relos.clear()


def _raise_memlock() -> bool:
    from beewire.bpf.kernel import privilege  # noqa: PLC0415 - errors only

    return privilege.raise_memlock()


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
