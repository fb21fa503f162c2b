"""Calls of kernel functions, and reads of kernel variables."""

from beewire.bpf import ir
from beewire.bpf.btf import types as btf
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang import source
from beewire.bpf.lang.annotations import NONE, Wanted, wanted
from beewire.bpf.lang.arguments import arguments, evaluated, required
from beewire.bpf.lang.attributes import FIELDS, present
from beewire.bpf.lang.btf_types import to_btf
from beewire.bpf.lang.builder import Builder, Frame
from beewire.bpf.lang.call_expressions import BY_NAME, CALLABLES, METHODS
from beewire.bpf.lang.contexts import Context
from beewire.bpf.lang.core_calls import SYMBOLS
from beewire.bpf.lang.decl import Symbol
from beewire.bpf.lang.faults import Rule, near
from beewire.bpf.lang.helper_calls import ARGUMENTS
from beewire.bpf.lang.kernel_types import kernel_struct
from beewire.bpf.lang.memory import kernel_address, load
from beewire.bpf.lang.ownership import acquire, give_back, lean
from beewire.bpf.lang.structs import Kernel, StructType
from beewire.bpf.lang.symbols import Kfunc, Ksym
from beewire.bpf.lang.types import BOOL, U64, IntType, find_value_type
from beewire.bpf.lang.values import (
    ContextValue,
    Int,
    KernelMemory,
    Literal,
    Memory,
    Nothing,
    Pointer,
    Reference,
    Value,
)
from beewire.errors import SpecError
from beewire.hints import Any
from beewire.reasons import Reason

PER_CPU_PTR = 153
THIS_CPU_PTR = 154


def call_kfunc(b: Builder, node: ast.Call, decl: Kfunc) -> Value:
    """A call of a kernel function, as its declaration types it."""
    frame = _frame(decl)
    code = decl.function.__code__
    names = code.co_varnames[: code.co_argcount]
    defaults = decl.function.__defaults__ or ()
    given = arguments(b, node, names, len(names) - len(defaults))
    values = evaluated(b, given)
    ops: list[ir.Op] = []
    for place, (name, argument, value) in enumerate(
        zip(names, given, values, strict=True)
    ):
        if argument is None or value is None:
            ops.append(ir.Const(int(defaults[place - len(names)])))
            continue
        ops.append(_argument(b, _wanted(frame, name), argument, value))
    if decl.releases and given and given[0] is not None:
        assert isinstance(values[0], Pointer)
        give_back(b, values[0], given[0], f"{decl.name}()")
    result = wanted(frame, "return")
    called = _call(b, decl.name, ops, result)
    return _result(b, decl, result, called, values)


def _frame(decl: Kfunc) -> Frame:
    found, definition = source.find(decl.function)
    return Frame(decl.function, found, definition)


def _wanted(frame: Frame, name: str) -> Wanted:
    asked = wanted(frame, name)
    if asked is None:
        what = frame.function.__name__
        message = f"parameter {name!r} of the kernel function {what} has no annotation"
        raise Rule(Reason.SIGNATURE, message, "write its type where it is declared")
    return asked


def _argument(b: Builder, asked: Wanted, node: ast.expr, value: Value) -> ir.Op:
    kind = asked.type
    if asked.nullable and isinstance(value, Nothing):
        return ir.Const(0)
    op: ir.Op | None = None
    if isinstance(kind, IntType):
        op = b.op(value) if isinstance(value, Int | Literal) else None
    elif isinstance(kind, type) and issubclass(kind, Context):
        op = value.op if isinstance(value, ContextValue) else None
    elif isinstance(kind, type) and issubclass(kind, Kernel):
        is_one = isinstance(value, KernelMemory) and _same(value.kernel, kind)
        op = _pointer(b, asked, node, value) if is_one else None
    elif kind is not None:
        op = ARGUMENTS["mem"](b, node, value)
    if op is None:
        message = f"{asked.name} is needed here, not {value.describe()}"
        raise b.refuse(node, Reason.WRONG_ARGUMENT, message)
    return op


def _same(given: type[Kernel], asked: type[Kernel]) -> bool:
    names = (each.__name__.partition("___")[0] for each in (given, asked))
    return len(set(names)) == 1


def _pointer(b: Builder, asked: Wanted, node: ast.expr, value: Value) -> ir.Op:
    assert isinstance(value, KernelMemory)
    if not asked.nullable:
        present(b, value, node)
    return kernel_address(b, value)


