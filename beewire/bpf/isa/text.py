"""Instructions -> text, as kernel/bpf/disasm.c and the verifier's log print them.

The kernel's text leaves out what LD_IMM64 refers to and the module of a kfunc. To read
every instruction back, those are written the way bpftool does: `map[fd:5]`,
`map[fd:5][0]+8`, `map[idx:0]`, `subprog[+3]`, `btf[id:7]`, `kernel-function#7 module 2`.
"""

from collections.abc import Iterable

from beewire.bpf.isa.check import fault
from beewire.bpf.isa.helper_names import HELPER_NAMES
from beewire.bpf.isa.insn import Insn
from beewire.bpf.isa.opcodes import (
    CALL_KFUNC,
    CALL_SUBPROGRAM,
    LD_IMM64,
    MODE_ATOMIC,
    MODE_IND,
    MODE_MEMSX,
    PSEUDO_BTF_ID,
    PSEUDO_FUNC,
    PSEUDO_IMM,
    PSEUDO_MAP_FD,
    PSEUDO_MAP_IDX,
    PSEUDO_MAP_VALUE,
    AluOp,
    AtomicOp,
    InsnClass,
    JumpOp,
    X,
)
from beewire.errors import EncodingError

ALU_SIGNS = {
    AluOp.ADD: "+=",
    AluOp.SUB: "-=",
    AluOp.MUL: "*=",
    AluOp.DIV: "/=",
    AluOp.OR: "|=",
    AluOp.AND: "&=",
    AluOp.LSH: "<<=",
    AluOp.RSH: ">>=",
    AluOp.MOD: "%=",
    AluOp.XOR: "^=",
    AluOp.MOV: "=",
    AluOp.ARSH: "s>>=",
}
JUMP_SIGNS = {
    JumpOp.JEQ: "==",
    JumpOp.JGT: ">",
    JumpOp.JGE: ">=",
    JumpOp.JSET: "&",
    JumpOp.JNE: "!=",
    JumpOp.JSGT: "s>",
    JumpOp.JSGE: "s>=",
    JumpOp.JLT: "<",
    JumpOp.JLE: "<=",
    JumpOp.JSLT: "s<",
    JumpOp.JSLE: "s<=",
}
FETCH_NAMES = {
    AtomicOp.ADD: "add",
    AtomicOp.OR: "or",
    AtomicOp.AND: "and",
    AtomicOp.XOR: "xor",
}
_BITS = {0x00: 32, 0x08: 16, 0x10: 8, 0x18: 64}


def format_insn(insn: Insn) -> str:
    """Return `insn` in the kernel's notation: `r0 = *(u64 *)(r1 +8)`.

    Raises:
        EncodingError: It is no valid instruction, and so has no notation.
    """
    if problem := fault(insn):
        raise EncodingError(problem)
    group = InsnClass(insn.opcode & 7)
    match group:
        case InsnClass.ALU | InsnClass.ALU64:
            return _alu(insn, "r" if group is InsnClass.ALU64 else "w")
        case InsnClass.JMP | InsnClass.JMP32:
            return _jump(insn, "r" if group is InsnClass.JMP else "w")
        case InsnClass.LD:
            return _wide(insn) if insn.opcode == LD_IMM64 else _packet_load(insn)
        case InsnClass.LDX:
            sign = "s" if insn.opcode & 0xE0 == MODE_MEMSX else "u"
            return f"r{insn.dst} = {_memory(insn, insn.src, sign)}"
        case InsnClass.ST:
            return f"{_memory(insn, insn.dst)} = {insn.imm}"
        case InsnClass.STX if insn.opcode & 0xE0 == MODE_ATOMIC:
            return _atomic(insn)
        case InsnClass.STX:
            return f"{_memory(insn, insn.dst)} = r{insn.src}"


def format_program(insns: Iterable[Insn]) -> str:
    """Return one line an instruction: slot number, (opcode), the kernel's notation."""
    lines = []
    slot = 0
    for insn in insns:
        lines.append(f"{slot:4}: ({insn.opcode:02x}) {format_insn(insn)}")
        slot += insn.slots
    return "\n".join(lines)


