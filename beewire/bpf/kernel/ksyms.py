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
    fits = found is not None and _fits(spec.externs.get(name), target, found)
    if fits or name in spec.weak:
        return found if fits else None
    what = "function" if kind is Kind.FUNC else "variable"
    wish = f"the kernel {what} {name!r}"
    if found is not None:
        wish += " with the parameters and results that the object declares"
    raise NotSupported(errno.ENOENT, wish)


def _fits(extern: Func | Var | None, target: Target, found: int) -> bool:
    """Whether the kernel's symbol is of the type that the object says."""
    if extern is None:
        return True
    from beewire.bpf.btf.compat import types_compatible  # noqa: PLC0415 - with externs only

    node = target.index("the type of a kernel symbol").type(found)
    if isinstance(extern, Func) and isinstance(node, Func):
        return types_compatible(extern.proto, node.proto, forward=True)
    if isinstance(extern, Var) and isinstance(node, Var):
        return types_compatible(strip(extern.type), strip(node.type), forward=True)
    return False


def _address(spec: ObjectSpec, name: str) -> int:
    """The address of a symbol that is declared without a type."""
    from beewire.bpf.kernel.kallsyms import address_of  # noqa: PLC0415 - rare

    found = address_of(name)
    if found is None and name not in spec.weak:
        raise NotSupported(errno.ENOENT, f"the kernel symbol {name!r}")
    return found or 0
