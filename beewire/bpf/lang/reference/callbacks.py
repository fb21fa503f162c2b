"""Functions that a helper calls: `loop(n, body, ctx)`, `table.for_each(visit, ctx)`."""

from types import FunctionType
from typing import Any

from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang import source
from beewire.bpf.lang.builder import Frame
from beewire.bpf.lang.decl import Keyed
from beewire.bpf.lang.reference.maps import arguments
from beewire.bpf.lang.reference.numbers import Number
from beewire.bpf.lang.reference.places import Place, load
from beewire.bpf.lang.reference.run import Run, answers, method, perform
from beewire.bpf.lang.rounds import MAX_ROUNDS
from beewire.bpf.lang.types import I64, U64
from beewire.errors import BeewireError

E2BIG = -7


def _ends(run: Run, function: Any, values: tuple[Any, ...]) -> bool:
    """Call it with as many of the values as it takes: whether it wants no more."""
    if not isinstance(function, FunctionType):
        raise BeewireError(f"evaluate() cannot call {function!r} back")
    found, definition = source.find(function)
    frame = Frame(function, found, definition, run.frame)
    names = [argument.arg for argument in definition.args.args]
    given = dict(zip(names, values, strict=False))
    answer = perform(run.facts, frame, run.world, given)
    return isinstance(answer, Number) and answer.value != 0


@answers("loop")
def loop(run: Run, values: list[Any]) -> Number:
    """`loop(count, body, ctx)`: how often `body` was called."""
    count, body, *context = values
    if not 0 <= count.value <= MAX_ROUNDS:
        return Number(E2BIG, I64)
    for index in range(count.value):
        if _ends(run, body, (Number(index, U64), *context)):
            return Number(index + 1, I64)
    return Number(count.value, I64)


@method(Keyed, "for_each")
def for_each(run: Run, owner: Keyed[Any, Any], node: ast.Call) -> Number:
    """`table.for_each(visit, ctx)`: in no particular order, but for arrays."""
    visit, context = arguments(node, "callback", "ctx")
    assert visit is not None
    callback = run.expr(visit)
    given = () if context is None else (run.expr(context),)
    held = run.world.map(owner)
    calls = 0
    for raw, memory in list(held.values.items()):
        key = load(Place(bytearray(raw), 0, held.key))
        value = Place(memory, 0, held.value, shared=not owner.per_cpu)
        calls += 1
        if _ends(run, callback, (key, value, *given)):
            break
    return Number(calls, I64)
