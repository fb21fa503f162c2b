"""Drops operations whose values nobody uses.

    %1 = load u32 map [%0+4]      =>      (gone)

Loads count as such; calls, stores and atomics stay.
"""

from beewire.bpf.codegen.work import Work
from beewire.bpf.ir import (
    ArenaAddress,
    Binary,
    ByteSwap,
    Const,
    CoreValue,
    Extend,
    FieldAddress,
    FunctionRef,
    GlobalRef,
    Load,
    MapRef,
    Op,
    Param,
    Phi,
    Slot,
    SymbolRef,
)

_PURE = frozenset((
    ArenaAddress,
    Binary,
    ByteSwap,
    Const,
    CoreValue,
    Extend,
    FieldAddress,
    FunctionRef,
    GlobalRef,
    Load,
    MapRef,
    SymbolRef,
    Param,
    Phi,
    Slot,
))  # fmt: skip


def dead(work: Work) -> None:
    """Keep what has an effect and what that needs, also round loops."""
    blocks = work.function.blocks
    stack = [op for b in blocks for op in b.ops if type(op) not in _PURE]
    live: set[Op] = set(stack)
    while stack:
        for arg in stack.pop().args:
            if arg not in live:
                live.add(arg)
                stack.append(arg)
    for block in blocks:
        if not live.issuperset(block.ops):
            block.ops = [op for op in block.ops if op in live]
