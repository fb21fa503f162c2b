"""The kernel that programs are loaded into: its types, where a program needs them."""

import os

from beewire.bpf.btf import Kind
from beewire.bpf.kernel.names import VMLINUX
from beewire.bpf.object import AttachKind, ProgramKind, ProgramSpec
from beewire.errors import AttachError, NotSupported
from beewire.hints import TYPE_CHECKING, Iterable
from beewire.rows import Row

if TYPE_CHECKING:
    from beewire.bpf.btf import Index
    from beewire.bpf.kernel.modules import Module

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
# Where the kernel has no link for many probes, each has a perf event, whose programs are
# plain: one that was loaded for such a link is given no cookie there.
_MANY = (AttachKind.TRACE_KPROBE_MULTI, AttachKind.TRACE_UPROBE_MULTI)


class Hook(Row):
    """What BPF_PROG_LOAD is told that a program hooks: ids in the kernel's BTF.

    `member` is the number of the member of struct `btf_id` that a struct_ops program is;
    `module_fd` the BTF of the module that the id is of, or 0 for the kernel itself.
    """

    btf_id: int
    kind: AttachKind | None
    member: int = 0
    module_fd: int = 0

    @property
    def expected(self) -> int:
        """`expected_attach_type`, which for struct_ops is the member."""
        is_member = self.kind == AttachKind.STRUCT_OPS
        return self.member if is_member else self.kind or 0


class Target:
    """What loading asks of the kernel beyond bpf(2); reads its BTF when first needed.

    `btf_path` is where the kernel's BTF lies. `applies_core` says whether BPF_PROG_LOAD
    takes CO-RE records (Linux 5.17); where it turns out not to, Beewire applies them. It
    also does where they are to be answered by other types than the kernel's own:
    `core_types`, for a kernel that is built without.
    """

    __slots__ = ("_index", "_modules", "applies_core", "btf_path", "core_types")

    def __init__(
        self,
        btf_path: str = VMLINUX,
        *,
        applies_core: bool = True,
        core_types: "Index | None" = None,
    ) -> None:
        self.core_types = core_types
        self.btf_path = btf_path
        self.applies_core = applies_core
        self._index: Index | None = None
        # Kept open: descriptors of them are in programs that are being loaded.
        self._modules: dict[tuple[str, Kind], tuple[Module, int] | None] = {}

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

    def hook(self, program: ProgramSpec) -> Hook:
        """What the program hooks; its id is 0 where the hook needs none.

        Raises:
            AttachError: this kernel has no such hook.
            NotSupported: it has no BTF.
        """
        if program.kind is ProgramKind.STRUCT_OPS:
            raise AttachError(
                f"no struct_ops map of the object uses program {program.name!r}"
            )
        if program.attach_kind in _MANY and _lacks(program.attach_kind):
            return Hook(0, None)
        if program.kind not in (ProgramKind.TRACING, ProgramKind.LSM):
            return Hook(0, program.attach_kind)
        if program.attach_kind is None or program.attach_kind not in _HOOKS:
            return Hook(0, program.attach_kind)
        prefix, kind = _HOOKS[program.attach_kind]
        index = self.index(f"program {program.name!r} ({program.section})")
        found = index.find(prefix + program.attach_to, kind)
        from beewire.bpf.kernel import hooks  # noqa: PLC0415 - for typed hooks only

        module_fd = 0
        if found is None:
            place = self.find_in_modules(prefix + program.attach_to, kind)
            if place is None:
                raise hooks.missing(program, index, prefix, kind)
            module, found = place
            module_fd, index = module.fd, module.index
        if program.arguments:
            hooks.check_arguments(program, index, found)
        return Hook(found, program.attach_kind, module_fd=module_fd)

    def find(self, name: str, kind: Kind) -> int | None:
        """The BTF id of a kernel function (`Kind.FUNC`) or variable (`Kind.VAR`), or None.

        Raises:
            NotSupported: the kernel has no BTF.
        """
        return self.index(f"kernel symbol {name!r}").find(name, kind)

    def find_in_modules(self, name: str, kind: Kind) -> "tuple[Module, int] | None":
        """The module that has this function or variable, and its BTF id there, or None.

        The module stays this Target's own.
        """
        if not name:
            return None
        if (name, kind) not in self._modules:
            from beewire.bpf.kernel.modules import find_in_modules  # noqa: PLC0415 - rare

            base = self.index(f"kernel symbol {name!r}")
            self._modules[name, kind] = find_in_modules(base, name, kind)
        return self._modules[name, kind]

    def modules_with(self, name: str) -> "Iterable[Index]":
        """The types of those modules that may have a type of this name."""
        from beewire.bpf.kernel.modules import indexes_with  # noqa: PLC0415 - rare

        found = indexes_with(self.index(f"type {name!r}"), f"\0{name}".encode())
        return [index for _, index in found]


def _lacks(kind: AttachKind) -> bool:
    from beewire.bpf.kernel import features  # noqa: PLC0415 - for few programs only

    return features.attach_kind(kind).answer is features.Answer.NO
