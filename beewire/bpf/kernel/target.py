"""The kernel that programs are loaded into: its types, where a program needs them."""

import errno
import os

from beewire.bpf.btf import Kind
from beewire.bpf.kernel.names import VMLINUX
from beewire.bpf.object import AttachKind, ProgramKind, ProgramSpec
from beewire.errors import AttachError, NotSupported
from beewire.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from beewire.bpf.btf import Index

# How the kernel names the BTF of what an attach kind hooks.
_HOOKS = {
    AttachKind.TRACE_RAW_TP: ("btf_trace_", Kind.TYPEDEF),
    AttachKind.TRACE_ITER: ("bpf_iter_", Kind.FUNC),
    AttachKind.LSM_MAC: ("bpf_lsm_", Kind.FUNC),
    AttachKind.LSM_CGROUP: ("bpf_lsm_", Kind.FUNC),
    AttachKind.TRACE_FENTRY: ("", Kind.FUNC),
    AttachKind.TRACE_FEXIT: ("", Kind.FUNC),
    AttachKind.MODIFY_RETURN: ("", Kind.FUNC),
}


class Target:
    """What loading asks of the kernel beyond bpf(2); reads its BTF when first needed.

    `btf_path` is where the kernel's BTF lies. `applies_core` says whether BPF_PROG_LOAD
    takes CO-RE records (Linux 5.17); where it turns out not to, Beewire applies them.
    """

    __slots__ = ("_index", "applies_core", "btf_path")

    def __init__(self, btf_path: str = VMLINUX, *, applies_core: bool = True) -> None:
        self.btf_path = btf_path
        self.applies_core = applies_core
        self._index: Index | None = None

    def index(self, purpose: str) -> "Index":
        """The kernel's types, which `purpose` needs.

        Raises:
            NotSupported: the kernel is built without BTF; a note says for what it is
                needed.
        """
        if self._index is None:
            from beewire.bpf.kernel.btf_cache import kernel_index  # noqa: PLC0415 - not on the start-up path

            try:
                self._index = kernel_index(self.btf_path)
            except NotSupported as error:
                error.add_note(f"{purpose} needs them")
                raise
        return self._index

    def require_btf(self, purpose: str) -> None:
        """Make sure that the kernel has BTF, without reading it.

        Raises:
            NotSupported: as `index`.
        """
        if self._index is None and not os.access(self.btf_path, os.R_OK):
            self.index(purpose)

    def attach_id(self, program: ProgramSpec) -> int:
        """`attach_btf_id`: the id of what the program hooks, 0 where it needs none.

        Raises:
            AttachError: this kernel has no such hook.
            NotSupported: it has no BTF.
        """
        if program.kind not in (ProgramKind.TRACING, ProgramKind.LSM):
            return 0
        if program.attach_kind is None or program.attach_kind not in _HOOKS:
            return 0
        prefix, kind = _HOOKS[program.attach_kind]
        index = self.index(f"program {program.name!r} ({program.section})")
        found = index.find(prefix + program.attach_to, kind)
        if found is None:
            raise AttachError(
                f"program {program.name!r} cannot hook {program.attach_to!r}: this "
                f"kernel's types have no {prefix + program.attach_to!r} (built into a "
                "module, inlined, or named otherwise)"
            )
        return found

    def symbol(self, name: str, kind: Kind) -> int:
        """The BTF id of a kernel function (`Kind.FUNC`) or variable (`Kind.VAR`).

        Raises:
            NotSupported: this kernel lacks it, or has no BTF.
        """
        found = self.index(f"kernel symbol {name!r}").find(name, kind)
        if found is None:
            what = "function" if kind is Kind.FUNC else "variable"
            raise NotSupported(errno.ENOENT, f"the kernel {what} {name!r}")
        return found
