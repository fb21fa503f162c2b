"""A program that holds every instruction, each one live: the oracles' common corpus."""

import pytest

from beewire.bpf import isa
from beewire.bpf.isa import AluOp, AtomicOp, Insn, JumpOp

UNARY = {AluOp.NEG, AluOp.END}
UNCONDITIONAL = {JumpOp.JA, JumpOp.CALL, JumpOp.EXIT, JumpOp.JCOND}
FETCHING = (AtomicOp.ADD, AtomicOp.OR, AtomicOp.AND, AtomicOp.XOR)


def packet_loads() -> list[Insn]:
    # They clobber r1 to r5 and want the context in r6.
    out = [isa.mov_reg(6, 1), isa.mov_imm(7, 0)]
    for size in (1, 2, 4):
        out += [isa.ld_abs(size, 12), isa.ld_abs(size, -4096), isa.ld_ind(size, 7, 0)]
    return out


def arithmetic(bits: int) -> list[Insn]:
    out = [isa.mov_imm(3, -1, bits), isa.mov_imm(2, 7, bits), isa.mov_imm(4, 0)]
    for op in AluOp:
        if op not in UNARY:
            out += [isa.alu_imm(op, 3, 5, bits), isa.alu_reg(op, 3, 2, bits)]
    out += [isa.alu_imm(AluOp.ADD, 3, -(1 << 31), bits), isa.neg(3, bits)]
    return out


def byte_order() -> list[Insn]:
    return [make(3, bits) for bits in (16, 32, 64) for make in (isa.to_be, isa.to_le)]


def memory() -> list[Insn]:
    out = [isa.store_imm(8, 10, -8, -1), isa.store_imm(8, 10, -16, 0)]
    for size in (1, 2, 4, 8):
        out += [
            isa.store_imm(size, 10, -8, 1 << 30),
            isa.store_reg(size, 10, -8, 3),
            isa.load(size, 3, 10, -8),
        ]
    out += [isa.mov_reg(5, 10), isa.alu_imm(AluOp.ADD, 5, -16), isa.load(8, 3, 5, 8)]
    return out


def jumps(bits: int) -> list[Insn]:
    out = []
    for op in JumpOp:
        if op not in UNCONDITIONAL:
            out += [isa.jump_imm(op, 3, -2, 0, bits), isa.jump_reg(op, 3, 2, 0, bits)]
    return out


def calls_and_gotos() -> list[Insn]:
    return [
        isa.call_helper(7),
        isa.jump_imm(JumpOp.JEQ, 0, 5, 1),
        isa.jump(1),
        isa.mov_imm(3, 1),
        isa.mov_imm(4, 2),
        isa.alu_imm(AluOp.SUB, 4, 1),
        isa.jump_imm(JumpOp.JNE, 4, 0, -2),
        isa.ld_imm64(3, 1 << 40),
        isa.ld_imm64(3, -1),
    ]


def atomics() -> list[Insn]:
    out = [isa.mov_imm(2, 1), isa.mov_imm(0, 1)]
    for size in (4, 8):
        for op in FETCHING:
            out.append(isa.atomic(op, size, 10, -8, 2))
            out.append(isa.atomic(op, size, 10, -8, 2, fetch=True))
        out.append(isa.atomic(AtomicOp.XCHG, size, 10, -8, 2))
        out.append(isa.atomic(AtomicOp.CMPXCHG, size, 10, -8, 2))
    return out


def version_4() -> list[Insn]:
    out = [isa.store_imm(8, 10, -8, -1), isa.mov_imm(2, 7), isa.mov_imm(3, -1)]
    for bits in (64, 32):
        out += [isa.sdiv_imm(3, 7, bits), isa.sdiv_reg(3, 2, bits)]
        out += [isa.smod_imm(3, 7, bits), isa.smod_reg(3, 2, bits)]
        out += [isa.movsx(3, 2, 8, bits), isa.movsx(3, 2, 16, bits)]
    out += [isa.movsx(3, 2, 32), isa.bswap(3, 16), isa.bswap(3, 32), isa.bswap(3, 64)]
    out += [isa.load_sx(size, 3, 10, -8) for size in (1, 2, 4)]
    out += [isa.call_helper(7), isa.jump_imm(JumpOp.JEQ, 0, 5, 1)]
    out += [isa.jump_long(1), isa.mov_imm(3, 1), isa.may_goto(0)]
    return out


def ordered() -> list[Insn]:
    out = [isa.store_imm(8, 10, -8, -1), isa.mov_imm(2, 7)]
    for size in (1, 2, 4, 8):
        out.append(isa.load_acquire(size, 3, 10, -8))
        out.append(isa.store_release(size, 10, -8, 2))
    return out


LEAVE = [isa.mov_imm(0, 0), isa.exit_insn()]


@pytest.fixture
def classic() -> tuple[Insn, ...]:
    """Versions 1 to 3 of the instruction set, as a socket filter."""
    body = [*packet_loads(), *arithmetic(64), *arithmetic(32), *byte_order()]
    body += [*memory(), *jumps(64), *jumps(32), *calls_and_gotos(), *atomics()]
    return (*body, *LEAVE)


@pytest.fixture
def newer() -> tuple[Insn, ...]:
    """What version 4 adds, with may_goto."""
    return (*version_4(), *LEAVE)


@pytest.fixture
def barriers() -> tuple[Insn, ...]:
    """Load-acquire and store-release (Linux 6.15)."""
    return (*ordered(), *LEAVE)
