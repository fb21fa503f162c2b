"""What programs do with maps: each operation becomes calls of map helpers."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments, required
from beewire.bpf.lang.attributes import present
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.call_expressions import MAP_OPERATIONS, allowed
from beewire.bpf.lang.conditions import CONTAINS
from beewire.bpf.lang.contexts import SkMsg, SockOps
from beewire.bpf.lang.decl import MapDecl, Sockets, Storage
from beewire.bpf.lang.faults import Rule
from beewire.bpf.lang.flow import Target
from beewire.bpf.lang.ints import arithmetic, check_literal
from beewire.bpf.lang.memory import in_memory, init_struct, snapshot, store
from beewire.bpf.lang.ownership import acquire, acquire_socket, give_back
from beewire.bpf.lang.types import BOOL, I64, U32, IntType, ValueType
from beewire.bpf.lang.values import (
    ContextValue,
    Fields,
    Int,
    Literal,
    Memory,
    Nothing,
    Pointer,
    Reference,
    Socket,
    Value,
)
from beewire.bpf.object.kinds import MapKind
from beewire.hints import Callable
from beewire.reasons import Reason

MAP_LOOKUP_ELEM = 1
MAP_UPDATE_ELEM = 2
MAP_DELETE_ELEM = 3
RINGBUF_OUTPUT = 130
RINGBUF_RESERVE = 131
RINGBUF_SUBMIT = 132
RINGBUF_DISCARD = 133
BPF_NOEXIST = 1
BPF_F_INGRESS = 1
STORAGE_GET_F_CREATE = 1

# Helpers that get and delete a storage map's value.
_STORAGE = {
    MapKind.SK_STORAGE: (107, 108),
    MapKind.INODE_STORAGE: (145, 146),
    MapKind.TASK_STORAGE: (156, 157),
    MapKind.CGRP_STORAGE: (210, 211),
}
# Helpers that add the socket of a sock_ops event.
_ADD_SOCKET = {MapKind.SOCKMAP: 53, MapKind.SOCKHASH: 70}
# Helpers that redirect: of a message, of a packet.
_REDIRECT = {MapKind.SOCKMAP: (60, 52), MapKind.SOCKHASH: (71, 72)}


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
    return ir.MapRef(decl.name)


def find_value(b: Builder, decl: MapDecl, key: ir.Op) -> ir.Op:
    """A call of `bpf_map_lookup_elem`."""
    return b.call(MAP_LOOKUP_ELEM, map_ref(decl), key, kind=ir.Kind.PTR)


def value_memory(decl: MapDecl, op: ir.Op, *, nullable: bool) -> Memory:
    """A value of the map at `op`."""
    return Memory(
        op,
        0,
        value_of(decl),
        ir.Space.MAP,
        nullable=nullable,
        shared=not decl.per_cpu,
    )


def lookup(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`table.lookup(key)`."""
    [key] = required(arguments(b, node, ("key",)))
    op = find_value(b, decl, key_pointer(b, decl, key))
    if isinstance(decl, Sockets):
        return acquire_socket(b, op)
    return value_memory(decl, op, nullable=True)


