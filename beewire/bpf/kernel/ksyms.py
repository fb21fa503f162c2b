"""What programs take from the kernel: its functions, variables and their addresses."""

import errno

from beewire.bpf import isa
from beewire.bpf.btf import Func, Kind, Var, strip
from beewire.bpf.kernel.target import Target
from beewire.bpf.object import ObjectSpec, Relocation, RelocationKind
from beewire.errors import NotSupported
from beewire.hints import Callable

# What stands for a call of a function that the kernel lacks: refused, if ever reached.
_POISON = 2_002_000_000

# Binds one instruction to the kernel's symbol that its relocation names.
BindSymbol = Callable[[isa.Insn, Relocation], isa.Insn]


def symbol_binder(spec: ObjectSpec, target: Target) -> BindSymbol:
    """What binds the KFUNC and KSYM relocations of `spec` to the running kernel.

    Raises, when called:
        NotSupported: the kernel lacks a symbol that is not weak.
    """

    def bind(insn: isa.Insn, relo: Relocation) -> isa.Insn:
        if relo.kind == RelocationKind.KFUNC:
            found = _find(spec, target, relo.symbol, Kind.FUNC)
            if found is None:
                return isa.call_helper(_POISON)
            return isa.call_kfunc(found)
        extern = spec.externs.get(relo.symbol)
        if isinstance(extern, Var) and strip(extern.type) is None:
            return isa.ld_imm64(insn.dst, _address(spec, relo.symbol))
        kind = Kind.FUNC if isinstance(extern, Func) else Kind.VAR
        found = _find(spec, target, relo.symbol, kind)
        if found is None:
            return isa.ld_imm64(insn.dst, 0)
        return isa.ld_btf_id(insn.dst, found)

    return bind


def _find(spec: ObjectSpec, target: Target, name: str, kind: Kind) -> int | None:
    """The BTF id of the symbol; None where it is weak and missing."""
    # "bpf_task_acquire___old" is a flavour: the same function, declared otherwise.
    found = target.find(name.partition("___")[0], kind)
    if found is None and name not in spec.weak:
        what = "function" if kind is Kind.FUNC else "variable"
        raise NotSupported(errno.ENOENT, f"the kernel {what} {name!r}")
    return found


def _address(spec: ObjectSpec, name: str) -> int:
    """The address of a symbol that is declared without a type."""
    from beewire.bpf.kernel.kallsyms import address_of  # noqa: PLC0415 - rare

    found = address_of(name)
    if found is None and name not in spec.weak:
        raise NotSupported(errno.ENOENT, f"the kernel symbol {name!r}")
    return found or 0
