"""Instruction sets v1 and v2: 32-bit operations by 64-bit ones.

    %3 = binary add32 %1, %2      =>      %4 = binary add64 %1, %2
                                          %3 = extend u32 %4

v1 also lacks the jumps for less-than; `select` turns those round.
"""

from beewire.bpf.codegen import arith
from beewire.bpf.codegen.work import Work
from beewire.bpf.ir import Binary, BinOp, Branch, Const, Extend, Op

_LOW = frozenset(
    (BinOp.ADD, BinOp.SUB, BinOp.MUL, BinOp.AND, BinOp.OR, BinOp.XOR, BinOp.SHL)
)
_SHIFTS = frozenset((BinOp.SHL, BinOp.LSHR, BinOp.ASHR))
_DIVISIONS = frozenset((BinOp.SDIV, BinOp.SMOD))


def lower(work: Work) -> None:
    """Rewrite what v1 and v2 cannot do."""
    if work.target.at_least(3):
        return
    renamed: dict[Op, Op] = {}
    for block in work.function.blocks:
        out: list[Op] = []
        for op in block.ops:
            match op:
                case Binary(bits=32) if op.op not in _DIVISIONS:
                    renamed[op] = _binary(op, out)
                    continue
                case Branch(bits=32):
                    is_signed = arith.is_signed(op.op)
                    op.args = [_wide(a, out, is_signed=is_signed) for a in op.args]
                    op.bits = 64
                case _:
                    pass
            out.append(op)
        block.ops = out
    if renamed:
        for op in work.function.ops():
            op.args = [renamed.get(arg, arg) for arg in op.args]


def _binary(op: Binary, out: list[Op]) -> Op:
    a, b = op.args
    if op.op in _SHIFTS:
        b = _count(b, out)
    if op.op not in _LOW:
        a = _wide(a, out, is_signed=op.op is BinOp.ASHR)
        if op.op not in _SHIFTS:
            b = _wide(b, out, is_signed=False)
    wide = Binary(op.op, a, b, span=op.span)
    out.append(wide)
    return _wide(wide, out, is_signed=False)


def _wide(value: Op, out: list[Op], *, is_signed: bool) -> Op:
    if isinstance(value, Const):
        return Const(arith.extend(value.value, 32, is_signed=is_signed))
    extended = Extend(value, 32, signed=is_signed, span=value.span)
    out.append(extended)
    return extended


def _count(value: Op, out: list[Op]) -> Op:
    if isinstance(value, Const):
        return Const(value.value % 32)
    count = Binary(BinOp.AND, value, Const(31), span=value.span)
    out.append(count)
    return count
