"""Which bytes of which stack slots an operation reads and writes.

All bytes of all slots are numbered, so a set of bytes is an int. A helper may read and
write what it is given the address of, from the slot's first byte to its last, while it
runs; an address that is kept anywhere makes its slot open to everything.
"""

from beewire.bpf.ir import (
    Atomic,
    Binary,
    Block,
    Branch,
    Call,
    CallKind,
    Function,
    Kind,
    Load,
    Op,
    Slot,
    Space,
    Store,
)

# Helpers that read the memory they are given, and do not write it.
_READERS = frozenset(
    (
        1,  # map_lookup_elem
        2,  # map_update_elem
        3,  # map_delete_elem
        6,  # trace_printk
        25,  # perf_event_output
        70,  # sock_hash_update
        71,  # msg_redirect_hash
        130,  # ringbuf_output
    )
)


class Touch:
    """The bytes that an operation may read, and those that it may write.

    `exact` are the bytes that it certainly reads or writes, all of them.
    """

    __slots__ = ("exact", "reads", "writes")

    def __init__(self, reads: int, writes: int, exact: int) -> None:
        self.reads = reads
        self.writes = writes
        self.exact = exact


class Frame:
    """The slots of a function, and what touches them."""

    __slots__ = ("base", "open", "roots", "size", "touch")

    def __init__(self, function: Function) -> None:
        self.base: dict[Slot, int] = {}
        self.size = 0
        self.roots: dict[Op, Slot] = {}  # addresses within a slot
        self.open = 0
        self.touch: dict[Op, Touch] = {}
        kept: set[Slot] = set()
        touching: list[Op] = []
        roots = self.roots
        for block in function.blocks:
            for op in block.ops:
                for i, arg in enumerate(op.args):
                    if isinstance(arg, Slot):
                        self.note(op, i, arg, kept)
                    elif arg in roots:
                        self.note(op, i, roots[arg], kept)
                if type(op) in _TOUCHING:
                    touching.append(op)
        for slot in kept:
            self.open |= self.whole(slot)
        for op in touching:
            self.add(op)

    def note(self, op: Op, index: int, slot: Slot, kept: set[Slot]) -> None:
        """Learn from one use of an address in `slot`."""
        if slot not in self.base:
            self.base[slot] = self.size
            self.size += slot.size
        if isinstance(op, _LOOKING) or (index == 0 and isinstance(op, _WRITING)):
            return
        if isinstance(op, Binary) and op.kind is Kind.PTR:
            self.roots[op] = slot
        else:
            kept.add(slot)

    def root(self, op: Op) -> Slot | None:
        """The slot that an address lies in."""
        return op if isinstance(op, Slot) else self.roots.get(op)

    def whole(self, slot: Slot) -> int:
        """All bytes of a slot."""
        return ((1 << slot.size) - 1) << self.base[slot]

    def add(self, op: Op) -> None:
        """Find what `op` touches."""
        reads = writes = exact = 0
        if isinstance(op, Call):
            reads = self.given(op)
            known = op.call is CallKind.HELPER and op.target in _READERS
            writes = self.open if known else reads
        elif isinstance(op, _MEMORY):
            at = self.at(op)
            reads = 0 if isinstance(op, Store) else at
            writes = 0 if isinstance(op, Load) else at
            exact = at if isinstance(op.args[0], Slot) else 0
        if reads or writes:
            self.touch[op] = Touch(reads, writes, exact)

    def at(self, op: Load | Store | Atomic) -> int:
        """The bytes that `op` may access."""
        base = op.args[0]
        if isinstance(base, Slot):
            return ((1 << op.size) - 1) << (self.base[base] + op.offset)
        slot = self.roots.get(base)
        if slot is not None:
            return self.whole(slot)
        if isinstance(op, Atomic) or op.space in {Space.MEM, Space.STACK}:
            return self.open
        return 0

    def given(self, call: Call) -> int:
        """The bytes whose address a call is given."""
        mask = self.open
        for arg in call.args:
            slot = self.root(arg)
            if slot is not None:
                mask |= self.whole(slot)
        return mask


_LOOKING = (Load, Call, Branch)
_WRITING = (Store, Atomic)
_MEMORY = (Load, Store, Atomic)
_TOUCHING = frozenset((*_MEMORY, Call))


def read_later(blocks: list[Block], frame: Frame) -> dict[Block, int]:
    """The bytes that may be read after each block."""
    touch = frame.touch
    effects: dict[Block, tuple[int, int]] = {}
    for block in blocks:
        read = written = 0
        for op in block.ops:
            found = touch.get(op)
            if found is not None:
                read |= found.reads & ~written
                if isinstance(op, Store):
                    written |= found.exact
        effects[block] = (read, ~written)
    ways = {block: block.successors() for block in blocks}
    ins = {block: read for block, (read, _) in effects.items()}
    outs = dict.fromkeys(blocks, 0)
    changed = True
    while changed:
        changed = False
        for block in reversed(blocks):
            out = 0
            for successor in ways[block]:
                out |= ins[successor]
            if out != outs[block]:
                outs[block] = out
                read, kept = effects[block]
                ins[block] = read | (out & kept)
                changed = True
    return outs
