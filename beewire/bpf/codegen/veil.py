"""Hides from the kernel what values loops begin with, where it would follow them.

    block before:                         block before:
      jump head                             store u64 stack [&start], 0
    block head:                      =>     atomic add64 [&start], 0
      %1 = phi n (0, %2)                    %3 = load u64 stack [&start]
      branch eq64 %1, 7 -> ...              jump head
                                          block head:
                                            %1 = phi n (%3, %2)

A loop with a budget is followed until the kernel has seen its state before. It never has
if it knows in each round how a test ends, because it knows the value that it began with.
It does not know what an atomic operation leaves in memory.
"""

from beewire.bpf.codegen import graph
from beewire.bpf.codegen.work import Work
from beewire.bpf.ir import (
    Atomic,
    AtomicOp,
    Binary,
    Block,
    Branch,
    ByteSwap,
    Const,
    Extend,
    Kind,
    Load,
    Op,
    Phi,
    Slot,
    Space,
    Store,
)

_WORD = 8


def veil(work: Work) -> None:
    """Hide the constants that decide tests in the loops of `work.bounded`."""
    blocks = work.function.blocks
    tests = [block for block in blocks if any(op in work.bounded for op in block.ops)]
    for block in tests:
        body = graph.innermost_loop(blocks, block)
        if body is None:
            continue
        head = next(b for b in blocks if b in body)
        phis = [op for op in head.ops if isinstance(op, Phi) and op.kind is Kind.INT]
        deciding = _deciding(body) if phis else set()
        for phi in phis:
            if phi in deciding:
                _hide(phi, head, body)


def _deciding(body: set[Block]) -> set[Op]:
    """What the branches of the loop depend on."""
    found: set[Op] = set()
    stack = [
        arg
        for block in body
        if isinstance(last := block.ops[-1], Branch)
        for arg in last.args
    ]
    while stack:
        op = stack.pop()
        if op not in found and isinstance(op, Binary | Extend | ByteSwap | Phi):
            found.add(op)
            stack += op.args
    return found


def _hide(phi: Phi, head: Block, body: set[Block]) -> None:
    for i, pred in enumerate(head.preds):
        value = phi.args[i]
        if pred in body or not isinstance(value, Const):
            continue
        slot = Slot("start", _WORD)
        load = Load(slot, 0, _WORD, space=Space.STACK)
        pred.ops[-1:-1] = [
            Store(slot, 0, _WORD, value, space=Space.STACK),
            Atomic(AtomicOp.ADD, slot, 0, _WORD, Const(0)),
            load,
        ]
        phi.args[i] = load
