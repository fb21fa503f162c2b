"""Queues, stacks and Bloom filters: maps without keys."""

from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.decl import MapDecl
from beewire.bpf.lang.reference.maps import arguments
from beewire.bpf.lang.reference.numbers import Number
from beewire.bpf.lang.reference.places import Place, encoded
from beewire.bpf.lang.reference.run import Run, method
from beewire.bpf.lang.reference.world import E2BIG, EXIST
from beewire.bpf.lang.types import I64, ValueType
from beewire.bpf.object.kinds import MapKind


def _value(owner: MapDecl) -> ValueType:
    assert owner.value is not None
    return owner.value


@method(MapDecl, "push")
def push(run: Run, owner: MapDecl, node: ast.Call) -> Number:
    """`jobs.push(value, flags)`; with BPF_EXIST a full map forgets its oldest."""
    value, flags = arguments(node, "value", "flags")
    assert value is not None
    raw = encoded(run.expr(value), _value(owner))
    held = run.world.waiting(owner)
    if len(held) >= owner.max_entries:
        if flags is None or run.number(flags).value != EXIST:
            return Number(E2BIG, I64)
        held.pop(0)
    held.append(raw)
    return Number(0, I64)


@method(MapDecl, "pop")
def pop(run: Run, owner: MapDecl, _node: ast.Call) -> Place | None:
    """`jobs.pop()`: a copy of the next value, which is gone then."""
    held = run.world.waiting(owner)
    found = peek(run, owner, _node)
    if found is not None:
        held.pop(_next(owner))
    return found


@method(MapDecl, "peek")
def peek(run: Run, owner: MapDecl, _node: ast.Call) -> Place | None:
    """`jobs.peek()`: a copy of the next value."""
    held = run.world.waiting(owner)
    if not held:
        return None
    return Place(bytearray(held[_next(owner)]), 0, _value(owner))


def _next(owner: MapDecl) -> int:
    return 0 if owner.kind is MapKind.QUEUE else -1


@method(MapDecl, "add")
def add(run: Run, owner: MapDecl, node: ast.Call) -> Number:
    """`seen.add(value)`. A filter is exact here: the kernel's may see what is not."""
    raw = encoded(run.expr(node.args[0]), _value(owner))
    held = run.world.waiting(owner)
    if raw not in held:
        held.append(raw)
    return Number(0, I64)
