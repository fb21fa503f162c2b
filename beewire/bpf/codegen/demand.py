"""Demanded bits: drops what only changes bits that nobody looks at.

    %2 = extend u16 %1                    %3 = binary and64 %1, 240
    %3 = binary and64 %2, 240       =>    store u8 stack [&a], %3
    store u8 stack [&a], %3

    %2 = binary add64 %0, %1              %2 = binary add32 %0, %1
    store u32 stack [&a], %2        =>    store u32 stack [&a], %2
    %3 = extend u32 %2                    (%3 is %2)

Backwards: a store of one byte wants eight bits, a sum below it eight of each operand.
What a test or an address looks at is wanted whole, so nothing that the verifier saw
bounded loses its bounds.
"""

from beewire.bpf.codegen.arith import M32, M64, MASK
from beewire.bpf.codegen.work import Work
from beewire.bpf.ir import (
    Atomic,
    Binary,
    BinOp,
    Block,
    Branch,
    ByteSwap,
    Const,
    Extend,
    Kind,
    Load,
    Op,
    Phi,
    Store,
)
from beewire.hints import Callable

# The low bits of the result depend on the same low bits of the operands only.
_LOW = frozenset((BinOp.ADD, BinOp.SUB, BinOp.MUL, BinOp.AND, BinOp.OR, BinOp.XOR))
_EXTENSIONS = (Extend, Binary, Load)


def demand(work: Work) -> None:
    """Replace extensions and masks that nobody notices by what they are made of."""
    blocks = work.function.blocks
    wanted = _round_loops(blocks) if work.dominators().has_loops else {}
    renamed: dict[Op, Op] = {}
    narrows = work.target.at_least(3)
    short: list[Op] = []  # what 32-bit arithmetic computes, and extends for nothing
    extended: dict[Op, list[Op]] = {}
    for block in reversed(blocks):
        for op in reversed(block.ops):
            rule = _RULES.get(type(op))
            if rule is None:
                wanted.update(dict.fromkeys(op.args, M64))
                continue
            bits = wanted.get(op, 0)
            if isinstance(op, Extend) and op.bits == 32 and not op.signed:
                extended.setdefault(op.args[0], []).append(op)
            if bits != M64 and isinstance(op, _EXTENSIONS):
                _relax(op, bits, renamed)
                if narrows and bits <= M32 and op not in renamed and _halves(op):
                    short.append(op)
            rule(op, bits, wanted)
    for op in short:
        renamed.update((user, op) for user in extended.get(op, ()))
    _rename(blocks, renamed)


def _rename(blocks: list[Block], renamed: dict[Op, Op]) -> None:
    if renamed:
        for block in blocks:
            for op in block.ops:
                op.args = [_final(arg, renamed) for arg in op.args]


def _round_loops(blocks: list[Block]) -> dict[Op, int]:
    """What a loop hands to its own head: met before the Phi, so wanted whole."""
    wanted: dict[Op, int] = {}
    before: set[Block] = set()
    for block in blocks:
        for op in block.ops:
            if not isinstance(op, Phi):
                break
            for pred, arg in zip(block.preds, op.args, strict=True):
                if pred not in before:
                    wanted[arg] = M64
        before.add(block)
    return wanted


def _final(op: Op, renamed: dict[Op, Op]) -> Op:
    while op in renamed:
        op = renamed[op]
    return op


def _relax(op: Extend | Binary | Load, bits: int, renamed: dict[Op, Op]) -> None:
    if isinstance(op, Load):
        if op.signed and bits <= MASK[op.size * 8]:
            op.signed = False
    elif isinstance(op, Extend):
        if bits <= MASK[op.bits]:
            renamed[op] = op.args[0]
    elif op.op is BinOp.AND:
        mask = op.args[1]
        if isinstance(mask, Const) and not bits & ~mask.value:
            renamed[op] = op.args[0]


def _halves(op: Op) -> bool:
    """Make a 64-bit operation one of 32 bits, if that gives its low half."""
    if not isinstance(op, Binary) or op.bits != 64 or op.kind is not Kind.INT:
        return False
    count = op.args[1]
    if op.op is BinOp.SHL:
        if not isinstance(count, Const) or not 0 <= count.value < 32:
            return False
    elif op.op not in _LOW:
        return False
    op.bits = 32
    return True


# Rules: want of the args what the result, wanted in `bits`, needs.


def _binary(op: Op, bits: int, wanted: dict[Op, int]) -> None:
    assert isinstance(op, Binary)
    first, second = _operands(op, bits) if op.kind is Kind.INT else (M64, M64)
    a, b = op.args
    wanted[a] = wanted.get(a, 0) | first
    wanted[b] = wanted.get(b, 0) | second


def _stored(op: Op, _bits: int, wanted: dict[Op, int]) -> None:
    assert isinstance(op, Store | Atomic)
    base, *values = op.args
    wanted[base] = M64
    _want(values, MASK[op.size * 8], wanted)


def _extend(op: Op, bits: int, wanted: dict[Op, int]) -> None:
    assert isinstance(op, Extend)
    low = MASK[op.bits]
    sign = op.signed and bits > low
    _want(op.args, bits & low | (low + 1 >> 1 if sign else 0), wanted)


def _phi(op: Op, bits: int, wanted: dict[Op, int]) -> None:
    _want(op.args, bits, wanted)


def _swapped(op: Op, _bits: int, wanted: dict[Op, int]) -> None:
    assert isinstance(op, ByteSwap)
    _want(op.args, MASK[op.bits], wanted)


def _tested(op: Op, _bits: int, wanted: dict[Op, int]) -> None:
    assert isinstance(op, Branch)
    _want(op.args, M32 if op.bits == 32 else M64, wanted)


def _load(op: Op, _bits: int, wanted: dict[Op, int]) -> None:
    wanted[op.args[0]] = M64


def _want(args: list[Op], mask: int, wanted: dict[Op, int]) -> None:
    for arg in args:
        wanted[arg] = wanted.get(arg, 0) | mask


# Anything else wants its args whole.
_RULES: dict[type[Op], Callable[[Op, int, dict[Op, int]], None]] = {
    Atomic: _stored,
    Binary: _binary,
    Branch: _tested,
    ByteSwap: _swapped,
    Extend: _extend,
    Load: _load,
    Phi: _phi,
    Store: _stored,
}


def _operands(op: Binary, bits: int) -> tuple[int, int]:
    """The bits of both operands that the wanted bits of the result depend on."""
    width = MASK[op.bits]
    bits &= width
    b = op.args[1]
    value = b.value if isinstance(b, Const) else None
    match op.op:
        case BinOp.ADD | BinOp.SUB | BinOp.MUL:
            low = (1 << bits.bit_length()) - 1
            return low, low
        case BinOp.AND:
            return (bits if value is None else bits & value), bits
        case BinOp.OR | BinOp.XOR:
            return bits, bits
        case BinOp.SHL | BinOp.LSHR | BinOp.ASHR:
            return _shifted(op, bits, width, value), op.bits - 1
        case _:
            return width, width


def _shifted(op: Binary, bits: int, width: int, value: int | None) -> int:
    if value is None:
        return width
    count = value % op.bits
    if op.op is BinOp.SHL:
        return bits >> count
    from_above = op.op is BinOp.ASHR and bits << count > width
    return (bits << count) & width | (width + 1 >> 1 if from_above else 0)
