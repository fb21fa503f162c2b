"""What an operation may give at most, as far as the kernel sees it too."""

from beewire.bpf import ir
from beewire.hints import Mapping

_NOTHING: dict[ir.Local, int] = {}


def highest(op: ir.Op, most: int, known: Mapping[ir.Local, int] = _NOTHING) -> int:
    """The largest value that an operation of a type up to `most` may give.

    `known` has that of variables.
    """
    match op:
        case ir.Const():
            found = op.value & (1 << 64) - 1
        case ir.Load() if not op.signed:
            found = (1 << 8 * op.size) - 1
        case ir.Extend(signed=False) | ir.ByteSwap():
            found = (1 << op.bits) - 1
        case ir.GetLocal():
            found = known.get(op.local, most)
        case ir.Binary(op=ir.BinOp.AND, args=[a, ir.Const(value=mask)]) if mask >= 0:
            found = min(mask, highest(a, most, known))
        case ir.Binary(op=ir.BinOp.LSHR, args=[a, ir.Const(value=by)]):
            found = highest(a, (1 << 64) - 1, known) >> by % 64
        case ir.Binary(op=ir.BinOp.ADD, args=[a, c]):
            found = highest(a, most, known) + highest(c, most, known)
        case ir.Binary(op=ir.BinOp.SHL, args=[a, ir.Const(value=by)]):
            found = highest(a, most, known) << by % 64
        case ir.Binary(op=ir.BinOp.MUL, args=[a, ir.Const(value=by)]) if by >= 0:
            found = highest(a, most, known) * by
        case _:
            return most
    # What passes 64 bits wraps.
    return found if found < 1 << 64 else most
