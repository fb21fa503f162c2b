"""Finding the operation of a map, and its operands: what all families use."""

import sys

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.attributes import inner_map, present
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.conditions import CONTAINS
from beewire.bpf.lang.decl import MapDecl, Sending, dropped_name
from beewire.bpf.lang.faults import Rule, near
from beewire.bpf.lang.flow import Target
from beewire.bpf.lang.memory import in_memory
from beewire.bpf.lang.types import ValueType
from beewire.bpf.lang.values import (
    ContextValue,
    InnerMap,
    Literal,
    Memory,
    Pointer,
    Value,
)
from beewire.bpf.lang.variables import find, static_object
from beewire.bpf.object.kinds import MapKind
from beewire.hints import Any, Callable
from beewire.reasons import Reason

Operation = Callable[[Builder, MapDecl, ast.Call], Value]

MAP_LOOKUP_ELEM = 1

# Operations that are written without a call, as they are called in diagnostics.
_SYNTAX = {"subscript": "[...] =", "contains": "'in'", "delete": "del"}


def operation(b: Builder, decl: MapDecl, func: ast.Attribute) -> Operation:
    """What compiles `table.operation(...)`.

    Raises:
        Refused: The kernel does not allow it for this kind of map.
    """
    name = func.attr
    if name in allowed(decl) - {"subscript", "contains"}:
        found: Operation = _family(decl).OPERATIONS[name]
        return found
    known = offered(decl)
    hint = near(name, known) or f"it has {', '.join(known)}"
    kind = type(decl).__name__
    message = f"{kind} has no {name}() in programs"
    raise b.refuse(func, Reason.MAP_OPERATION, message, hint)


def allowed(decl: MapDecl) -> frozenset[str]:
    """The operations that programs may use on a map of this kind."""
    if decl.kind in {MapKind.ARRAY, MapKind.PERCPU_ARRAY}:
        # Every entry is there from the start, and stays.
        return decl.operations - {"delete", "insert"}
    if decl.kind is MapKind.LPM_TRIE:
        # The kernel walks tables and arrays only (map_for_each_callback).
        return decl.operations - {"for_each"}
    return decl.operations


def offered(decl: MapDecl) -> list[str]:
    """The operations that are called, for advice."""
    return sorted(allowed(decl) - {"subscript", "contains"})


def require(b: Builder, decl: MapDecl, node: ast.expr, wanted: str) -> None:
    """Refuse an operation of syntax (`in`, `del`, `[...] =`) that the kind lacks."""
    # Storage is deleted by its owner, which is no key.
    if wanted in allowed(decl) and not (wanted == "delete" and "get" in allowed(decl)):
        return
    kind = type(decl).__name__
    message = f"{kind} has no {_SYNTAX[wanted]} in programs"
    hint = f"it has {', '.join(offered(decl))}"
    raise b.refuse(node, Reason.MAP_OPERATION, message, hint)


def contains(
    b: Builder, decl: MapDecl, item: ast.expr, then: Target, orelse: Target
) -> None:
    """`key in table`, `value in filter`."""
    require(b, decl, item, "contains")
    _family(decl).contains(b, decl, item, then, orelse)


def _family(decl: MapDecl) -> Any:
    # Not by importlib, whose own import takes 0.4 ms.
    name = f"{__package__}.{decl.lowering}"
    return sys.modules.get(name) or __import__(name, fromlist=("OPERATIONS",))


def table_of(b: Builder, node: ast.expr) -> MapDecl | None:
    """The map that `table` of `table[key]` names; None for all that is no map."""
    found = static_object(b, node)
    if isinstance(found, MapDecl):
        return found
    if isinstance(node, ast.Name):
        bound = b.frame.bound.get(node.id)
        variable = None if bound is not None else find(b.frame, node.id)
        held = bound if variable is None else variable.template
        if isinstance(held, InnerMap):
            return inner_map(b, b.expr(node), node)
    return None


def value_of(decl: MapDecl) -> ValueType:
    """The type of a map's values."""
    if decl.value is None:
        raise Rule(Reason.MAP_OPERATION, f"{decl.name} has no values")
    return decl.value


def key_pointer(b: Builder, decl: MapDecl, node: ast.expr) -> ir.Op:
    """The address of a key."""
    if decl.key is None:
        raise b.refuse(node, Reason.MAP_OPERATION, f"{decl.name} has no keys")
    return pointer(b, node, decl.key, "key")


