"""Folds, propagates and numbers values in one sweep over the dominator tree.

    %1 = load u16 ctx [ctx+4]             %1 = load u16 ctx [ctx+4]
    %2 = binary and64 %1, 65535     =>    branch eq64 %1, 8 -> a, b
    %3 = load u16 ctx [ctx+4]
    branch eq64 %3, 8 -> a, b

Constants and copies are propagated, algebra's rules applied, equal pure operations
computed once, branches decided, offsets gathered in loads and stores. An operation
keeps its place: nothing moves above a test that the verifier wants to see first.
"""

from beewire.bpf.codegen import algebra, arith
from beewire.bpf.codegen.bits import Bits, counters
from beewire.bpf.codegen.facts import Facts
from beewire.bpf.codegen.packets import PacketReads
from beewire.bpf.codegen.reads import ContextReads
from beewire.bpf.codegen.work import Work
from beewire.bpf.ir import (
    ArenaAddress,
    Atomic,
    Binary,
    BinOp,
    Block,
    Branch,
    ByteSwap,
    Call,
    CmpOp,
    Const,
    CoreValue,
    Extend,
    FieldAddress,
    FunctionRef,
    Jump,
    Kind,
    Load,
    MapRef,
    Op,
    Param,
    Phi,
    Slot,
    Space,
    Store,
    SymbolRef,
)
from beewire.bpf.ir import GlobalRef as Global

_OFFSET_MIN, _OFFSET_MAX = -(1 << 15), (1 << 15) - 1
_ROUNDS = 4  # each but the first is needed only after a loop or a decided branch
_REACH = 64  # numbered operations; to keep a value longer would cost a register
_BOUNDS = frozenset((BinOp.AND, BinOp.UMOD, BinOp.LSHR))
_LEAVES = frozenset((Const, MapRef, Global, FunctionRef, SymbolRef))


def simplify(work: Work) -> None:
    """Sweep until nothing changes; drops blocks that became unreachable."""
    if _settle(work.function.blocks):
        _drop_unreachable(work)
    for _ in range(_ROUNDS):
        sweep = _Sweep(work)
        sweep.run()
        if sweep.decided:
            _drop_unreachable(work)
        if not (sweep.decided or sweep.late):
            return


