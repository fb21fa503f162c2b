"""Ways out of a program that no statement asked for: what should not happen did."""

from beewire.bpf import ir
from beewire.bpf.lang.builder import Builder, Frame
from beewire.bpf.lang.decl import PerCpuDecl
from beewire.bpf.lang.flow import Variable
from beewire.bpf.lang.ownership import abandon_held, clean_up
from beewire.bpf.lang.ranges import highest
from beewire.bpf.lang.values import Int, Memory

MAP_LOOKUP_ELEM = 1


def bail(b: Builder) -> None:
    """End the program with its default return, and give back what the function holds.

    A subprogram says so to its caller, which does the same: see `stopped`.
    """
    b.stops = True
    _end(b)


def stopped(b: Builder, told: ir.Op) -> None:
    """End here, too, where `told` says that what was called ended the program."""
    stop, go_on = b.target("stopped"), b.target("returned")
    b.branch(ir.CmpOp.NE, told, ir.Const(0), stop, go_on)
    b.start(stop)
    bail(b)
    b.start(go_on)


def _end(b: Builder) -> None:
    frame: Frame | None = b.frame
    while frame is not None:
        clean_up(b, frame.cleanups)
        # The frames above belong to who called this subprogram.
        frame = None if frame is b.top else frame.parent
    abandon_held(b)
    if b.told is not None:
        b.emit(ir.Store(b.told, 0, 8, ir.Const(1), space=ir.Space.MEM))
    b.ends.append(b.emit(ir.Return(ir.Const(b.neutral))))
    b.live = False


def bound(b: Builder, index: Int, count: int) -> None:
    """Go on with an index below `count` only."""
    if _is_plain(b, index) and highest(index.op, index.type.high, b.most) < count:
        return
    past, within = b.target("past"), b.target("within")
    b.branch(ir.CmpOp.UGE, index.op, ir.Const(count), past, within)
    b.start(past)
    bail(b)
    b.start(within)


def _is_plain(b: Builder, index: Int) -> bool:
    """Whether it cannot be negative."""
    match index.op:
        case ir.Binary(op=ir.BinOp.AND, args=[_, ir.Const(value=mask)]) if mask >= 0:
            return True
        case ir.GetLocal(local=local) if local in b.most:
            return True
    return not index.type.signed


def running_cpu(b: Builder, decl: PerCpuDecl) -> Memory:
    """The running CPU's value of a per-CPU global: looked up once in a function.

    It is the one entry of a per-CPU array, and always there; kernels before 6.14 want it
    tested all the same.
    """
    known = b.places.get(decl)
    if known is None:
        known = b.places[decl] = Variable(decl.name)
        known.local = ir.Local(decl.name, ir.Kind.PTR)
    assert known.local is not None
    if known not in b.flow.assigned:
        key = b.temporary("key", 4)
        b.emit(ir.Store(key, 0, 4, ir.Const(0), space=ir.Space.STACK))
        table = ir.MapRef(decl.name)
        found = b.call(MAP_LOOKUP_ELEM, table, key, kind=ir.Kind.PTR)
        none, some = b.target("absent"), b.target("present")
        b.branch(ir.CmpOp.EQ, found, ir.Const(0), none, some)
        b.start(none)
        _end(b)
        b.start(some)
        b.emit(ir.SetLocal(known.local, found))
        b.flow = b.flow.assign(known)
    op = b.emit(ir.GetLocal(known.local))
    return Memory(op, 0, decl.item, ir.Space.MAP)
