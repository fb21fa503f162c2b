"""The meaning of the IR, as a plain interpreter: what generated code is compared with."""

from collections.abc import Callable
from typing import Any, NoReturn

from beewire.bpf import ir
from tests.bpf.codegen.memory import HELPERS, MAP, SECTION, Memory

M64 = (1 << 64) - 1
SLOTS = 0x6000_0000


def run(function: ir.Function, memory: Memory, params: tuple[int, ...]) -> int:
    """Run `function`; gives r0, unsigned."""
    return _Run(memory, params).function(function)


def signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def arithmetic(op: ir.BinOp, a: int, b: int, bits: int) -> int:
    """`a op b` in `bits`, by the book (RFC 9669)."""
    mask = (1 << bits) - 1
    a, b = a & mask, b & mask
    x, y = signed(a, bits), signed(b, bits)
    count = b % bits
    results: dict[ir.BinOp, Callable[[], int]] = {
        ir.BinOp.ADD: lambda: a + b,
        ir.BinOp.SUB: lambda: a - b,
        ir.BinOp.MUL: lambda: a * b,
        ir.BinOp.UDIV: lambda: a // b if b else 0,
        ir.BinOp.UMOD: lambda: a % b if b else a,
        ir.BinOp.SDIV: lambda: _towards_zero(x, y) if y else 0,
        ir.BinOp.SMOD: lambda: x - _towards_zero(x, y) * y if y else x,
        ir.BinOp.AND: lambda: a & b,
        ir.BinOp.OR: lambda: a | b,
        ir.BinOp.XOR: lambda: a ^ b,
        ir.BinOp.SHL: lambda: a << count,
        ir.BinOp.LSHR: lambda: a >> count,
        ir.BinOp.ASHR: lambda: x >> count,
    }
    return results[op]() & mask


def _towards_zero(x: int, y: int) -> int:
    quotient = abs(x) // abs(y)
    return -quotient if (x < 0) != (y < 0) else quotient


def comparison(op: ir.CmpOp, a: int, b: int, bits: int) -> bool:
    mask = (1 << bits) - 1
    a, b = a & mask, b & mask
    x, y = signed(a, bits), signed(b, bits)
    return {
        ir.CmpOp.EQ: a == b,
        ir.CmpOp.NE: a != b,
        ir.CmpOp.ULT: a < b,
        ir.CmpOp.ULE: a <= b,
        ir.CmpOp.UGT: a > b,
        ir.CmpOp.UGE: a >= b,
        ir.CmpOp.SLT: x < y,
        ir.CmpOp.SLE: x <= y,
        ir.CmpOp.SGT: x > y,
        ir.CmpOp.SGE: x >= y,
        ir.CmpOp.SET: a & b != 0,
        ir.CmpOp.CLEAR: a & b == 0,
    }[op]


class _Run:
    def __init__(self, memory: Memory, params: tuple[int, ...]) -> None:
        self.memory = memory
        self.params = params
        self.values: dict[ir.Op, int] = {}
        self.locals: dict[ir.Local, int] = {}
        self.slots: dict[ir.Slot, int] = {}

    def function(self, function: ir.Function) -> int:
        block = function.blocks[0]
        before: ir.Block | None = None
        for _ in range(10_000):
            phis = [op for op in block.ops if isinstance(op, ir.Phi)]
            if before is not None:
                index = block.preds.index(before) if phis else 0
                joined = [self.value(phi.args[index]) for phi in phis]
                self.values.update(zip(phis, joined, strict=True))
            for op in block.ops[:-1]:
                if not isinstance(op, ir.Phi):
                    self.values[op] = self.compute(op)
            last = block.ops[-1]
            before = block
            match last:
                case ir.Return():
                    return self.value(last.args[0])
                case ir.Jump():
                    block = last.target
                case ir.Branch():
                    a, b = (self.value(arg) for arg in last.args)
                    holds = comparison(last.op, a, b, last.bits)
                    block = last.then if holds else last.orelse
                case _:
                    _unknown(last)
        raise TimeoutError

    def value(self, op: ir.Op) -> int:
        match op:
            case ir.Const():
                return op.value & M64
            case ir.Param():
                return self.params[op.index]
            case ir.Slot():
                return self.slot(op)
            case ir.MapRef():
                return MAP
            case ir.GlobalRef():
                return SECTION + op.offset
            case _:
                return self.values[op]

    def slot(self, slot: ir.Slot) -> int:
        if slot not in self.slots:
            self.slots[slot] = SLOTS + 0x1000 * len(self.slots)
            self.memory.add(self.slots[slot], slot.size)
        return self.slots[slot]

    def compute(self, op: ir.Op) -> int:
        args = [self.value(arg) for arg in op.args]
        if isinstance(op, LEAVES):
            return self.value(op)
        meaning = MEANINGS[type(op)]
        return meaning(self, op, args) & M64

    def atomic(self, op: ir.Atomic, args: list[int]) -> int:
        address = args[0] + op.offset
        old = self.memory.read(address, op.size)
        value = args[1]
        match op.op:
            case ir.AtomicOp.ADD:
                new = old + value
            case ir.AtomicOp.AND:
                new = old & value
            case ir.AtomicOp.OR:
                new = old | value
            case ir.AtomicOp.XOR:
                new = old ^ value
            case ir.AtomicOp.XCHG:
                new = value
            case _:
                same = old == args[2] & (1 << op.size * 8) - 1
                new = value if same else old
        self.memory.write(address, op.size, new)
        return old