def _alu(insn: Insn, reg: str) -> str:
    op = insn.opcode & 0xF0
    if op == AluOp.END:
        order = "be" if insn.opcode & X else "le"
        name = order if reg == "w" else "bswap"
        return f"r{insn.dst} = {name}{insn.imm} r{insn.dst}"
    if op == AluOp.NEG:
        return f"{reg}{insn.dst} = -{reg}{insn.dst}"
    sign = ALU_SIGNS[AluOp(op)]
    if op in {AluOp.DIV, AluOp.MOD} and insn.off:
        sign = f"s{sign}"
    if not insn.opcode & X:
        return f"{reg}{insn.dst} {sign} {insn.imm}"
    if op == AluOp.MOV and insn.off == 1:
        spaces = f"{insn.imm >> 16 & 0xFFFF}, {insn.imm & 0xFFFF}"
        return f"r{insn.dst} = addr_space_cast(r{insn.src}, {spaces})"
    cast = f"(s{insn.off})" if op == AluOp.MOV and insn.off else ""
    return f"{reg}{insn.dst} {sign} {cast}{reg}{insn.src}"


def _jump(insn: Insn, reg: str) -> str:
    op = JumpOp(insn.opcode & 0xF0)
    if op is JumpOp.CALL:
        return _call(insn)
    if op is JumpOp.EXIT:
        return "exit"
    if op is JumpOp.JCOND:
        return f"may_goto pc{insn.off:+d}"
    if op is JumpOp.JA and insn.opcode & X:
        return f"gotox r{insn.dst}"
    if op is JumpOp.JA:
        return f"goto pc{insn.off:+d}" if reg == "r" else f"gotol pc{insn.imm:+d}"
    right = f"{reg}{insn.src}" if insn.opcode & X else f"{insn.imm & 0xFFFFFFFF:#x}"
    return f"if {reg}{insn.dst} {JUMP_SIGNS[op]} {right} goto pc{insn.off:+d}"


def _call(insn: Insn) -> str:
    if insn.src == CALL_SUBPROGRAM:
        return f"call pc{insn.imm:+d}"
    if insn.src == CALL_KFUNC:
        module = f" module {insn.off}" if insn.off else ""
        return f"call kernel-function#{insn.imm}{module}"
    known = 0 <= insn.imm < len(HELPER_NAMES)
    return f"call {'bpf_' + HELPER_NAMES[insn.imm] if known else 'unknown'}#{insn.imm}"


def _wide(insn: Insn) -> str:
    low, high = insn.imm & 0xFFFF_FFFF, insn.imm >> 32 & 0xFFFF_FFFF
    if insn.src == PSEUDO_IMM:
        return f"r{insn.dst} = {insn.imm & 0xFFFF_FFFF_FFFF_FFFF:#x}"
    if insn.src == PSEUDO_FUNC:
        return f"r{insn.dst} = subprog[{(low ^ 1 << 31) - (1 << 31):+d}]"
    if insn.src == PSEUDO_BTF_ID:
        module = f" module_fd:{high}" if high else ""
        return f"r{insn.dst} = btf[id:{low}{module}]"
    key = "fd" if insn.src in {PSEUDO_MAP_FD, PSEUDO_MAP_VALUE} else "idx"
    whole = insn.src in {PSEUDO_MAP_FD, PSEUDO_MAP_IDX}
    return f"r{insn.dst} = map[{key}:{low}]{'' if whole else f'[0]+{high}'}"


def _packet_load(insn: Insn) -> str:
    where = f"{insn.imm}"
    if insn.opcode & 0xE0 == MODE_IND:
        where = f"r{insn.src} + {insn.imm}"
    return f"r0 = *(u{_BITS[insn.opcode & 0x18]} *)skb[{where}]"


def _memory(insn: Insn, base: int, sign: str = "u") -> str:
    return f"*({sign}{_BITS[insn.opcode & 0x18]} *)(r{base} {insn.off:+d})"


def _atomic(insn: Insn) -> str:
    if insn.imm == AtomicOp.LOAD_ACQ:
        return f"r{insn.dst} = load_acquire({_memory(insn, insn.src)[1:]})"
    where = _memory(insn, insn.dst)
    pointer, src = where[1:], f"r{insn.src}"
    if insn.imm == AtomicOp.STORE_REL:
        return f"store_release({pointer}, {src})"
    prefix = "atomic64" if insn.opcode & 0x18 == 0x18 else "atomic"
    if insn.imm == AtomicOp.XCHG:
        return f"{src} = {prefix}_xchg({pointer}, {src})"
    if insn.imm == AtomicOp.CMPXCHG:
        return f"r0 = {prefix}_cmpxchg({pointer}, r0, {src})"
    op = AtomicOp(insn.imm & ~AtomicOp.FETCH)
    if insn.imm & AtomicOp.FETCH:
        return f"{src} = {prefix}_fetch_{FETCH_NAMES[op]}({pointer}, {src})"
    return f"lock {where} {ALU_SIGNS[AluOp(op)]} {src}"
