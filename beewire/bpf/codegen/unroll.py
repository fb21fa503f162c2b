"""Writes the rounds of small loops out, one after another.

    jump body                             jump body
    block body:                           block body:
      %1 = phi i (0, %3)                    %2 = load u8 packet [%0]
      %2 = binary add64 %0, %1              ...
      ... load u8 packet [%2]       =>      jump again
      %3 = binary add64 %1, 1             block again:
      branch ult64 %3, 2 -> body, done      %4 = load u8 packet [%0+1]
                                            ...
                                            jump done

Only loops whose counter begins, grows and ends by constants, where what that decides is a
good part of each round: the kernel follows every round in either form.
"""

from itertools import pairwise

from beewire.bpf.codegen import arith, graph
from beewire.bpf.codegen.simplify import simplify
from beewire.bpf.codegen.split import split
from beewire.bpf.codegen.work import Work
from beewire.bpf.ir import (
    Atomic,
    Binary,
    BinOp,
    Block,
    Branch,
    Call,
    Const,
    Extend,
    Jump,
    Local,
    Op,
    Phi,
)

_MOST_ROUNDS = 16
_MOST_OPS = 64  # operations of all rounds that are left
_MOST_WITH_EXITS = 112  # where rounds may be the last: each then knows which it is
_MOST_TOTAL = 512  # and of all loops of a function, so that its size stays in bounds
_WORTH = 4  # one operation in so many must fall away


def unroll(work: Work, loops: dict[Block, set[Block]]) -> None:
    """Unroll those of `loops` that are worth it, and simplify what comes of them."""
    total = 0
    changed = False
    blocks = work.function.blocks
    for head, body in loops.items():
        if any(other in body for other in loops if other is not head):
            continue  # only innermost loops
        loop = _found(work, head, [block for block in blocks if block in body])
        if loop is None or total + loop.size > _MOST_TOTAL:
            continue
        if loop.shorten():
            work.reorder()
        if not loop.close(work.dominators()):
            continue
        total += loop.size
        loop.write_out()
        work.reorder()
        changed = True
    if changed:
        simplify(work)
        if split(work):
            simplify(work)


def _found(work: Work, head: Block, body: list[Block]) -> "_Loop | None":
    """The loop, if it is small, counted, and not bounded by the kernel."""
    ops = [op for block in body for op in block.ops]
    if any(op in work.bounded or isinstance(op, Call | Atomic) for op in ops):
        return None
    inside = set(body)
    latches = [pred for pred in head.preds if pred in inside]
    if len(head.preds) != 2 or len(latches) != 1:
        return None
    latch = latches[0]
    counted = _counted(head, latch)
    if counted is None:
        return None
    counter, rounds = counted
    kept, folded = _size(body, counter)
    ways = [way for block in body for way in block.successors() if way not in inside]
    most = _MOST_WITH_EXITS if len(ways) > 1 else _MOST_OPS
    if kept * rounds > most or folded * _WORTH < kept:
        return None
    return _Loop(head, latch, body, rounds, max(kept, 1) * rounds)


def _counted(head: Block, latch: Block) -> tuple[Phi, int] | None:
    """The counter, and how often the loop runs if nothing else ends it."""
    match latch.ops[-1]:
        case Branch(args=[tested, Const(value=bound)]) as last:
            pass
        case _:
            return None
    if last.then is last.orelse:
        return None
    again = head.preds.index(latch)
    for phi in head.ops:
        if not isinstance(phi, Phi):
            break
        match phi.args[again], phi.args[1 - again]:
            case Binary(op=BinOp.ADD, args=[base, Const(value=step)]) as new, Const(
                value=value
            ) if base is phi and tested in {phi, new}:
                pass
            case _:
                continue
        for rounds in range(1, _MOST_ROUNDS + 1):
            new_value = arith.binary(BinOp.ADD, value, step, new.bits)
            number = value if tested is phi else new_value
            holds = arith.compare(last.op, number, bound, last.bits)
            if (last.then if holds else last.orelse) is not head:
                return phi, rounds
            value = new_value
    return None


def _size(body: list[Block], counter: Phi) -> tuple[int, int]:
    """How many operations of a round are left, and how many the counter decides."""
    known: set[Op] = {counter}
    kept = folded = 0
    for block in body:
        for op in block.ops:
            if isinstance(op, Phi | Jump):
                continue
            is_made = isinstance(op, Binary | Extend | Branch)
            decided = [arg in known or isinstance(arg, Const) for arg in op.args]
            if is_made and all(decided):
                known.add(op)
                folded += 1
            elif is_made and any(arg in known for arg in op.args) and _joins(op):
                folded += 1  # a distance that goes into an offset
            else:
                kept += 1
    return kept, folded


def _joins(op: Op) -> bool:
    return isinstance(op, Binary) and op.op is BinOp.ADD


