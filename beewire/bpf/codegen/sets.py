"""Tests whether a value is one of several constants at once, not one by one.

    block a:                              block a:
      branch eq64 %1, 4 -> yes, b           branch ult64 %1, 4 -> no, c
    block b:                      =>      block c:
      branch eq64 %1, 5 -> yes, no          branch ule64 %1, 5 -> yes, no

    %1 in {0, 6, 17}              =>      %1 <= 17 and 131137 >> %1 & 1

The verifier follows each way into `yes`: now there is one. What it knows of the value
there stays as narrow as an index needs it.
"""

from beewire.bpf.codegen.work import Work
from beewire.bpf.ir import (
    Binary,
    BinOp,
    Block,
    Branch,
    CmpOp,
    Const,
    Kind,
    Op,
    Phi,
    Store,
)

_WIDEST = 63  # the largest member that a mask of 64 bits holds
_EQUALITY = frozenset((CmpOp.EQ, CmpOp.NE))


def sets(work: Work) -> None:
    """Rewrite all chains of tests that one value is this or that."""
    blocks = work.function.blocks
    chains: list[_Chain] = []
    gone: set[Block] = set()
    for block in blocks:
        if block not in gone:
            chain = _Chain(block)
            if len(chain.blocks) > 1 and chain.is_plain():
                chains.append(chain)
                gone.update(chain.blocks)
    if not chains:
        return
    users = _users(blocks)
    replaced: dict[Block, list[Block]] = {}
    for chain in chains:
        made = chain.rewritten(users)
        if made:
            replaced[chain.blocks[0]] = made
            replaced.update((block, []) for block in chain.blocks[1:])
    if replaced:
        work.function.blocks = [
            new for block in blocks for new in replaced.get(block, [block])
        ]
        work.changed_edges()


def _users(blocks: list[Block]) -> dict[Op, list[Op]]:
    users: dict[Op, list[Op]] = {}
    for block in blocks:
        for op in block.ops:
            for arg in op.args:
                users.setdefault(arg, []).append(op)
    return users


