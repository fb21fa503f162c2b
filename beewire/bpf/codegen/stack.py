"""Makes the accesses to stack slots few: forwards, drops and merges.

    store u32 stack [&key], %1            store u64 stack [&key], %1
    store u32 stack [&key+4], 0     =>
    %2 = load u32 stack [&key]            (%2 is %1)

At last each slot gets its place; those that are never in use together share one.
"""

from beewire.bpf.codegen import algebra
from beewire.bpf.codegen.bits import Bits
from beewire.bpf.codegen.frame import Frame, read_later
from beewire.bpf.codegen.merge import merge
from beewire.bpf.codegen.pack import pack
from beewire.bpf.codegen.simplify import simplify
from beewire.bpf.codegen.work import Work
from beewire.bpf.ir import Block, Const, Extend, Load, Op, Slot, Store


def stack(work: Work) -> None:
    """Rewrite what touches the slots; needs SSA form."""
    blocks = work.function.blocks
    if not any(
        isinstance(arg, Slot) for b in blocks for op in b.ops for arg in op.args
    ):
        return
    frame = Frame(work.function)
    _forward(work, frame)
    _drop(blocks, frame)
    bits = Bits()
    for block in blocks:
        merge(block, frame, bits)
    work.places, work.frame = pack(blocks, frame)


def _forward(work: Work, frame: Frame) -> None:
    """A load of what was just stored is the value stored; storing it again is nothing."""
    forward = _Forward(frame, work.loops())
    for block in work.function.blocks:
        forward.block(block)
    renamed = forward.renamed
    if renamed:
        for op in work.function.ops():
            op.args = [renamed.get(arg, arg) for arg in op.args]
        simplify(work)


_Known = dict[int, Op]  # bytes of the frame -> the value last stored to them


class _Forward:
    """What the slots hold, as far as it is known, at the end of each block."""

    __slots__ = ("bits", "ends", "frame", "loops", "renamed")

    def __init__(self, frame: Frame, loops: dict[Block, set[Block]]) -> None:
        self.frame = frame
        self.loops = loops
        self.bits = Bits()
        self.ends: dict[Block, _Known] = {}
        self.renamed: dict[Op, Op] = {}

    def block(self, block: Block) -> None:
        """Rewrite one block; its dominators are done."""
        known = self.at_start(block)
        touch = self.frame.touch
        gone: set[Op] = set()
        extra: dict[Op, list[Op]] = {}
        for op in block.ops:
            found = touch.get(op)
            if found is None:
                continue
            value = known.get(found.exact)
            if value is not None and self.is_known(op, value, extra):
                gone.add(op)
                continue
            if found.writes:
                lost = found.writes
                known = {mask: v for mask, v in known.items() if not mask & lost}
                if isinstance(op, Store) and found.exact:
                    known[found.exact] = op.args[1]
        if gone:
            block.ops = [
                kept
                for op in block.ops
                for kept in (extra.get(op, ()) if op in gone else (op,))
            ]
        self.ends[block] = known

    def at_start(self, block: Block) -> _Known:
        """What all predecessors know; at the head of a loop, what it leaves alone."""
        preds = block.preds
        body = self.loops.get(block)
        lost = 0
        if body is not None:
            preds = [pred for pred in preds if pred not in body]
            lost = self.written(body)
        if not preds or any(pred not in self.ends for pred in preds):
            return {}
        known = {m: v for m, v in self.ends[preds[0]].items() if not m & lost}
        for pred in preds[1:]:
            other = self.ends[pred]
            known = {
                mask: value
                for mask, value in known.items()
                if mask in other and _same(value, other[mask])
            }
        return known

    def written(self, body: set[Block]) -> int:
        """The bytes that a loop may write."""
        touch = self.frame.touch
        lost = 0
        for block in body:
            for op in block.ops:
                if op in touch:
                    lost |= touch[op].writes
        return lost

    def is_known(self, op: Op, value: Op, extra: dict[Op, list[Op]]) -> bool:
        """Whether `op` reads, or writes again, the `value` that is there."""
        value = self.renamed.get(value, value)
        if isinstance(op, Load):
            out: list[Op] = []
            extra[op] = out
            self.renamed[op] = _loaded(op, value, self.bits, out)
            return True
        if not isinstance(op, Store):
            return False
        return _same(value, self.renamed.get(op.args[1], op.args[1]))


def _same(a: Op, b: Op) -> bool:
    return a is b or (
        isinstance(a, Const) and isinstance(b, Const) and a.value == b.value
    )


def _loaded(load: Load, value: Op, bits: Bits, out: list[Op]) -> Op:
    """What a load makes of a stored value: its low bytes, extended."""
    if load.size == 8:
        return value

    def emit(op: Op) -> Op:
        out.append(op)
        return op

    extend = Extend(value, load.size * 8, signed=load.signed, span=load.span)
    new = algebra.simplify_extend(extend, bits, emit)
    return emit(extend) if new is extend else new


def _drop(blocks: list[Block], frame: Frame) -> None:
    """Drop stores to bytes that nobody reads before they are written again."""
    outs = read_later(blocks, frame)
    touch = frame.touch
    for block in blocks:
        live = outs[block] | frame.open
        dropped: list[Op] = []
        for op in reversed(block.ops):
            found = touch.get(op)
            if found is None:
                continue
            if isinstance(op, Store) and found.exact:
                if not found.exact & live:
                    dropped.append(op)
                    continue
                live &= ~found.exact | frame.open
            live |= found.reads
        if dropped:
            block.ops = [op for op in block.ops if op not in dropped]