class _Loop:
    """A loop of `rounds` rounds; only the last leaves it by the latch."""

    __slots__ = ("body", "head", "home", "inside", "latch", "rounds", "size")

    def __init__(
        self, head: Block, latch: Block, body: list[Block], rounds: int, size: int
    ) -> None:
        self.head = head
        self.latch = latch
        self.body = body
        self.inside = set(body)
        self.rounds = rounds
        self.size = size
        self.home = {op: block for block in body for op in block.ops}

    def exits(self) -> list[Block]:
        """The blocks that the loop may go on to."""
        ways = dict.fromkeys(way for block in self.body for way in block.successors())
        return [way for way in ways if way not in self.inside]

    def shorten(self) -> bool:
        """Lead the ways out past empty blocks; whether there were any."""
        changed = False
        for way in self.exits():
            last = way.ops[0]
            if not isinstance(last, Jump) or len(way.preds) > 1:
                continue
            pred, target = way.preds[0], last.target
            if pred not in target.preds and target not in self.inside:
                graph.retarget(pred, way, target)
                target.preds[target.preds.index(way)] = pred
                changed = True
        return changed

    def close(self, tree: graph.Dominators) -> bool:
        """Let all values leave the loop through Phis; whether that can be done."""
        exits = self.exits()
        wanted: list[tuple[Op, int, Op, Block]] = []
        for block in tree.order:
            if block in self.inside:
                continue
            for op in block.ops:
                for i, arg in enumerate(op.args):
                    if arg not in self.home:
                        continue
                    at = block.preds[i] if isinstance(op, Phi) else block
                    if at in self.inside:
                        continue  # it leaves through this Phi already
                    way = next((e for e in exits if tree.dominates(e, at)), None)
                    if way is None or not self.inside.issuperset(way.preds):
                        return False
                    wanted.append((op, i, arg, way))
        made: dict[tuple[Op, Block], Phi] = {}
        for op, i, arg, way in wanted:
            phi = made.get((arg, way))
            if phi is None:
                phi = Phi(Local("left", arg.kind), *[arg] * len(way.preds))
                way.ops.insert(0, phi)
                made[arg, way] = phi
            op.args[i] = phi
        return True

    def write_out(self) -> None:
        """Put all rounds in the place of the loop."""
        head, latch = self.head, self.latch
        again = head.preds.index(latch)
        before = head.preds[1 - again]
        start: dict[Op, Op] = {
            op: op.args[1 - again] for op in head.ops if isinstance(op, Phi)
        }
        rounds: list[_Round] = []
        for _ in range(self.rounds):
            rounds.append(_Round(self, start))
            start = {
                op: rounds[-1].value(op.args[again])
                for op in head.ops
                if isinstance(op, Phi)
            }
        self.lead_out(rounds)
        first = rounds[0].blocks[head]
        graph.retarget(before, head, first)
        first.preds = [before]
        for one, two in pairwise(rounds):
            last, target = one.blocks[latch], two.blocks[head]
            last.ops[-1] = Jump(target, span=last.ops[-1].span)
            target.preds = [last]
        end = rounds[-1].blocks[latch]
        out = next(w for w in latch.successors() if w is not head)
        end.ops[-1] = Jump(out, span=end.ops[-1].span)

    def lead_out(self, rounds: "list[_Round]") -> None:
        """Give the blocks after the loop their edges from every round."""
        for way in self.exits():
            edges = [
                (i, pred, each)
                for i, pred in enumerate(way.preds)
                for each in (rounds if pred is not self.latch else rounds[-1:])
                if pred in self.inside or each is rounds[-1]
            ]
            for op in way.ops:
                if not isinstance(op, Phi):
                    break
                op.args = [
                    each.value(op.args[i]) if pred in self.inside else op.args[i]
                    for i, pred, each in edges
                ]
            way.preds = [each.blocks.get(pred, pred) for _, pred, each in edges]


class _Round:
    """One round: copies of the loop's blocks, `values` of what they compute."""

    __slots__ = ("blocks", "values")

    def __init__(self, loop: _Loop, start: dict[Op, Op]) -> None:
        self.values = dict(start)
        self.blocks = {block: Block(block.name) for block in loop.body}
        copies: list[Op] = []
        for block, new in self.blocks.items():
            new.preds = [
                self.blocks[pred] for pred in block.preds if pred in loop.inside
            ]
            for op in block.ops:
                if op not in start:
                    self.values[op] = made = _copied(op)
                    new.ops.append(made)
                    copies.append(made)
            for way in block.successors():
                if way in self.blocks and way is not loop.head:
                    graph.retarget(new, way, self.blocks[way])
        for made in copies:
            made.args = [self.value(arg) for arg in made.args]

    def value(self, op: Op) -> Op:
        """What this round has for `op`."""
        return self.values.get(op, op)


def _copied(op: Op) -> Op:
    """Another operation with the same fields; its args are a list of its own."""
    new = object.__new__(type(op))
    for cls in type(op).__mro__:
        for name in getattr(cls, "__slots__", ()):
            setattr(new, name, getattr(op, name))
    new.args = list(op.args)
    return new
