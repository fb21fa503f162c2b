"""SSA construction: locals become values, joined by Phis.

    block a:                              block a:
      set n, 1                              jump join
      jump join                           block b:
    block b:                                jump join
      set n, 2                     =>     block join:
      jump join                             %1 = phi n (1, 2)
    block join:                             return %1
      %1 = get n
      return %1

A Phi may only stand in the iterated dominance frontier of the blocks that set a local
(Cytron et al. 1991); there it is made when somebody reads it, so none is dead.
"""

from beewire.bpf.codegen.graph import Dominators
from beewire.bpf.codegen.work import Work
from beewire.bpf.ir import Block, Const, Function, GetLocal, Local, Op, Phi, SetLocal
from beewire.errors import SpecError


def ssa(work: Work) -> None:
    """Replace all GetLocal and SetLocal. Puts the blocks in reverse postorder.

    Raises:
        SpecError: a local may be read before it is set.
    """
    order = work.order()
    builder = _Builder(work.function, work.dominators())
    for block in order:
        builder.rename(block)
    builder.finish(order)


class _Builder:
    """The state of one construction."""

    __slots__ = ("defs", "function", "idom", "joins", "made", "renamed", "waiting")

    def __init__(self, function: Function, tree: Dominators) -> None:
        self.function = function
        self.idom = tree.idom
        self.defs: dict[Block, dict[Local, Op]] = {b: {} for b in function.blocks}
        self.joins = _joins(function, tree)
        self.made: dict[Block, list[Phi]] = {}
        self.renamed: dict[Op, Op] = {}
        self.waiting: list[tuple[Block, Phi]] = []

    def rename(self, block: Block) -> None:
        """Give `block` values for its locals; all its dominators have theirs."""
        defs = self.defs[block]
        renamed = self.renamed
        out: list[Op] = []
        for op in block.ops:
            if isinstance(op, GetLocal):
                renamed[op] = self.read(op.local, block)
                continue
            args = op.args
            for i, arg in enumerate(args):
                if arg in renamed:
                    args[i] = renamed[arg]
            if isinstance(op, SetLocal):
                defs[op.local] = args[0]
            else:
                out.append(op)
        block.ops = out

    def read(self, local: Local, block: Block) -> Op:
        """The value of `local` at the end of `block`, or as far as it is renamed."""
        value = self.defs[block].get(local)
        if value is not None:
            return value
        joins = self.joins.get(local, ())
        path: list[dict[Local, Op]] = []
        while True:
            defs = self.defs[block]
            value = defs.get(local)
            if value is not None:
                break
            path.append(defs)
            if block in joins:
                value = self.join(local, block)
                break
            above = self.idom[block]
            if above is block:
                raise SpecError(
                    f"{self.function.name} may read {local.name!r} before it is set"
                )
            block = above
        for defs in path:
            defs[local] = value
        return value

    def join(self, local: Local, block: Block) -> Phi:
        phi = Phi(local)
        self.made.setdefault(block, []).append(phi)
        self.waiting.append((block, phi))
        return phi

    def finish(self, order: list[Block]) -> None:
        """Give the Phis their args and places, and drop those of one value."""
        while self.waiting:
            block, phi = self.waiting.pop()
            phi.args = [self.read(phi.local, pred) for pred in block.preds]
        for block, phis in self.made.items():
            block.ops[:0] = phis
        if self.made:
            _drop_trivial(order, self.made)


def _joins(function: Function, tree: Dominators) -> dict[Local, set[Block]]:
    """Where Phis of each local may stand: nowhere, if it is set but once."""
    setters: dict[Local, list[Block]] = {}
    for block in function.blocks:
        for op in block.ops:
            if isinstance(op, SetLocal):
                blocks = setters.setdefault(op.local, [])
                if not blocks or blocks[-1] is not block:
                    blocks.append(block)
    many = {local: blocks for local, blocks in setters.items() if len(blocks) > 1}
    if not many:
        return {}
    frontier = _frontiers(function.blocks, tree)
    return {local: _iterate(blocks, frontier) for local, blocks in many.items()}


def _frontiers(order: list[Block], tree: Dominators) -> dict[Block, set[Block]]:
    """The blocks where each block's dominance ends."""
    frontiers: dict[Block, set[Block]] = {}
    for block in order:
        if len(block.preds) < 2:
            continue
        top = tree.idom[block]
        for pred in block.preds:
            runner = pred
            while runner is not top:
                frontiers.setdefault(runner, set()).add(block)
                runner = tree.idom[runner]
    return frontiers


def _iterate(blocks: list[Block], frontier: dict[Block, set[Block]]) -> set[Block]:
    found: set[Block] = set()
    work = list(blocks)
    while work:
        for block in frontier.get(work.pop(), ()):
            if block not in found:
                found.add(block)
                work.append(block)
    return found


def _drop_trivial(order: list[Block], phis: dict[Block, list[Phi]]) -> None:
    """Replace each Phi of one value and itself by that value, until none is left."""
    gone: dict[Op, Op] = {}
    changed = True
    while changed:
        changed = False
        for group in phis.values():
            for phi in group:
                if phi not in gone and (value := _only(phi, gone)) is not None:
                    gone[phi] = value
                    changed = True
    if not gone:
        return
    for block in order:
        if block in phis:
            block.ops = [op for op in block.ops if op not in gone]
        for op in block.ops:
            op.args = [_final(arg, gone) for arg in op.args]


def _only(phi: Op, gone: dict[Op, Op]) -> Op | None:
    value: Op | None = None
    for arg in phi.args:
        final = _final(arg, gone)
        if final is phi or final is value:
            continue
        if value is not None and not _equal(value, final):
            return None
        value = final
    return value


def _equal(a: Op, b: Op) -> bool:
    """Whether two different objects are one constant."""
    return isinstance(a, Const) and isinstance(b, Const) and a.value == b.value


def _final(op: Op, gone: dict[Op, Op]) -> Op:
    while op in gone:
        op = gone[op]
    return op