class _Sweep:
    """One pass over all blocks, dominators first."""

    __slots__ = (
        "bits",
        "block",
        "clock",
        "decided",
        "facts",
        "known",
        "late",
        "out",
        "packets",
        "reads",
        "renamed",
        "swept",
        "target",
        "work",
    )

    def __init__(self, work: Work) -> None:
        self.work = work
        self.target = work.target
        self.bits = Bits()
        # Where there are others, the verifier does not follow each round.
        if not work.bounded and work.dominators().has_loops:
            self.bits.ones.update(counters(work.function.blocks))
        self.facts = Facts(work.dominators())
        self.reads = ContextReads(work.function)
        self.packets = PacketReads(self.bits)
        self.known: dict[tuple[object, ...], tuple[Op, Block, int]] = {}
        self.clock = 0
        self.renamed: dict[Op, Op] = {}
        self.swept: set[Block] = set()
        self.block = work.function.blocks[0]
        self.out: list[Op] = []
        self.decided = False
        self.late = False

    def run(self) -> None:
        """Rewrite every block; fix the Phis that read what was renamed later."""
        entry = self.block
        blocks = self.work.function.blocks
        for block in blocks:
            if block.preds or block is entry:
                self.sweep(block)
        renamed = self.renamed
        for block in blocks:
            for op in block.ops:
                if not isinstance(op, Phi):
                    break
                for i, arg in enumerate(op.args):
                    if arg in renamed:
                        op.args[i] = self.final(arg)
                        self.late = self.late or self.is_trivial(op)

    def final(self, op: Op) -> Op:
        """What `op` has been replaced by."""
        renamed = self.renamed
        while op in renamed:
            op = renamed[op]
        return op

    def is_trivial(self, phi: Op) -> bool:
        """Whether the Phi has come down to one value."""
        others = {arg for arg in phi.args if arg is not phi}
        return len(others) == 1

    def sweep(self, block: Block) -> None:
        self.block = block
        self.out = out = []
        self.reads.enter(block)
        self.packets.enter(block)
        renamed = self.renamed
        constants = self.facts.constants
        for op in block.ops:
            args = op.args
            for i, arg in enumerate(args):
                if arg in renamed:
                    args[i] = self.final(arg)
                if args[i] in constants and not isinstance(op, Phi):
                    args[i] = self.facts.constant(args[i], block) or args[i]
            rule = _RULES.get(type(op))
            if rule is None:
                out.append(op)
                continue
            new = rule(self, op)
            if new is not op:
                renamed[op] = new
        block.ops = out
        last = out[-1]
        if isinstance(last, Branch):
            self.branch(block, last)
        self.reads.leave(block)
        self.packets.leave(block)
        self.swept.add(block)

    def emit(self, op: Op) -> Op:
        """Put a new operation here, or find the value that it would compute."""
        rule = _RULES.get(type(op))
        if rule is None:
            self.out.append(op)
            return op
        return rule(self, op)

    def number(self, op: Op, key: tuple[object, ...]) -> Op:
        """The value that computes `key` here: an earlier one, or `op`, put here."""
        found = self.known.get(key)
        self.clock += 1
        if found is not None:
            old, home, when = found
            if self.clock - when < _REACH and (
                home is self.block or self.holds(op, home)
            ):
                return old
        self.known[key] = (op, self.block, self.clock)
        self.out.append(op)
        return op

    def holds(self, op: Op, home: Block) -> bool:
        """Whether what `home` computed is as good here as `op` itself.

        Not a bound, where there are loops that the kernel does not follow: it forgets
        the ranges of values that such a loop leaves alone (widen_imprecise_scalars).
        """
        here = self.block
        if self.work.bounded and isinstance(op, Binary) and op.op in _BOUNDS:
            return False
        facts = self.facts
        return facts.tree.dominates(home, here) and not any(
            facts.tested_between(arg, home, here) for arg in op.args
        )

    def goes_past_a_test(self, op: Op, new: Op) -> bool:
        """Whether `new` is made of what the tested operand of `op` is made of.

        Then the bounds that the verifier learned of that operand would be lost.
        """
        operand = op.args[0]
        return (
            isinstance(new, Binary | Extend)
            and new is not operand
            and new.args[0] is not operand
            and self.facts.is_tested(operand, self.block)
        )

    def branch(self, block: Block, op: Branch) -> None:
        """Decide the branch, or make it simple and learn from it."""
        _order(op)
        b = op.args[1]
        if isinstance(b, Const):
            plain = _PLAIN.get((op.op, b.value & arith.MASK[op.bits]))
            if plain is not None:
                op.op = plain
                op.args[1] = algebra.constant(0)
        holds = self.decide(op)
        if holds is None:
            self.facts.learn(block, op)
            return
        self.decided = True
        _decided(block, op, holds=holds)

    def decide(self, op: Branch) -> bool | None:
        """The outcome, if constants, known bits or an earlier branch settle it."""
        a, b = op.args
        if isinstance(b, Const):
            if isinstance(a, Const):
                return arith.compare(op.op, a.value, b.value, op.bits)
            holds = _by_range(op, self.bits.maybe(a), b.value)
            if holds is not None:
                return holds
            if isinstance(a, Slot) and b.value == 0 and op.op in {CmpOp.EQ, CmpOp.NE}:
                return op.op is CmpOp.NE
        elif a is b:
            return arith.compare(op.op, 1, 1, op.bits) if op.op in _REFLEXIVE else None
        return self.facts.decide(self.block, op)


_PLAIN = {
    (CmpOp.ULT, 1): CmpOp.EQ,
    (CmpOp.UGE, 1): CmpOp.NE,
    (CmpOp.ULE, 0): CmpOp.EQ,
    (CmpOp.UGT, 0): CmpOp.NE,
}
_REFLEXIVE = frozenset(CmpOp) - {CmpOp.SET, CmpOp.CLEAR}