class _Chain:
    """Blocks that test one value, each the next if the last test failed."""

    __slots__ = ("blocks", "members", "no", "value", "yes")

    def __init__(self, first: Block) -> None:
        self.blocks = [first]
        self.members: list[int] = []
        found = _test(first)
        if found is None:
            return
        self.value, member, self.yes, self.no = found
        self.members.append(member)
        while len(self.no.preds) == 1 and len(self.no.ops) == 1:
            found = _test(self.no)
            if found is None or found[0] is not self.value or found[2] is not self.yes:
                break
            self.blocks.append(self.no)
            self.members.append(found[1])
            self.no = found[3]

    def is_plain(self) -> bool:
        """Whether all ways into `yes` bring the same values."""
        yes, known = self.yes, set(self.blocks)
        if yes is self.no or len(set(self.members)) < len(self.members):
            return False
        ways = [i for i, pred in enumerate(yes.preds) if pred in known]
        return all(
            _same(op.args[ways[0]], op.args[i])
            for op in yes.ops
            if isinstance(op, Phi)
            for i in ways
        )

    def rewritten(self, users: dict[Op, list[Op]]) -> list[Block]:
        """The blocks to test with instead; none where one by one is as good."""
        low, high = min(self.members), max(self.members)
        count = len(self.members)
        if high - low + 1 == count:
            if low == 0:
                return self.single(CmpOp.ULE, self.value, high)
            if len(users[self.value]) == count:
                return self.moved(low, high)
            return self.double(CmpOp.ULT, low, [], CmpOp.ULE, self.value, high)
        bit = low ^ high
        if count == 2 and bit & (bit - 1) == 0:
            return self.without(bit, users)
        if count > 2 and (high < 32 or (high <= _WIDEST and count > 4)):
            mask = sum(1 << member for member in self.members)
            moved = Binary(BinOp.LSHR, Const(_signed(mask)), self.value)
            return self.double(CmpOp.UGT, high, [moved], CmpOp.SET, moved, 1)
        return []

    def without(self, bit: int, users: dict[Op, list[Op]]) -> list[Block]:
        """One test that does not look at the bit in which two members differ.

        It tells the verifier nothing of the value itself, so that must be wanted for
        nothing but tests and stores.
        """
        for user in users[self.value]:
            stored = isinstance(user, Store) and user.args[0] is not self.value
            if not stored and not isinstance(user, Branch):
                return []
        made = Binary(BinOp.OR, self.value, Const(bit))
        self.blocks[0].ops.insert(-1, made)
        return self.single(CmpOp.EQ, made, max(self.members) | bit)

    def moved(self, low: int, high: int) -> list[Block]:
        """One test of how far above the lowest member the value is.

        Of the value itself the verifier learns nothing, so nobody else may want it.
        """
        made = Binary(BinOp.SUB, self.value, Const(low))
        self.blocks[0].ops.insert(-1, made)
        return self.single(CmpOp.ULE, made, high - low)

    def single(self, op: CmpOp, value: Op, constant: int) -> list[Block]:
        """One branch in place of all."""
        first, last = self.blocks[0], self.blocks[-1]
        _enter(self.yes, set(self.blocks), first)
        _replace(self.no, last, [first])
        self.branch(first, op, value, constant, (self.yes, self.no))
        return [first]

    def double(
        self, out: CmpOp, bound: int, ops: list[Op], op: CmpOp, value: Op, constant: int
    ) -> list[Block]:
        """A branch to `no` if `out` holds, then one that decides."""
        first, last = self.blocks[0], self.blocks[-1]
        second = Block(f"{first.name}_set")
        second.preds = [first]
        second.ops = [*ops, first.ops[-1]]
        _enter(self.yes, set(self.blocks), second)
        _replace(self.no, last, [first, second])
        self.branch(second, op, value, constant, (self.yes, self.no))
        self.branch(first, out, self.value, bound, (self.no, second))
        return [first, second]

    def branch(
        self,
        block: Block,
        op: CmpOp,
        value: Op,
        constant: int,
        ways: tuple[Block, Block],
    ) -> None:
        """End `block` with a branch."""
        span = block.ops[-1].span
        block.ops[-1] = Branch(op, value, Const(constant), *ways, span=span)


def _test(block: Block) -> tuple[Op, int, Block, Block] | None:
    """What is tested to be which small constant, and where that leads."""
    match block.ops[-1]:
        case Branch(bits=64, args=[value, Const(value=member)]) as last if (
            last.op in _EQUALITY
            and value.kind is Kind.INT
            and not isinstance(value, Const)
            and 0 <= member < 1 << 31
        ):
            if last.op is CmpOp.EQ:
                return value, member, last.then, last.orelse
            return value, member, last.orelse, last.then
        case _:
            return None


def _same(a: Op, b: Op) -> bool:
    return a is b or (
        isinstance(a, Const) and isinstance(b, Const) and a.value == b.value
    )


def _signed(mask: int) -> int:
    return mask - (1 << 64) if mask >> 63 else mask


def _enter(target: Block, before: set[Block], now: Block) -> None:
    """One edge from `now` in place of all from `before`."""
    keep = [i for i, pred in enumerate(target.preds) if pred not in before]
    way = next(i for i, pred in enumerate(target.preds) if pred in before)
    for op in target.ops:
        if isinstance(op, Phi):
            op.args = [*(op.args[i] for i in keep), op.args[way]]
    target.preds = [*(target.preds[i] for i in keep), now]


def _replace(target: Block, before: Block, now: list[Block]) -> None:
    """The edge from `before` comes from all of `now`."""
    way = target.preds.index(before)
    target.preds[way : way + 1] = now
    for op in target.ops:
        if isinstance(op, Phi):
            op.args[way : way + 1] = [op.args[way]] * len(now)
