"""Arrays of programs: tail calls."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments, required
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.decl import MapDecl
from beewire.bpf.lang.maps.common import Operation, context_op, map_ref, number
from beewire.bpf.lang.ownership import check_exit
from beewire.bpf.lang.values import Nothing, Value

TAIL_CALL = 12


def tail_call(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`steps.tail_call(ctx, n)`: an end of the program, where something is at `n`."""
    context, index = required(arguments(b, node, ("ctx", "index")))
    args = (context_op(b, context), map_ref(decl), number(b, index))
    check_exit(b, node)
    b.call(TAIL_CALL, *args, kind=ir.Kind.INT)
    return Nothing()


OPERATIONS: dict[str, Operation] = {"tail_call": tail_call}
