"""Algebraic rules: a cheaper way to compute the same value.

    %2 = binary umod64 %1, 8          =>     %2 = binary and64 %1, 7
    %3 = extend u32 %2                       (gone: %2 is below 8)

Each rule takes an operation whose args are as simple as they get, and gives the value
to use instead: the operation itself, another value, a constant, or a new operation that
is made through `emit`.
"""

from beewire.bpf.codegen import arith
from beewire.bpf.codegen.arith import M32, MASK
from beewire.bpf.codegen.bits import Bits, mask_for
from beewire.bpf.ir import Binary, BinOp, ByteSwap, Const, Extend, Kind, Op
from beewire.bpf.object.target import Target
from beewire.hints import Callable

Emit = Callable[[Op], Op]
_FAR = 1 << 14  # a distance that the offsets of loads and stores hold with ease
_COMMUTES = frozenset((BinOp.ADD, BinOp.MUL, BinOp.AND, BinOp.OR, BinOp.XOR))


def constant(value: int) -> Const:
    """A constant as passes hold it: signed."""
    return Const(arith.signed(value))


def simplify_binary(op: Binary, bits: Bits, emit: Emit, target: Target) -> Op:
    """The rules for arithmetic."""
    a, b = op.args
    if op.bits == 32 and (isinstance(a, Extend) or isinstance(b, Extend)):
        a, b = op.args = [_low_half(arg) for arg in op.args]
    if isinstance(a, Const):
        if isinstance(b, Const):
            return constant(arith.binary(op.op, a.value, b.value, op.bits))
        if op.op in _COMMUTES:
            op.args = [b, a]
            a, b = b, a
    if isinstance(b, Const):
        found = _by_constant(op, a, b.value, bits, emit, target)
        return op if found is None else found
    if a is b and op.kind is Kind.INT:
        return _by_itself(op, a, emit)
    return op


def _low_half(op: Op) -> Op:
    """What 32-bit arithmetic sees of `op`."""
    return op.args[0] if isinstance(op, Extend) and op.bits >= 32 else op


def _by_itself(op: Binary, a: Op, emit: Emit) -> Op:
    if op.op in {BinOp.SUB, BinOp.XOR}:
        return constant(0)
    return _same(op, a, emit) if op.op in {BinOp.AND, BinOp.OR} else op


def _same(op: Binary, a: Op, emit: Emit) -> Op:
    """`a`, cut to the operation's width."""
    return a if op.bits == 64 else emit(Extend(a, 32, signed=False, span=op.span))


def _by_constant(
    op: Binary, a: Op, value: int, bits: Bits, emit: Emit, target: Target
) -> Op | None:
    if op.op in _SHIFTS:
        return _shift(op, a, value % op.bits, bits, emit)
    unsigned = value & MASK[op.bits]
    special = _SPECIAL.get((op.op, arith.signed(unsigned, op.bits)))
    if special is not None:
        return constant(0) if special is _ZERO else _same(op, a, emit)
    match op.op:
        case BinOp.AND:
            return _and(op, a, unsigned, bits, emit, target)
        case BinOp.SUB:
            return emit(_new(op, BinOp.ADD, a, -value))
        case BinOp.ADD:
            return _add(op, a, value, emit)
        case BinOp.MUL | BinOp.UDIV | BinOp.UMOD:
            return _scale(op, a, unsigned, emit)
        case BinOp.OR | BinOp.XOR:
            return _chain(op, a, unsigned, emit)
        case _:
            return None


_SHIFTS = frozenset((BinOp.SHL, BinOp.LSHR, BinOp.ASHR))
_SAME, _ZERO = "same", "zero"
_SPECIAL = {
    (BinOp.ADD, 0): _SAME,
    (BinOp.SUB, 0): _SAME,
    (BinOp.OR, 0): _SAME,
    (BinOp.XOR, 0): _SAME,
    (BinOp.AND, -1): _SAME,
    (BinOp.MUL, 1): _SAME,
    (BinOp.UDIV, 1): _SAME,
    (BinOp.SDIV, 1): _SAME,
    (BinOp.UMOD, 0): _SAME,
    (BinOp.SMOD, 0): _SAME,
    (BinOp.AND, 0): _ZERO,
    (BinOp.MUL, 0): _ZERO,
    (BinOp.UDIV, 0): _ZERO,
    (BinOp.SDIV, 0): _ZERO,
    (BinOp.UMOD, 1): _ZERO,
    (BinOp.SMOD, 1): _ZERO,
    (BinOp.SMOD, -1): _ZERO,
}


def _new(op: Binary, kind: BinOp, a: Op, value: int) -> Binary:
    return Binary(kind, a, constant(value), op.bits, span=op.span)


def _add(op: Binary, a: Op, value: int, emit: Emit) -> Op | None:
    """(x + 1) + 2 is x + 3."""
    match a:
        case Binary(op=BinOp.ADD, bits=op.bits, args=[x, Const() as c]):
            return emit(_new(op, BinOp.ADD, x, c.value + value))
        case _:
            return None