def update(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`table.update(key, value)`, `socks.update(ctx, key)`."""
    if isinstance(decl, Sockets):
        return _add_socket(b, decl, node)
    key, value, flags = arguments(b, node, ("key", "value", "flags"), 2)
    assert key is not None
    assert value is not None
    key_op = key_pointer(b, decl, key)
    value_op = pointer(b, value, value_of(decl), "value")
    return _update(b, decl, key_op, value_op, _flags(b, flags))


def insert(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`table.insert(key, value)`."""
    key, value = required(arguments(b, node, ("key", "value")))
    key_op = key_pointer(b, decl, key)
    value_op = pointer(b, value, value_of(decl), "value")
    return _update(b, decl, key_op, value_op, ir.Const(BPF_NOEXIST))


def assign_item(b: Builder, decl: MapDecl, key: ast.expr, value: ast.expr) -> None:
    """`table[key] = value`."""
    _require(b, decl, key, "subscript")
    # As Python does it: the value of table[key] = value first.
    made = b.deferred(value)
    if isinstance(made, Fields):
        made = snapshot(b, made)
    key_op = key_pointer(b, decl, key)
    value_op = put(b, value, made, value_of(decl), "value")
    _update(b, decl, key_op, value_op, ir.Const(0))


def delete_item(b: Builder, decl: MapDecl, key: ast.expr) -> None:
    """`del table[key]`."""
    _require(b, decl, key, "delete")
    b.call(MAP_DELETE_ELEM, map_ref(decl), key_pointer(b, decl, key))


def delete(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`table.delete(key)`, `state.delete(sk)`."""
    if isinstance(decl, Storage):
        [owner] = required(arguments(b, node, ("owner",)))
        number = _STORAGE[decl.kind][1]
        return Int(b.call(number, map_ref(decl), _owner(b, owner)), I64)
    [key] = required(arguments(b, node, ("key",)))
    return Int(b.call(MAP_DELETE_ELEM, map_ref(decl), key_pointer(b, decl, key)), I64)


def contains(
    b: Builder, decl: MapDecl, key: ast.expr, then: Target, orelse: Target
) -> None:
    """`key in table`."""
    _require(b, decl, key, "contains")
    found = find_value(b, decl, key_pointer(b, decl, key))
    b.branch(ir.CmpOp.NE, found, ir.Const(0), then, orelse)


def add_item(b: Builder, decl: MapDecl, key: ast.expr, addend: ast.expr) -> None:
    """`table[key] += addend`: look it up, or insert it; then add.

    Two CPUs may both miss the key: the one whose insertion fails adds to the other's.
    """
    _require(b, decl, key, "subscript")
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
    add(b, value_memory(decl, op, nullable=False), amount)
    b.jump(done)
    b.start(done)


def add(b: Builder, place: Memory, amount: Int | Literal) -> None:
    """Add to an integer in memory, atomically where others may write it."""
    kind = place.type
    assert isinstance(kind, IntType)
    if not place.shared:
        load = ir.Load(place.op, place.offset, kind.size, space=place.space)
        total = b.binary(ir.BinOp.ADD, b.emit(load), b.op(amount))
        b.emit(ir.Store(place.op, place.offset, kind.size, total, space=place.space))
        return
    atomic(b, ir.AtomicOp.ADD, place, b.op(amount))


def atomic(b: Builder, op: ir.AtomicOp, place: Memory, value: ir.Op) -> None:
    """A read-modify-write that other CPUs see as one step.

    Raises:
        Rule: The machine has none of this width.
    """
    kind = place.type
    assert isinstance(kind, IntType)
    if kind.size not in {4, 8}:
        sign = "i" if kind.signed else "u"
        raise Rule(
            Reason.NOT_ATOMIC,
            f"{kind.name} cannot be changed atomically",
            f"make it {sign}32 or {sign}64, or use a per-CPU map",
        )
    b.emit(ir.Atomic(op, place.op, place.offset, kind.size, value))


def get(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`state.get(sk)`."""
    return _storage_get(b, decl, node, 0)


def get_or_create(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`state.get_or_create(sk)`."""
    return _storage_get(b, decl, node, STORAGE_GET_F_CREATE)


def redirect(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`socks.redirect(ctx, key, ingress=True)`."""
    names = ("ctx", "key", "ingress")
    context, key, ingress = arguments(b, node, names, 2)
    assert context is not None
    assert key is not None
    ctx = b.expr(context)
    if not isinstance(ctx, ContextValue):
        raise b.refuse(
            context,
            Reason.WRONG_ARGUMENT,
            f"the context is needed here, not {ctx.describe()}",
        )
    number = _REDIRECT[decl.kind][not issubclass(ctx.cls, SkMsg)]
    if decl.kind is MapKind.SOCKMAP:
        index = b.integer(key)
        where = b.op(index)
    else:
        where = key_pointer(b, decl, key)
    flags: ir.Op = ir.Const(0)
    if ingress is not None:
        wanted = b.integer(ingress)
        if not isinstance(wanted, Literal):
            raise b.refuse(
                ingress, Reason.NOT_CONSTANT, "ingress is True or False, written out"
            )
        flags = ir.Const(BPF_F_INGRESS if wanted.value else 0)
    return Int(b.call(number, ctx.op, map_ref(decl), where, flags), U32)


def emit(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`events.emit(Record(...))`: reserve, fill, submit."""
    [record] = required(arguments(b, node, ("record",)))
    value = b.deferred(record)
    kind = value_of(decl)
    if not isinstance(value, Fields) or value.type is not kind:
        op = put(b, record, value, kind, "record")
        size = ir.Const(kind.size)
        result = b.call(RINGBUF_OUTPUT, map_ref(decl), op, size, ir.Const(0))
        sent = b.binary(ir.BinOp.LSHR, result, ir.Const(63))
        return Int(b.binary(ir.BinOp.XOR, sent, ir.Const(1)), BOOL)
    op = reserve(b, decl)
    full, room, done = b.target("full"), b.target("room"), b.target("emitted")
    was_sent = ir.Local("sent", ir.Kind.INT)
    b.branch(ir.CmpOp.EQ, op, ir.Const(0), full, room)
    b.start(room)
    init_struct(b, Memory(op, 0, kind, ir.Space.MEM), value)
    b.call(RINGBUF_SUBMIT, op, ir.Const(0))
    b.emit(ir.SetLocal(was_sent, ir.Const(1)))
    b.jump(done)
    b.start(full)
    b.emit(ir.SetLocal(was_sent, ir.Const(0)))
    b.jump(done)
    b.start(done)
    return Int(b.emit(ir.GetLocal(was_sent)), BOOL)


def reserve(b: Builder, decl: MapDecl) -> ir.Op:
    """A call of `bpf_ringbuf_reserve`."""
    size = ir.Const(value_of(decl).size)
    return b.call(RINGBUF_RESERVE, map_ref(decl), size, ir.Const(0), kind=ir.Kind.PTR)


def output(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`events.output(record)`."""
    record, flags = arguments(b, node, ("record", "flags"), 1)
    assert record is not None
    kind = value_of(decl)
    op = pointer(b, record, kind, "record")
    size = ir.Const(kind.size)
    return Int(b.call(RINGBUF_OUTPUT, map_ref(decl), op, size, _flags(b, flags)), I64)


def reserve_record(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`with events.reserve() as e:`."""
    arguments(b, node, ())
    hint = f"with {decl.name}.reserve() as e:"
    if b.managed is not node:
        raise b.refuse(
            node, Reason.WITH, "reserve() stands in a 'with' statement only", hint
        )
    record = Memory(reserve(b, decl), 0, value_of(decl), ir.Space.MEM, nullable=True)
    reference = Reference(
        f"the record of {decl.name}",
        hint,
        lambda held: b.call(RINGBUF_SUBMIT, held, ir.Const(0)),
        lambda held: b.call(RINGBUF_DISCARD, held, ir.Const(0)),
    )
    return acquire(b, record, reference)


def _finish(number: int) -> Callable[[Builder, MapDecl, ast.Call], Value]:
    """`events.submit(e)`, `events.discard(e)` before the block ends."""

    def lower(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
        [record] = required(arguments(b, node, ("record",)))
        value = b.expr(record)
        if not isinstance(value, Memory) or value.type is not decl.value:
            message = f"a record of {decl.name} is needed here, not {value.describe()}"
            raise b.refuse(record, Reason.WRONG_ARGUMENT, message)
        present(b, value, record)
        give_back(b, value, record, f"{ast.unparse(node.func)}()")
        b.call(number, value.op, ir.Const(0))
        return Nothing()

    return lower


def _flags(b: Builder, node: ast.expr | None) -> ir.Op:
    return ir.Const(0) if node is None else b.op(b.integer(node))


def _require(b: Builder, decl: MapDecl, node: ast.expr, operation: str) -> None:
    known = allowed(decl)
    if operation in known:
        return
    written = {"subscript": "[...] =", "contains": "'in'", "delete": "del"}[operation]
    offered = ", ".join(sorted(known & MAP_OPERATIONS.keys()))
    kind = type(decl).__name__
    raise b.refuse(
        node,
        Reason.MAP_OPERATION,
        f"{kind} has no {written} in programs",
        f"it has {offered}",
    )


def _update(b: Builder, decl: MapDecl, key: ir.Op, value: ir.Op, flags: ir.Op) -> Int:
    return Int(b.call(MAP_UPDATE_ELEM, map_ref(decl), key, value, flags), I64)


def _add_socket(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    context, key, flags = arguments(b, node, ("ctx", "key", "flags"), 2)
    assert context is not None
    assert key is not None
    what = b.expr(context)
    key_op = key_pointer(b, decl, key)
    flags_op = _flags(b, flags)
    if isinstance(what, ContextValue) and issubclass(what.cls, SockOps):
        number = _ADD_SOCKET[decl.kind]
        return Int(b.call(number, what.op, map_ref(decl), key_op, flags_op), I64)
    if isinstance(what, Socket):
        present(b, what, context)
        op = b.call(MAP_UPDATE_ELEM, map_ref(decl), key_op, what.op, flags_op)
        return Int(op, I64)
    raise b.refuse(
        context,
        Reason.WRONG_ARGUMENT,
        f"a sock_ops context is needed here, not {what.describe()}",
    )


def _storage_get(b: Builder, decl: MapDecl, node: ast.Call, flags: int) -> Value:
    [owner] = required(arguments(b, node, ("owner",)))
    op = _owner(b, owner)
    number = _STORAGE[decl.kind][0]
    args = (map_ref(decl), op, ir.Const(0), ir.Const(flags))
    return value_memory(decl, b.call(number, *args, kind=ir.Kind.PTR), nullable=True)


def _owner(b: Builder, node: ast.expr) -> ir.Op:
    value = b.expr(node)
    if isinstance(value, Socket):
        present(b, value, node)
        return value.op
    has_one = isinstance(value, ContextValue) and value.cls.member("sk")
    hint = f"pass {ast.unparse(node)}.sk" if has_one else ""
    raise b.refuse(
        node,
        Reason.WRONG_ARGUMENT,
        f"a socket is needed here, not {value.describe()}",
        hint,
    )


CONTAINS.append(contains)
MAP_OPERATIONS |= {
    "lookup": lookup,
    "update": update,
    "insert": insert,
    "delete": delete,
    "get": get,
    "get_or_create": get_or_create,
    "redirect": redirect,
    "emit": emit,
    "output": output,
    "reserve": reserve_record,
    "submit": _finish(RINGBUF_SUBMIT),
    "discard": _finish(RINGBUF_DISCARD),
}