def pointer(b: Builder, node: ast.expr, type_: ValueType, name: str) -> ir.Op:
    """The address of an argument that a helper reads."""
    return put(b, node, b.deferred(node), type_, name)


def put(b: Builder, node: ast.expr, value: Value, type_: ValueType, name: str) -> ir.Op:
    """The address of `value`, that of `node`, for a helper that reads it."""
    if isinstance(value, Pointer):
        present(b, value, node)
    try:
        return in_memory(b, value, type_, name)
    except Rule as rule:
        raise b.refuse(node, rule.code, rule.message, rule.hint) from None


def map_ref(decl: MapDecl) -> ir.Op:
    """The map as an operand."""
    operand: ir.Op | None = decl.operand
    return ir.MapRef(decl.name) if operand is None else operand


def find_value(b: Builder, decl: MapDecl, key: ir.Op) -> ir.Op:
    """A call of `bpf_map_lookup_elem`."""
    return b.call(MAP_LOOKUP_ELEM, map_ref(decl), key, kind=ir.Kind.PTR)


def value_memory(decl: MapDecl, op: ir.Op, *, nullable: bool) -> Memory:
    """A value of the map at `op`."""
    shared = not decl.per_cpu
    space = ir.Space.MAP
    found = Memory(op, 0, value_of(decl), space, nullable=nullable, shared=shared)
    found.home = decl
    return found


def filled(
    b: Builder, type_: ValueType, name: str, fill: Callable[[ir.Op], ir.Op]
) -> Memory:
    """What a helper writes to the stack, or None where it returns an error.

    `fill` calls the helper with the address, and gives its result.
    """
    slot = b.slot(name, type_.size)
    result = fill(slot)
    place, flag = ir.Local(name, ir.Kind.PTR), ir.Local(f"{name}?", ir.Kind.INT)
    some, none, done = b.target("filled"), b.target("empty"), b.target(name)
    b.branch(ir.CmpOp.EQ, result, ir.Const(0), some, none)
    for target, value, is_there in ((some, slot, 1), (none, ir.Const(0), 0)):
        b.start(target)
        b.emit(ir.SetLocal(place, value))
        b.emit(ir.SetLocal(flag, ir.Const(is_there)))
        b.jump(done)
    b.start(done)
    return Memory(
        b.emit(ir.GetLocal(place)),
        0,
        type_,
        ir.Space.MEM,
        nullable=True,
        flag=b.emit(ir.GetLocal(flag)),
    )


def is_counted(decl: MapDecl) -> bool:
    """Whether programs count the records that find this buffer full.

    Of one that is found in a map of maps nobody knows which one it is.
    """
    return isinstance(decl, Sending) and decl.count_dropped and decl.operand is None


def count_dropped(b: Builder, decl: MapDecl) -> None:
    """Count that a record found its buffer full."""
    if is_counted(decl):
        offset = b.unit.drop_counter(dropped_name(decl))
        place = ir.GlobalRef(b.unit.counters, offset)
        b.emit(ir.Atomic(ir.AtomicOp.ADD, place, 0, 8, ir.Const(1)))


def count_if(b: Builder, op: ir.CmpOp, result: ir.Op, decl: MapDecl) -> None:
    """Count a record as dropped when `result op 0`."""
    if is_counted(decl):
        full, done = b.target("dropped"), b.target("counted")
        b.branch(op, result, ir.Const(0), full, done)
        b.start(full)
        count_dropped(b, decl)
        b.jump(done)
        b.start(done)


def context_op(b: Builder, node: ast.expr) -> ir.Op:
    """The context, as helpers take it.

    Raises:
        Refused: The argument is something else.
    """
    value = b.expr(node)
    if isinstance(value, ContextValue):
        return value.op
    message = f"the context is needed here, not {value.describe()}"
    raise b.refuse(node, Reason.WRONG_ARGUMENT, message)


def number(b: Builder, node: ast.expr | None, default: int = 0) -> ir.Op:
    """An integer argument."""
    return ir.Const(default) if node is None else b.op(b.integer(node))


def constant(b: Builder, node: ast.expr | None, default: int = 0) -> int:
    """An argument that is written out, such as `ingress=True`.

    Raises:
        Refused: It is not known when the program is compiled.
    """
    if node is None:
        return default
    value = b.integer(node)
    if isinstance(value, Literal):
        return value.value
    message = f"{ast.unparse(node)!r} has to be written out here"
    raise b.refuse(node, Reason.NOT_CONSTANT, message, "a number, True or False")


CONTAINS.append(contains)
