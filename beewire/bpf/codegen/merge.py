"""Merges stores to neighbouring bytes of a slot into wider ones.

    store u32 stack [&key], 1             store u64 stack [&key], 1
    store u32 stack [&key+4], 0     =>    store u64 stack [&key+8], %1
    store u32 stack [&key+8], %1
    store u32 stack [&key+12], 0

Constants wait until somebody reads the slot; then their bytes are stored in the widest
words that an instruction can hold. A value that fits its bytes takes zeros above it in.
"""

import sys

from beewire.bpf.codegen import arith
from beewire.bpf.codegen.bits import Bits
from beewire.bpf.codegen.frame import Frame
from beewire.bpf.ir import Block, Const, Op, Slot, Space, Store


def merge(block: Block, frame: Frame, bits: Bits) -> None:
    """Merge what is stored in one block."""
    touch = frame.touch
    stores = [op for op in block.ops if isinstance(op, Store) and op in touch]
    if len(stores) < 2:
        return
    edit = _Edit(block.ops, bits)
    groups: dict[Slot, _Group] = {}
    for i, op in enumerate(block.ops):
        found = touch.get(op)
        if found is None:
            continue
        if isinstance(op, Store) and isinstance(slot := op.args[0], Slot):
            if slot in groups and not groups[slot].takes(op):
                groups.pop(slot).flush(edit)
            groups.setdefault(slot, _Group(slot)).add(i, op)
            continue
        touched = found.reads | found.writes
        for slot in [s for s in groups if frame.whole(s) & touched]:
            groups.pop(slot).flush(edit)
    for group in groups.values():
        group.flush(edit)
    block.ops = edit.result()
    for op in edit.made:
        frame.add(op)


class _Edit:
    """The block's operations by position: some gone, some with others before them."""

    __slots__ = ("before", "bits", "made", "ops")

    def __init__(self, ops: list[Op], bits: Bits) -> None:
        self.ops: list[Op | None] = list(ops)
        self.before: dict[int, list[Op]] = {}
        self.bits = bits
        self.made: list[Op] = []

    def result(self) -> list[Op]:
        """All in one row."""
        out: list[Op] = []
        for i, op in enumerate(self.ops):
            out.extend(self.before.get(i, ()))
            if op is not None:
                out.append(op)
        return out


class _Group:
    """Stores to one slot that nobody has looked at yet."""

    __slots__ = ("constant", "last", "originals", "slot", "values")

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self.constant: dict[int, int] = {}  # byte -> its value
        self.originals: list[tuple[int, Store]] = []  # the constant stores
        self.values: dict[int, tuple[int, Store]] = {}  # offset -> other stores
        self.last = -1

    def takes(self, op: Store) -> bool:
        """Whether `op` overwrites no value that waits to be widened."""
        start, end = op.offset, op.offset + op.size
        return not any(
            offset < end and start < offset + store.size
            for offset, (_, store) in self.values.items()
        )

    def add(self, index: int, op: Store) -> None:
        """Take a store in."""
        value = op.args[1]
        if isinstance(value, Const):
            number = value.value & ((1 << op.size * 8) - 1)
            data = number.to_bytes(op.size, sys.byteorder)
            self.constant.update(enumerate(data, op.offset))
            self.originals.append((index, op))
            self.last = index
            return
        self.values[op.offset] = (index, op)
        for byte in range(op.offset, op.offset + op.size):
            self.constant.pop(byte, None)

    def flush(self, edit: _Edit) -> None:
        """Store everything, in as few words as there can be."""
        if not self.originals or len(self.originals) + len(self.values) < 2:
            return
        widened = self.widen(edit)
        stores = self.words()
        if not widened and len(stores) >= len(self.originals):
            return
        for index, _ in self.originals:
            edit.ops[index] = None
        edit.before.setdefault(self.last, []).extend(stores)
        edit.made += stores

    def widen(self, edit: _Edit) -> bool:
        """Let values take in the zeros above them (little-endian machines only)."""
        if sys.byteorder != "little":
            return False
        changed = False
        for offset, (index, store) in self.values.items():
            size = store.size
            known = edit.bits.maybe(store.args[1])
            while size < 8 and offset % (2 * size) == 0 and not known >> (size * 8):
                above = range(offset + size, offset + 2 * size)
                if any(self.constant.get(byte) != 0 for byte in above):
                    break
                for byte in above:
                    del self.constant[byte]
                size *= 2
            if size != store.size:
                wide = self.store(offset, size, store.args[1], store)
                edit.ops[index] = wide
                edit.made.append(wide)
                changed = True
        return changed

    def words(self) -> list[Op]:
        """The constant bytes as stores, widest first."""
        stores: list[Op] = []
        free = self.free()
        left = dict(self.constant)
        like = self.originals[-1][1]
        for byte in sorted(self.constant):
            if byte not in left:
                continue
            for size in (8, 4, 2, 1):
                start = byte & -size
                value = self.word(start, size, left, free)
                if value is not None:
                    stores.append(self.store(start, size, Const(value), like))
                    for taken in range(start, start + size):
                        left.pop(taken, None)
                    break
        return stores

    def free(self) -> set[int]:
        """Bytes that a later store writes: a constant may cover them."""
        return {
            byte
            for offset, (index, store) in self.values.items()
            if index > self.last
            for byte in range(offset, offset + store.size)
        }

    def word(
        self, start: int, size: int, left: dict[int, int], free: set[int]
    ) -> int | None:
        """The constant to store at `start`, if all bytes are ours and an imm holds it."""
        if start + size > self.slot.size:
            return None
        taken = range(start, start + size)
        if any(byte not in left and byte not in free for byte in taken):
            return None
        data = bytes(left.get(byte, 0) for byte in taken)
        value = arith.signed(int.from_bytes(data, sys.byteorder), size * 8)
        return value if arith.fits_imm(value) else None

    def store(self, offset: int, size: int, value: Op, like: Store) -> Store:
        """A store of ours; the slot must be aligned for it."""
        self.slot.align = max(self.slot.align, size)
        base = like.args[0]
        return Store(base, offset, size, value, space=Space.STACK, span=like.span)
