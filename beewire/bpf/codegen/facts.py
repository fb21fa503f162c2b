"""What the branches on the way to a block have settled.

    branch ne64 %1, 0 -> live, done
    block live:
      branch eq64 %1, 0 -> done, go        =>        jump go

A fact holds in every block that the edge dominates, so a reference tested once is not
tested again, and a value found equal to a constant is that constant.
"""

from beewire.bpf.codegen import arith
from beewire.bpf.codegen.graph import Dominators
from beewire.bpf.ir import Block, Branch, CmpOp, Const, Op

_LT, _EQ, _GT = 1, 2, 4
# Which of less, equal and greater a comparison allows; unsigned and signed apart.
_ALLOWS: dict[CmpOp, tuple[str, int]] = {
    CmpOp.ULT: ("u", _LT),
    CmpOp.ULE: ("u", _LT | _EQ),
    CmpOp.UGT: ("u", _GT),
    CmpOp.UGE: ("u", _GT | _EQ),
    CmpOp.SLT: ("s", _LT),
    CmpOp.SLE: ("s", _LT | _EQ),
    CmpOp.SGT: ("s", _GT),
    CmpOp.SGE: ("s", _GT | _EQ),
    CmpOp.EQ: ("", _EQ),
    CmpOp.NE: ("", _LT | _GT),
}

_ASKS_MOST = frozenset((CmpOp.ULT, CmpOp.ULE, CmpOp.UGT, CmpOp.UGE))
_NONE = 1 << 64

_Pair = tuple[Op, "Op | int", int]
_Fact = tuple[Block, CmpOp]


class Facts:
    """Facts by the pair of values compared, and the branches that made them."""

    __slots__ = ("constants", "limits", "pairs", "tested", "tree")

    def __init__(self, tree: Dominators) -> None:
        self.tree = tree
        self.pairs: dict[_Pair, list[_Fact]] = {}
        self.limits: dict[Op, list[tuple[Block, CmpOp, int]]] = {}
        self.constants: dict[Op, list[tuple[Block, Const]]] = {}
        self.tested: dict[Op, list[Block]] = {}

    def learn(self, block: Block, branch: Branch) -> None:
        """Remember what both ways out of `block` mean."""
        a, b = branch.args
        for arg in branch.args:
            if not isinstance(arg, Const):
                self.tested.setdefault(arg, []).append(block)
        if branch.then is branch.orelse:
            return
        pair = _pair(branch)
        for target, op in (
            (branch.then, branch.op),
            (branch.orelse, arith.INVERSE[branch.op]),
        ):
            if len(target.preds) != 1:
                continue
            self.pairs.setdefault(pair, []).append((target, op))
            if isinstance(b, Const) and branch.bits == 64 and b.value >= 0:
                self.limits.setdefault(a, []).append((target, op, b.value))
            if op is CmpOp.EQ and branch.bits == 64 and isinstance(b, Const):
                self.equal(a, b, target)

    def equal(self, value: Op, constant: Const, block: Block) -> None:
        """`value` is `constant` in `block`; a wide one would only cost more."""
        if arith.fits_imm(constant.value):
            self.constants.setdefault(value, []).append((block, constant))

    def decide(self, block: Block, branch: Branch) -> bool | None:
        """Whether the branch at the end of `block` is taken, if that is settled."""
        for home, op in self.pairs.get(_pair(branch), ()):
            if self.tree.dominates(home, block):
                answer = _implies(op, branch.op)
                if answer is not None:
                    return answer
        if branch.op in _ASKS_MOST and branch.bits == 64:
            return self._by_limit(block, branch)
        return None

    def _by_limit(self, block: Block, branch: Branch) -> bool | None:
        """The same for a constant other than those compared with: below 4 is below 8."""
        a, b = branch.args
        limits = self.limits.get(a)
        if limits is None or not isinstance(b, Const) or b.value < 0:
            return None
        most, signed, positive = _NONE, _NONE, False
        for home, op, value in limits:
            if not self.tree.dominates(home, block):
                continue
            if op in {CmpOp.ULT, CmpOp.ULE, CmpOp.EQ}:
                most = min(most, value - (op is CmpOp.ULT))
            elif op in {CmpOp.SLT, CmpOp.SLE}:
                signed = min(signed, value - (op is CmpOp.SLT))
            elif op in {CmpOp.SGE, CmpOp.SGT}:
                positive = True
        if positive:
            most = min(most, signed)
        holds = most < b.value + (branch.op in {CmpOp.ULE, CmpOp.UGT})
        return (branch.op in {CmpOp.ULT, CmpOp.ULE}) if holds else None

    def constant(self, op: Op, block: Block) -> Const | None:
        """The constant that `op` is known to equal in `block`."""
        for home, value in self.constants.get(op, ()):
            if self.tree.dominates(home, block):
                return value
        return None

    def is_tested(self, op: Op, block: Block) -> bool:
        """Whether a branch on every way to `block` looked at `op`."""
        return any(
            home is not block and self.tree.dominates(home, block)
            for home in self.tested.get(op, ())
        )

    def tested_between(self, op: Op, upper: Block, lower: Block) -> bool:
        """Whether a branch below the start of `upper`, above `lower`, looked at `op`.

        Such a branch tells the verifier something about the register that it tested:
        a value computed before does not have that knowledge.
        """
        dominates = self.tree.dominates
        return any(
            block is not lower and dominates(upper, block) and dominates(block, lower)
            for block in self.tested.get(op, ())
        )


def _pair(branch: Branch) -> _Pair:
    a, b = branch.args
    return a, (b.value if isinstance(b, Const) else b), branch.bits


def _implies(known: CmpOp, asked: CmpOp) -> bool | None:
    if known is asked:
        return True
    if known is arith.INVERSE[asked]:
        return False
    if known not in _ALLOWS or asked not in _ALLOWS:
        return None
    (sign, have), (want_sign, want) = _ALLOWS[known], _ALLOWS[asked]
    if sign and want_sign and sign != want_sign:
        return None
    if have & ~want == 0:
        return True
    return False if have & want == 0 else None
