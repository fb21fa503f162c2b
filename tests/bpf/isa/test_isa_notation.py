"""The kernel's notation, case by case, as kernel/bpf/disasm.c prints it."""

import pytest

from beewire.bpf import isa
from beewire.bpf.isa import AluOp, AtomicOp, Insn, JumpOp

NOTATION = {
    "r0 = -1": isa.mov_imm(0, -1),
    "w1 ^= w2": isa.alu_reg(AluOp.XOR, 1, 2, 32),
    "r3 s>>= 5": isa.alu_imm(AluOp.ARSH, 3, 5),
    "r3 s/= r4": isa.sdiv_reg(3, 4),
    "w3 s%= -7": isa.smod_imm(3, -7, 32),
    "w1 = (s8)w2": isa.movsx(1, 2, 8, 32),
    "r1 = (s32)r2": isa.movsx(1, 2, 32),
    "r1 = addr_space_cast(r2, 0, 1)": isa.addr_space_cast(1, 2, 0, 1),
    "w3 = -w3": isa.neg(3, 32),
    "r4 = be16 r4": isa.to_be(4, 16),
    "r4 = le64 r4": isa.to_le(4, 64),
    "r4 = bswap32 r4": isa.bswap(4, 32),
    "r0 = *(u64 *)(r1 +8)": isa.load(8, 0, 1, 8),
    "r2 = *(s8 *)(r1 -8)": isa.load_sx(1, 2, 1, -8),
    "*(u8 *)(r10 -8) = -1": isa.store_imm(1, 10, -8, -1),
    "*(u32 *)(r10 +0) = r3": isa.store_reg(4, 10, 0, 3),
    "r2 = load_acquire((u8 *)(r3 +4))": isa.load_acquire(1, 2, 3, 4),
    "store_release((u64 *)(r2 +3), r4)": isa.store_release(8, 2, 3, 4),
    "lock *(u32 *)(r1 +0) |= r2": isa.atomic(AtomicOp.OR, 4, 1, 0, 2),
    "r2 = atomic64_fetch_add((u64 *)(r1 +8), r2)": isa.atomic(
        AtomicOp.ADD, 8, 1, 8, 2, fetch=True
    ),
    "r2 = atomic_xchg((u32 *)(r1 +0), r2)": isa.atomic(AtomicOp.XCHG, 4, 1, 0, 2),
    "r0 = atomic64_cmpxchg((u64 *)(r1 +0), r0, r2)": isa.atomic(
        AtomicOp.CMPXCHG, 8, 1, 0, 2
    ),
    "r1 = 0xffffffffffffffff": isa.ld_imm64(1, -1),
    "r1 = map[fd:4]": isa.ld_map_fd(1, 4),
    "r1 = map[fd:4][0]+7": isa.ld_map_value(1, 4, 7),
    "r1 = map[idx:2]": isa.ld_map_idx(1, 2),
    "r1 = map[idx:2][0]+3": isa.ld_map_idx_value(1, 2, 3),
    "r1 = subprog[-3]": isa.ld_func(1, -3),
    "r1 = btf[id:7]": isa.ld_btf_id(1, 7),
    "r1 = btf[id:7 module_fd:3]": isa.ld_btf_id(1, 7, 3),
    "r0 = *(u8 *)skb[-4096]": isa.ld_abs(1, -4096),
    "r0 = *(u32 *)skb[r1 + -7]": isa.ld_ind(4, 1, -7),
    "goto pc-1": isa.jump(-1),
    "gotol pc+70000": isa.jump_long(70000),
    "gotox r3": isa.jump_table(3),
    "may_goto pc+3": isa.may_goto(3),
    "if w1 s> 0xffffffff goto pc+3": isa.jump_imm(JumpOp.JSGT, 1, -1, 3, 32),
    "if r1 & r2 goto pc-3": isa.jump_reg(JumpOp.JSET, 1, 2, -3),
    "call bpf_map_lookup_elem#1": isa.call_helper(1),
    "call bpf_cgrp_storage_delete#211": isa.call_helper(211),
    "call unknown#212": isa.call_helper(212),
    "call kernel-function#7": isa.call_kfunc(7),
    "call kernel-function#7 module 2": isa.call_kfunc(7, 2),
    "call pc-7": isa.call_subprogram(-7),
    "exit": isa.exit_insn(),
}


@pytest.mark.parametrize(("text", "insn"), NOTATION.items())
def test_format_writes_the_kernels_notation(text: str, insn: Insn) -> None:
    assert isa.format_insn(insn) == text


LOOSE = {
    "  7: (b7)  r0=-1 ": isa.mov_imm(0, -1),
    "r0 = *( u64* )( r1  +8 )": isa.load(8, 0, 1, 8),
    "call bpf_map_lookup_elem": isa.call_helper(1),
    "if w1 s>0xffffffff goto pc+3": isa.jump_imm(JumpOp.JSGT, 1, -1, 3, 32),
}


@pytest.mark.parametrize(("text", "insn"), LOOSE.items())
def test_parse_forgives_white_space_and_what_a_log_adds(text: str, insn: Insn) -> None:
    assert isa.parse_insn(text) == insn


def test_format_program_counts_slots() -> None:
    program = (isa.ld_imm64(1, 5), isa.mov_imm(0, 0), isa.exit_insn())

    assert isa.format_program(program) == (
        "   0: (18) r1 = 0x5\n   2: (b7) r0 = 0\n   3: (95) exit"
    )


def test_parse_program_skips_blank_lines_and_comments() -> None:
    assert isa.parse_program("; leave\n\nr0 = 0 ; fine\nexit\n") == (
        isa.mov_imm(0, 0),
        isa.exit_insn(),
    )
