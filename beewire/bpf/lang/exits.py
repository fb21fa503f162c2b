"""Ways out of a program that no statement asked for: what should not happen did."""

from beewire.bpf import ir
from beewire.bpf.lang.builder import Builder, Frame
from beewire.bpf.lang.decl import PerCpuDecl
from beewire.bpf.lang.flow import Variable
from beewire.bpf.lang.ownership import abandon_held, clean_up
from beewire.bpf.lang.values import Int, Memory
from beewire.reasons import Reason

MAP_LOOKUP_ELEM = 1


def bail(b: Builder) -> None:
    """End the function with its default return, and give back what it holds.

    Raises:
        Refused: The function was only chosen to be a subprogram. Compiled in, it ends the
            program; as a subprogram it would end itself, and its caller would go on.
    """
    if b.chosen:
        raise b.refuse(
            b.node or b.frame.definition, Reason.SUBPROGRAM, "this may end the program"
        )
    _end(b)


def _end(b: Builder) -> None:
    frame: Frame | None = b.frame
    while frame is not None:
        clean_up(b, frame.cleanups)
        # The frames above belong to who called this subprogram.
        frame = None if frame is b.top else frame.parent
    abandon_held(b)
    b.emit(ir.Return(ir.Const(b.neutral)))
    b.live = False


def bound(b: Builder, index: Int, count: int) -> None:
    """Go on with an index below `count` only."""
    past, within = b.target("past"), b.target("within")
    b.branch(ir.CmpOp.UGE, index.op, ir.Const(count), past, within)
    b.start(past)
    bail(b)
    b.start(within)


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
