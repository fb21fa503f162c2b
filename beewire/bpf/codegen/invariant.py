"""Computes in front of a loop what is the same in every round.

    block body:                           jump body
      %2 = byteswap 32 %0                 ---
      ... %2 ...                =>        %2 = byteswap 32 %0
      branch ult64 %i, 8 -> body, done    block body:
                                            ... %2 ...

Only pure operations, and reads of globals in loops that write no memory but the stack's;
none on what the loop itself tests: the bounds that the verifier learns there would be
lost, and a flag that a loop waits for is read in every round. A value kept over a loop
costs a register, so only as many are as there is room for.
"""

from beewire.bpf.codegen.work import Work
from beewire.bpf.ir import (
    Atomic,
    Binary,
    Block,
    Branch,
    ByteSwap,
    Call,
    Const,
    Extend,
    GlobalRef,
    Load,
    MapRef,
    Op,
    Phi,
    Slot,
    Space,
    Store,
)

_PURE = (Binary, ByteSwap, Extend)
_MADE = (Const, GlobalRef, MapRef, Slot)  # made where they are used
_ROOM = 8  # values over a loop; the rest of the registers are for what it computes
_ROOM_AT_CALLS = 4  # r6 to r9


def invariant(work: Work) -> None:
    """Hoist from all loops, the innermost first."""
    blocks = work.function.blocks
    found = work.loops()
    for head, body in sorted(found.items(), key=lambda item: len(item[1])):
        before = [pred for pred in head.preds if pred not in body]
        if len(before) == 1:
            _Loop(body, [block for block in blocks if block in body]).hoist(before[0])


class _Loop:
    """One loop: what its blocks compute and use."""

    __slots__ = ("blocks", "body", "home", "tested", "writes")

    def __init__(self, body: set[Block], blocks: list[Block]) -> None:
        self.body = body
        self.blocks = blocks
        self.home = {op for block in blocks for op in block.ops}
        self.writes = any(_may_write(op) for op in self.home)
        self.tested = {
            arg
            for block in blocks
            for arg in block.ops[-1].args
            if isinstance(block.ops[-1], Branch)
        }

    def hoist(self, before: Block) -> None:
        """Move what is worth it to the end of `before`."""
        fixed = self.fixed()
        if not fixed:
            return
        moved = self.chosen(fixed)
        if not moved:
            return
        for block in self.blocks:
            block.ops = [op for op in block.ops if op not in moved]
        before.ops[-1:-1] = [op for op in fixed if op in moved]

    def fixed(self) -> list[Op]:
        """What is the same in every round, each after what it is made of."""
        fixed: dict[Op, None] = {}
        for block in self.blocks:
            for op in block.ops:
                if self.is_pure(op) and all(
                    (arg not in self.home or arg in fixed) and arg not in self.tested
                    for arg in op.args
                ):
                    fixed[op] = None
        return list(fixed)

    def is_pure(self, op: Op) -> bool:
        """Whether `op` may be computed once, and earlier."""
        if isinstance(op, Load):
            is_global = isinstance(op.args[0], GlobalRef)
            return is_global and not self.writes and op not in self.tested
        return isinstance(op, _PURE)

    def chosen(self, fixed: list[Op]) -> set[Op]:
        """The operations to move: whole trees, the largest first, while there is room."""
        calls = any(isinstance(op, Call) for op in self.home)
        room = _ROOM_AT_CALLS if calls else _ROOM
        trees = [(_tree(op, set(fixed)), op) for op in self.tops(fixed)]
        trees.sort(key=lambda item: -len(item[0]))
        moved: set[Op] = set()
        kept = self.kept(moved)
        for tree, _ in trees:
            more = moved | tree
            then = self.kept(more)
            if then <= max(room, kept):
                moved, kept = more, then
        return moved

    def tops(self, fixed: list[Op]) -> list[Op]:
        """Those of `fixed` that the rest of the loop uses, or what comes after it."""
        known = set(fixed)
        used = {arg for op in self.home if op not in known for arg in op.args} & known
        inner = {arg for op in fixed for arg in op.args}
        return [op for op in fixed if op in used or op not in inner]

    def kept(self, moved: set[Op]) -> int:
        """How many values the loop keeps in registers, if `moved` are computed before."""
        values: set[Op] = set()
        for op in self.home:
            if isinstance(op, Phi):
                values.add(op)
            elif op not in moved:
                values.update(
                    arg
                    for arg in op.args
                    if (arg not in self.home or arg in moved)
                    and not isinstance(arg, _MADE)
                )
        return len(values)


def _may_write(op: Op) -> bool:
    """Whether `op` may change a global."""
    return isinstance(op, Atomic | Call) or (
        isinstance(op, Store) and op.space is not Space.STACK
    )


def _tree(top: Op, fixed: set[Op]) -> set[Op]:
    """`top` with all that it is made of in the loop."""
    tree: set[Op] = set()
    stack = [top]
    while stack:
        op = stack.pop()
        if op in fixed and op not in tree:
            tree.add(op)
            stack.extend(op.args)
    return tree
