"""What programs take from the kernel: its functions, variables and their addresses."""

import errno

from beewire.bpf import isa
from beewire.bpf.btf import Func, FuncProto, Kind, Type, Var, strip
from beewire.bpf.kernel.target import Target
from beewire.bpf.object import ObjectSpec, Relocation, RelocationKind
from beewire.errors import NotSupported
from beewire.hints import Callable

# What stands for a call of a function that the kernel lacks: refused, if ever reached.
_POISON = 2_002_000_000
_IMPLICIT = "_impl"

# Binds one instruction to the kernel's symbol that its relocation names. Of a function of
# a module it adds the module's descriptor to the list.
BindSymbol = Callable[[isa.Insn, Relocation, list[int]], isa.Insn]

# A descriptor of the module (0: the kernel itself), and the BTF id there.
_Place = tuple[int, int]


def symbol_binder(spec: ObjectSpec, target: Target) -> BindSymbol:
    """What binds the KFUNC and KSYM relocations of `spec` to the running kernel.

    Raises, when called:
        NotSupported: the kernel lacks a symbol that is not weak.
    """

    def bind(insn: isa.Insn, relo: Relocation, module_fds: list[int]) -> isa.Insn:
        if relo.kind == RelocationKind.KFUNC:
            place = _find(spec, target, relo.symbol, Kind.FUNC)
            return (
                isa.call_helper(_POISON) if place is None else _call(place, module_fds)
            )
        extern = spec.externs.get(relo.symbol)
        if isinstance(extern, Var) and strip(extern.type) is None:
            return isa.ld_imm64(insn.dst, _address(spec, relo.symbol))
        kind = Kind.FUNC if isinstance(extern, Func) else Kind.VAR
        place = _find(spec, target, relo.symbol, kind)
        if place is None:
            return isa.ld_imm64(insn.dst, 0)
        module, found = place
        return isa.ld_btf_id(insn.dst, found)._replace(imm=module << 32 | found)

    return bind


def _call(place: _Place, module_fds: list[int]) -> isa.Insn:
    module, found = place
    call = isa.call_kfunc(found)
    if not module:
        return call
    if module not in module_fds:
        module_fds.append(module)
    return call._replace(off=module_fds.index(module) + 1)


def _find(spec: ObjectSpec, target: Target, name: str, kind: Kind) -> _Place | None:
    """Where the symbol is; None where it is weak and missing."""
    # "bpf_task_acquire___old" is a flavour: the same function, declared otherwise.
    plain = name.partition("___")[0]
    found, module_fd = target.find(plain, kind), 0
    index = target.index(f"kernel symbol {name!r}")
    if found is None and (place := target.find_in_modules(plain, kind)) is not None:
        module, found = place
        module_fd, index = module.fd, module.index
    if found is not None and _fits(spec.externs.get(name), index.type(found)):
        return module_fd, found
    if (
        shorter := _without_implicit(spec.externs.get(name), target, plain)
    ) is not None:
        return 0, shorter
    if name in spec.weak:
        return None
    raise _missing(target, name, kind, is_other=found is not None)


def _without_implicit(
    extern: Func | Var | None, target: Target, name: str
) -> int | None:
    """The function whose last arguments the kernel fills in by itself, since Linux 7.0.

    It has the name without "_impl" (KF_IMPLICIT_ARGS), and does not look at the registers
    of arguments that programs for older kernels pass.
    """
    if not isinstance(extern, Func) or not name.endswith(_IMPLICIT):
        return None
    found = target.find(name.removesuffix(_IMPLICIT), Kind.FUNC)
    if found is None:
        return None
    node = target.index(f"kernel function {name!r}").type(found)
    taken = len(node.proto.params) if isinstance(node, Func) else 0
    shorter = FuncProto(extern.proto.returns, extern.proto.params[:taken])
    return found if _fits(Func(extern.name, shorter), node) else None


def _fits(extern: Func | Var | None, node: Type | None) -> bool:
    """Whether the kernel's symbol is of the type that the object says."""
    if extern is None:
        return True
    from beewire.bpf.btf import types_compatible  # noqa: PLC0415 - with externs only

    if isinstance(extern, Func) and isinstance(node, Func):
        if types_compatible(extern.proto, node.proto, forward=True):
            return True
        from beewire.bpf.kernel import hooks  # noqa: PLC0415 - rare

        some = any(map(hooks.is_ignored, node.proto.params))
        return some and hooks.callable_as(extern, node.proto)
    if isinstance(extern, Var) and isinstance(node, Var):
        return types_compatible(strip(extern.type), strip(node.type), forward=True)
    return False


def _missing(target: Target, name: str, kind: Kind, *, is_other: bool) -> NotSupported:
    """The error for a symbol that the kernel lacks, or has with another type."""
    from beewire.bpf.kernel import hooks  # noqa: PLC0415 - errors only

    what = "function" if kind is Kind.FUNC else "variable"
    wish = f"the kernel {what} {name!r}"
    if is_other:
        wish += " with the parameters and results that the object declares"
        return NotSupported(errno.ENOENT, wish)
    error = NotSupported(errno.ENOENT, wish)
    known = list(target.index(f"kernel symbol {name!r}").names(kind))
    if similar := hooks.near(name, known):
        error.add_note(f"did you mean {similar}?")
    error.add_note(f"`if exists({name}):` asks whether it is there")
    return error


def check_externs(spec: ObjectSpec, target: Target) -> None:
    """Make sure that the kernel's functions are what the object takes them for.

    Stricter than loading is, as libbpf: structs are compared by their names.

    Raises:
        SpecError: one is declared otherwise; the message shows what to write.
    """
    from beewire.bpf.kernel import hooks  # noqa: PLC0415 - for declared symbols only

    for name, extern in spec.externs.items():
        if not isinstance(extern, Func):
            continue
        index = target.index(f"kernel function {name!r}")
        found = index.lookup(name.partition("___")[0], Func)
        if found is not None:
            hooks.check_function(extern, found)


def _address(spec: ObjectSpec, name: str) -> int:
    """The address of a symbol that is declared without a type."""
    from beewire.bpf.kernel.kallsyms import address_of  # noqa: PLC0415 - rare

    found = address_of(name)
    if found is None and name not in spec.weak:
        raise NotSupported(errno.ENOENT, f"the kernel symbol {name!r}")
    return found or 0
