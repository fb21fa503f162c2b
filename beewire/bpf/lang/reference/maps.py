"""What programs do with maps and ring buffers."""

from typing import Any

from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.decl import Keyed, Ring
from beewire.bpf.lang.reference.numbers import Number, truth
from beewire.bpf.lang.reference.places import Place, encoded, new
from beewire.bpf.lang.reference.run import Run, method
from beewire.bpf.lang.reference.world import NOEXIST
from beewire.bpf.lang.types import I64


def arguments(node: ast.Call, *names: str) -> list[ast.expr | None]:
    """The nodes of a call's arguments in the order of `names`."""
    found: dict[str | None, ast.expr] = dict(zip(names, node.args, strict=False))
    found |= {keyword.arg: keyword.value for keyword in node.keywords}
    return [found.get(name) for name in names]


@method(Keyed, "lookup")
def lookup(run: Run, owner: Keyed[Any, Any], node: ast.Call) -> Place | None:
    """`table.lookup(key)`."""
    held = run.world.map(owner)
    memory = held.lookup(encoded(run.expr(node.args[0]), held.key))
    if memory is None:
        return None
    return Place(memory, 0, held.value, shared=not owner.per_cpu)


@method(Keyed, "update")
def update(run: Run, owner: Keyed[Any, Any], node: ast.Call) -> Number:
    """`table.update(key, value, flags)`."""
    key, value, flags = arguments(node, "key", "value", "flags")
    assert key is not None
    assert value is not None
    held = run.world.map(owner)
    raw_key = encoded(run.expr(key), held.key)
    raw = encoded(run.expr(value), held.value)
    flag = 0 if flags is None else run.number(flags).value
    return Number(held.update(raw_key, raw, flag), I64)


@method(Keyed, "insert")
def insert(run: Run, owner: Keyed[Any, Any], node: ast.Call) -> Number:
    """`table.insert(key, value)`."""
    key, value = node.args
    held = run.world.map(owner)
    raw_key = encoded(run.expr(key), held.key)
    raw = encoded(run.expr(value), held.value)
    return Number(held.update(raw_key, raw, NOEXIST), I64)


@method(Keyed, "delete")
def delete(run: Run, owner: Keyed[Any, Any], node: ast.Call) -> Number:
    """`table.delete(key)`."""
    held = run.world.map(owner)
    return Number(held.delete(encoded(run.expr(node.args[0]), held.key)), I64)


def reserved(run: Run, owner: Ring[Any]) -> Place:
    """Room for a record; its turn comes by when it was reserved, not when it is sent."""
    assert owner.value is not None
    record = new(owner.value)
    run.world.records(owner).append(record.memory)
    return record


def settle(run: Run, owner: Ring[Any], record: Place, *, is_sent: bool) -> None:
    """Send a record, or drop it; what was decided before holds."""
    memory = record.memory
    if id(memory) in run.world.settled:
        return
    run.world.settled[id(memory)] = memory
    if not is_sent:
        records = run.world.records(owner)
        records[:] = [each for each in records if each is not memory]


@method(Ring, "reserve")
def reserve(run: Run, owner: Ring[Any], node: ast.Call) -> Place:
    """`events.reserve()`, outside of `with`."""
    del node
    return reserved(run, owner)


@method(Ring, "submit")
def submit(run: Run, owner: Ring[Any], node: ast.Call) -> None:
    """`events.submit(record)`."""
    settle(run, owner, run.expr(node.args[0]), is_sent=True)


@method(Ring, "discard")
def discard(run: Run, owner: Ring[Any], node: ast.Call) -> None:
    """`events.discard(record)`."""
    settle(run, owner, run.expr(node.args[0]), is_sent=False)


@method(Ring, "emit")
def emit(run: Run, owner: Ring[Any], node: ast.Call) -> Number:
    """`events.emit(record)`: there is always room."""
    assert owner.value is not None
    raw = encoded(run.expr(node.args[0]), owner.value)
    run.world.records(owner).append(bytearray(raw))
    return truth(True)


@method(Ring, "output")
def output(run: Run, owner: Ring[Any], node: ast.Call) -> Number:
    """`events.output(record)`."""
    emit(run, owner, node)
    return Number(0, I64)