def _unknown(op: object) -> NoReturn:
    raise TypeError(f"no meaning for {op!r}")


LEAVES = (ir.Const, ir.Param, ir.Slot, ir.MapRef, ir.GlobalRef)


def _get(run: _Run, op: Any, _args: list[int]) -> int:
    return run.locals[op.local]


def _set(run: _Run, op: Any, args: list[int]) -> int:
    run.locals[op.local] = args[0]
    return 0


def _binary(_run: _Run, op: Any, args: list[int]) -> int:
    return arithmetic(op.op, args[0], args[1], op.bits)


def _extend(_run: _Run, op: Any, args: list[int]) -> int:
    low = args[0] & (1 << op.bits) - 1
    return signed(low, op.bits) if op.signed else low


def _swap(_run: _Run, op: Any, args: list[int]) -> int:
    low = args[0] & (1 << op.bits) - 1
    return int.from_bytes(low.to_bytes(op.bits // 8, "little"), "big")


def _load(run: _Run, op: Any, args: list[int]) -> int:
    value = run.memory.read(args[0] + op.offset, op.size)
    return signed(value, op.size * 8) if op.signed else value


def _store(run: _Run, op: Any, args: list[int]) -> int:
    run.memory.write(args[0] + op.offset, op.size, args[1])
    return 0


def _copy(run: _Run, op: Any, args: list[int]) -> int:
    for i in range(op.size):
        byte = run.memory.read(args[1] + op.src_offset + i, 1)
        run.memory.write(args[0] + op.dst_offset + i, 1, byte)
    return 0


def _zero(run: _Run, op: Any, args: list[int]) -> int:
    for i in range(op.size):
        run.memory.write(args[0] + op.offset + i, 1, 0)
    return 0


def _field(_run: _Run, op: Any, args: list[int]) -> int:
    return int(args[0] + op.field.local)


def _core(_run: _Run, op: Any, _args: list[int]) -> int:
    return int(op.field.local)


def _budget(_run: _Run, _op: Any, _args: list[int]) -> int:
    return 1


def _call(run: _Run, op: Any, args: list[int]) -> int:
    return HELPERS[op.target](run.memory, args)


def _atomic(run: _Run, op: Any, args: list[int]) -> int:
    return run.atomic(op, args)


# The table says which class each function gets, which its signature cannot.
MEANINGS: dict[type[ir.Op], Callable[[_Run, Any, list[int]], int]] = {
    ir.Atomic: _atomic,
    ir.Binary: _binary,
    ir.Budget: _budget,
    ir.ByteSwap: _swap,
    ir.Call: _call,
    ir.Copy: _copy,
    ir.CoreValue: _core,
    ir.Extend: _extend,
    ir.FieldAddress: _field,
    ir.GetLocal: _get,
    ir.Load: _load,
    ir.SetLocal: _set,
    ir.Store: _store,
    ir.Zero: _zero,
}
