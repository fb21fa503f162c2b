"""Queues, stacks and Bloom filters: maps without keys."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments, required
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.decl import MapDecl
from beewire.bpf.lang.flow import Target
from beewire.bpf.lang.maps.common import (
    Operation,
    filled,
    map_ref,
    number,
    pointer,
    value_of,
)
from beewire.bpf.lang.types import I64
from beewire.bpf.lang.values import Int, Value
from beewire.hints import Callable

MAP_PUSH_ELEM = 87
MAP_POP_ELEM = 88
MAP_PEEK_ELEM = 89


def push(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`jobs.push(value)`, `filter.add(value)`."""
    value, flags = arguments(b, node, ("value", "flags"), 1)
    assert value is not None
    op = pointer(b, value, value_of(decl), "value")
    return Int(b.call(MAP_PUSH_ELEM, map_ref(decl), op, number(b, flags)), I64)


def _take(helper: int, name: str) -> Callable[[Builder, MapDecl, ast.Call], Value]:
    """`jobs.pop()`, `jobs.peek()`: a copy on the stack, or None."""

    def lower(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
        arguments(b, node, ())

        def fill(slot: ir.Op) -> ir.Op:
            return b.call(helper, map_ref(decl), slot)

        return filled(b, value_of(decl), name, fill)

    return lower


def add(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`seen.add(value)`."""
    [value] = required(arguments(b, node, ("value",)))
    op = pointer(b, value, value_of(decl), "value")
    return Int(b.call(MAP_PUSH_ELEM, map_ref(decl), op, ir.Const(0)), I64)


def contains(
    b: Builder, decl: MapDecl, value: ast.expr, then: Target, orelse: Target
) -> None:
    """`value in seen`: true for all that was added, and seldom for something else."""
    op = pointer(b, value, value_of(decl), "value")
    found = b.call(MAP_PEEK_ELEM, map_ref(decl), op)
    b.branch(ir.CmpOp.EQ, found, ir.Const(0), then, orelse)


OPERATIONS: dict[str, Operation] = {
    "push": push,
    "pop": _take(MAP_POP_ELEM, "popped"),
    "peek": _take(MAP_PEEK_ELEM, "peeked"),
    "add": add,
}
