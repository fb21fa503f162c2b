"""`for x in ...` over the elements of an array, a text, or a constant tuple."""

from beewire.bpf import ir
from beewire.bpf.lang import loops
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.attributes import present
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.memory import element, load
from beewire.bpf.lang.rounds import is_followed, spend
from beewire.bpf.lang.sequences import is_sequence
from beewire.bpf.lang.types import U64, ArrayType, CharsType
from beewire.bpf.lang.values import Int, Memory, Pointer, Static, Tuple, Value
from beewire.bpf.lang.variables import assign, wrap
from beewire.reasons import Reason

# The body is compiled once for each constant.
_MOST_CONSTANTS = 32


def each(b: Builder, node: ast.For, target: ast.Name) -> None:
    """`for x in value:`."""
    value = b.expr(node.iter)
    if isinstance(value, Pointer):
        present(b, value, node.iter)
    if isinstance(value, Memory) and is_sequence(value):
        _elements(b, node, target, value)
        return
    constants = _constants(value)
    if constants is None:
        message = f"'for' does not go over {value.describe()}"
        hint = "it goes over range(n), an array, a text, or a constant tuple"
        raise b.refuse(node.iter, Reason.RANGE, message, hint)
    if len(constants) > _MOST_CONSTANTS:
        message = f"'for' over {len(constants)} constants"
        hint = f"put more than {_MOST_CONSTANTS} into an Array map"
        raise b.refuse(node.iter, Reason.LENGTH, message, hint)
    _unrolled(b, node, target, constants)


def _constants(value: Value) -> list[Value] | None:
    if isinstance(value, Tuple):
        return list(value.items)
    if isinstance(value, Static) and isinstance(value.obj, tuple | list | bytes):
        return [wrap(item) for item in value.obj]
    return None


def _elements(b: Builder, node: ast.For, target: ast.Name, value: Memory) -> None:
    kind = value.type
    assert isinstance(kind, ArrayType | CharsType)
    counter = ir.Local(f"{target.id} index", ir.Kind.INT)
    body, again, done = b.target("body"), b.target("again"), b.target("done")
    orelse = b.target("else") if node.orelse else done
    b.emit(ir.SetLocal(counter, ir.Const(0)))
    loops.enter_loop(b, node.body, target)
    b.jump(body)
    b.start(body)
    index = Int(b.emit(ir.GetLocal(counter)), U64)
    followed, around = is_followed(b, kind.count), b.rounds
    if followed:
        b.walked.add(counter)
    assign(b, target.id, load(b, element(b, value, index)))
    b.rounds *= kind.count if followed else 1
    loops.loop_body(b, node.body, again, done)
    b.rounds = around
    b.jump(again)
    b.start(again)
    if not followed:
        spend(b, kind.count)
    new = b.binary(ir.BinOp.ADD, b.emit(ir.GetLocal(counter)), ir.Const(1))
    b.emit(ir.SetLocal(counter, new))
    b.branch(ir.CmpOp.ULT, new, ir.Const(kind.count), body, orelse)
    loops.after_loop(b, node.orelse, orelse, done)


def _unrolled(
    b: Builder, node: ast.For, target: ast.Name, constants: list[Value]
) -> None:
    done = b.target("done")
    for constant in constants:
        again = b.target("again")
        assign(b, target.id, constant)
        loops.loop_body(b, node.body, again, done)
        b.jump(again)
        b.start(again)
    orelse = b.target("else") if node.orelse else done
    b.jump(orelse)
    loops.after_loop(b, node.orelse, orelse, done)


loops.EACH.append(each)
