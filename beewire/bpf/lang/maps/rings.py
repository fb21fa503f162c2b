"""Ring buffers: records that are reserved, filled and submitted."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments, required
from beewire.bpf.lang.attributes import present
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.decl import MapDecl, Sending
from beewire.bpf.lang.maps.common import (
    Operation,
    count_dropped,
    count_if,
    is_counted,
    map_ref,
    number,
    pointer,
    put,
    value_of,
)
from beewire.bpf.lang.memory import init_struct
from beewire.bpf.lang.ownership import acquire, give_back
from beewire.bpf.lang.types import BOOL, I64, U64
from beewire.bpf.lang.values import (
    Fields,
    Int,
    Memory,
    Nothing,
    Record,
    Reference,
    Value,
)
from beewire.hints import Callable
from beewire.reasons import Reason

RINGBUF_OUTPUT = 130
RINGBUF_RESERVE = 131
RINGBUF_SUBMIT = 132
RINGBUF_DISCARD = 133
RINGBUF_QUERY = 134
USER_RINGBUF_DRAIN = 209
BPF_RB_AVAIL_DATA = 0
NO_WAKEUP, FORCE_WAKEUP = 1, 2  # BPF_RB_NO_WAKEUP, BPF_RB_FORCE_WAKEUP
HEADER = 8


def emit(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`events.emit(Record(...))`: reserve, fill, submit."""
    [record] = required(arguments(b, node, ("record",)))
    value = b.deferred(record)
    kind = value_of(decl)
    if not isinstance(value, Fields) or value.type is not kind:
        op = put(b, record, value, kind, "record")
        size = ir.Const(kind.size)
        result = b.call(RINGBUF_OUTPUT, map_ref(decl), op, size, wakeup(b, decl))
        count_if(b, ir.CmpOp.NE, result, decl)
        sent = b.binary(ir.BinOp.LSHR, result, ir.Const(63))
        return Int(b.binary(ir.BinOp.XOR, sent, ir.Const(1)), BOOL)
    op = reserve(b, decl)
    full, room, done = b.target("full"), b.target("room"), b.target("emitted")
    was_sent = ir.Local("sent", ir.Kind.INT)
    b.branch(ir.CmpOp.EQ, op, ir.Const(0), full, room)
    b.start(room)
    init_struct(b, Memory(op, 0, kind, ir.Space.MEM), value)
    b.call(RINGBUF_SUBMIT, op, wakeup(b, decl))
    b.emit(ir.SetLocal(was_sent, ir.Const(1)))
    b.jump(done)
    b.start(full)
    count_dropped(b, decl)
    b.emit(ir.SetLocal(was_sent, ir.Const(0)))
    b.jump(done)
    b.start(done)
    return Int(b.emit(ir.GetLocal(was_sent)), BOOL)


def reserve(b: Builder, decl: MapDecl) -> ir.Op:
    """A call of `bpf_ringbuf_reserve`."""
    size = ir.Const(value_of(decl).size)
    return b.call(RINGBUF_RESERVE, map_ref(decl), size, ir.Const(0), kind=ir.Kind.PTR)


def wakeup(b: Builder, decl: MapDecl) -> ir.Op:
    """The flags by which a record wakes the reader, or does not.

    It is woken by the record that brings what waits up to `wakeup_bytes`, or by one of
    the next three: where several CPUs send at once, each may see more than its own.
    """
    if not isinstance(decl, Sending) or not decl.wakeup_bytes:
        return ir.Const(0)
    flags = ir.Local("wakeup", ir.Kind.INT)
    stride = (value_of(decl).size + HEADER + 7) & ~7
    waits = b.call(RINGBUF_QUERY, map_ref(decl), ir.Const(BPF_RB_AVAIL_DATA))
    beyond = b.binary(ir.BinOp.SUB, waits, ir.Const(decl.wakeup_bytes))
    wake, leave, done = b.target("wake"), b.target("leave"), b.target("flags")
    b.branch(ir.CmpOp.ULT, beyond, ir.Const(4 * stride), wake, leave)
    for target, value in ((wake, FORCE_WAKEUP), (leave, NO_WAKEUP)):
        b.start(target)
        b.emit(ir.SetLocal(flags, ir.Const(value)))
        b.jump(done)
    b.start(done)
    return b.emit(ir.GetLocal(flags))


