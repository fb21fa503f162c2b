"""What is refused, and in which words."""

import pytest

from beewire.bpf import isa
from beewire.bpf.isa import AluOp, AtomicOp, Insn, JumpOp
from beewire.errors import DecodingError, EncodingError

REFUSED = {
    "register 11 as dst": (isa.mov_imm(11, 0), "dst 11 is outside 0 to 10"),
    "register 11 as src": (isa.mov_reg(0, 11), "src 11 is outside 0 to 10"),
    "negative register": (isa.mov_imm(-1, 0), "dst -1 is outside 0 to 10"),
    "wide imm": (isa.mov_imm(0, 1 << 31), "imm 2147483648 is outside"),
    "far jump": (isa.jump(1 << 15), "off 32768 is outside"),
    "far load": (isa.load(8, 0, 1, -(1 << 15) - 1), "off -32769 is outside"),
    "65-bit imm": (isa.ld_imm64(0, 1 << 64), "does not fit 64 bits"),
    "unknown opcode": (Insn(0xFF), "unknown opcode 0xff"),
    "src of exit": (isa.exit_insn()._replace(src=1), "src is reserved"),
    "imm of a register move": (isa.mov_reg(1, 2)._replace(imm=1), "imm is reserved"),
    "imm of movsx": (isa.movsx(1, 2, 8)._replace(imm=1), "imm is reserved"),
    "off of add": (isa.alu_imm(AluOp.ADD, 1, 1)._replace(off=1), "off is reserved"),
    "off of a division": (isa.sdiv_imm(1, 1)._replace(off=2), "0 (unsigned) or 1"),
    "24-bit swap": (isa.to_be(1, 24), "16, 32 or 64, not 24"),
    "movsx from 7 bits": (isa.movsx(1, 2, 7), "one of 0, 8, 16, 32, not 7"),
    "movsx 32 to 32": (isa.movsx(1, 2, 32, 32), "one of 0, 8, 16, not 32"),
    "1-byte atomic": (isa.atomic(AtomicOp.ADD, 1, 1, 0, 2), "4 or 8 bytes"),
    "unknown atomic": (
        isa.atomic(AtomicOp.ADD, 8, 1, 0, 2)._replace(imm=2),
        "0x2 is no atomic",
    ),
    "source 7 of LD_IMM64": (isa.ld_imm64(1, 0)._replace(src=7), "no source of"),
    "second imm of a map": (isa.ld_map_fd(1, 1 << 32), "second imm is reserved"),
    "call of kind 3": (isa.call_helper(1)._replace(src=3), "no kind of call"),
    "off of a helper call": (isa.call_helper(1)._replace(off=1), "off is reserved"),
    "module before the first": (isa.call_kfunc(1, -1), "no index of a module"),
}


@pytest.mark.parametrize(("insn", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_encode_refuses(insn: Insn, words: str) -> None:
    with pytest.raises(EncodingError) as caught:
        isa.encode([isa.ld_imm64(0, 0), insn])

    assert str(caught.value).startswith("slot 2: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(("insn", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_format_refuses(insn: Insn, words: str) -> None:
    with pytest.raises(EncodingError) as caught:
        isa.format_insn(insn)

    assert words in str(caught.value)


UNDECODABLE = {
    "unknown opcode": ("ff00000000000000", "slot 1: unknown opcode 0xff"),
    "register 11": ("b70b000000000000", "slot 1: dst 11 is outside 0 to 10"),
    "reserved src": ("b710000000000000", "slot 1: src is reserved"),
    "reserved off": ("9500010000000000", "slot 1: off is reserved"),
    "half an LD_IMM64": ("1800000000000000", "slot 1: LD_IMM64 is cut off"),
    "a second half that holds more": (
        "1800000000000000 b700000000000000",
        "slot 2: the second half of LD_IMM64",
    ),
    "a cut-off slot": ("95000000", "12 bytes are no whole number"),
    "a second half alone": ("0000000000000000", "slot 1: unknown opcode 0x00"),
}


@pytest.mark.parametrize(
    ("data", "words"), UNDECODABLE.values(), ids=UNDECODABLE.keys()
)
def test_decode_refuses(data: str, words: str) -> None:
    with pytest.raises(DecodingError) as caught:
        isa.decode(isa.encode([isa.exit_insn()]) + bytes.fromhex(data))

    assert words in str(caught.value)


UNREADABLE = {
    "": "is no instruction",
    "r1 := 5": "is no instruction",
    "r11 = 5": "dst 11 is outside",
    "r1 = 4294967296": "imm 4294967296 is outside",
    "r1 += w2": "is no instruction",
    "r1 = be16 r2": "is no instruction",
    "r1 = be24 r1": "16, 32 or 64",
    "*(s8 *)(r1 +0) = 1": "is no instruction",
    "r1 = 0x10000000000000000": "does not fit 64 bits",
    "r2 = atomic_xchg((u64 *)(r1 +0), r2)": "atomic64_ goes with u64",
    "r3 = atomic64_xchg((u64 *)(r1 +0), r2)": "is no instruction",
    "call bpf_map_lookup_elem#2": "is helper 1, not 2",
    "call bpf_fly": "no helper is called 'bpf_fly'",
    "(95) r0 = 0": "is opcode b7, not 95",
    "gotopc+1": "is no instruction",
    "r1 = " + "9" * 5000: "is no instruction",
    "r1 = 0x" + "f" * 5000: "is no instruction",
    "goto pc+" + "9" * 5000: "is no instruction",
    "r1 = \N{ARABIC-INDIC DIGIT FIVE}": "is no instruction",
    "r1 = map[fd:4294967296][0]+3": "4294967296 does not fit 32 bits",
    "r1 = map[fd:4][0]+4294967296": "4294967296 does not fit 32 bits",
    "r1 = map[idx:-1][0]+3": "-1 does not fit 32 bits",
    "r1 = btf[id:4294967296]": "4294967296 does not fit 32 bits",
    "r1 = subprog[+2147483648]": "does not fit 32 bits",
    "r1 = addr_space_cast(r2, 65536, 1)": "has 16 bits",
}


@pytest.mark.parametrize(("text", "words"), UNREADABLE.items())
def test_parse_refuses(text: str, words: str) -> None:
    with pytest.raises(DecodingError) as caught:
        isa.parse_insn(text)

    assert words in str(caught.value)


def test_parse_program_names_the_line() -> None:
    with pytest.raises(DecodingError, match=r"^line 3: 'nonsense' is no instruction"):
        isa.parse_program("r0 = 0\n\nnonsense\nexit")


def test_a_32_bit_comparison_takes_the_signed_reading_of_its_imm() -> None:
    insn = isa.parse_insn("if w1 == 0xfffffffe goto pc+3")

    assert insn == isa.jump_imm(JumpOp.JEQ, 1, -2, 3, 32)


def test_a_negative_64_bit_imm_becomes_its_unsigned_twin() -> None:
    assert isa.ld_imm64(1, -1) == isa.ld_imm64(1, (1 << 64) - 1)