def _call(b: Builder, name: str, ops: list[ir.Op], result: Wanted | None) -> ir.Op:
    is_number = result is None or result.is_none or isinstance(result.type, IntType)
    kind = ir.Kind.INT if is_number else ir.Kind.PTR
    return b.emit(ir.Call(ir.CallKind.KFUNC, name, *ops, kind=kind))


def _result(
    b: Builder,
    decl: Kfunc,
    result: Wanted | None,
    op: ir.Op,
    values: list[Value | None],
) -> Value:
    if result is None or result.is_none:
        return Nothing()
    kind = result.type
    if isinstance(kind, IntType):
        # The upper half of a narrow result is whatever it is.
        return Int(_narrowed(b, op, kind), kind)
    if isinstance(kind, StructType):
        made: Pointer = Memory(op, 0, kind, ir.Space.MEM, nullable=result.nullable)
    elif isinstance(kind, type) and issubclass(kind, Kernel):
        made = KernelMemory(op, kind, typed=True, nullable=result.nullable)
    else:
        message = f"{decl.name}() cannot return {result.name}"
        raise Rule(Reason.RESULT, message, "an integer, a Kernel class, or a Struct")
    if not decl.released_by:
        first = values[0] if values else None
        return lean(made, first) if isinstance(first, Pointer) else made
    release = decl.released_by
    reference = Reference(
        f"what {decl.name}() returned",
        f"give it back on every way by {release}(), or write: with ... as it:",
        lambda held: b.emit(ir.Call(ir.CallKind.KFUNC, release, held)),
    )
    return acquire(b, made, reference)


def _narrowed(b: Builder, op: ir.Op, kind: IntType) -> ir.Op:
    if kind.bits == 64:
        return op
    return b.emit(ir.Extend(op, kind.bits, signed=kind.signed))


# What the object says of them.


def extern_types(decl: Symbol) -> "list[btf.Func | btf.Var]":
    """What an object says of a declared symbol, and of what gives back its result.

    Raises:
        SpecError: An annotation means nothing.
    """
    if isinstance(decl, Ksym):
        return [_ksym_type(decl)]
    assert isinstance(decl, Kfunc)
    try:
        found: list[btf.Func | btf.Var] = [_kfunc_type(decl)]
        result = wanted(_frame(decl), "return")
    except Rule as rule:
        raise SpecError(f"kernel function {decl.name}: {rule.message}") from None
    if decl.released_by and result is not None:
        found.append(_release_type(decl.released_by, result.type))
    return found


def _kfunc_type(decl: Kfunc) -> btf.Func:
    frame = _frame(decl)
    code = decl.function.__code__
    params = tuple(
        btf.Param(name, _type(wanted(frame, name)))
        for name in code.co_varnames[: code.co_argcount]
    )
    proto = btf.FuncProto(_type(wanted(frame, "return")), params)
    return btf.Func(decl.name, proto, btf.Linkage.EXTERN)


def _release_type(name: str, kind: Any) -> btf.Func:
    params = (btf.Param("it", _type(Wanted(kind))),)
    return btf.Func(name, btf.FuncProto(None, params), btf.Linkage.EXTERN)


def _type(asked: Wanted | None) -> btf.Type | None:
    if asked is None or asked.is_none:
        return None
    kind = asked.type
    if isinstance(kind, StructType):
        return btf.Ptr(to_btf(kind))
    if isinstance(kind, IntType):
        return to_btf(kind)
    if isinstance(kind, type) and issubclass(kind, Kernel):
        return btf.Ptr(kernel_struct(kind))
    if isinstance(kind, type) and issubclass(kind, Context):
        return btf.Ptr(btf.Fwd(kind.struct_name) if kind.struct_name else None)
    return btf.Ptr(None)


def _ksym_type(decl: Ksym[Any]) -> btf.Var:
    """The extern variable that a declaration stands for."""
    kind = decl.type
    found = None if kind in {None, NONE} else find_value_type(kind)
    if found is not None:
        type_: btf.Type | None = to_btf(found)
    elif isinstance(kind, type) and issubclass(kind, Kernel):
        type_ = kernel_struct(kind)
    else:
        type_ = None
    return btf.Var(decl.name, type_, btf.Linkage.EXTERN)


# Variables.