def output(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`events.output(record)`."""
    record, flags = arguments(b, node, ("record", "flags"), 1)
    assert record is not None
    kind = value_of(decl)
    op = pointer(b, record, kind, "record")
    size = ir.Const(kind.size)
    how = wakeup(b, decl) if flags is None else number(b, flags)
    result = b.call(RINGBUF_OUTPUT, map_ref(decl), op, size, how)
    count_if(b, ir.CmpOp.NE, result, decl)
    return Int(result, I64)


def reserve_record(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`with events.reserve() as e:`."""
    arguments(b, node, ())
    hint = f"with {decl.name}.reserve() as e:"
    if b.managed is not node:
        raise b.refuse(
            node, Reason.WITH, "reserve() stands in a 'with' statement only", hint
        )
    record = Memory(reserve(b, decl), 0, value_of(decl), ir.Space.MEM, nullable=True)
    if is_counted(decl):
        record = _counted(b, decl, record)
    reference = Reference(
        f"the record of {decl.name}",
        hint,
        lambda held: b.call(RINGBUF_SUBMIT, held, wakeup(b, decl)),
        lambda held: b.call(RINGBUF_DISCARD, held, ir.Const(0)),
    )
    return acquire(b, record, reference)


def _counted(b: Builder, decl: MapDecl, record: Memory) -> Memory:
    """The record, once it is counted where it is None.

    Whether it is there is a number from here on: kernels before 6.2 forget that a pointer
    to memory was tested, and look for its way back where it is None as well.
    """
    place, flag = ir.Local("record", ir.Kind.PTR), ir.Local("record?", ir.Kind.INT)
    full, room, done = b.target("full"), b.target("room"), b.target("reserved")
    b.branch(ir.CmpOp.EQ, record.op, ir.Const(0), full, room)
    for target, value, is_there in ((room, record.op, 1), (full, ir.Const(0), 0)):
        b.start(target)
        if not is_there:
            count_dropped(b, decl)
        b.emit(ir.SetLocal(place, value))
        b.emit(ir.SetLocal(flag, ir.Const(is_there)))
        b.jump(done)
    b.start(done)
    return Memory(
        b.emit(ir.GetLocal(place)),
        0,
        record.type,
        record.space,
        nullable=True,
        flag=b.emit(ir.GetLocal(flag)),
    )


def _finish(number: int) -> Callable[[Builder, MapDecl, ast.Call], Value]:
    """`events.submit(e)`, `events.discard(e)` before the block ends."""

    def lower(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
        [record] = required(arguments(b, node, ("record",)))
        value = b.expr(record)
        if not isinstance(value, Memory) or value.type is not decl.value:
            message = f"a record of {decl.name} is needed here, not {value.describe()}"
            raise b.refuse(record, Reason.WRONG_ARGUMENT, message)
        present(b, value, record)
        give_back(b, value, record, f"{ast.unparse(node.func)}()")
        how = wakeup(b, decl) if number == RINGBUF_SUBMIT else ir.Const(0)
        b.call(number, value.op, how)
        return Nothing()

    return lower


def waiting(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`events.waiting()`: bytes that user space has not read yet."""
    arguments(b, node, ())
    return Int(b.call(RINGBUF_QUERY, map_ref(decl), ir.Const(BPF_RB_AVAIL_DATA)), U64)


def drain(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`commands.drain(on_command, ctx)`: a callback for every record."""
    from beewire.bpf.lang.callbacks import called_back  # noqa: PLC0415 - rare

    visit, shared = arguments(b, node, ("callback", "ctx"), 1)
    assert visit is not None
    space = ir.Space.MEM
    record = Record(ir.Const(0), 0, value_of(decl), space, nullable=True)
    ring = map_ref(decl)
    return called_back(
        b,
        visit,
        shared,
        [record],
        lambda each, own: b.call(USER_RINGBUF_DRAIN, ring, each, own, ir.Const(0)),
    )


OPERATIONS: dict[str, Operation] = {
    "reserve": reserve_record,
    "submit": _finish(RINGBUF_SUBMIT),
    "discard": _finish(RINGBUF_DISCARD),
    "emit": emit,
    "output": output,
    "waiting": waiting,
    "drain": drain,
}