def move_distance(op: Binary, emit: Emit) -> Op:
    """P + (i + 4) is (p + i) + 4: a load or store takes the 4 into its offset.

    So is p + (i + 4 << 2), with 16.
    """
    index = op.args[1]
    shift = 0
    if isinstance(index, Binary) and index.op is BinOp.SHL and index.bits == 64:
        index, count = index.args
        if not isinstance(count, Const):
            return op
        shift = count.value % 64
    if not isinstance(index, Binary) or index.op is not BinOp.ADD or index.bits != 64:
        return op
    i, distance = index.args
    if not isinstance(distance, Const) or not 0 < distance.value << shift < _FAR:
        return op
    if op.op is not BinOp.ADD:
        return op
    if shift:
        i = emit(Binary(BinOp.SHL, i, constant(shift), span=op.span))
    base = emit(Binary(BinOp.ADD, op.args[0], i, span=op.span))
    return emit(_new(op, BinOp.ADD, base, distance.value << shift))


def _chain(op: Binary, a: Op, value: int, emit: Emit) -> Op | None:
    """(x | 1) | 2 is x | 3."""
    if op.op is BinOp.OR and value == MASK[op.bits]:
        return constant(value)
    match a:
        case Binary(op=op.op, bits=op.bits, args=[x, Const() as c]):
            both = arith.binary(op.op, c.value, value, op.bits)
            return emit(_new(op, op.op, x, both))
        case _:
            return None


def _scale(op: Binary, a: Op, value: int, emit: Emit) -> Op | None:
    """Multiply and divide by powers of two."""
    if value & (value - 1):
        return None
    power = value.bit_length() - 1
    if op.op is BinOp.UMOD:
        return emit(_new(op, BinOp.AND, a, value - 1))
    kind = BinOp.SHL if op.op is BinOp.MUL else BinOp.LSHR
    return emit(_new(op, kind, a, power))


def _and(
    op: Binary, a: Op, mask: int, bits: Bits, emit: Emit, target: Target
) -> Op | None:
    ones = bits.maybe(a) & MASK[op.bits]
    if ones & ~mask == 0:
        return _same(op, a, emit)
    if ones & mask == 0:
        return constant(0)
    match a:
        case Binary(op=BinOp.AND, args=[x, Const() as c]) if a.bits >= op.bits:
            return emit(_new(op, BinOp.AND, x, c.value & mask))
        case Extend() if mask <= MASK[a.bits]:
            return emit(_new(op, BinOp.AND, a.args[0], mask))
        case _:
            pass
    if mask == M32:
        return emit(Extend(a, 32, signed=False, span=op.span))
    if op.bits == 32 or arith.fits_imm(arith.signed(mask)):
        return None
    return _wide_mask(op, a, mask, ones, emit, target)


def _wide_mask(
    op: Binary, a: Op, mask: int, ones: int, emit: Emit, target: Target
) -> Op | None:
    """A mask that no imm holds: perhaps another one, or 32-bit arithmetic, does."""
    best = mask_for(ones, arith.signed(mask))
    if arith.fits_imm(best):
        return emit(_new(op, BinOp.AND, a, best))
    if mask < M32 and target.at_least(3):
        return emit(Binary(BinOp.AND, a, constant(mask), 32, span=op.span))
    return None


def _shift(op: Binary, a: Op, count: int, bits: Bits, emit: Emit) -> Op | None:
    if count == 0:
        return _same(op, a, emit)
    value = op.args[1]
    if isinstance(value, Const) and value.value != count:
        return emit(_new(op, op.op, a, count))
    if op.op is BinOp.LSHR and (bits.maybe(a) & MASK[op.bits]) >> count == 0:
        return constant(0)
    match a:
        case Binary(op=op.op, bits=op.bits, args=[x, Const() as c]):
            return _twice(op, x, count + c.value % op.bits, emit)
        case Binary(op=BinOp.SHL, bits=64, args=[x, Const() as c]) if (
            op.bits == 64 and c.value == count and count in {32, 48, 56}
        ):
            is_signed = op.op is BinOp.ASHR
            return emit(Extend(x, 64 - count, signed=is_signed, span=op.span))
    return None


def _twice(op: Binary, x: Op, count: int, emit: Emit) -> Op:
    """(x << 3) << 4 is x << 7; nothing is left of a logical shift too far."""
    if count < op.bits:
        return emit(_new(op, op.op, x, count))
    if op.op is BinOp.ASHR:
        return emit(_new(op, op.op, x, op.bits - 1))
    return constant(0)


def simplify_extend(op: Extend, bits: Bits, emit: Emit) -> Op:
    """The rules for extensions."""
    a = op.args[0]
    if isinstance(a, Const):
        return constant(arith.extend(a.value, op.bits, is_signed=op.signed))
    if op.signed:
        if bits.is_extended(a, op.bits):
            return a
    elif bits.maybe(a) <= MASK[op.bits]:
        return a
    match a:
        case Extend() if a.bits >= op.bits:
            return emit(Extend(a.args[0], op.bits, signed=op.signed, span=op.span))
        case Binary(op=BinOp.AND, args=[x, Const() as c]) if (
            c.value & MASK[op.bits] == MASK[op.bits] and a.bits >= op.bits
        ):
            return emit(Extend(x, op.bits, signed=op.signed, span=op.span))
    return op


def simplify_byteswap(op: ByteSwap, emit: Emit) -> Op:
    """The rules for byte order."""
    match op.args[0]:
        case Const(value=value):
            return constant(arith.byteswap(value, op.bits))
        case ByteSwap(bits=op.bits) as inner:
            if op.bits == 64:
                return inner.args[0]
            return emit(Extend(inner.args[0], op.bits, signed=False, span=op.span))
        case Extend() as inner if inner.bits >= op.bits:
            return emit(ByteSwap(inner.args[0], op.bits, span=op.span))
    return op
