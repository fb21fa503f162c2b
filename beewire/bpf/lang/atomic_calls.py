"""`fetch_add(place, n)` and its kin: atomic operations that are called."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments, required
from beewire.bpf.lang.assignments import writable
from beewire.bpf.lang.attributes import present
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.call_expressions import BY_NAME
from beewire.bpf.lang.faults import Rule
from beewire.bpf.lang.ints import arithmetic, check_literal
from beewire.bpf.lang.types import IntType
from beewire.bpf.lang.values import Int, Literal, Memory, Nothing, Value
from beewire.hints import Callable
from beewire.reasons import Reason

# The verifier lets atomic operations touch these (check_atomic_rmw).
_SPACES = (ir.Space.MAP, ir.Space.MEM, ir.Space.STACK)


def _fetch(op: ir.AtomicOp, name: str) -> Callable[[Builder, ast.Call], Value]:
    def lower(b: Builder, node: ast.Call) -> Value:
        target, operand = required(arguments(b, node, ("place", name)))
        place, kind = _place(b, target, (4, 8))
        value = _operand(b, operand, kind)
        fetched = ir.Atomic(op, place.op, place.offset, kind.size, value, fetch=True)
        return _result(b, b.emit(fetched), kind)

    return lower


def _cmpxchg(b: Builder, node: ast.Call) -> Value:
    names = ("place", "expected", "value")
    target, old, new = required(arguments(b, node, names))
    place, kind = _place(b, target, (4, 8))
    expected, value = _operand(b, old, kind), _operand(b, new, kind)
    where = (place.op, place.offset, kind.size)
    op = ir.Atomic(ir.AtomicOp.CMPXCHG, *where, value, expected, fetch=True)
    return _result(b, b.emit(op), kind)


def _load_acquire(b: Builder, node: ast.Call) -> Value:
    [target] = required(arguments(b, node, ("place",)))
    place, kind = _place(b, target, (1, 2, 4, 8))
    op = ir.Atomic(
        ir.AtomicOp.LOAD_ACQ, place.op, place.offset, kind.size, ir.Const(0), fetch=True
    )
    return _result(b, b.emit(op), kind)


def _store_release(b: Builder, node: ast.Call) -> Value:
    target, operand = required(arguments(b, node, ("place", "value")))
    place, kind = _place(b, target, (1, 2, 4, 8))
    value = _operand(b, operand, kind)
    where = (place.op, place.offset, kind.size)
    b.emit(ir.Atomic(ir.AtomicOp.STORE_REL, *where, value))
    return Nothing()


def _place(
    b: Builder, node: ast.expr, sizes: tuple[int, ...]
) -> tuple[Memory, IntType]:
    """The integer in memory that an argument names."""
    if isinstance(node, ast.Attribute | ast.Subscript):
        place: object = writable(b, node)
    else:
        place = b.expr(node)
    if not isinstance(place, Memory) or not isinstance(place.type, IntType):
        what = place.describe() if isinstance(place, Value) else "a context field"
        raise b.refuse(
            node,
            Reason.NOT_ATOMIC,
            f"an integer in memory is needed here, not {what}",
            "name a field, an element, or the reference that a look-up gave",
        )
    present(b, place, node)
    kind = place.type
    if place.space not in _SPACES or kind.is_bool or kind.is_big_endian:
        where = f"{kind.name} of a packet" if not kind.is_bool else kind.name
        raise b.refuse(node, Reason.NOT_ATOMIC, f"{where} cannot be changed atomically")
    if kind.size not in sizes:
        sign = "i" if kind.signed else "u"
        message = f"{kind.name} cannot be changed atomically"
        hint = f"make it {sign}32 or {sign}64"
        raise b.refuse(node, Reason.NOT_ATOMIC, message, hint)
    return place, kind


def _operand(b: Builder, node: ast.expr, kind: IntType) -> ir.Op:
    value = b.integer(node)
    try:
        if isinstance(value, Literal):
            check_literal(value.value, kind)
        arithmetic("+", kind, value.type if isinstance(value, Int) else value.value)
    except Rule as rule:
        raise b.refuse(node, rule.code, rule.message, rule.hint) from None
    return b.op(value)


def _result(b: Builder, op: ir.Op, kind: IntType) -> Int:
    if kind.signed and kind.bits < 64:
        op = b.emit(ir.Extend(op, kind.bits, signed=True))
    return Int(op, kind)


BY_NAME |= {
    "fetch_add": _fetch(ir.AtomicOp.ADD, "amount"),
    "fetch_and": _fetch(ir.AtomicOp.AND, "mask"),
    "fetch_or": _fetch(ir.AtomicOp.OR, "mask"),
    "fetch_xor": _fetch(ir.AtomicOp.XOR, "mask"),
    "xchg": _fetch(ir.AtomicOp.XCHG, "value"),
    "cmpxchg": _cmpxchg,
    "load_acquire": _load_acquire,
    "store_release": _store_release,
}
