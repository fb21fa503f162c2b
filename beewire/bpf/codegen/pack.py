"""Gives each stack slot its place; slots that are never in use together share one.

In use is a slot from where it is written to where it is last read. So a key that each of
ten look-ups makes for itself takes the room of one.
"""

from beewire.bpf.codegen.frame import Frame, read_later
from beewire.bpf.ir import Block, Call, Op, Slot, Store


def pack(blocks: list[Block], frame: Frame) -> tuple[dict[Slot, int], int]:
    """Distances from r10 (negative), and the bytes used in all."""
    clashes = _clashes(blocks, frame) if len(frame.base) > 1 else {}
    places: dict[Slot, int] = {}
    used = 0
    for slot in sorted(frame.base, key=lambda slot: -slot.size):
        taken = sorted(
            (-places[other] - other.size, -places[other])
            for other in places
            if clashes[slot] & frame.whole(other) or clashes[other] & frame.whole(slot)
        )
        top = 0  # the lowest distance not yet refused
        for start, end in taken:
            if _end(top, slot) <= start:
                break
            top = max(top, end)
        places[slot] = -_end(top, slot)
        used = max(used, -places[slot])
    return places, used


def _end(top: int, slot: Slot) -> int:
    """The distance of a slot's first byte, if it begins below `top`."""
    return (top + slot.size + slot.align - 1) // slot.align * slot.align


def _clashes(blocks: list[Block], frame: Frame) -> dict[Slot, int]:
    """For each slot the bytes that are in use while it is written."""
    outs = read_later(blocks, frame)
    touch = frame.touch
    clashes = dict.fromkeys(frame.base, frame.open)
    for slot in clashes:
        if frame.whole(slot) & frame.open:
            clashes[slot] = -1
    for block in blocks:
        live = outs[block]
        for op in reversed(block.ops):
            found = touch.get(op)
            if found is None:
                continue
            if found.writes or isinstance(op, Call):
                for slot in _slots(op, frame):
                    clashes[slot] |= live | found.reads | found.writes
            if isinstance(op, Store):
                live &= ~found.exact
            live |= found.reads
    return clashes


def _slots(op: Op, frame: Frame) -> list[Slot]:
    """The slots whose addresses `op` uses."""
    args = op.args if isinstance(op, Call) else op.args[:1]
    return [slot for arg in args if (slot := frame.root(arg)) is not None]