def _order(op: Branch) -> None:
    """Constants stand on the right."""
    a, b = op.args
    if isinstance(a, Const) and not isinstance(b, Const):
        op.args = [b, a]
        op.op = arith.SWAPPED.get(op.op, op.op)


def _by_range(op: Branch, ones: int, value: int) -> bool | None:
    """Decide by the largest value that `ones` allows."""
    if op.bits == 32:
        ones &= arith.M32
        value &= arith.M32
    value &= arith.M64
    match op.op:
        case CmpOp.EQ | CmpOp.NE if value & ~ones:
            return op.op is CmpOp.NE
        case CmpOp.ULT | CmpOp.UGE if value > ones:
            return op.op is CmpOp.ULT
        case CmpOp.ULE | CmpOp.UGT if value >= ones:
            return op.op is CmpOp.ULE
        case CmpOp.SET | CmpOp.CLEAR if value & ones == 0:
            return op.op is CmpOp.CLEAR
    return None


def _settle(blocks: list[Block]) -> bool:
    """Decide the branches that test constants, so that no sweep starts too high."""
    settled = False
    for block in blocks:
        last = block.ops[-1]
        if isinstance(last, Branch):
            a, b = last.args
            if isinstance(a, Const) and isinstance(b, Const):
                holds = arith.compare(last.op, a.value, b.value, last.bits)
                _decided(block, last, holds=holds)
                settled = True
    return settled


def _decided(block: Block, op: Branch, *, holds: bool) -> None:
    """Jump where the branch at the end of `block` is known to go."""
    live, dead = (op.then, op.orelse) if holds else (op.orelse, op.then)
    block.ops[-1] = Jump(live, span=op.span)
    cut(block, dead)


def cut(block: Block, target: Block) -> None:
    """Take the edge from `block` to `target` out of the Phis."""
    index = next(i for i, pred in enumerate(target.preds) if pred is block)
    del target.preds[index]
    for op in target.ops:
        if not isinstance(op, Phi):
            break
        del op.args[index]


def _drop_unreachable(work: Work) -> None:
    """Drop blocks that lost their last way in, and their ways out."""
    blocks = work.function.blocks
    reached = {blocks[0]}
    stack = [blocks[0]]
    while stack:
        for successor in stack.pop().successors():
            if successor not in reached:
                reached.add(successor)
                stack.append(successor)
    for block in blocks:
        if block not in reached:
            for successor in block.successors():
                if successor in reached:
                    cut(block, successor)
    work.function.blocks = [block for block in blocks if block in reached]
    work.changed_edges()


def _binary(sweep: _Sweep, op: Op) -> Op:
    assert isinstance(op, Binary)
    new = algebra.simplify_binary(op, sweep.bits, sweep.emit, sweep.target)
    if new is not op and not sweep.goes_past_a_test(op, new):
        return new
    if op.kind is Kind.PTR and not _is_tested(sweep, op.args[1]):
        new = algebra.move_distance(op, sweep.emit)
        if new is not op:
            return new
    return sweep.number(op, (op.op, op.bits, *map(_key, op.args)))


def _is_tested(sweep: _Sweep, index: Op) -> bool:
    """Whether the verifier knows a bound of `index`, or of what it is a multiple of."""
    if sweep.facts.is_tested(index, sweep.block):
        return True
    if isinstance(index, Binary) and index.op is BinOp.SHL:
        return sweep.facts.is_tested(index.args[0], sweep.block)
    return False


def _key(op: Op) -> object:
    """Equal constants are one value."""
    if type(op) not in _LEAVES:
        return op
    if isinstance(op, Const):
        return op.value
    if isinstance(op, Global):
        return op.section, op.offset
    if isinstance(op, SymbolRef):
        return "symbol", op.name
    return op.name if isinstance(op, MapRef | FunctionRef) else op


def _extend(sweep: _Sweep, op: Op) -> Op:
    assert isinstance(op, Extend)
    new = algebra.simplify_extend(op, sweep.bits, sweep.emit)
    if new is not op and not sweep.goes_past_a_test(op, new):
        return new
    return sweep.number(op, ("extend", op.bits, op.signed, op.args[0]))


