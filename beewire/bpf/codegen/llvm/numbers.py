"""Integers in LLVM IR: with what BPF defines and LLVM leaves undefined spelled out."""

from beewire.bpf import ir
from beewire.bpf.codegen.llvm.names import Inexpressible, Module

FOLLOWED = 1024  # rounds that a kernel follows soon enough

_PLAIN = {
    ir.BinOp.ADD: "add",
    ir.BinOp.SUB: "sub",
    ir.BinOp.MUL: "mul",
    ir.BinOp.AND: "and",
    ir.BinOp.OR: "or",
    ir.BinOp.XOR: "xor",
}
_SHIFTS = {ir.BinOp.SHL: "shl", ir.BinOp.LSHR: "lshr", ir.BinOp.ASHR: "ashr"}
_COMPARE = {
    ir.CmpOp.EQ: "eq",
    ir.CmpOp.NE: "ne",
    ir.CmpOp.ULT: "ult",
    ir.CmpOp.ULE: "ule",
    ir.CmpOp.UGT: "ugt",
    ir.CmpOp.UGE: "uge",
    ir.CmpOp.SLT: "slt",
    ir.CmpOp.SLE: "sle",
    ir.CmpOp.SGT: "sgt",
    ir.CmpOp.SGE: "sge",
}


def binary(m: Module, op: ir.Binary) -> None:
    """Arithmetic; a pointer moves by bytes."""
    a, b = op.args
    if op.kind is ir.Kind.PTR:
        step = m.integer(b)
        if op.op is ir.BinOp.SUB:
            step = m.new(f"sub i64 0, {step}")
        m.define(op, f"getelementptr i8, ptr {m.pointer(a)}, i64 {step}")
        return
    kind = f"i{op.bits}"
    left, right = m.narrow(a, op.bits), m.narrow(b, op.bits)
    if op.op in _PLAIN:
        result = m.new(f"{_PLAIN[op.op]} {kind} {left}, {right}")
    elif op.op in _SHIFTS:
        count = m.new(f"and {kind} {right}, {op.bits - 1}")
        result = m.new(f"{_SHIFTS[op.op]} {kind} {left}, {count}")
    elif op.op in {ir.BinOp.UDIV, ir.BinOp.UMOD}:
        result = _unsigned(m, op.op, kind, left, right)
    else:
        result = _signed(m, op.op, kind, left, right)
    _widened(m, op, kind, result)


def _widened(m: Module, op: ir.Op, kind: str, result: str) -> None:
    if kind == "i64":
        m.alias(op, result)
    else:
        m.define(op, f"zext {kind} {result} to i64")


def _unsigned(m: Module, op: ir.BinOp, kind: str, left: str, right: str) -> str:
    """X / 0 is 0, x % 0 is x: LLVM leaves both undefined."""
    is_zero = m.new(f"icmp eq {kind} {right}, 0")
    safe = m.new(f"select i1 {is_zero}, {kind} 1, {kind} {right}")
    if op is ir.BinOp.UDIV:
        quotient = m.new(f"udiv {kind} {left}, {safe}")
        return m.new(f"select i1 {is_zero}, {kind} 0, {kind} {quotient}")
    rest = m.new(f"urem {kind} {left}, {safe}")
    return m.new(f"select i1 {is_zero}, {kind} {left}, {kind} {rest}")


def _signed(m: Module, op: ir.BinOp, kind: str, left: str, right: str) -> str:
    """By magnitudes: before v4 there is no signed division, and -2**63 / -1 wraps."""
    a, a_sign = _magnitude(m, kind, left)
    b, b_sign = _magnitude(m, kind, right)
    if op is ir.BinOp.SDIV:
        quotient = _unsigned(m, ir.BinOp.UDIV, kind, a, b)
        sign = m.new(f"xor i1 {a_sign}, {b_sign}")
        return _with_sign(m, kind, quotient, sign)
    return _with_sign(m, kind, _unsigned(m, ir.BinOp.UMOD, kind, a, b), a_sign)


def _magnitude(m: Module, kind: str, value: str) -> tuple[str, str]:
    sign = m.new(f"icmp slt {kind} {value}, 0")
    return _with_sign(m, kind, value, sign), sign


def _with_sign(m: Module, kind: str, value: str, sign: str) -> str:
    negative = m.new(f"sub {kind} 0, {value}")
    return m.new(f"select i1 {sign}, {kind} {negative}, {kind} {value}")


def extend(m: Module, op: ir.Extend) -> None:
    """The low bits, extended."""
    low = m.narrow(op.args[0], op.bits)
    m.define(op, f"{'sext' if op.signed else 'zext'} i{op.bits} {low} to i64")


def budget(m: Module, op: ir.Budget) -> None:
    """Always left: the kernel follows such a loop round by round, as it does clang's.

    Raises:
        Inexpressible: They are too many rounds, and LLVM has no assembler for may_goto.
    """
    if op.rounds is not None and op.rounds > FOLLOWED:
        raise Inexpressible("it cannot have the kernel count the rounds of a loop")
    m.alias(op, "1")


def byte_swap(m: Module, op: ir.ByteSwap) -> None:
    """Host order <-> big endian."""
    kind = f"i{op.bits}"
    low = m.narrow(op.args[0], op.bits)
    swapped = m.new(f"call {kind} @llvm.bswap.{kind}({kind} {low})")
    _widened(m, op, kind, swapped)


def test(m: Module, op: ir.Branch) -> str:
    """The condition of a branch, as i1."""
    a, b = op.args
    if op.op in {ir.CmpOp.SET, ir.CmpOp.CLEAR}:
        kind = f"i{op.bits}"
        both = m.new(f"and {kind} {m.narrow(a, op.bits)}, {m.narrow(b, op.bits)}")
        way = "ne" if op.op is ir.CmpOp.SET else "eq"
        return m.new(f"icmp {way} {kind} {both}, 0")
    way = _COMPARE[op.op]
    if ir.Kind.PTR in {a.kind, b.kind} and op.bits == 64:
        return m.new(f"icmp {way} ptr {m.pointer(a)}, {m.pointer(b)}")
    left, right = m.narrow(a, op.bits), m.narrow(b, op.bits)
    return m.new(f"icmp {way} i{op.bits} {left}, {right}")
