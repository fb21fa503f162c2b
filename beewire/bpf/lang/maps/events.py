"""Perf buffers and counters, stack traces, arrays of cgroups."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments, required
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.decl import MapDecl, PerfCounter
from beewire.bpf.lang.maps.common import (
    Operation,
    constant,
    context_op,
    count_if,
    filled,
    map_ref,
    number,
    pointer,
    value_of,
)
from beewire.bpf.lang.types import I64, value_type
from beewire.bpf.lang.values import Int, Value

PERF_EVENT_OUTPUT = 25
GET_STACKID = 27
SKB_UNDER_CGROUP = 33
CURRENT_TASK_UNDER_CGROUP = 37
PERF_EVENT_READ_VALUE = 55
BPF_F_CURRENT_CPU = 0xFFFF_FFFF
BPF_F_USER_STACK = 1 << 8
# BPF_F_SKIP_FIELD_MASK: how many frames are left out.
MAX_SKIPPED = 255


def output(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`events.output(ctx, record)`: into the buffer of the CPU that runs."""
    context, record = required(arguments(b, node, ("ctx", "record")))
    ctx, kind = context_op(b, context), value_of(decl)
    op = pointer(b, record, kind, "record")
    where, size = ir.Const(BPF_F_CURRENT_CPU), ir.Const(kind.size)
    result = b.call(PERF_EVENT_OUTPUT, ctx, map_ref(decl), where, op, size)
    count_if(b, ir.CmpOp.NE, result, decl)
    return Int(result, I64)


def counter(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`cycles.counter()`: a counter's value, and how long it was counted."""
    [cpu] = arguments(b, node, ("cpu",), 0)
    where, layout = number(b, cpu, BPF_F_CURRENT_CPU), value_type(PerfCounter)

    def fill(slot: ir.Op) -> ir.Op:
        size = ir.Const(layout.size)
        return b.call(PERF_EVENT_READ_VALUE, map_ref(decl), where, slot, size)

    return filled(b, layout, "counter", fill)


def stack_id(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`stacks.stack_id(ctx)`: the key of the present stack, or a negative error."""
    context, user, skip = arguments(b, node, ("ctx", "user", "skip"), 1)
    assert context is not None
    flags = constant(b, skip) & MAX_SKIPPED
    if constant(b, user):
        flags |= BPF_F_USER_STACK
    args = (context_op(b, context), map_ref(decl), ir.Const(flags))
    return Int(b.call(GET_STACKID, *args), I64)


def has_current_task(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`groups.has_current_task(index)`: 1, 0, or a negative error."""
    [index] = required(arguments(b, node, ("index",)))
    args = (map_ref(decl), number(b, index))
    return Int(b.call(CURRENT_TASK_UNDER_CGROUP, *args), I64)


def has_packet(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`groups.has_packet(ctx, index)`: of the packet's socket."""
    context, index = required(arguments(b, node, ("ctx", "index")))
    args = (context_op(b, context), map_ref(decl), number(b, index))
    return Int(b.call(SKB_UNDER_CGROUP, *args), I64)


OPERATIONS: dict[str, Operation] = {
    "output": output,
    "counter": counter,
    "stack_id": stack_id,
    "has_current_task": has_current_task,
    "has_packet": has_packet,
}
