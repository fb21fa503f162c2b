"""What is wrong with an instruction, in words."""

from beewire.bpf.isa.insn import Insn
from beewire.bpf.isa.opcodes import (
    ADDR_SPACE_CAST,
    CALL,
    CALL_KFUNC,
    DST,
    FIELDS,
    IMM,
    LD_IMM64,
    OFF,
    PSEUDO_FUNC,
    PSEUDO_MAP_FD,
    PSEUDO_MAP_IDX,
    PSEUDO_MAP_IDX_VALUE,
    SRC,
    AluOp,
    AtomicOp,
    InsnClass,
)

_MOVSX_BITS = {InsnClass.ALU: (0, 8, 16), InsnClass.ALU64: (0, 8, 16, 32)}
_ATOMIC_OPS = frozenset(
    {op | fetch for op in (0x00, 0x40, 0x50, 0xA0) for fetch in (0, AtomicOp.FETCH)}
    | {AtomicOp.XCHG, AtomicOp.CMPXCHG}
)
_ORDERED = frozenset({AtomicOp.LOAD_ACQ, AtomicOp.STORE_REL})
_ONE_IMM = frozenset({PSEUDO_MAP_FD, PSEUDO_MAP_IDX, PSEUDO_FUNC})
_RANGES = {
    "dst": (DST, 0, 10),
    "src": (SRC, 0, 10),
    "off": (OFF, -(1 << 15), (1 << 15) - 1),
    "imm": (IMM, -(1 << 31), (1 << 31) - 1),
}


def fault(insn: Insn) -> str:
    """Say why `insn` is no valid instruction; "" when it is one."""
    fields = FIELDS.get(insn.opcode)
    if fields is None:
        return f"unknown opcode {insn.opcode:#04x}"
    wide = insn.opcode == LD_IMM64
    for name, (flag, low, high) in _RANGES.items():
        value = getattr(insn, name)
        if not fields & flag:
            if value:
                return f"{name} is reserved in opcode {insn.opcode:#04x}, not {value}"
        elif not (wide and name == "imm") and not low <= value <= high:
            return f"{name} {value} is outside {low} to {high}"
    return picky_fault(insn)


def picky_fault(insn: Insn) -> str:
    """As `fault`, for an `insn` whose registers and reserved fields are in order."""
    if insn.opcode == LD_IMM64:
        return _wide_fault(insn)
    if insn.opcode == CALL:
        return _call_fault(insn)
    group = insn.opcode & 7
    if group == InsnClass.STX:
        return _atomic_fault(insn) if insn.opcode >= 0xC0 else ""
    if group in _MOVSX_BITS:
        return _alu_fault(insn)
    return ""


def _alu_fault(insn: Insn) -> str:
    op = insn.opcode & 0xF0
    if op == AluOp.END and insn.imm not in {16, 32, 64}:
        return f"imm of a byte swap is 16, 32 or 64, not {insn.imm}"
    if op in {AluOp.DIV, AluOp.MOD} and insn.off not in {0, 1}:
        return f"off of a division is 0 (unsigned) or 1 (signed), not {insn.off}"
    if op == AluOp.MOV and insn.off:
        return _extending_mov_fault(insn)
    if op == AluOp.MOV and insn.opcode & 8 and insn.imm:
        return f"imm is reserved in opcode {insn.opcode:#04x}, not {insn.imm}"
    return ""


def _extending_mov_fault(insn: Insn) -> str:
    group = InsnClass(insn.opcode & 7)
    if group is InsnClass.ALU64 and insn.off == ADDR_SPACE_CAST:
        return ""
    if insn.off not in _MOVSX_BITS[group]:
        known = ", ".join(map(str, _MOVSX_BITS[group]))
        return f"off of a register move is one of {known}, not {insn.off}"
    if insn.imm:
        return f"imm is reserved in opcode {insn.opcode:#04x}, not {insn.imm}"
    return ""


def _atomic_fault(insn: Insn) -> str:
    if insn.imm in _ORDERED:
        return ""
    if insn.imm not in _ATOMIC_OPS:
        return f"imm {insn.imm:#x} is no atomic operation"
    if insn.opcode & 0x18 in {0x08, 0x10}:
        return "atomic operations are 4 or 8 bytes wide"
    return ""


def _wide_fault(insn: Insn) -> str:
    if insn.src > PSEUDO_MAP_IDX_VALUE:
        return f"src {insn.src} is no source of LD_IMM64"
    if not -(1 << 63) <= insn.imm < 1 << 64:
        return f"imm {insn.imm} does not fit 64 bits"
    if insn.src in _ONE_IMM and not 0 <= insn.imm < 1 << 32:
        return f"the second imm is reserved for src {insn.src} of LD_IMM64"
    return ""


def _call_fault(insn: Insn) -> str:
    if insn.src > CALL_KFUNC:
        return f"src {insn.src} is no kind of call"
    if insn.src == CALL_KFUNC and insn.off < 0:
        return f"off {insn.off} is no index of a module's BTF"
    if insn.off and insn.src != CALL_KFUNC:
        return f"off is reserved in a call of kind {insn.src}, not {insn.off}"
    return ""
