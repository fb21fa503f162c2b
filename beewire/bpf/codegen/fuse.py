"""Makes tests cheaper where the operation before them serves nothing else.

    %2 = binary and64 %1, 4
    branch ne64 %2, 0 -> a, b         =>     branch set64 %1, 4 -> a, b

    %2 = extend i32 %1
    branch slt64 %2, 10 -> a, b       =>     branch slt32 %1, 10 -> a, b

    %2 = byteswap 16 %1
    branch eq64 %2, 80 -> a, b        =>     branch eq64 %1, 20480 -> a, b

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

_BITWISE = frozenset((CmpOp.SET, CmpOp.CLEAR))


def fuse(work: Work) -> None:
    """Rewrite branches; drops what they no longer need."""
    uses: dict[Op, int] = {}
    for block in work.function.blocks:
        for op in block.ops:
            for arg in op.args:
                uses[arg] = uses.get(arg, 0) + 1
    bits = Bits()
    changed = _unwrap_all(work, uses, bits)
    if work.target.at_least(3):
        changed |= _halve_all(work, uses)
    for block in work.function.blocks:
        last = block.ops[-1]
        if isinstance(last, Branch):
            changed |= _mask(last, uses, work.target)
            if work.target.at_least(3) and last.bits == 64:
                changed |= _narrow(last, uses, bits)
    if changed:
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


def _halve_all(work: Work, uses: dict[Op, int]) -> bool:
    """Compare halves where several tests share an extension that serves them only."""
    tests: dict[Op, list[Branch]] = {}
    for block in work.function.blocks:
        last = block.ops[-1]
        if isinstance(last, Branch) and _compares_extended(last):
            tests.setdefault(last.args[0], []).append(last)
    changed = False
    for value, branches in tests.items():
        if uses[value] == len(branches) > 1:
            half = value.args[0] if isinstance(value, Extend) else value
            if isinstance(value, Load):
                value.signed = False  # its high half is no longer looked at
            for branch in branches:
                constant = branch.args[1]
                assert isinstance(constant, Const)
                branch.args = [half, Const(arith.signed(constant.value, 32))]
                branch.bits = 32
            changed = True
    return changed


def _compares_extended(branch: Branch) -> bool:
    """Whether the low halves of both sides tell, the left one being extended."""
    match branch:
        case Branch(
            bits=64,
            args=[
                Extend(bits=32, signed=is_signed)
                | Load(size=4, signed=True as is_signed),
                Const(value=wanted),
            ],
        ):
            fits = arith.fits_imm(wanted) if is_signed else wanted & M64 <= M32
            return fits and (
                branch.op in {CmpOp.EQ, CmpOp.NE}
                or (
                    branch.op not in _BITWISE
                    and arith.is_signed(branch.op) is is_signed
                )
            )
        case _:
            return False


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
    if branch.args[0].kind is Kind.PTR:
        return False
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
