"""Known bits: which bits of a value may be one.

A load of two bytes is below 2**16, so a mask with 0xffff after it does nothing. The
verifier knows the same facts (its tnums), so what falls away here it does not miss.
"""

from beewire.bpf.codegen.arith import M32, M64, MASK, fits_imm
from beewire.bpf.ir import (
    Binary,
    BinOp,
    Block,
    Branch,
    ByteSwap,
    CmpOp,
    Const,
    Extend,
    Kind,
    Load,
    Op,
    Phi,
)

_DEPTH = 6  # operations to look back; beyond, a value may be anything


class Bits:
    """Remembers the answers; valid as long as no value changes."""

    __slots__ = ("ones",)

    def __init__(self) -> None:
        self.ones: dict[Op, int] = {}

    def maybe(self, op: Op, depth: int = _DEPTH) -> int:
        """A mask of the bits of `op` that may be one."""
        if isinstance(op, Const):
            return op.value & M64
        known = self.ones.get(op)
        if known is None:
            if depth == 0:
                return M64
            self.ones[op] = known = self._look(op, depth - 1)
        return known

    def _look(self, op: Op, depth: int) -> int:
        match op:
            case Load():
                unsigned = not op.signed and op.kind is Kind.INT
                return MASK[op.size * 8] if unsigned else M64
            case Extend():
                ones = self.maybe(op.args[0], depth)
                low = ones & MASK[op.bits]
                negative = op.signed and low >> (op.bits - 1)
                return M64 if negative else low
            case ByteSwap():
                return MASK[op.bits]
            case Phi():
                return self._joined(op, depth)
            case Binary() if op.kind is Kind.INT:
                a, b = op.args
                mask = MASK[op.bits]
                left, right = self.maybe(a, depth) & mask, self.maybe(b, depth) & mask
                return _binary(op, left, right) & mask
        return M64

    def _joined(self, phi: Phi, depth: int) -> int:
        self.ones[phi] = M64  # a loop's own value, while its args are looked at
        ones = 0
        for arg in phi.args:
            ones |= self.maybe(arg, depth)
        return ones

    def is_extended(self, op: Op, bits: int, depth: int = _DEPTH) -> bool:
        """Whether `op` is the sign extension of its own low `bits`."""
        match op:
            case Const():
                value = op.value & M64
                top = value >> (bits - 1)
                return top in {0, M64 >> (bits - 1)}
            case Load() if op.signed:
                return op.size * 8 <= bits
            case Extend() if op.signed:
                return op.bits <= bits
            case Binary(op=BinOp.AND | BinOp.OR | BinOp.XOR, bits=64) if depth:
                return all(self.is_extended(arg, bits, depth - 1) for arg in op.args)
        return self.maybe(op) < 1 << (bits - 1)


def counters(blocks: list[Block]) -> dict[Op, int]:
    """The possible ones of counters that a test keeps below a constant, loop by loop.

    branch ult64 %2, 32 -> body, done, where %2 is %1 + 1 and %1 is phi (0, %2)
    """
    found: dict[Op, int] = {}
    for block in blocks:
        for op in block.ops:
            if not isinstance(op, Phi):
                break
            if len(op.args) == 2:
                for first, again in ((0, 1), (1, 0)):
                    most = _most(op, op.args[again], block, block.preds[again])
                    start = op.args[first]
                    if most and isinstance(start, Const) and 0 <= start.value <= M32:
                        found[op] = _up_to(max(most, start.value))
    return found


def _most(phi: Phi, again: Op, head: Block, tail: Block) -> int:
    """The largest value that `phi` has again, or 0 if that is not plain."""
    match again, tail.ops[-1]:
        case (
            Binary(op=BinOp.ADD, bits=64, args=[base, Const()]),
            Branch(op=CmpOp.ULT, bits=64, args=[tested, Const(value=bound)]) as test,
        ) if base is phi and tested is again and 1 < bound <= M32:
            goes_back = test.then is head and test.orelse is not head
            return bound - 1 if goes_back else 0
        case _:
            return 0


def _binary(op: Binary, a: int, b: int) -> int:
    """The possible ones of `op`, from those of its args (both within op.bits)."""
    right = op.args[1]
    count = right.value % op.bits if isinstance(right, Const) else -1
    match op.op:
        case BinOp.AND:
            return a & b
        case BinOp.OR | BinOp.XOR:
            return a | b
        case BinOp.ADD:
            return _up_to(a + b)
        case BinOp.MUL:
            return _up_to(a * b)
        case BinOp.SHL:
            return a << count if count >= 0 else M64
        case BinOp.LSHR:
            return a >> count if count >= 0 else M64
        case _:  # of a quotient and a remainder the verifier knows nothing
            return M64


def _up_to(most: int) -> int:
    """All bits of the numbers from 0 to `most`; anything if it may have wrapped."""
    return (1 << most.bit_length()) - 1 if most <= M64 else M64


def mask_for(ones: int, mask: int) -> int:
    """A mask that does to a value with these `ones` what `mask` does, as imm if any."""
    if fits_imm(mask):
        return mask
    wide = mask | (M64 & ~ones)
    value = wide - (1 << 64) if wide >> 63 else wide
    return value if fits_imm(value) else mask
