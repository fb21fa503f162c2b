"""Integers in memory: one load or store where the machine has it, pieces elsewhere.

Pieces are needed for bit-fields, which share their bytes, and on the stack for what is
not aligned, as in packed structs: the verifier refuses one access there, whatever the
machine allows.
"""

from beewire.bpf import ir
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.layout import BitsType
from beewire.bpf.lang.types import IntType
from beewire.bpf.lang.values import Int, Memory


def load_integer(b: Builder, place: Memory) -> Int:
    """The integer at `place`."""
    kind = place.type
    assert isinstance(kind, IntType)
    if isinstance(kind, BitsType):
        return _extract(b, kind, _load_bytes(b, place, kind.size))
    if _is_aligned(place, kind.size):
        return b.load(place.op, place.offset, kind, place.space)
    word = _load_bytes(b, place, kind.size)
    if kind.signed and kind.bits < 64:
        word = b.emit(ir.Extend(word, kind.bits, signed=True))
    return Int(word, kind)


def store_integer(b: Builder, place: Memory, value: ir.Op) -> None:
    """Write the low bits of `value` to `place`."""
    kind = place.type
    assert isinstance(kind, IntType)
    if isinstance(kind, BitsType):
        whole = kind.shift == 0 and kind.bits == kind.size * 8
        word = value if whole else _insert(b, place, kind, value)
        _store_bytes(b, place, kind.size, word)
    else:
        _store_bytes(b, place, kind.size, value)


def _is_aligned(place: Memory, size: int) -> bool:
    return not (place.on_stack or place.lent) or place.align_at(0) >= size


def pieces(place: Memory, size: int) -> list[tuple[int, int]]:
    """(offset from the place, size) of the accesses that make up `size` bytes."""
    if size in {1, 2, 4, 8} and _is_aligned(place, size):
        return [(0, size)]
    found = []
    done = 0
    while done < size:
        piece = place.align_at(done)
        while piece > size - done:
            piece //= 2
        found.append((done, piece))
        done += piece
    return found


def _load_bytes(b: Builder, place: Memory, size: int) -> ir.Op:
    """`size` bytes, up to 8, as one unsigned word."""
    word: ir.Op | None = None
    for offset, piece in pieces(place, size):
        at = ir.Load(place.op, place.offset + offset, piece, space=place.space)
        part = b.emit(at)
        if offset:
            part = b.binary(ir.BinOp.SHL, part, ir.Const(8 * offset))
        word = part if word is None else b.binary(ir.BinOp.OR, word, part)
    assert word is not None
    return word


def _store_bytes(b: Builder, place: Memory, size: int, word: ir.Op) -> None:
    for offset, piece in pieces(place, size):
        part = word
        if offset and isinstance(word, ir.Const):
            part = ir.Const((word.value >> 8 * offset) & ((1 << 8 * piece) - 1))
        elif offset:
            part = b.binary(ir.BinOp.LSHR, word, ir.Const(8 * offset))
        at = place.offset + offset
        b.emit(ir.Store(place.op, at, piece, part, space=place.space))


def _extract(b: Builder, kind: BitsType, word: ir.Op) -> Int:
    left = 64 - kind.shift - kind.bits
    if kind.signed:
        word = _shift(b, ir.BinOp.SHL, word, left)
        return Int(_shift(b, ir.BinOp.ASHR, word, 64 - kind.bits), kind.base)
    word = _shift(b, ir.BinOp.LSHR, word, kind.shift)
    if kind.shift + kind.bits < kind.size * 8:
        word = b.binary(ir.BinOp.AND, word, ir.Const((1 << kind.bits) - 1))
    return Int(word, kind.base)


def _insert(b: Builder, place: Memory, kind: BitsType, value: ir.Op) -> ir.Op:
    """The word at `place` with `value` in the field's bits."""
    low = (1 << kind.bits) - 1
    old = _load_bytes(b, place, kind.size)
    kept = b.binary(ir.BinOp.AND, old, ir.Const(~kind.mask))
    if isinstance(value, ir.Const):
        new: ir.Op = ir.Const((value.value & low) << kind.shift)
    else:
        new = b.binary(ir.BinOp.AND, value, ir.Const(low))
        new = _shift(b, ir.BinOp.SHL, new, kind.shift)
    return b.binary(ir.BinOp.OR, kept, new)


def _shift(b: Builder, op: ir.BinOp, word: ir.Op, count: int) -> ir.Op:
    return b.binary(op, word, ir.Const(count)) if count else word