def _byteswap(sweep: _Sweep, op: Op) -> Op:
    assert isinstance(op, ByteSwap)
    new = algebra.simplify_byteswap(op, sweep.emit)
    if new is not op:
        return new
    return sweep.number(op, ("swap", op.bits, op.args[0]))


def _load(sweep: _Sweep, op: Op) -> Op:
    assert isinstance(op, Load)
    _gather(op)
    if op.space is Space.CTX:
        return sweep.reads.load(op, sweep.number, sweep.out)
    if op.space is Space.PACKET and (known := sweep.packets.load(op)) is not None:
        return known
    sweep.out.append(op)
    return op


def _store(sweep: _Sweep, op: Op) -> Op:
    assert isinstance(op, Store)
    _gather(op)
    if op.size < 8:
        op.args[1] = _stored(op.args[1], op.size * 8)
    sweep.reads.store(op)
    sweep.packets.store(op)
    sweep.out.append(op)
    return op


def _atomic(sweep: _Sweep, op: Op) -> Op:
    assert isinstance(op, Atomic)
    _gather(op)
    sweep.packets.forget()
    sweep.out.append(op)
    return op


def _stored(value: Op, bits: int) -> Op:
    """What a store of `bits` sees of a value: extensions and masks matter not."""
    mask = arith.MASK[bits]
    while True:
        match value:
            case Extend() if value.bits >= bits:
                value = value.args[0]
            case Binary(op=BinOp.AND, args=[x, Const() as c]) if (
                c.value & mask == mask and value.bits >= bits
            ):
                value = x
            case Const():
                short = arith.signed(value.value, bits)
                return value if short == value.value else Const(short)
            case _:
                return value


def _gather(op: Load | Store | Atomic) -> None:
    """Take a constant distance from the base into the offset."""
    base = op.args[0]
    while (
        isinstance(base, Binary)
        and base.op is BinOp.ADD
        and base.kind is Kind.PTR
        and isinstance(distance := base.args[1], Const)
        and _OFFSET_MIN <= op.offset + distance.value <= _OFFSET_MAX
    ):
        op.offset += distance.value
        base = op.args[0] = base.args[0]


def _call(sweep: _Sweep, op: Op) -> Op:
    assert isinstance(op, Call)
    sweep.reads.call(op)
    sweep.packets.forget()
    sweep.out.append(op)
    return op


def _field(sweep: _Sweep, op: Op) -> Op:
    assert isinstance(op, FieldAddress)
    return sweep.number(op, ("field", op.field, op.args[0]))


def _core_value(sweep: _Sweep, op: Op) -> Op:
    assert isinstance(op, CoreValue)
    return sweep.number(op, ("core", op.field))


def _phi(sweep: _Sweep, op: Op) -> Op:
    if sweep.swept.isdisjoint(sweep.block.preds):
        # A loop that lost its entrance: the value would be made of itself.
        sweep.out.append(op)
        return op
    first = op.args[0]
    if all(arg is first or arg is op or _same(arg, first) for arg in op.args):
        return first
    return sweep.number(op, ("phi", sweep.block, *map(_key, op.args)))


def _same(a: Op, b: Op) -> bool:
    return isinstance(a, Const) and isinstance(b, Const) and a.value == b.value


def _leaf(_sweep: _Sweep, op: Op) -> Op:
    """Constants and addresses have no place of their own."""
    if isinstance(op, Const):
        op.value = arith.signed(op.value)
    return op


def _arena(sweep: _Sweep, op: Op) -> Op:
    return sweep.number(op, ("arena", _key(op.args[0])))


_RULES = {
    ArenaAddress: _arena,
    Atomic: _atomic,
    Binary: _binary,
    ByteSwap: _byteswap,
    Call: _call,
    Const: _leaf,
    CoreValue: _core_value,
    Extend: _extend,
    FieldAddress: _field,
    FunctionRef: _leaf,
    Global: _leaf,
    Load: _load,
    MapRef: _leaf,
    SymbolRef: _leaf,
    Param: _leaf,
    Phi: _phi,
    Slot: _leaf,
    Store: _store,
}
