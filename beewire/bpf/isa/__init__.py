r"""Instructions of eBPF: build, encode, decode, print and read back.

    program = (isa.mov_imm(0, 0), isa.exit_insn())
    isa.encode(program)                     # b'\xb7\x00...'
    isa.format_insn(program[0])             # 'r0 = 0'

opcodes   numbers, and which fields each opcode uses
insn      Insn and a constructor for each kind of instruction
check     what is wrong with an instruction
codec     Insn <-> bytes
text      Insn -> the kernel's notation (loaded on first use)
parse     the kernel's notation -> Insn (loaded on first use)
"""

from beewire.bpf.isa.codec import decode, encode
from beewire.bpf.isa.insn import (
    Insn,
    addr_space_cast,
    alu_imm,
    alu_reg,
    atomic,
    bswap,
    call_helper,
    call_kfunc,
    call_subprogram,
    exit_insn,
    jump,
    jump_imm,
    jump_long,
    jump_reg,
    jump_table,
    ld_abs,
    ld_btf_id,
    ld_func,
    ld_imm64,
    ld_ind,
    ld_map_fd,
    ld_map_idx,
    ld_map_idx_value,
    ld_map_value,
    load,
    load_acquire,
    load_sx,
    may_goto,
    mov_imm,
    mov_reg,
    movsx,
    neg,
    sdiv_imm,
    sdiv_reg,
    smod_imm,
    smod_reg,
    store_imm,
    store_reg,
    store_release,
    to_be,
    to_le,
)
from beewire.bpf.isa.opcodes import (
    ADDR_SPACE_CAST,
    CALL,
    CALL_HELPER,
    CALL_KFUNC,
    CALL_SUBPROGRAM,
    LD_IMM64,
    PSEUDO_BTF_ID,
    PSEUDO_FUNC,
    PSEUDO_IMM,
    PSEUDO_MAP_FD,
    PSEUDO_MAP_IDX,
    PSEUDO_MAP_IDX_VALUE,
    PSEUDO_MAP_VALUE,
    AluOp,
    AtomicOp,
    InsnClass,
    JumpOp,
    Size,
)
from beewire.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from beewire.bpf.isa.parse import parse_insn, parse_program
    from beewire.bpf.isa.text import format_insn, format_program

_LAZY = {
    "format_insn": "text",
    "format_program": "text",
    "parse_insn": "parse",
    "parse_program": "parse",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - nobody pays before using it

    value: object = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value


__all__ = [
    "ADDR_SPACE_CAST",
    "CALL",
    "CALL_HELPER",
    "CALL_KFUNC",
    "CALL_SUBPROGRAM",
    "LD_IMM64",
    "PSEUDO_BTF_ID",
    "PSEUDO_FUNC",
    "PSEUDO_IMM",
    "PSEUDO_MAP_FD",
    "PSEUDO_MAP_IDX",
    "PSEUDO_MAP_IDX_VALUE",
    "PSEUDO_MAP_VALUE",
    "AluOp",
    "AtomicOp",
    "Insn",
    "InsnClass",
    "JumpOp",
    "Size",
    "addr_space_cast",
    "alu_imm",
    "alu_reg",
    "atomic",
    "bswap",
    "call_helper",
    "call_kfunc",
    "call_subprogram",
    "decode",
    "encode",
    "exit_insn",
    "format_insn",
    "format_program",
    "jump",
    "jump_imm",
    "jump_long",
    "jump_reg",
    "jump_table",
    "ld_abs",
    "ld_btf_id",
    "ld_func",
    "ld_imm64",
    "ld_ind",
    "ld_map_fd",
    "ld_map_idx",
    "ld_map_idx_value",
    "ld_map_value",
    "load",
    "load_acquire",
    "load_sx",
    "may_goto",
    "mov_imm",
    "mov_reg",
    "movsx",
    "neg",
    "parse_insn",
    "parse_program",
    "sdiv_imm",
    "sdiv_reg",
    "smod_imm",
    "smod_reg",
    "store_imm",
    "store_reg",
    "store_release",
    "to_be",
    "to_le",
]
