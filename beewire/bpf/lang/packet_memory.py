"""The memory behind a context: references that the verifier accepts, None past the end.

One comparison with the end per reference: what follows knows that all its bytes are
there. An offset that varies is bounded first where it is not by itself, since the
verifier follows packets up to byte 65535 only.
"""

from beewire.bpf import ir
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.contexts import PacketContext
from beewire.bpf.lang.faults import Rule
from beewire.bpf.lang.flow import Target
from beewire.bpf.lang.ranges import highest
from beewire.bpf.lang.types import ValueType
from beewire.bpf.lang.values import ContextValue, Int, Literal, Memory
from beewire.bpf.object.kinds import ProgramKind
from beewire.reasons import Reason

# MAX_PACKET_OFF of the verifier
MOST = 0xFFFF


def bounds_of(b: Builder, base: ContextValue) -> tuple[ir.Op, ir.Op]:
    """The first byte of the memory behind a context, and the one past its end.

    Raises:
        Rule: There is none, or programs of this kind do not see it.
    """
    if not issubclass(base.cls, PacketContext):
        raise Rule(Reason.NO_SUCH_CALL, f"{base.describe()} has no packet")
    if b.program is not None and b.program[0] is ProgramKind.SOCKET_FILTER:
        raise Rule(
            Reason.NO_SUCH_CALL,
            "socket filters do not see the packet's memory",
            "copy from it: ctx.read(offset, T)",
        )
    start, end, size = base.cls.window
    bounds = [
        b.emit(ir.Load(base.op, at, size, space=ir.Space.CTX, kind=ir.Kind.PTR))
        for at in (start, end)
    ]
    return bounds[0], bounds[1]


def reference(
    b: Builder, base: ContextValue, offset: Int | Literal, type_: ValueType
) -> Memory:
    """A reference to a `type_` in the packet, None where that passes the end.

    Raises:
        Rule: There is no packet, or no such byte.
    """
    start, end = bounds_of(b, base)
    inside, past = b.target("inside"), b.target("past")
    _check_offset(offset, type_)
    if isinstance(offset, Int):
        limit = MOST - type_.size
        if highest(offset.op, offset.type.high) > limit or offset.type.signed:
            near = b.target("near")
            b.branch(ir.CmpOp.UGT, offset.op, ir.Const(limit), past, near)
            b.start(near)
        start = b.binary(ir.BinOp.ADD, start, offset.op)
    elif offset.value:
        start = b.binary(ir.BinOp.ADD, start, ir.Const(offset.value))
    after = b.binary(ir.BinOp.ADD, start, ir.Const(type_.size))
    b.branch(ir.CmpOp.UGT, after, end, past, inside)
    return maybe(b, (inside, start), past, type_, ir.Space.PACKET)


def maybe(
    b: Builder,
    found: tuple[Target, ir.Op],
    lost: Target,
    type_: ValueType,
    space: ir.Space,
) -> Memory:
    """A reference that is None on the way `lost`, and the address on the other."""
    inside, address = found
    result, flag = ir.Local("packet", ir.Kind.PTR), ir.Local("packet?", ir.Kind.INT)
    done = b.target("packet")
    for target, value, is_there in ((inside, address, 1), (lost, ir.Const(0), 0)):
        b.start(target)
        b.emit(ir.SetLocal(result, value))
        b.emit(ir.SetLocal(flag, ir.Const(is_there)))
        b.jump(done)
    b.start(done)
    place = b.emit(ir.GetLocal(result))
    there = b.emit(ir.GetLocal(flag))
    return Memory(place, 0, type_, space, nullable=True, flag=there)


def _check_offset(offset: Int | Literal, type_: ValueType) -> None:
    if not isinstance(offset, Literal):
        return
    if offset.value < 0:
        raise Rule(
            Reason.NO_SUCH_CALL, "a packet begins at byte 0", "count from its start"
        )
    if offset.value + type_.size > MOST:
        raise Rule(
            Reason.INDEX,
            f"programs see {MOST} bytes of a packet, this is byte {offset.value}",
        )
