"""Changes of shared memory that other CPUs see as one step."""

from beewire.bpf import ir
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.faults import Rule
from beewire.bpf.lang.layout import BitsType
from beewire.bpf.lang.memory import check_writable
from beewire.bpf.lang.types import IntType
from beewire.bpf.lang.values import Int, Literal, Memory
from beewire.reasons import Reason


def add(b: Builder, place: Memory, amount: Int | Literal) -> None:
    """Add to an integer in memory, atomically where others may write it."""
    kind = place.type
    assert isinstance(kind, IntType)
    if not place.shared:
        load = ir.Load(place.op, place.offset, kind.size, space=place.space)
        total = b.binary(ir.BinOp.ADD, b.emit(load), b.op(amount))
        b.emit(ir.Store(place.op, place.offset, kind.size, total, space=place.space))
        return
    atomic(b, ir.AtomicOp.ADD, place, b.op(amount))


def atomic(b: Builder, op: ir.AtomicOp, place: Memory, value: ir.Op) -> None:
    """A read-modify-write that other CPUs see as one step.

    Raises:
        Rule: The machine has none of this width.
    """
    check_writable(place)
    kind = place.type
    assert isinstance(kind, IntType)
    if isinstance(kind, BitsType):
        raise Rule(
            Reason.NOT_ATOMIC,
            f"the bit-field {kind.name} cannot be changed atomically",
            "write x = x + 1 if that is meant: others may write its word meanwhile",
        )
    if place.offset % kind.size:
        raise Rule(
            Reason.NOT_ATOMIC,
            f"a {kind.name} at byte {place.offset} is not aligned: it cannot be changed "
            "atomically",
            "leave packed=True out, or move the field",
        )
    if kind.size not in {4, 8}:
        sign = "i" if kind.signed else "u"
        raise Rule(
            Reason.NOT_ATOMIC,
            f"{kind.name} cannot be changed atomically",
            f"make it {sign}32 or {sign}64, or use a per-CPU map",
        )
    b.emit(ir.Atomic(op, place.op, place.offset, kind.size, value))
