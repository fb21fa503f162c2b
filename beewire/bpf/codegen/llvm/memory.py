"""Loads, stores and addresses in LLVM IR."""

from beewire.bpf import ir
from beewire.bpf.codegen.llvm.names import MAGIC, MAGIC_STEP, Module, is_context

_ATOMIC = {
    ir.AtomicOp.ADD: "add",
    ir.AtomicOp.AND: "and",
    ir.AtomicOp.OR: "or",
    ir.AtomicOp.XOR: "xor",
    ir.AtomicOp.XCHG: "xchg",
}


def load(m: Module, op: ir.Load) -> None:
    """Bytes in memory, extended to 64 bits."""
    where = _address(m, op.args[0], op.offset)
    if op.kind is ir.Kind.PTR and op.size == 8:
        m.define(op, f"load ptr, ptr {where}, align 8")
        return
    kind = f"i{op.size * 8}"
    loaded = m.new(f"load {kind}, ptr {where}, align {op.size}")
    if kind != "i64":
        extend = "sext" if op.signed else "zext"
        loaded = m.new(f"{extend} {kind} {loaded} to i64")
    if op.kind is ir.Kind.PTR:
        # A pointer that the context holds in 32 bits: the kernel widens the load.
        m.define(op, f"inttoptr i64 {loaded} to ptr")
    else:
        m.alias(op, loaded)


def store(m: Module, op: ir.Store) -> None:
    """The low bytes of a value."""
    base, value = op.args
    where = _address(m, base, op.offset)
    if value.kind is ir.Kind.PTR and op.size == 8:
        m.put(f"store ptr {m.pointer(value)}, ptr {where}, align 8")
        return
    low = m.narrow(value, op.size * 8)
    m.put(f"store i{op.size * 8} {low}, ptr {where}, align {op.size}")


def copy(m: Module, op: ir.Copy) -> None:
    """A memcpy, which LLVM unrolls."""
    dst = _address(m, op.args[0], op.dst_offset)
    src = _address(m, op.args[1], op.src_offset)
    m.put(
        f"call void @llvm.memcpy.p0.p0.i64(ptr align {op.align} {dst}, "
        f"ptr align {op.align} {src}, i64 {op.size}, i1 false)"
    )


def zero(m: Module, op: ir.Zero) -> None:
    """A memset, which LLVM unrolls."""
    dst = _address(m, op.args[0], op.offset)
    m.put(
        f"call void @llvm.memset.p0.i64(ptr align {op.align} {dst}, i8 0, "
        f"i64 {op.size}, i1 false)"
    )


def atomic(m: Module, op: ir.Atomic) -> None:
    """One step for other CPUs; ordered where the old value is asked for, as BPF does."""
    where = _address(m, op.args[0], op.offset)
    kind = f"i{op.size * 8}"
    value = m.narrow(op.args[1], op.size * 8)
    if op.op is ir.AtomicOp.STORE_REL:
        m.put(f"store atomic {kind} {value}, ptr {where} release, align {op.size}")
        return
    if op.op is ir.AtomicOp.LOAD_ACQ:
        old = m.new(f"load atomic {kind}, ptr {where} acquire, align {op.size}")
    elif op.op is ir.AtomicOp.CMPXCHG:
        expected = m.narrow(op.args[2], op.size * 8)
        both = m.new(
            f"cmpxchg ptr {where}, {kind} {expected}, {kind} {value} seq_cst seq_cst"
        )
        old = m.new(f"extractvalue {{ {kind}, i1 }} {both}, 0")
    else:
        order = "seq_cst" if op.fetch else "monotonic"
        old = m.new(f"atomicrmw {_ATOMIC[op.op]} ptr {where}, {kind} {value} {order}")
    if op.fetch:
        wide = old if op.size == 8 else m.new(f"zext {kind} {old} to i64")
        m.alias(op, wide)


def field_address(m: Module, op: ir.FieldAddress) -> None:
    """A field of a kernel type."""
    if op in m.loaded:
        m.fields.append(op.field)
        offset = MAGIC + MAGIC_STEP * (len(m.fields) - 1)
        m.alias(op, _fixed(m, op.args[0], offset))
        return
    offset_of = m.fact(op.field)
    m.define(op, f"getelementptr i8, ptr {m.pointer(op.args[0])}, i64 {offset_of}")


def core_value(m: Module, op: ir.CoreValue) -> None:
    """A size, whether something exists, the value of an enum's member."""
    m.alias(op, m.fact(op.field))


def _address(m: Module, base: ir.Op, offset: int) -> str:
    if is_context(base):
        return _fixed(m, base, offset)
    where = m.pointer(base)
    if offset:
        return m.new(f"getelementptr i8, ptr {where}, i64 {offset}")
    return where


def _fixed(m: Module, base: ir.Op, offset: int) -> str:
    """An address whose offset stays in the instruction: the kernel rewrites these."""
    held = m.new(f"call ptr @llvm.preserve.static.offset(ptr {m.pointer(base)})")
    return m.new(f"getelementptr inbounds i8, ptr {held}, i64 {offset}")
