"""Expressions: names, arithmetic, comparisons, choices, fields and elements."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.decl import MapDecl, PerCpuDecl
from beewire.bpf.lang.operators import SYMBOLS
from beewire.bpf.lang.packet_memory import MOST
from beewire.bpf.lang.reference.contexts import (
    ContextFields,
    KernelObject,
    Packet,
    PacketBytes,
    Words,
    packet_slice,
)
from beewire.bpf.lang.reference.numbers import (
    Number,
    calculate,
    inverse,
    negative,
    truth,
)
from beewire.bpf.lang.reference.places import Place, element, encoded, field, load
from beewire.bpf.lang.reference.run import Run, expression, own_variable, seen
from beewire.bpf.lang.reference.sequences import equal, held, part_of, slice_bounds
from beewire.errors import BeewireError


@expression(ast.Constant)
def constant(_: Run, node: ast.Constant) -> Any:
    """A number, text, None."""
    return Number(int(node.value)) if isinstance(node.value, int) else node.value


@expression(ast.Name)
def name(run: Run, node: ast.Name) -> Any:
    """A variable, or what the module defines."""
    return run.names[node.id] if node.id in run.names else run.outside(node.id)


@expression(ast.Attribute)
def attribute(run: Run, node: ast.Attribute) -> Any:
    """`value.attr`, read."""
    base = run.expr(node.value)
    match base:
        case Place():
            return load(field(base, node.attr))
        case PerCpuDecl() if node.attr == "value":
            return load(own_variable(run, base))
        case Packet() | ContextFields() | KernelObject():
            return base.read(node.attr)
        case Number() if node.attr == "value":
            return base
        case ModuleType() | type():
            return seen(run, getattr(base, node.attr))
        case _:
            raise BeewireError(f"evaluate() knows no {ast.unparse(node)}")


@expression(ast.Subscript)
def subscript(run: Run, node: ast.Subscript) -> Any:
    """`value[index]`, read."""
    base = run.expr(node.value)
    if isinstance(node.slice, ast.Slice):
        if isinstance(base, PacketBytes):
            low, high = slice_bounds(run, node.slice, MOST)
            return packet_slice(base.packet, low, high)
        return part_of(run, base, node.slice)
    index = run.number(node.slice).value
    if isinstance(base, Place):
        return load(element(base, index))
    if isinstance(base, Words):
        return base.word(index).read()
    return seen(run, base[index])


@expression(ast.Tuple)
@expression(ast.List)
def tuple_(run: Run, node: ast.Tuple | ast.List) -> tuple[Any, ...]:
    """`a, b`; the content of an array."""
    return tuple(run.expr(item) for item in node.elts)


@expression(ast.JoinedStr)
def formatted(run: Run, node: ast.JoinedStr) -> str:
    """A text that is printed: what it computes may have effects."""
    for part in node.values:
        if isinstance(part, ast.FormattedValue):
            run.expr(part.value)
    return ""


@expression(ast.BinOp)
def binary(run: Run, node: ast.BinOp) -> Any:
    """`a + b` and its like; constant texts fold."""
    left, right = run.expr(node.left), run.expr(node.right)
    symbol = SYMBOLS[type(node.op)]
    if isinstance(left, Number) and isinstance(right, Number):
        return calculate(symbol, left, right)
    if isinstance(left, str | bytes):
        return left * right.value if symbol == "*" else left + right
    raise BeewireError(f"evaluate() knows no {ast.unparse(node)}")


@expression(ast.UnaryOp)
def unary(run: Run, node: ast.UnaryOp) -> Number:
    """`-a`, `~a`, `+a`, `not a`."""
    if isinstance(node.op, ast.Not):
        return truth(not run.test(node.operand))
    number = run.number(node.operand)
    match node.op:
        case ast.USub():
            return negative(number)
        case ast.Invert():
            return inverse(number)
        case _:
            return number


@expression(ast.Compare)
def compare(run: Run, node: ast.Compare) -> Number:
    """`a < b < c`, `a in b`, `a is None`: each operand is evaluated once."""
    left = run.expr(node.left)
    for op, right_node in zip(node.ops, node.comparators, strict=True):
        if isinstance(op, ast.In | ast.NotIn):
            if _contains(run, left, right_node) is isinstance(op, ast.NotIn):
                return truth(False)
            continue
        right = run.expr(right_node)
        if not _holds(op, left, right):
            return truth(False)
        left = right
    return truth(True)


def _holds(op: ast.cmpop, left: Any, right: Any) -> bool:
    if isinstance(op, ast.Is | ast.IsNot):
        return (left is right) is isinstance(op, ast.Is)
    if isinstance(left, Number) and isinstance(right, Number):
        return _COMPARE[type(op)](left.value, right.value)
    return _compare_bytes(op, left, right)


def _compare_bytes(op: ast.cmpop, left: Any, right: Any) -> bool:
    """Texts, arrays and structs are equal when their bytes are."""
    same = equal(left, right)
    if not isinstance(op, ast.Eq | ast.NotEq):
        raise BeewireError("evaluate() orders integers only")
    return same is isinstance(op, ast.Eq)


_COMPARE: dict[type[ast.cmpop], Callable[[int, int], bool]] = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
}


def _contains(run: Run, item: Any, node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        bounds = [run.number(argument).value for argument in node.args]
        return item.value in range(*bounds)
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        choices = [run.expr(choice) for choice in node.elts]
        return any(_holds(ast.Eq(), item, choice) for choice in choices)
    holder = run.expr(node)
    if isinstance(holder, Number):
        # Flags: all of them are set.
        return bool(holder.value & item.value == item.value)
    if isinstance(holder, MapDecl) and holder.key is None:
        assert holder.value is not None
        return encoded(item, holder.value) in run.world.waiting(holder)
    if isinstance(holder, MapDecl):
        held = run.world.map(holder)
        return held.lookup(encoded(item, held.key)) is not None
    return any(_holds(ast.Eq(), item, seen(run, choice)) for choice in holder)


@expression(ast.BoolOp)
def bool_op(run: Run, node: ast.BoolOp) -> Any:
    """`a and b`: the operand that decides, as in Python."""
    is_and = isinstance(node.op, ast.And)
    value: Any = None
    for part in node.values:
        value = run.expr(part)
        holds = value.value != 0 if isinstance(value, Number) else value is not None
        if holds is not is_and:
            break
    return run.typed(node, value)


@expression(ast.IfExp)
def if_expression(run: Run, node: ast.IfExp) -> Any:
    """`a if condition else b`."""
    chosen = node.body if run.test(node.test) else node.orelse
    return run.typed(node, run.expr(chosen))


@expression(ast.NamedExpr)
def named(run: Run, node: ast.NamedExpr) -> Any:
    """`(name := value)`."""
    return run.assign(node.target.id, held(node.value, run.expr(node.value)))
