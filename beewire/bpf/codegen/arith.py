"""Arithmetic exactly as a BPF machine does it, on Python ints taken modulo 2**bits."""

import sys

from beewire.bpf.ir import BinOp, CmpOp
from beewire.hints import Callable

M64 = (1 << 64) - 1
M32 = (1 << 32) - 1
MASK = {8: 0xFF, 16: 0xFFFF, 32: M32, 64: M64}


def signed(value: int, bits: int = 64) -> int:
    """The low `bits` of `value`, read as two's complement."""
    half = 1 << (bits - 1)
    return ((value & MASK[bits]) ^ half) - half


def is_signed(op: CmpOp) -> bool:
    """Whether a comparison reads its operands as two's complement."""
    return op in _SIGNED


def fits_imm(value: int) -> bool:
    """Whether an instruction's imm can hold `value` (32 bits, sign-extended)."""
    return -0x8000_0000 <= value < 0x8000_0000


def binary(op: BinOp, a: int, b: int, bits: int) -> int:
    """`a op b`, unsigned in `bits`."""
    mask = MASK[bits]
    return _BINARY[op](a & mask, b & mask, bits) & mask


def compare(op: CmpOp, a: int, b: int, bits: int) -> bool:
    """Whether `a op b`, of the low `bits`."""
    if op in _SIGNED:
        return _COMPARE[op](signed(a, bits), signed(b, bits))
    mask = MASK[bits]
    return _COMPARE[op](a & mask, b & mask)


def extend(value: int, bits: int, *, is_signed: bool) -> int:
    """The low `bits` as a 64-bit value, held as a signed Python int."""
    return signed(value, bits) if is_signed else value & MASK[bits]


def byteswap(value: int, bits: int) -> int:
    """The low `bits` turned from host order to big endian, or back."""
    data = (value & MASK[bits]).to_bytes(bits // 8, sys.byteorder)
    return int.from_bytes(data, "big")


def _sdiv(a: int, b: int, bits: int) -> int:
    x, y = signed(a, bits), signed(b, bits)
    if y == 0:
        return 0
    quotient = abs(x) // abs(y)
    return -quotient if (x < 0) != (y < 0) else quotient


def _smod(a: int, b: int, bits: int) -> int:
    x, y = signed(a, bits), signed(b, bits)
    if y == 0:
        return a
    rest = abs(x) % abs(y)
    return -rest if x < 0 else rest


_BINARY: dict[BinOp, Callable[[int, int, int], int]] = {
    BinOp.ADD: lambda a, b, _: a + b,
    BinOp.SUB: lambda a, b, _: a - b,
    BinOp.MUL: lambda a, b, _: a * b,
    BinOp.UDIV: lambda a, b, _: a // b if b else 0,
    BinOp.UMOD: lambda a, b, _: a % b if b else a,
    BinOp.SDIV: _sdiv,
    BinOp.SMOD: _smod,
    BinOp.AND: lambda a, b, _: a & b,
    BinOp.OR: lambda a, b, _: a | b,
    BinOp.XOR: lambda a, b, _: a ^ b,
    BinOp.SHL: lambda a, b, bits: a << (b % bits),
    BinOp.LSHR: lambda a, b, bits: a >> (b % bits),
    BinOp.ASHR: lambda a, b, bits: signed(a, bits) >> (b % bits),
}
_COMPARE: dict[CmpOp, Callable[[int, int], bool]] = {
    CmpOp.EQ: lambda a, b: a == b,
    CmpOp.NE: lambda a, b: a != b,
    CmpOp.ULT: lambda a, b: a < b,
    CmpOp.ULE: lambda a, b: a <= b,
    CmpOp.UGT: lambda a, b: a > b,
    CmpOp.UGE: lambda a, b: a >= b,
    CmpOp.SLT: lambda a, b: a < b,
    CmpOp.SLE: lambda a, b: a <= b,
    CmpOp.SGT: lambda a, b: a > b,
    CmpOp.SGE: lambda a, b: a >= b,
    CmpOp.SET: lambda a, b: a & b != 0,
    CmpOp.CLEAR: lambda a, b: a & b == 0,
}
_SIGNED = frozenset((CmpOp.SLT, CmpOp.SLE, CmpOp.SGT, CmpOp.SGE))

INVERSE = {
    CmpOp.EQ: CmpOp.NE,
    CmpOp.NE: CmpOp.EQ,
    CmpOp.ULT: CmpOp.UGE,
    CmpOp.ULE: CmpOp.UGT,
    CmpOp.UGT: CmpOp.ULE,
    CmpOp.UGE: CmpOp.ULT,
    CmpOp.SLT: CmpOp.SGE,
    CmpOp.SLE: CmpOp.SGT,
    CmpOp.SGT: CmpOp.SLE,
    CmpOp.SGE: CmpOp.SLT,
    CmpOp.SET: CmpOp.CLEAR,
    CmpOp.CLEAR: CmpOp.SET,
}
SWAPPED = {
    CmpOp.ULT: CmpOp.UGT,
    CmpOp.ULE: CmpOp.UGE,
    CmpOp.UGT: CmpOp.ULT,
    CmpOp.UGE: CmpOp.ULE,
    CmpOp.SLT: CmpOp.SGT,
    CmpOp.SLE: CmpOp.SGE,
    CmpOp.SGT: CmpOp.SLT,
    CmpOp.SGE: CmpOp.SLE,
}
