"""Context fields that may be read again instead of kept on the stack.

    r6 = *(u32 *)(r8 +24)             r1 = *(u32 *)(r8 +24)
    *(u64 *)(r10 -8) = r6             ...
    call 5                      =>    call 5
    r1 = *(u64 *)(r10 -8)             r1 = *(u32 *)(r8 +24)

Only values that are stored, passed or compared for equality: a second read knows nothing
of the bounds tested on the first. And only while nothing has written the field.
"""

from beewire.bpf.codegen.coalesce import Webs
from beewire.bpf.codegen.liveness import Ranges
from beewire.bpf.codegen.machine import Ins, Machine
from beewire.bpf.ir import (
    Binary,
    BinOp,
    Branch,
    ByteSwap,
    Call,
    CmpOp,
    Function,
    Kind,
    Load,
    Op,
    Param,
    Store,
)

_EQUALITY = frozenset((CmpOp.EQ, CmpOp.NE, CmpOp.SET, CmpOp.CLEAR))
_BITWISE = frozenset((BinOp.AND, BinOp.OR, BinOp.XOR))


class Again:
    """The loads that may be made anew, and what writes the context."""

    __slots__ = ("loads", "machine")

    def __init__(self, machine: Machine, function: Function) -> None:
        self.machine = machine
        loads = {op for op in machine.loads.values() if _is_plain(op)}
        for op in function.ops():
            for i, arg in enumerate(op.args):
                if arg in loads and not _is_harmless(op, i):
                    loads.discard(arg)
        self.loads = {r: op for r, op in machine.loads.items() if op in loads}

    def makes(self, ins: Ins, ranges: Ranges, webs: Webs) -> bool:
        """Whether `ins` can be made anew wherever its value is wanted."""
        load = self.loads.get(ins.write)
        if load is None or not ins.reads:
            return False
        live = ranges.live[webs.find(ins.write)]
        if live & ~ranges.live[webs.find(ins.reads[0])]:
            return False  # the context is no longer at hand
        start, end = load.offset, load.offset + load.size
        return not any(
            live >> i & 1
            for i, first, last in ranges.writes
            if first < end and start < last
        )


def _is_plain(op: Load) -> bool:
    return op.kind is Kind.INT and isinstance(op.args[0], Param)


def _is_harmless(op: Op, index: int) -> bool:
    match op:
        case Store():
            return index == 1
        case Branch():
            return op.op in _EQUALITY
        case Binary():
            return op.op in _BITWISE
        case _:
            return isinstance(op, Call | ByteSwap)
