"""The bytes of every instruction mean to LLVM what they mean to us.

LLVM spells some things in its own way. `to_kernel` turns its text into the kernel's,
rule by rule, and what `parse_insn` reads there must be the instruction encoded.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from beewire.bpf import isa
from beewire.bpf.isa import Insn
from beewire.bpf.isa.opcodes import FIELDS

VERSIONS = (19, 18)  # 18 is the first with version 4; 20 spells atomics anew


def number(found: re.Match[str]) -> str:
    return str(int(found[0], 16))


def pseudo(found: re.Match[str]) -> str:
    dst, src, imm = found[1], int(found[2]), int(found[3]) & 0xFFFF_FFFF
    return isa.format_insn(Insn(isa.LD_IMM64, int(dst), src, 0, imm))


def unsigned_hex(found: re.Match[str]) -> str:
    return f"{found[1]}{int(found[2]) & 0xFFFF_FFFF:#x} goto"


def wide(found: re.Match[str]) -> str:
    return f"= {int(found[1]) & 0xFFFF_FFFF_FFFF_FFFF:#x}"


RULES = (
    (r"\s*<\.text.*>$", ""),  # the jump's target, which we do not print
    (r"-?0x[0-9a-f]+", number),
    (r"= (-?\d+) ll$", wide),
    (r"ld_pseudo\tr(\d+), (\d+), (-?\d+)", pseudo),
    (r"(goto[l]?) ([+-]\d+)", r"\1 pc\2"),
    (r"(if .* )(-?\d+) goto", unsigned_hex),
    # 32-bit values in memory operations: the kernel knows them by the pointer's type.
    (r"\bw(\d+)( = \*\(u)", r"r\1\2"),
    (r"(^\*.*=|^lock .*=) w(\d+)$", r"\1 r\2"),
    (r"w(\d+) = (atomic_fetch.*), w\d+\)", r"r\1 = \2, r\1)"),
    (r"atomic_fetch(.*u64)", r"atomic64_fetch\1"),
    (r"w(\d+) = xchg32_32\((r\d+ .*), w\d+\)", r"r\1 = atomic_xchg((u32 *)(\2), r\1)"),
    (r"r(\d+) = xchg_64\((r\d+ .*), r\d+\)", r"r\1 = atomic64_xchg((u64 *)(\2), r\1)"),
    (
        r"w0 = cmpxchg32_32\((.*), w0, w(\d+)\)",
        r"r0 = atomic_cmpxchg((u32 *)(\1), r0, r\2)",
    ),
    (
        r"r0 = cmpxchg_64\((.*), r0, (r\d+)\)",
        r"r0 = atomic64_cmpxchg((u64 *)(\1), r0, \2)",
    ),
    (r"\((r\d+) ([+-]) (\d+)\)", r"(\1 \2\3)"),
    (r"skb\[(r\d+)\]", r"skb[\1 + 0]"),
    # LLVM does not tell a helper from a kfunc or a subprogram.
    (r"^call (\d+)$", r"call helper#\1"),
)


def to_kernel(text: str) -> str:
    for pattern, replacement in RULES:
        text = re.sub(pattern, replacement, text)
    return text


def tool(name: str) -> str:
    for version in VERSIONS:
        if found := shutil.which(f"{name}-{version}"):
            return found
    pytest.skip(f"{name} 18 or newer is not installed")


@pytest.fixture
def disassemble(tmp_path: Path) -> "Disassembler":
    return Disassembler(tmp_path / "program.o")


class Disassembler:
    """Run llvm-objdump over the bytes of instructions."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.assembler = tool("llvm-mc")
        self.objdump = tool("llvm-objdump")

    def __call__(self, data: bytes) -> list[str]:
        source = f".text\n.byte {','.join(map(str, data))}\n"
        command = [self.assembler, "-triple=bpfel", "-filetype=obj", "-o", self.path]
        subprocess.run(command, input=source, text=True, check=True)
        # -z: also those that are all zeros.
        command = [self.objdump, "-dz", "--no-show-raw-insn", "--mcpu=v4", self.path]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        return re.findall(r"^ +\d+:\t(.*)$", result.stdout, re.MULTILINE)


def check(disassemble: Disassembler, program: tuple[Insn, ...]) -> None:
    lines = disassemble(isa.encode(program))

    assert [isa.parse_insn(to_kernel(line)) for line in lines] == list(program)


def test_llvm_reads_the_classic_instructions(
    disassemble: Disassembler, classic: tuple[Insn, ...]
) -> None:
    check(disassemble, classic)


def test_llvm_reads_version_4(
    disassemble: Disassembler, newer: tuple[Insn, ...]
) -> None:
    check(disassemble, newer)


def test_llvm_reads_every_source_of_ld_imm64(disassemble: Disassembler) -> None:
    # LLVM prints the first imm only, so the second stays 0 here.
    check(
        disassemble,
        (
            isa.ld_map_fd(1, 3),
            isa.ld_map_value(2, 4, 0),
            isa.ld_btf_id(3, 5),
            isa.ld_func(4, -6),
            isa.ld_map_idx(5, 7),
            isa.ld_map_idx_value(6, 8, 0),
        ),
    )


def test_llvm_reads_address_space_casts(disassemble: Disassembler) -> None:
    check(disassemble, (isa.addr_space_cast(1, 2, 0, 1),))


@pytest.mark.parametrize(
    "insn", [isa.call_helper(5), isa.call_subprogram(5), isa.call_kfunc(5)]
)
def test_llvm_reads_the_number_of_a_call(disassemble: Disassembler, insn: Insn) -> None:
    assert disassemble(isa.encode([insn])) == ["call 0x5"]


SWAPS = {0xD4, 0xD7, 0xDC}
# gotox, and load-acquire and store-release of 1 and 2 bytes: younger than LLVM 19.
YOUNGER = {0x0D, 0xCB, 0xD3}
# A call by register, which no kernel runs.
CALLX = {0x8D}


def slots(opcode: int) -> bytes:
    imm = 16 if opcode in SWAPS else 0
    first = bytes([opcode, 0, 0, 0, imm, 0, 0, 0])
    return first + bytes(8) if opcode == isa.LD_IMM64 else first


def test_llvm_and_we_know_the_same_opcodes(disassemble: Disassembler) -> None:
    lines = disassemble(b"".join(slots(opcode) for opcode in range(256)))
    theirs = {opcode for opcode in range(256) if "unknown" not in lines[opcode]}
    ours = {opcode for opcode in range(256) if opcode in FIELDS}

    assert theirs - CALLX == ours - YOUNGER
