"""Makes tests cheaper where the operation before them serves nothing else.

    %2 = binary and64 %1, 4
    branch ne64 %2, 0 -> a, b         =>     branch set64 %1, 4 -> a, b

    %2 = extend i32 %1
    branch slt64 %2, 10 -> a, b       =>     branch slt32 %1, 10 -> a, b

    %2 = byteswap 16 %1
    branch eq64 %2, 80 -> a, b        =>     branch eq64 %1, 20480 -> a, b

    %2 = binary add64 %0, %1
    %3 = extend u32 %2                =>     %3 = binary add32 %0, %1

A value that is used again keeps its own test: what the verifier learns from a test it
learns about the register tested.
"""

from beewire.bpf.codegen import arith
from beewire.bpf.codegen.arith import M32, M64, MASK
from beewire.bpf.codegen.bits import Bits
from beewire.bpf.codegen.dead import dead
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
    Kind,
    Load,
    Op,
)
from beewire.bpf.object.target import Target

# The low bits of the result depend on the same low bits of the operands only.
_LOW = frozenset((BinOp.ADD, BinOp.SUB, BinOp.MUL, BinOp.AND, BinOp.OR, BinOp.XOR))


def fuse(work: Work) -> None:
    """Rewrite branches and extensions; drops what they no longer need."""
    uses: dict[Op, int] = {}
    for op in work.function.ops():
        for arg in op.args:
            uses[arg] = uses.get(arg, 0) + 1
    bits = Bits()
    changed = _unwrap_all(work, uses, bits)
    renamed: dict[Op, Op] = {}
    for block in work.function.blocks:
        if work.target.at_least(3):
            _shrink(block, uses, renamed)
        last = block.ops[-1]
        if isinstance(last, Branch):
            changed |= _mask(last, uses, work.target)
            if work.target.at_least(3) and last.bits == 64:
                changed |= _narrow(last, uses, bits)
    if renamed:
        for op in work.function.ops():
            op.args = [renamed.get(arg, arg) for arg in op.args]
    if changed or renamed:
        dead(work)


def _unwrap_all(work: Work, uses: dict[Op, int], bits: Bits) -> bool:
    """Test what was swapped or subtracted, if the result serves such tests only."""
    tests: dict[Op, list[Branch]] = {}
    for block in work.function.blocks:
        last = block.ops[-1]
        if isinstance(last, Branch) and _unwrapped(last, bits):
            tests.setdefault(last.args[0], []).append(last)
    changed = False
    for value, branches in tests.items():
        if uses[value] == len(branches):
            for branch in branches:
                branch.args = _unwrapped(branch, bits)
                for arg in branch.args:
                    uses[arg] = uses.get(arg, 0) + 1
            changed = True
    return changed


def _unwrapped(branch: Branch, bits: Bits) -> list[Op]:
    """What to compare for equality instead; nothing where there is no such thing."""
    if branch.op not in {CmpOp.EQ, CmpOp.NE} or branch.bits != 64:
        return []
    match branch.args:
        case [ByteSwap() as value, Const(value=wanted)]:
            x, mask = value.args[0], MASK[value.bits]
            # Bits above those swapped would be compared too.
            if wanted & M64 <= mask and bits.maybe(x) <= mask:
                return [x, Const(arith.signed(arith.byteswap(wanted, value.bits)))]
        case [Binary(op=BinOp.SUB | BinOp.XOR, bits=64) as value, Const(value=0)]:
            a, b = value.args
            return [b, a] if isinstance(a, Const) else [a, b]
        case _:
            pass
    return []


def _shrink(block: Block, uses: dict[Op, int], renamed: dict[Op, Op]) -> None:
    """Compute in 32 bits what is cut to 32 bits, if nobody wants the rest."""
    here: set[Op] = set()
    for i, op in enumerate(block.ops):
        here.add(op)
        if isinstance(op, Extend) and op.bits == 32 and not op.signed:
            value = op.args[0]
            if value in here and uses[value] == 1 and _has_low_half(value):
                assert isinstance(value, Binary)
                a, b = (renamed.get(arg, arg) for arg in value.args)
                block.ops[i] = half = Binary(value.op, a, b, 32, span=value.span)
                renamed[op] = half
                uses[half] = uses.get(op, 0)
                here.add(half)


def _has_low_half(op: Op) -> bool:
    """Whether 32-bit arithmetic gives the low half of this operation."""
    if not isinstance(op, Binary) or op.bits != 64 or op.kind is not Kind.INT:
        return False
    count = op.args[1]
    if op.op is BinOp.SHL:
        return isinstance(count, Const) and 0 <= count.value < 32
    return op.op in _LOW


def _mask(branch: Branch, uses: dict[Op, int], target: Target) -> bool:
    """(x & m) != 0 is one instruction."""
    match branch:
        case Branch(
            op=CmpOp.EQ | CmpOp.NE,
            args=[Binary(op=BinOp.AND) as masked, Const(value=0)],
        ) if uses[masked] == 1 and (masked.bits == 64 or target.at_least(3)):
            branch.op = CmpOp.SET if branch.op is CmpOp.NE else CmpOp.CLEAR
            branch.bits = masked.bits
            branch.args = list(masked.args)
            return True
    return False


def _narrow(branch: Branch, uses: dict[Op, int], bits: Bits) -> bool:
    """Compare halves, where that spares an extension or a wide constant."""
    if branch.op in {CmpOp.EQ, CmpOp.NE}:
        return any(_halve(branch, uses, bits, is_signed=s) for s in (False, True))
    return _halve(branch, uses, bits, is_signed=arith.is_signed(branch.op))


def _halve(branch: Branch, uses: dict[Op, int], bits: Bits, *, is_signed: bool) -> bool:
    halves = [_half(arg, uses, bits, is_signed=is_signed) for arg in branch.args]
    a, b = halves
    if a is None or b is None:
        return False
    loads = [op for op in branch.args if _is_extending(op, uses)]
    if halves == branch.args and not loads and not _is_wide(b):
        return False
    for load in loads:
        assert isinstance(load, Load)
        load.signed = False  # its high half is no longer looked at
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


def _is_extending(op: Op, uses: dict[Op, int]) -> bool:
    """Whether only the test wants the sign of a loaded word."""
    return isinstance(op, Load) and op.signed and op.size == 4 and uses[op] == 1


def _is_wide(op: Op) -> bool:
    return isinstance(op, Const) and not arith.fits_imm(op.value)
