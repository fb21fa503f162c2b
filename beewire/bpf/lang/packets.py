"""Elements of packets at variable indices: the kernel wants to see them checked.

A packet pointer loses what a check has shown when a variable is added to it. Where the
kernel walks the loop round by round, though, a counter is a constant to it.
"""

from beewire.bpf import ir
from beewire.bpf.lang.builder import Builder, Frame
from beewire.bpf.lang.contexts import PacketContext
from beewire.bpf.lang.faults import Rule
from beewire.bpf.lang.values import ContextValue, Memory
from beewire.bpf.object.kinds import ProgramKind
from beewire.reasons import Reason

# Programs that see packets, and may not write to them (may_access_direct_pkt_data).
_READERS = frozenset(
    {
        ProgramKind.CGROUP_SKB,
        ProgramKind.SOCK_OPS,
        ProgramKind.SK_REUSEPORT,
        ProgramKind.LWT_IN,
        ProgramKind.LWT_OUT,
        ProgramKind.LWT_SEG6LOCAL,
        ProgramKind.FLOW_DISSECTOR,
    }
)


def checked(b: Builder, place: Memory, moved: ir.Op, index: ir.Op, size: int) -> ir.Op:
    """`moved`, which is the address of `place` plus a variable, as the kernel takes it.

    `size` bytes are reached there, at the offset of `place`. The index is below the
    array's length, and the array within the packet; but the kernel has to see that again.

    Raises:
        Rule: The packet's end is not at hand.
    """
    if is_constant(b, index):
        return moved
    context = _context(b)
    if context is None:
        raise Rule(
            Reason.VARIABLE_INDEX,
            "a variable index into a packet, where its end is not known",
            "pass the context along too: it knows where the packet ends",
        )
    _, at, width = context.cls.window  # type: ignore[attr-defined]  # of a PacketContext
    load = ir.Load(context.op, at, width, space=ir.Space.CTX, kind=ir.Kind.PTR)
    end = b.emit(load)
    limit = b.binary(ir.BinOp.ADD, moved, ir.Const(place.offset + size))
    result = ir.Local("element", ir.Kind.PTR)
    inside, past, done = b.target("inside"), b.target("past"), b.target("element")
    b.branch(ir.CmpOp.UGT, limit, end, past, inside)
    for target, address in ((inside, moved), (past, place.op)):
        b.start(target)
        b.emit(ir.SetLocal(result, address))
        b.jump(done)
    b.start(done)
    return b.emit(ir.GetLocal(result))


def is_read_only(b: Builder, place: object) -> bool:
    """Whether `place` is in a packet that the program may only read."""
    in_packet = isinstance(place, Memory) and place.space is ir.Space.PACKET
    return in_packet and b.program is not None and b.program[0] in _READERS


def is_constant(b: Builder, op: ir.Op) -> bool:
    """Whether a number is one to the kernel, in each round that it walks."""
    match op:
        case ir.Const():
            return True
        case ir.GetLocal():
            return op.local in b.walked
        case ir.Binary() | ir.Extend():
            return all(is_constant(b, arg) for arg in op.args)
        case _:
            return False


def _context(b: Builder) -> ContextValue | None:
    frame: Frame | None = b.frame
    while frame is not None:
        for value in frame.bound.values():
            if isinstance(value, ContextValue) and issubclass(value.cls, PacketContext):
                return value
        # What the caller of a subprogram has is in none of its registers.
        frame = None if frame is b.top else frame.parent
    return None
