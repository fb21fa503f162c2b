"""`for x in ...` over the elements of an array, a text, or a constant tuple."""

from beewire.bpf.lang import loops
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.attributes import present
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.memory import element, load
from beewire.bpf.lang.types import U64, ArrayType, CharsType
from beewire.bpf.lang.values import (
    Literal,
    Memory,
    Pointer,
    Static,
    Tuple,
    Value,
    is_sequence,
)
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
    count, name = kind.count, target.id
    counting = loops.Counting(Literal(0), Literal(count), 1, U64, count)
    loops.count_rounds(
        b,
        node,
        counting,
        lambda index: assign(b, name, load(b, element(b, value, index, sure=True))),
    )


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


loops.EACH["each"] = each
