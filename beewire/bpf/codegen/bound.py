"""Bounds the loops that the kernel does not follow round by round, by what it has.

    block again:                            block before:
      %1 = budget                             call kfunc bpf_iter_num_new (&loop, 0, ...)
      branch ne64 %1, 0 -> head, spent      block again:
                                     =>       %1 = call kfunc bpf_iter_num_next (&loop)
                                              branch ne64 %1, 0 -> head, after
                                            block after:
                                              call kfunc bpf_iter_num_destroy (&loop)
                                              jump spent

may_goto (Linux 6.9) is chosen later: it is the branch itself. Open-coded iterators (6.4)
are made before each loop, and destroyed on every edge that leads out of it. Where there is
neither, `outline` was there before, if the kernel has bpf_loop (5.17).
"""

from beewire.bpf.codegen import graph
from beewire.bpf.codegen.algebra import constant
from beewire.bpf.codegen.fault import fault
from beewire.bpf.codegen.work import Work
from beewire.bpf.ir import (
    Block,
    Branch,
    Budget,
    Call,
    CallKind,
    Const,
    Jump,
    Kind,
    Op,
    Slot,
    Span,
)
from beewire.bpf.object.target import ITERATORS, MAY_GOTO
from beewire.errors import CompileError
from beewire.reasons import Reason

MAX_ROUNDS = 1 << 23  # BPF_MAX_LOOPS: of iterators, and what may_goto counts down from
# The kernel puts the count of may_goto, and since 6.15 the time, below the stack.
_COUNT_BYTES = 16
_ITERATOR_BYTES = 8  # struct bpf_iter_num


def bound(work: Work) -> None:
    """Turn each Budget into what the target has.

    Raises:
        CompileError: the target has nothing to bound a loop with.
    """
    found = [
        (block, budget)
        for block in work.function.blocks
        if isinstance(last := block.ops[-1], Branch)
        and isinstance(budget := last.args[0], Budget)
    ]
    if not found:
        return
    if work.target.has(MAY_GOTO):
        work.reserved = _COUNT_BYTES
        work.bounded.update(budget for _, budget in found)
    elif work.target.has(ITERATORS):
        for block, budget in found:
            _iterate(work, block, budget)
    else:
        raise _refusal(found[0][1], work.function.span)


def _iterate(work: Work, block: Block, budget: Budget) -> None:
    """Let an iterator count the rounds of the loop that `block` is in."""
    order = work.order()
    if block not in order:
        return
    body = graph.innermost_loop(order, block)
    if body is None:  # left in the first round on every way
        _replace(block, budget, constant(1))
        return
    head = next(b for b in order if b in body)
    slot = Slot("loop", _ITERATOR_BYTES)
    span = budget.span
    blocks = work.function.blocks
    before = Block(f"before_{head.name}")
    first, last = constant(0), constant(MAX_ROUNDS)
    before.ops = [_call("new", span, slot, first, last), Jump(head, span=span)]
    for pred in head.preds:
        if pred not in body:
            graph.retarget(pred, head, before)
    blocks.append(before)
    after: dict[Block, Block] = {}
    for inside in order:
        if inside not in body:
            continue
        for way in dict.fromkeys(inside.successors()):
            if way in body or way is before:
                continue
            if way not in after:
                after[way] = Block(f"after_{head.name}")
                after[way].ops = [_call("destroy", span, slot), Jump(way, span=span)]
                blocks.append(after[way])
            graph.retarget(inside, way, after[way])
    step = _call("next", span, slot, kind=Kind.PTR)
    work.bounded.add(step)
    _replace(block, budget, step)


def _call(name: str, span: Span | None, *args: Op, kind: Kind = Kind.INT) -> Call:
    return Call(CallKind.KFUNC, f"bpf_iter_num_{name}", *args, kind=kind, span=span)


def _replace(block: Block, budget: Budget, new: Op) -> None:
    """Put `new` in the place of the budget; constants stand nowhere."""
    branch = block.ops[-1]
    assert isinstance(branch, Branch)
    branch.args = [new if arg is budget else arg for arg in branch.args]
    block.ops = [
        op if op is not budget else new
        for op in block.ops
        if op is not budget or not isinstance(new, Const)
    ]


def _refusal(budget: Budget, place: Span) -> CompileError:
    rounds = budget.rounds
    many = f"up to {rounds} times" if rounds else "any number of times"
    return fault(
        budget.span or place,
        Reason.UNBOUNDED,
        f"this loop may run {many}, and kernels like the target follow every round",
        "write for i in range(n): with an n of at most 64, and leave it by break; or "
        "name a target that has may_goto, iterators or bpf_loop",
    )
