"""Makes tests cheaper where the operation before them serves nothing else.

    %2 = binary and64 %1, 4
    branch ne64 %2, 0 -> a, b         =>     branch set64 %1, 4 -> a, b

    %2 = extend i32 %1
    branch slt64 %2, 10 -> a, b       =>     branch slt32 %1, 10 -> a, b

A value that is used again keeps its own test: what the verifier learns from a test it
learns about the register tested.
"""

from beewire.bpf.codegen import arith
from beewire.bpf.codegen.arith import M32, M64
from beewire.bpf.codegen.bits import Bits
from beewire.bpf.codegen.dead import dead
from beewire.bpf.codegen.work import Work
from beewire.bpf.ir import Binary, BinOp, Branch, CmpOp, Const, Extend, Op


def fuse(work: Work) -> None:
    """Rewrite the branches; drops what they no longer need."""
    blocks = work.function.blocks
    branches = [op for b in blocks if isinstance(op := b.ops[-1], Branch)]
    if not branches:
        return
    uses: dict[Op, int] = {}
    for block in blocks:
        for op in block.ops:
            for arg in op.args:
                uses[arg] = uses.get(arg, 0) + 1
    bits = Bits()
    changed = False
    for branch in branches:
        changed |= _mask(branch, uses, work.level)
        if work.level >= 3 and branch.bits == 64:
            changed |= _narrow(branch, uses, bits)
    if changed:
        dead(work)


def _mask(branch: Branch, uses: dict[Op, int], level: int) -> bool:
    """(x & m) != 0 is one instruction."""
    match branch:
        case Branch(
            op=CmpOp.EQ | CmpOp.NE,
            args=[Binary(op=BinOp.AND) as masked, Const(value=0)],
        ) if uses[masked] == 1 and (masked.bits == 64 or level >= 3):
            branch.op = CmpOp.SET if branch.op is CmpOp.NE else CmpOp.CLEAR
            branch.bits = masked.bits
            branch.args = list(masked.args)
            return True
    return False


def _narrow(branch: Branch, uses: dict[Op, int], bits: Bits) -> bool:
    """Compare halves, where that spares an extension or a wide constant."""
    is_signed = arith.is_signed(branch.op)
    halves = [_half(arg, uses, bits, is_signed=is_signed) for arg in branch.args]
    a, b = halves
    if a is None or b is None:
        return False
    if halves == branch.args and not _is_wide(b):
        return False
    if isinstance(b, Const):
        b = Const(arith.signed(b.value, 32))
    branch.args = [a, b]
    branch.bits = 32
    return True


def _half(op: Op, uses: dict[Op, int], bits: Bits, *, is_signed: bool) -> Op | None:
    """A value whose low half compares as `op` does, or None."""
    if isinstance(op, Extend) and op.bits == 32:
        if op.signed is is_signed and uses[op] == 1:
            return op.args[0]
    elif isinstance(op, Const):
        fits = arith.fits_imm(op.value) if is_signed else op.value & M64 <= M32
        return op if fits else None
    if is_signed:
        return op if bits.is_extended(op, 32) else None
    return op if bits.maybe(op) <= M32 else None


def _is_wide(op: Op) -> bool:
    return isinstance(op, Const) and not arith.fits_imm(op.value)
