"""Computes without a branch what a loop adds in only where one bit is set.

    block a:                              block a:
      %2 = binary and64 %1, 1               %3 = binary lshr64 %1, 1
      branch ne64 %2, 0 -> b, c             %4 = binary shl64 %1, 63
    block b:                                %5 = binary ashr64 %4, 63
      %3 = binary lshr64 %1, 1      =>      %6 = binary and64 POLYNOMIAL, %5
      %4 = binary xor64 %3, POLYNOMIAL      %7 = binary xor64 %3, %6
      jump d                                jump d
    block c:
      %5 = binary lshr64 %1, 1
      jump d
    block d:
      %6 = phi crc (%4, %5)

The bit becomes a mask of ones or of nothing; where 0 or 1 is kept or cleared by a bit,
the bit itself will do:

      %2 = binary shl64 1, %n               %2 = binary lshr64 %1, %n
      %3 = binary and64 %1, %2              %4 = binary and64 %seen, %2
      branch ne64 %3, 0 -> d, b     =>      jump d
    block d:
      %4 = phi seen (%seen, 0)

In loops only: there the verifier follows both ways in each round.
"""

from beewire.bpf.codegen import graph
from beewire.bpf.codegen.algebra import constant
from beewire.bpf.codegen.arith import MASK
from beewire.bpf.codegen.work import Work
from beewire.bpf.ir import (
    Binary,
    BinOp,
    Block,
    Branch,
    ByteSwap,
    CmpOp,
    Const,
    Extend,
    Jump,
    Kind,
    Op,
    Phi,
)

_PURE = (Binary, ByteSwap, Extend)
_DEPTH = 16  # values that one is made of
_MOST = 4  # operations that are worth computing for nothing
_ADDS = frozenset((BinOp.ADD, BinOp.SUB, BinOp.XOR, BinOp.OR))  # 0 changes nothing
_COMMUTES = _ADDS - {BinOp.SUB}


def blend(work: Work) -> bool:
    """Rewrite all such branches in loops; whether there were any."""
    blocks = work.function.blocks
    depths = graph.loop_depths(blocks, work.loops())
    gone: set[Block] = set()
    renamed: dict[Op, Op] = {}
    for block, depth in zip(blocks, depths, strict=True):
        if depth and block not in gone:
            gone.update(_blend(block, renamed))
    if not gone:
        return False
    work.function.blocks = [block for block in blocks if block not in gone]
    for op in work.function.ops():
        op.args = [_final(arg, renamed) for arg in op.args]
    work.changed_edges()
    return True


def _final(op: Op, renamed: dict[Op, Op]) -> Op:
    while op in renamed:
        op = renamed[op]
    return op


def _blend(block: Block, renamed: dict[Op, Op]) -> list[Block]:
    """Rewrite the branch at the end of `block`; gives the blocks that fell away."""
    found = _ways(block.ops[-1])
    if found is None:
        return []
    masked, yes, no = found
    sides = [way for way in (yes, no) if _is_side(way, block)]
    joins = {way.ops[-1].target if way in sides else way for way in (yes, no)}  # type: ignore[attr-defined]  # sides end in a Jump
    if not sides or len(joins) != 1:
        return []
    join = joins.pop()
    phi = _only_phi(join)
    if phi is None or len(join.preds) != 2:
        return []
    ways = [join.preds.index(way if way in sides else block) for way in (yes, no)]
    ends = phi.args[ways[0]], phi.args[ways[1]]
    last = block.ops[-1]
    made = _kept(masked, *ends, last) or _masked(masked, *ends, last)
    if not made:
        return []
    block.ops.pop()
    for side in sides:
        block.ops += side.ops[:-1]
    renamed[phi] = made[-1]
    block.ops += [*made, Jump(join, span=last.span)]
    join.ops.remove(phi)
    join.preds = [block]
    return sides


def _masked(masked: Binary, yes: Op, no: Op, last: Op) -> list[Op]:
    """What computes the base, with what is added in if the bit is set; or nothing."""
    added = _added(yes, no)
    found = _bit(masked)
    if added is None or found is None:
        return []
    mask, shifts = found
    made: list[Op] = []
    for count in shifts:
        mask = Binary(BinOp.SHL, mask, count, span=last.span)
        made.append(mask)
    like, base, more = added
    mask = Binary(BinOp.ASHR, mask, constant(63), span=last.span)
    part = Binary(BinOp.AND, mask, more, span=last.span)
    new = Binary(like.op, base, part, like.bits, span=like.span)
    return [*made, mask, part, new]


