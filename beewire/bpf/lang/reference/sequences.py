"""Texts and arrays: made, sliced, compared, gone through."""

from typing import Any

from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.reference.numbers import Number, truth
from beewire.bpf.lang.reference.places import (
    Past,
    Place,
    element,
    encoded,
    load,
    new,
    store,
)
from beewire.bpf.lang.reference.run import Run, answers, method, seen
from beewire.bpf.lang.types import (
    U8,
    ArrayType,
    CharsType,
    array_of,
    find_value_type,
    text_of,
)


def make(run: Run, node: ast.Call, *, text: bool) -> Place:
    """`array(u32, 8)`, `chars(16)`; an array of arrays by its type."""
    given = [run.expr(argument) for argument in node.args]
    count = given[-1].value
    if text:
        place = new(text_of(count))
    else:
        kind = given[0].type if isinstance(given[0], Place) else None
        item = kind or find_value_type(given[0])
        assert item is not None
        place = new(array_of(item, count))
    for keyword in node.keywords:
        store(place, run.expr(keyword.value))
    return place


def part_of(run: Run, base: Any, node: ast.Slice) -> Any:
    """`base[low:high]`: the place of the elements; a constant's is a constant."""
    if isinstance(base, Place):
        return slice_of(run, base, node)
    low, high = slice_bounds(run, node, len(base))
    return base[low:high]


def slice_of(run: Run, base: Place, node: ast.Slice) -> Place:
    """The place of the elements from one to another."""
    kind = base.type
    assert isinstance(kind, ArrayType | CharsType)
    low, high = slice_bounds(run, node, kind.count)
    item = kind.element if isinstance(kind, ArrayType) else U8
    return element(base, low).part(0, array_of(item, high - low))


def slice_bounds(run: Run, node: ast.Slice, count: int) -> tuple[int, int]:
    """Where a slice of `count` elements begins and ends."""
    low = 0 if node.lower is None else run.number(node.lower).value
    high = count if node.upper is None else run.number(node.upper).value
    low, high = (n + count if n < 0 else n for n in (low, high))
    if not 0 <= low < high <= count:
        raise Past
    return low, high


def held(node: ast.expr, value: Any) -> Any:
    """What a name holds of the value of `node`: of a text, or a slice, a copy."""
    is_slice = isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice)
    if not isinstance(value, Place):
        return value
    if not is_slice and not isinstance(value.type, CharsType):
        return value
    place = new(value.type)
    place.put(value.raw())
    return place


def equal(left: Any, right: Any) -> bool:
    """Texts up to their end; arrays, and structs, by their bytes."""
    place = left if isinstance(left, Place) else right
    if not isinstance(place, Place):
        return bool(left == right)  # two constants
    kind = place.type
    if isinstance(kind, CharsType):
        return _text(left) == _text(right)
    return encoded(left, kind) == encoded(right, kind)


def _text(value: Any) -> bytes:
    if isinstance(value, Place):
        return value.raw().split(b"\0", 1)[0]
    return value.encode() if isinstance(value, str) else bytes(value)


def items_of(run: Run, value: Any) -> list[Any]:
    """What `for x in value` goes over, one after another."""
    if isinstance(value, Place):
        kind = value.type
        assert isinstance(kind, ArrayType | CharsType)
        return [_Element(value, index) for index in range(kind.count)]
    return [item if isinstance(item, Number) else seen(run, item) for item in value]


class _Element:
    """An element that is read when its turn comes."""

    def __init__(self, place: Place, index: int) -> None:
        self.place = place
        self.index = index

    def read(self) -> Any:
        """What it is now; a number of a variable's width."""
        return load(element(self.place, self.index))


def present(item: Any) -> Any:
    """An element of `items_of`, as it is when its turn comes."""
    return item.read() if isinstance(item, _Element) else item


@method(Place, "startswith")
def startswith(run: Run, owner: Place, node: ast.Call) -> Number:
    """`text.startswith("ng")`."""
    prefix = _text(run.expr(node.args[0]))
    return truth(owner.raw().startswith(prefix))


@answers("current_comm")
def current_comm(run: Run, _: list[Any]) -> Place:
    """The text that World was told."""
    place = new(text_of(16))
    store(place, str(run.world.kernel.get("comm", "")))
    return place
