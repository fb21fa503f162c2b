"""Python's own functions, as far as programs have them."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments, required
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.call_expressions import PYTHON
from beewire.bpf.lang.conditions import compare_values
from beewire.bpf.lang.ints import join
from beewire.bpf.lang.operators import boolean, operand
from beewire.bpf.lang.types import ArrayType, CharsType
from beewire.bpf.lang.values import Int, Literal, Memory, Static, Value
from beewire.hints import Callable
from beewire.reasons import Reason


def _extreme(op: ast.cmpop) -> Callable[[Builder, ast.Call], Value]:
    """`min` and `max` of two or more integers."""

    def lower(b: Builder, node: ast.Call) -> Value:
        if len(node.args) < 2 or node.keywords:
            raise b.refuse(
                node,
                Reason.ARGUMENTS,
                f"{ast.unparse(node.func)}() takes two numbers or more",
            )
        best = b.integer(node.args[0])
        for argument in node.args[1:]:
            best = _choose(b, op, best, b.integer(argument))
        if isinstance(best, Int):
            b.types[node] = best.type
        return best

    return lower


def _choose(
    b: Builder, op: ast.cmpop, left: Int | Literal, right: Int | Literal
) -> Int | Literal:
    if isinstance(left, Literal) and isinstance(right, Literal):
        pick = min if isinstance(op, ast.Lt) else max
        return Literal(pick(left.value, right.value))
    kind = join(operand(left), operand(right))
    result = ir.Local("best", ir.Kind.INT)
    first, second, done = b.target("first"), b.target("second"), b.target("best")
    b.emit(ir.SetLocal(result, b.op(left)))
    compare_values(b, op, left, right, first, second)
    b.start(second)
    b.emit(ir.SetLocal(result, b.op(right)))
    b.jump(done)
    b.start(first)
    b.jump(done)
    b.start(done)
    return Int(b.emit(ir.GetLocal(result)), kind)


def _bool(b: Builder, node: ast.Call) -> Value:
    [argument] = required(arguments(b, node, ("value",)))
    return boolean(b, argument)


def _int(b: Builder, node: ast.Call) -> Value:
    [argument] = required(arguments(b, node, ("value",)))
    return b.integer(argument)


def _len(b: Builder, node: ast.Call) -> Value:
    [argument] = required(arguments(b, node, ("value",)))
    value = b.expr(argument)
    if isinstance(value, Memory) and isinstance(value.type, ArrayType | CharsType):
        return Literal(value.type.count)
    if isinstance(value, Static) and isinstance(value.obj, str | bytes | tuple | list):
        return Literal(len(value.obj))
    raise b.refuse(argument, Reason.NO_SUCH_CALL, f"{value.describe()} has no length")


def _range(b: Builder, node: ast.Call) -> Value:
    raise b.refuse(node, Reason.RANGE, "range() stands in 'for' and after 'in' only")


def _print(b: Builder, node: ast.Call) -> Value:
    raise b.refuse(
        node, Reason.PRINTK, "print() is not part of programs", 'write printk(f"...")'
    )


PYTHON |= {
    min: _extreme(ast.Lt()),
    max: _extreme(ast.Gt()),
    bool: _bool,
    int: _int,
    len: _len,
    range: _range,
    print: _print,
}