def _kept(masked: Binary, yes: Op, no: Op, last: Op) -> list[Op]:
    """What computes 0 or 1 (`yes`), cleared if the bit is not set; or nothing."""
    if not isinstance(no, Const) or no.value or not _is_truth(yes, set(), _DEPTH):
        return []
    for value, mask in (masked.args, masked.args[::-1]):
        count = _place(mask, MASK[masked.bits])
        if count is not None and value.kind is Kind.INT:
            bit = Binary(BinOp.LSHR, value, count, span=last.span)
            return [bit, Binary(BinOp.AND, bit, yes, span=last.span)]
    return []


def _place(mask: Op, width: int) -> Op | None:
    """Which bit `mask` picks, if it picks one."""
    match mask:
        case Binary(op=BinOp.SHL, bits=64, args=[Const(value=1), count]) if (
            width == MASK[64]
        ):
            return count
        case Const() if (ones := mask.value & width) and not ones & (ones - 1):
            return constant(ones.bit_length() - 1)
        case _:
            return None


def _is_truth(value: Op, assumed: set[Op], depth: int) -> bool:
    """Whether `value` is 0 or 1; a loop's own value is if all that it becomes is."""
    if value in assumed:
        return True
    match value:
        case Const():
            return value.value in {0, 1}
        case Phi() if depth:
            assumed.add(value)
            return all(_is_truth(arg, assumed, depth - 1) for arg in value.args)
        case Binary(op=BinOp.AND, args=[_, truth]) if depth:
            return _is_truth(truth, assumed, depth - 1)
        case _:
            return False


def _ways(last: Op) -> tuple[Binary, Block, Block] | None:
    """What is masked and tested, where it leads if a bit is set, and where if not."""
    match last:
        case Branch(
            op=CmpOp.EQ | CmpOp.NE,
            bits=64,
            args=[Binary(op=BinOp.AND) as masked, Const(value=0)],
        ):
            ways = (last.then, last.orelse)
            yes, no = ways if last.op is CmpOp.NE else ways[::-1]
            return masked, yes, no
        case _:
            return None


def _bit(masked: Binary) -> tuple[Op, list[Op]] | None:
    """What has the bit, and by what to shift it to the top."""
    for value, mask in (masked.args, masked.args[::-1]):
        shifts = _to_top(mask, MASK[masked.bits])
        if shifts is not None and value.kind is Kind.INT:
            return value, shifts
    return None


def _to_top(mask: Op, width: int) -> list[Op] | None:
    """How far to shift left what `mask` picks one bit of, until that is the highest."""
    shifts: list[Op] = []
    if isinstance(mask, Binary) and mask.op is BinOp.LSHR and mask.bits == 64:
        mask, count = mask.args[0], mask.args[1]
        shifts.append(count)
    if not isinstance(mask, Const):
        return None
    ones = mask.value & width
    if not ones or ones & (ones - 1):
        return None
    top = 64 - ones.bit_length()
    return [*shifts, constant(top)] if top else shifts


def _is_side(block: Block, pred: Block) -> bool:
    """Whether `block` only computes a little on its way from `pred`."""
    return (
        block.preds == [pred]
        and isinstance(block.ops[-1], Jump)
        and len(block.ops) <= _MOST
        and all(isinstance(op, _PURE) and op.kind is Kind.INT for op in block.ops[:-1])
    )


def _only_phi(join: Block) -> Phi | None:
    phis = [op for op in join.ops if isinstance(op, Phi)]
    return phis[0] if len(phis) == 1 and phis[0].kind is Kind.INT else None


def _added(yes: Op, no: Op) -> tuple[Binary, Op, Op] | None:
    """The operation, its base, and what it adds in, where `no` is that base."""
    if not isinstance(yes, Binary) or yes.op not in _ADDS or yes.kind is not Kind.INT:
        return None
    a, b = yes.args
    if _same(a, no):
        return yes, a, b
    if yes.op in _COMMUTES and _same(b, no):
        return yes, b, a
    return None


def _same(a: Op, b: Op) -> bool:
    """Whether two values are equal for plain reasons."""
    if a is b:
        return True
    match a, b:
        case Const(), Const():
            return a.value == b.value
        case Binary(), Binary():
            alike = a.op is b.op and a.bits == b.bits
            return alike and all(
                x is y or (isinstance(x, Const) and _same(x, y))
                for x, y in zip(a.args, b.args, strict=True)
            )
        case _:
            return False
