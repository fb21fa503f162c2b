"""Signed division for instruction sets before v4, which have only the unsigned one.

    %2 = binary sdiv64 %1, 4      =>      %3 = binary ashr64 %1, 63
                                          %4 = binary lshr64 %3, 62
                                          %5 = binary add64 %1, %4
                                          %2 = binary ashr64 %5, 2

The result truncates towards zero, x / 0 is 0 and x % 0 is x, as v4 has it. Without
branches: the magnitude is (x ^ s) - s, where s is x >> 63, and so is the way back.
"""

from beewire.bpf.codegen import arith
from beewire.bpf.codegen.algebra import constant
from beewire.bpf.codegen.bits import Bits
from beewire.bpf.codegen.simplify import simplify
from beewire.bpf.codegen.work import Work
from beewire.bpf.ir import Binary, BinOp, Const, Extend, Op

_SIGNED = frozenset((BinOp.SDIV, BinOp.SMOD))


def divide(work: Work) -> None:
    """Expand all signed divisions (below v4), and simplify what comes of it."""
    dividing = [
        block
        for block in work.function.blocks
        if any(isinstance(op, Binary) and op.op in _SIGNED for op in block.ops)
    ]
    if not dividing or work.target.at_least(4):
        return
    renamed: dict[Op, Op] = {}
    bits = Bits()
    for block in dividing:
        out: list[Op] = []
        for op in block.ops:
            if isinstance(op, Binary) and op.op in _SIGNED:
                renamed[op] = _Expansion(op, out, bits).result()
            else:
                out.append(op)
        block.ops = out
    for op in work.function.ops():
        op.args = [renamed.get(arg, arg) for arg in op.args]
    simplify(work)


class _Expansion:
    """The operations that stand for one division."""

    __slots__ = ("a", "b", "bits", "divides", "op", "out")

    def __init__(self, op: Binary, out: list[Op], bits: Bits) -> None:
        self.op = op
        self.out = out
        self.bits = bits
        self.divides = op.op is BinOp.SDIV
        self.a, self.b = (self.widened(arg) for arg in op.args)

    def result(self) -> Op:
        """The quotient or rest, zero-extended if the division is one of 32 bits."""
        value = self.quotient()
        if self.op.bits == 64:
            return value
        return self.put(Extend(value, 32, signed=False, span=self.op.span))

    def put(self, op: Op) -> Op:
        self.out.append(op)
        return op

    def binary(self, kind: BinOp, a: Op, b: Op | int) -> Op:
        right = constant(b) if isinstance(b, int) else b
        return self.put(Binary(kind, a, right, span=self.op.span))

    def widened(self, value: Op) -> Op:
        if isinstance(value, Const):
            return constant(arith.signed(value.value, self.op.bits))
        if self.op.bits == 64:
            return value
        return self.put(Extend(value, 32, signed=True, span=self.op.span))

    def quotient(self) -> Op:
        if not isinstance(self.b, Const):
            return self.by_variable()
        value = self.b.value
        size = abs(value)
        if self.bits.maybe(self.a) < 1 << 63 and value > 0:
            return self.unsigned(self.a, self.b)
        if size and size & (size - 1) == 0:
            result = self.by_power(size)
        else:
            sign = self.binary(BinOp.ASHR, self.a, 63)
            rest = self.unsigned(self.flipped(self.a, sign), constant(size))
            result = self.flipped(rest, sign)
        if self.divides and value < 0:
            return self.binary(BinOp.SUB, constant(0), result)
        return result

    def unsigned(self, a: Op, b: Op) -> Op:
        return self.binary(BinOp.UDIV if self.divides else BinOp.UMOD, a, b)

    def flipped(self, value: Op, sign: Op) -> Op:
        """`value`, negated where `sign` is -1 rather than 0."""
        other = self.binary(BinOp.XOR, value, sign)
        return self.binary(BinOp.SUB, other, sign)

    def by_power(self, size: int) -> Op:
        """Shift, after adding size - 1 to what is negative."""
        power = size.bit_length() - 1
        sign = self.binary(BinOp.ASHR, self.a, 63)
        bias = self.binary(BinOp.LSHR, sign, 64 - power) if power else constant(0)
        moved = self.binary(BinOp.ADD, self.a, bias)
        if self.divides:
            return self.binary(BinOp.ASHR, moved, power)
        whole = self.binary(BinOp.AND, moved, -size)
        return self.binary(BinOp.SUB, self.a, whole)

    def by_variable(self) -> Op:
        sign = self.binary(BinOp.ASHR, self.a, 63)
        other = self.binary(BinOp.ASHR, self.b, 63)
        a = self.flipped(self.a, sign)
        b = self.flipped(self.b, other)
        result = self.unsigned(a, b)
        if self.divides:
            sign = self.binary(BinOp.XOR, sign, other)
        return self.flipped(result, sign)
