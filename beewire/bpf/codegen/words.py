"""Copies and clears memory word by word.

    copy 12 stack [&a], map [%1] align 4     =>     %2 = load u32 map [%1]
                                                    store u32 stack [&a], %2
                                                    ...

The widest word is what the alignment allows; the stack is ours to align, context fields
are four bytes wide.
"""

from beewire.bpf.codegen.work import Work
from beewire.bpf.ir import (
    Block,
    Const,
    Copy,
    Load,
    Op,
    Slot,
    Space,
    Store,
    Zero,
)


def words(work: Work) -> None:
    """Replace every Copy and Zero by loads and stores."""
    for block in work.function.blocks:
        if any(isinstance(op, Copy | Zero) for op in block.ops):
            _rewrite(block)


def _rewrite(block: Block) -> None:
    ops: list[Op] = []
    for op in block.ops:
        match op:
            case Copy():
                _copy(op, ops)
            case Zero():
                _zero(op, ops)
            case _:
                ops.append(op)
    block.ops = ops


def _copy(op: Copy, out: list[Op]) -> None:
    dst, src = op.args
    align = min(
        _align(dst, op.dst_space, op.align, op.dst_offset),
        _align(src, op.src_space, op.align, op.src_offset),
    )
    for at, size in _pieces(op.size, align):
        load = Load(src, op.src_offset + at, size, space=op.src_space, span=op.span)
        where = op.dst_offset + at
        out.append(load)
        out.append(Store(dst, where, size, load, space=op.dst_space, span=op.span))


def _zero(op: Zero, out: list[Op]) -> None:
    base = op.args[0]
    zero = Const(0)
    align = _align(base, op.space, op.align, op.offset)
    for at, size in _pieces(op.size, align):
        store = Store(base, op.offset + at, size, zero, space=op.space, span=op.span)
        out.append(store)


def _align(base: Op, space: Space, align: int, offset: int) -> int:
    if space is Space.CTX:
        return min(align, 4)
    if isinstance(base, Slot):
        if base.size >= 8:
            base.align = 8
        return (base.align | offset) & -(base.align | offset)
    return align


def _pieces(size: int, align: int) -> list[tuple[int, int]]:
    """Offsets and sizes: words of `align`, then what is left in smaller ones."""
    pieces = []
    at = 0
    word = min(align, 8)
    while at < size:
        while word > size - at:
            word //= 2
        pieces.append((at, word))
        at += word
    return pieces
