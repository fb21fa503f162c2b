"""Maps from keys to values: hash, array, LRU, per-CPU, longest prefix match."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments, required
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.decl import MapDecl
from beewire.bpf.lang.faults import Rule
from beewire.bpf.lang.flow import Target
from beewire.bpf.lang.ints import arithmetic, check_literal
from beewire.bpf.lang.maps.common import (
    Operation,
    find_value,
    key_pointer,
    map_ref,
    number,
    pointer,
    put,
    require,
    value_memory,
    value_of,
)
from beewire.bpf.lang.memory import snapshot, store
from beewire.bpf.lang.types import I64, IntType
from beewire.bpf.lang.values import Fields, Int, Literal, Memory, Value
from beewire.bpf.object.kinds import MapKind
from beewire.reasons import Reason

MAP_UPDATE_ELEM = 2
MAP_DELETE_ELEM = 3
MAP_LOOKUP_PERCPU_ELEM = 195
BPF_NOEXIST = 1


def lookup(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`table.lookup(key)`."""
    [key] = required(arguments(b, node, ("key",)))
    op = find_value(b, decl, key_pointer(b, decl, key))
    return value_memory(decl, op, nullable=True)


def update(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`table.update(key, value)`."""
    key, value, flags = arguments(b, node, ("key", "value", "flags"), 2)
    assert key is not None
    assert value is not None
    key_op = key_pointer(b, decl, key)
    value_op = pointer(b, value, value_of(decl), "value")
    return _update(b, decl, key_op, value_op, number(b, flags))


def insert(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`table.insert(key, value)`."""
    key, value = required(arguments(b, node, ("key", "value")))
    key_op = key_pointer(b, decl, key)
    value_op = pointer(b, value, value_of(decl), "value")
    return _update(b, decl, key_op, value_op, ir.Const(BPF_NOEXIST))


def assign_item(b: Builder, decl: MapDecl, key: ast.expr, value: ast.expr) -> None:
    """`table[key] = value`."""
    require(b, decl, key, "subscript")
    # As Python does it: the value of table[key] = value first.
    made = b.deferred(value)
    if isinstance(made, Fields):
        made = snapshot(b, made)
    key_op = key_pointer(b, decl, key)
    value_op = put(b, value, made, value_of(decl), "value")
    _update(b, decl, key_op, value_op, ir.Const(0))


def delete_item(b: Builder, decl: MapDecl, key: ast.expr) -> None:
    """`del table[key]`."""
    require(b, decl, key, "delete")
    b.call(MAP_DELETE_ELEM, map_ref(decl), key_pointer(b, decl, key))


def delete(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`table.delete(key)`."""
    [key] = required(arguments(b, node, ("key",)))
    return Int(b.call(MAP_DELETE_ELEM, map_ref(decl), key_pointer(b, decl, key)), I64)


def contains(
    b: Builder, decl: MapDecl, key: ast.expr, then: Target, orelse: Target
) -> None:
    """`key in table`."""
    found = find_value(b, decl, key_pointer(b, decl, key))
    b.branch(ir.CmpOp.NE, found, ir.Const(0), then, orelse)


def add_item(b: Builder, decl: MapDecl, key: ast.expr, addend: ast.expr) -> None:
    """`table[key] += addend`: look it up, or insert it; then add.

    Two CPUs may both miss the key: the one whose insertion fails adds to the other's.
    """
    require(b, decl, key, "subscript")
    kind = value_of(decl)
    if not isinstance(kind, IntType):
        raise Rule(
            Reason.NOT_ATOMIC,
            f"{decl.name} holds {kind.name}: look it up and add to a field",
        )
    if kind.is_bool:
        raise Rule(
            Reason.NOT_ATOMIC,
            f"{decl.name} holds bool: nothing is added to that",
            f"assign it: {decl.name}[...] = True",
        )
    # As Python does it: the key of table[key] += addend first.
    pointer_op = key_pointer(b, decl, key)
    amount = b.integer(addend)
    arithmetic("+", kind, amount.type if isinstance(amount, Int) else amount.value)
    if isinstance(amount, Literal):
        check_literal(amount.value, kind)
    missing, present_, done = (
        b.target("missing"),
        b.target("present"),
        b.target("added"),
    )
    place = ir.Local(f"{decl.name} value", ir.Kind.PTR)

    def look_up(miss: Target) -> None:
        found = find_value(b, decl, pointer_op)
        b.emit(ir.SetLocal(place, found))
        b.branch(ir.CmpOp.EQ, found, ir.Const(0), miss, present_)

    # Arrays have every key from the start.
    is_array = decl.kind in {MapKind.ARRAY, MapKind.PERCPU_ARRAY}
    look_up(done if is_array else missing)
    if not is_array:
        b.start(missing)
        first = Memory(b.temporary("value", kind.size), 0, kind, ir.Space.STACK)
        store(b, first, amount)
        flag = ir.Const(BPF_NOEXIST)
        result = b.call(MAP_UPDATE_ELEM, map_ref(decl), pointer_op, first.op, flag)
        again = b.target("again")
        b.branch(ir.CmpOp.EQ, result, ir.Const(0), done, again)
        b.start(again)
        look_up(done)
    b.start(present_)
    op = b.emit(ir.GetLocal(place))
    from beewire.bpf.lang.atomics import add  # noqa: PLC0415 - where there are any

    add(b, value_memory(decl, op, nullable=False), amount)
    b.jump(done)
    b.start(done)


def _update(b: Builder, decl: MapDecl, key: ir.Op, value: ir.Op, flags: ir.Op) -> Int:
    return Int(b.call(MAP_UPDATE_ELEM, map_ref(decl), key, value, flags), I64)


def lookup_cpu(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`counters.lookup_cpu(key, cpu)`: the value that another CPU has."""
    key, cpu = required(arguments(b, node, ("key", "cpu")))
    key_op, cpu_op = key_pointer(b, decl, key), number(b, cpu)
    args = (map_ref(decl), key_op, cpu_op)
    op = b.call(MAP_LOOKUP_PERCPU_ELEM, *args, kind=ir.Kind.PTR)
    found = value_memory(decl, op, nullable=True)
    found.shared = True
    return found


def for_each(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`table.for_each(visit, ctx)`."""
    from beewire.bpf.lang.maps import walks  # noqa: PLC0415 - where there are any

    return walks.for_each(b, decl, node)


OPERATIONS: dict[str, Operation] = {
    "lookup": lookup,
    "update": update,
    "insert": insert,
    "delete": delete,
    "lookup_cpu": lookup_cpu,
    "for_each": for_each,
}
