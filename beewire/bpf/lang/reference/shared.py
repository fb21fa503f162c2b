"""Atomic operations: what one program sees of them."""

from collections.abc import Callable

from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.reference.maps import arguments
from beewire.bpf.lang.reference.numbers import Number
from beewire.bpf.lang.reference.places import Place, load, store
from beewire.bpf.lang.reference.run import Run, by_node
from beewire.bpf.lang.reference.statements import place_of
from beewire.bpf.lang.types import IntType


def _place(run: Run, node: ast.expr | None) -> tuple[Place, IntType]:
    assert node is not None
    is_part = isinstance(node, ast.Attribute | ast.Subscript)
    place = place_of(run, node) if is_part else run.expr(node)
    assert isinstance(place, Place)
    assert isinstance(place.type, IntType)
    return place, place.type


def _operand(run: Run, node: ast.expr | None) -> int:
    assert node is not None
    return run.number(node).value


def _fetch(name: str, operand: str, change: Callable[[int, int], int]) -> None:
    @by_node(name)
    def evaluate(run: Run, node: ast.Call) -> Number:
        target, value = arguments(node, "place", operand)
        place, kind = _place(run, target)
        new_value = _operand(run, value)
        old: Number = load(place)
        store(place, Number(kind.wrap(change(old.value, new_value)), kind))
        return old


_fetch("fetch_add", "amount", lambda old, new: old + new)
_fetch("fetch_and", "mask", lambda old, new: old & new)
_fetch("fetch_or", "mask", lambda old, new: old | new)
_fetch("fetch_xor", "mask", lambda old, new: old ^ new)
_fetch("xchg", "value", lambda _, new: new)


@by_node("cmpxchg")
def cmpxchg(run: Run, node: ast.Call) -> Number:
    """`cmpxchg(place, expected, value)`."""
    target, expected, value = arguments(node, "place", "expected", "value")
    place, kind = _place(run, target)
    wanted, put = _operand(run, expected), _operand(run, value)
    old: Number = load(place)
    if kind.wrap(wanted) == old.value:
        store(place, Number(kind.wrap(put), kind))
    return old


@by_node("load_acquire")
def load_acquire(run: Run, node: ast.Call) -> Number:
    """`load_acquire(place)`."""
    found: Number = load(_place(run, arguments(node, "place")[0])[0])
    return found


@by_node("store_release")
def store_release(run: Run, node: ast.Call) -> None:
    """`store_release(place, value)`."""
    target, value = arguments(node, "place", "value")
    place, kind = _place(run, target)
    store(place, Number(kind.wrap(_operand(run, value)), kind))
