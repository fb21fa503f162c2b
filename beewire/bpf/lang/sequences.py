"""Texts and arrays: slices of them, and whether they are equal."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.faults import Rule
from beewire.bpf.lang.flow import Target
from beewire.bpf.lang.memory import element, known_number, store, temporary
from beewire.bpf.lang.types import (
    U8,
    U64,
    ArrayType,
    CharsType,
    IntType,
    ValueType,
    array_of,
    text_of,
)
from beewire.bpf.lang.values import (
    Comm,
    Content,
    Int,
    KernelField,
    Literal,
    Memory,
    Static,
    Tuple,
    Value,
    is_sequence,
)
from beewire.reasons import Reason

COMM_SIZE = 16
# What two arrays are compared by, word after word, before it is too much code.
_MOST_BYTES = 128

_BOUNDS = "write constant bounds, or a length that is constant: a[i : i + 4]"


# Slices.


def part_of(b: Builder, base: Memory, node: ast.Slice) -> Memory:
    """`base[low:high]`: the elements as an array of their own, in the same place.

    Raises:
        Rule: The bounds are not known, or past the end.
    """
    kind = base.type
    if not isinstance(kind, CharsType | ArrayType):
        raise Rule(Reason.NO_ELEMENTS, f"{base.describe()} has no elements")
    item: ValueType = U8 if isinstance(kind, CharsType) else kind.element
    if node.step is not None:
        raise Rule(Reason.CONSTRUCT, "a slice has no step here", "go through it")
    low, count = bounds(b, node, kind.count)
    first = element(b, base, low, count)
    return first.part(0, array_of(item, count))


def bounds(b: Builder, node: ast.Slice, size: int) -> tuple[Int | Literal, int]:
    """Where a slice of `size` elements begins, and how many it has.

    Raises:
        Rule: The bounds are not known, or past the end.
    """
    low = Literal(0) if node.lower is None else b.integer(node.lower)
    start = known_number(low)
    if start is None:
        assert isinstance(low, Int)
        assert node.lower is not None
        return low, _length(b, node.lower, node.upper, size)
    high = Literal(size) if node.upper is None else b.integer(node.upper)
    stop = known_number(high)
    if stop is None:
        raise Rule(Reason.NOT_CONSTANT, "the end of this slice varies", _BOUNDS)
    start, stop = (n + size if n < 0 else n for n in (start, stop))
    if not 0 <= start < stop <= size:
        text = f"{start}:{stop}"
        message = f"the slice {text} is empty, or past the end"
        raise Rule(Reason.INDEX, message, f"there are {size} elements")
    return Literal(start), stop - start


def _length(b: Builder, low: ast.expr, high: ast.expr | None, size: int) -> int:
    """N of `a[i : i + n]`."""
    if isinstance(high, ast.BinOp) and isinstance(high.op, ast.Add):
        same = ast.unparse(high.left) == ast.unparse(low)
        if same and not any(isinstance(n, ast.Call) for n in ast.walk(low)):
            count = known_number(b.integer(high.right))
            if count is not None and 0 < count <= size:
                return count
    raise Rule(Reason.NOT_CONSTANT, "the length of this slice varies", _BOUNDS)


# Comparison.


def equal(b: Builder, left: Value, right: Value, then: Target, orelse: Target) -> None:
    """Go to `then` when two texts or arrays are equal.

    Raises:
        Rule: They never are, or cannot be compared.
    """
    if isinstance(left, Static) and isinstance(right, Static):
        b.jump(then if left.obj == right.obj else orelse)
        return
    if isinstance(left, Static | Tuple):
        left, right = right, left
    place = in_place(b, left)
    match right:
        case Static(obj=str() | bytes() as raw):
            _equals_constant(b, place, raw, then, orelse)
        case Tuple():
            made = temporary(b, place.type)
            store(b, made, right)
            _equals_place(b, place, made, then, orelse)
        case _:
            _equals_place(b, place, in_place(b, right), then, orelse)


def in_place(b: Builder, value: Value) -> Memory:
    """A text or an array in memory, where it is not there yet.

    Raises:
        Rule: It is neither.
    """
    if isinstance(value, Memory) and is_sequence(value):
        return value
    if isinstance(value, Comm):
        kind: ValueType = text_of(COMM_SIZE)
    elif isinstance(value, KernelField | Content) and is_sequence(value):
        kind = value.type
    else:
        raise Rule(Reason.CONDITION, f"{value.describe()} cannot be compared")
    place = temporary(b, kind, "text")
    store(b, place, value)
    return place


def _equals_constant(
    b: Builder, place: Memory, given: str | bytes, then: Target, orelse: Target
) -> None:
    raw = given.encode() if isinstance(given, str) else given
    kind = place.type
    if isinstance(kind, CharsType):
        if len(raw) > kind.count or b"\0" in raw:
            message = f"{given!r} is never equal to {kind.name}"
            raise Rule(Reason.LENGTH, message, "it is too long, or contains a NUL")
        # The text ends where the constant does.
        raw += b"\0" if len(raw) < kind.count else b""
    elif not isinstance(kind, ArrayType) or kind.element is not U8:
        raise Rule(Reason.CONDITION, f"{given!r} is never equal to {kind.name}")
    elif len(raw) != kind.count:
        message = f"{given!r} is never equal to {kind.name}: it has {len(raw)} bytes"
        raise Rule(Reason.LENGTH, message, f"compare a slice: [:{len(raw)}]")
    compare_bytes(b, place, raw, then, orelse)


def compare_bytes(
    b: Builder, place: Memory, raw: bytes, then: Target, orelse: Target
) -> None:
    """Go to `then` when the bytes at `place` are `raw`, word by word."""
    for offset, size in _words(len(raw), place):
        word = int.from_bytes(raw[offset : offset + size], "little")
        more = b.target("same")
        at = ir.Load(place.op, place.offset + offset, size, space=place.space)
        b.branch(ir.CmpOp.EQ, b.emit(at), ir.Const(word), more, orelse)
        b.start(more)
    b.jump(then)


def _words(length: int, *places: Memory) -> list[tuple[int, int]]:
    """(offset, size) of the aligned words that make up `length` bytes of all places."""
    found = []
    done = 0
    while done < length:
        size = min(place.align_at(done) for place in places)
        while size > length - done:
            size //= 2
        found.append((done, size))
        done += size
    return found


def _equals_place(
    b: Builder, left: Memory, right: Memory, then: Target, orelse: Target
) -> None:
    a, c = left.type, right.type
    if isinstance(a, CharsType) and isinstance(c, CharsType):
        _equal_texts(b, left, right, then, orelse)
        return
    if a.size != c.size or not (_is_plain(a) and _is_plain(c)) or _item(a) != _item(c):
        message = f"{left.describe()} and {right.describe()} cannot be compared"
        raise Rule(Reason.CONDITION, message, "compare slices of one length")
    if a.size > _MOST_BYTES:
        message = f"{a.name} is too long to be compared at once"
        raise Rule(Reason.LENGTH, message, "compare slices in a loop")
    for offset, size in _words(a.size, left, right):
        more = b.target("same")
        words = [
            b.emit(ir.Load(at.op, at.offset + offset, size, space=at.space))
            for at in (left, right)
        ]
        b.branch(ir.CmpOp.EQ, words[0], words[1], more, orelse)
        b.start(more)
    b.jump(then)


def _item(kind: ValueType) -> str:
    """What an array is made of; characters are bytes."""
    return kind.element.name if isinstance(kind, ArrayType) else U8.name


def _is_plain(kind: ValueType) -> bool:
    """Whether equal values have equal bytes: structs may have padding."""
    while isinstance(kind, ArrayType):
        kind = kind.element
    return isinstance(kind, IntType | CharsType)


def _equal_texts(
    b: Builder, left: Memory, right: Memory, then: Target, orelse: Target
) -> None:
    """Byte by byte, up to the NUL: what stands after that is no part of a text."""
    counts = sorted((left.type.size, right.type.size))
    index = ir.Local("character", ir.Kind.INT)
    body, more, again, past = (
        b.target("text"),
        b.target("same"),
        b.target("more"),
        b.target("past"),
    )
    b.emit(ir.SetLocal(index, ir.Const(0)))
    b.jump(body)
    b.start(body)
    at = Int(b.emit(ir.GetLocal(index)), U64)
    bytes_ = []
    for place in (left, right):
        byte = element(b, place, at, sure=True)
        bytes_.append(b.load(byte.op, byte.offset, U8, byte.space).op)
    b.branch(ir.CmpOp.EQ, bytes_[0], bytes_[1], more, orelse)
    b.start(more)
    b.branch(ir.CmpOp.EQ, bytes_[0], ir.Const(0), then, again)
    b.start(again)
    new = b.binary(ir.BinOp.ADD, at.op, ir.Const(1))
    b.emit(ir.SetLocal(index, new))
    b.branch(ir.CmpOp.ULT, new, ir.Const(counts[0]), body, past)
    b.start(past)
    if counts[0] == counts[1]:
        b.jump(then)
        return
    longer = left if left.type.size == counts[1] else right
    rest = ir.Load(longer.op, longer.offset + counts[0], 1, space=longer.space)
    b.branch(ir.CmpOp.EQ, b.emit(rest), ir.Const(0), then, orelse)