def ksym_attribute(b: Builder, decl: Ksym[Any], name: str) -> Value:
    """`jiffies.value`, `init_task.pid`.

    Raises:
        Rule: It has no such field.
    """
    place = _variable(b, decl, ir.SymbolRef(decl.name))
    if decl.per_cpu:
        message = f"each CPU has a {decl.name} of its own"
        raise Rule(
            Reason.NO_FIELD, message, f"{decl.name}.here(), {decl.name}.on_cpu(n)"
        )
    if isinstance(place, Memory) and name == "value":
        return load(b, place)
    if isinstance(place, KernelMemory):
        if name == "value":
            return place
        from beewire.bpf.lang.kernel_reads import kernel_member  # noqa: PLC0415 - no cycle

        return kernel_member(b, place, name)
    known = ["value", "address"]
    hint = near(name, known) or f"{decl.name}.value"
    raise Rule(Reason.NO_FIELD, f"{decl.name} has no field {name!r}", hint)


def ksym_operation(b: Builder, node: ast.Call, decl: Ksym[Any]) -> Value:
    """`x.here()`, `x.on_cpu(cpu)`, `x.address()`."""
    func = node.func
    assert isinstance(func, ast.Attribute)
    symbol = ir.SymbolRef(decl.name)
    if func.attr == "address":
        arguments(b, node, ())
        local = ir.Local("address", ir.Kind.INT)
        b.emit(ir.SetLocal(local, symbol))
        return Int(b.emit(ir.GetLocal(local)), U64)
    if not decl.per_cpu or func.attr not in {"here", "on_cpu"}:
        message = f"{decl.name} has no {func.attr}()"
        hint = "per_cpu=True has here() and on_cpu(n)"
        raise b.refuse(func, Reason.NO_SUCH_CALL, message, hint)
    if func.attr == "here":
        arguments(b, node, ())
        op = b.call(THIS_CPU_PTR, symbol, kind=ir.Kind.PTR)
        return _variable(b, decl, op)
    [cpu] = required(arguments(b, node, ("cpu",)))
    op = b.call(PER_CPU_PTR, symbol, b.op(b.integer(cpu)), kind=ir.Kind.PTR)
    place = _variable(b, decl, op)
    place.nullable = True
    if isinstance(place, KernelMemory):
        place.can_be_none = True
    return place


def _variable(b: Builder, decl: Ksym[Any], op: ir.Op) -> Memory | KernelMemory:
    kind = decl.type
    if isinstance(kind, type) and issubclass(kind, Kernel):
        return KernelMemory(_fixed(b, op), kind, typed=True)
    found = find_value_type(kind)
    if isinstance(found, IntType):
        return Memory(op, 0, found, ir.Space.MEM)
    message = f"{decl.name} has an address only"
    raise Rule(Reason.NO_FIELD, message, f"{decl.name}.address()")


def _fixed(b: Builder, op: ir.Op) -> ir.Op:
    local = ir.Local("symbol", ir.Kind.PTR)
    b.emit(ir.SetLocal(local, op))
    return b.emit(ir.GetLocal(local))


def _held(b: Builder, node: ast.Call) -> Value:
    [asked] = required(arguments(b, node, ("it",)))
    value = b.expr(asked)
    if isinstance(value, Pointer) and value.owns and value.fresh:
        return value
    message = f"{ast.unparse(asked)} is nothing that has to be given back"
    raise b.refuse(asked, Reason.WITH, message)


def _exists(b: Builder, found: object) -> Value:
    assert isinstance(found, Kfunc | Ksym)
    found.weak = True
    answer = b.emit(ir.SymbolRef(found.name))
    local = ir.Local("exists", ir.Kind.INT)
    yes, no, done = b.target("exists"), b.target("missing"), b.target("known")
    b.branch(ir.CmpOp.NE, answer, ir.Const(0), yes, no)
    for target, value in ((yes, 1), (no, 0)):
        b.start(target)
        b.emit(ir.SetLocal(local, ir.Const(value)))
        b.jump(done)
    b.start(done)
    return Int(b.emit(ir.GetLocal(local)), BOOL)


SYMBOLS[Kfunc] = SYMBOLS[Ksym] = _exists
BY_NAME["held"] = _held
CALLABLES[Kfunc] = call_kfunc
METHODS[Ksym] = ksym_operation
FIELDS[Ksym] = ksym_attribute
