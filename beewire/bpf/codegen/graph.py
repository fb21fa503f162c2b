"""The shape of a function's control flow: order, predecessors, dominators, loops."""

from beewire.bpf.ir import Block, Branch, Function, Jump


def reverse_postorder(entry: Block) -> list[Block]:
    """The blocks reachable from `entry`; each stands after all that dominate it.

    Of two successors the first comes first, so that source order survives.
    """
    return list(_ways(entry))


def _ways(entry: Block) -> dict[Block, tuple[Block, ...]]:
    """The successors of all reachable blocks, in reverse postorder."""
    ways = {entry: entry.successors()}
    order: list[Block] = []
    stack = [(entry, list(ways[entry]))]
    while stack:
        block, waiting = stack[-1]
        if not waiting:
            order.append(block)
            stack.pop()
            continue
        successor = waiting.pop()
        if successor not in ways:
            ways[successor] = found = successor.successors()
            stack.append((successor, list(found)))
    return {block: ways[block] for block in reversed(order)}


def is_ordered(blocks: list[Block]) -> bool:
    """Whether each block stands after all that dominate it.

    So it is where each but the first has a predecessor before it: then a way leads to it
    through earlier blocks only, and what dominates it lies on every way.
    """
    seen = {blocks[0]}
    for block in blocks[1:]:
        if seen.isdisjoint(block.preds):
            return False
        seen.add(block)
    return True


def _link(ways: dict[Block, tuple[Block, ...]]) -> None:
    """Fill in `preds`, in the order of `ways`."""
    for block in ways:
        block.preds = []
    for block, successors in ways.items():
        for successor in successors:
            successor.preds.append(block)


def prune(function: Function) -> list[Block]:
    """Drop unreachable blocks, and number predecessors anew. Gives reverse postorder.

    Only before SSA construction: Phis count on the order of `preds`.
    """
    ways = _ways(function.blocks[0])
    if len(ways) != len(function.blocks):
        function.blocks = [block for block in function.blocks if block in ways]
    _link(ways)
    return list(ways)


class Dominators:
    """Who dominates whom, in constant time (`order` is a reverse postorder)."""

    __slots__ = ("end", "first", "has_loops", "idom", "order")

    def __init__(self, order: list[Block]) -> None:
        self.order = order
        idom, self.has_loops = _immediate(order)
        self.idom = idom
        size = dict.fromkeys(order, 1)
        for block in reversed(order[1:]):
            size[idom[block]] += size[block]
        # Preorder numbers of the tree: a subtree is an interval, from `first` up to `end`.
        self.first = first = {order[0]: 0}
        self.end = end = {order[0]: 1}
        for block in order[1:]:
            above = idom[block]
            first[block] = place = end[above]
            end[above] += size[block]
            end[block] = place + 1

    def dominates(self, upper: Block, lower: Block) -> bool:
        """Whether every way from the entry to `lower` leads through `upper`."""
        first = self.first
        return first[upper] <= first[lower] < self.end[upper]


def _immediate(order: list[Block]) -> tuple[dict[Block, Block], bool]:
    """Immediate dominators, and whether a way leads back.

    Cooper, Harvey, Kennedy: two fingers on the tree.
    """
    number = {block: i for i, block in enumerate(order)}
    entry = order[0]
    idom = {entry: entry}
    changed, has_loops = True, False
    while changed:
        changed = False
        for block in order[1:]:
            best: Block | None = None
            for pred in block.preds:
                if pred not in idom:
                    has_loops = True
                else:
                    best = pred if best is None else _meet(best, pred, idom, number)
            if best is not None and idom.get(block) is not best:
                idom[block] = best
                changed = has_loops  # without any, one round sees all that comes before
    return idom, has_loops


def _meet(
    a: Block, b: Block, idom: dict[Block, Block], number: dict[Block, int]
) -> Block:
    while a is not b:
        while number[a] > number[b]:
            a = idom[a]
        while number[b] > number[a]:
            b = idom[b]
    return a


def loops(
    order: list[Block], dominators: Dominators | None = None
) -> dict[Block, set[Block]]:
    """The natural loops by their heads; of two that share one, the union."""
    tree = dominators or Dominators(order)
    if not tree.has_loops:
        return {}
    number = {block: i for i, block in enumerate(order)}
    backs = [
        (block, successor)
        for block in order
        for successor in block.successors()
        if number[successor] <= number[block]
    ]
    found: dict[Block, set[Block]] = {}
    for tail, head in backs:
        if tree.dominates(head, tail):
            _collect(found.setdefault(head, {head}), tail, number)
    return found


def loop_depths(order: list[Block], found: dict[Block, set[Block]]) -> list[int]:
    """How many of the `loops` that were found each block of `order` is in."""
    if not found:
        return [0] * len(order)
    bodies = found.values()
    return [sum([block in body for body in bodies]) for block in order]


def _collect(body: set[Block], tail: Block, number: dict[Block, int]) -> None:
    work = [tail]
    while work:
        block = work.pop()
        if block not in body:
            body.add(block)
            work.extend(pred for pred in block.preds if pred in number)


def innermost_loop(order: list[Block], block: Block) -> set[Block] | None:
    """The smallest natural loop that `block` is in, if any."""
    around = [body for body in loops(order).values() if block in body]
    return min(around, key=len) if around else None


def retarget(block: Block, old: Block, new: Block) -> None:
    """Lead what goes from `block` to `old` to `new`."""
    last = block.ops[-1]
    if isinstance(last, Jump):
        last.target = new if last.target is old else last.target
    elif isinstance(last, Branch):
        last.then = new if last.then is old else last.then
        last.orelse = new if last.orelse is old else last.orelse
