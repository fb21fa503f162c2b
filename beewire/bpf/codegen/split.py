"""Does without a test that every way in decides by a constant.

    block done:                           block some:
      %1 = phi digits (0, 1, 2)             %3 = phi number (%4, %5)
      %2 = phi number (0, %4, %5)    =>     ... %3 ...
      branch eq64 %1, 0 -> none, some     block none:
    block some:                             ...
      ... %2 ...

Rounds that were written out leave such tests behind: how many there were is then known
at each way out.
"""

from beewire.bpf.codegen import arith, graph
from beewire.bpf.codegen.work import Work
from beewire.bpf.ir import Block, Branch, Const, Op, Phi


def split(work: Work) -> bool:
    """Lead the ways into all such blocks on; whether there were any."""
    changed = False
    for block in list(work.function.blocks):
        found = _decided(block)
        if found is not None and _split(work, block, found):
            work.reorder()
            changed = True
    return changed


def _decided(block: Block) -> list[bool] | None:
    """How the test of `block` ends for each way in, if that is all it does."""
    match block.ops[-1]:
        case Branch(args=[Phi() as tested, Const(value=bound)]) as last:
            pass
        case _:
            return None
    if tested not in block.ops or not all(isinstance(op, Phi) for op in block.ops[:-1]):
        return None
    if last.then is last.orelse or any(len(w.preds) > 1 for w in block.successors()):
        return None
    if len(set(block.preds)) < len(block.preds):
        return None
    ends = [
        arith.compare(last.op, arg.value, bound, last.bits)
        for arg in tested.args
        if isinstance(arg, Const)
    ]
    both = True in ends and False in ends
    return ends if both and len(ends) == len(block.preds) else None


def _split(work: Work, block: Block, ends: list[bool]) -> bool:
    """Lead each way in where its constant leads; whether that can be done."""
    last = block.ops[-1]
    assert isinstance(last, Branch)
    phis = [op for op in block.ops if isinstance(op, Phi)]
    preds = block.preds
    if any(work.dominators().dominates(block, pred) for pred in preds):
        return False  # a loop's head stays its only way in
    uses = _uses(work, block, set(phis))
    if uses is None:
        return False
    made: dict[tuple[Op, Block], Phi] = {}
    for way, side in ((last.then, True), (last.orelse, False)):
        ways = [i for i, end in enumerate(ends) if end is side]
        way.preds = [preds[i] for i in ways]
        for pred in way.preds:
            graph.retarget(pred, block, way)
        for phi in phis:
            made[phi, way] = new = Phi(phi.local, *[phi.args[i] for i in ways])
            way.ops.insert(0, new)
    for op, i, way in uses:
        op.args[i] = made[op.args[i], way]
    return True


def _uses(
    work: Work, block: Block, phis: set[Phi]
) -> list[tuple[Op, int, Block]] | None:
    """Where the Phis of `block` are used, each with the way that leads there."""
    tree = work.dominators()
    found: list[tuple[Op, int, Block]] = []
    for user in work.function.blocks:
        for op in user.ops if user is not block else ():
            for i, arg in enumerate(op.args):
                if arg not in phis:
                    continue
                at = user.preds[i] if isinstance(op, Phi) else user
                ways = [w for w in block.successors() if tree.dominates(w, at)]
                if not ways:
                    return None
                found.append((op, i, ways[0]))
    return found
