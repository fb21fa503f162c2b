"""One instruction as a plain value, and a constructor for each kind.

Constructors do not check: `encode` does, once, for constructed and patched alike.
Registers are the ints 0 to 10; jump offsets count slots from the next instruction.
`bits` is 32 (operate on the low half, clear the high half of dst) or 64.
"""

from beewire.bpf.isa.opcodes import (
    ADDR_SPACE_CAST,
    CALL,
    CALL_HELPER,
    CALL_KFUNC,
    CALL_SUBPROGRAM,
    EXIT,
    LD_IMM64,
    MODE_ABS,
    MODE_ATOMIC,
    MODE_IND,
    MODE_MEM,
    MODE_MEMSX,
    PSEUDO_BTF_ID,
    PSEUDO_FUNC,
    PSEUDO_MAP_FD,
    PSEUDO_MAP_IDX,
    PSEUDO_MAP_IDX_VALUE,
    PSEUDO_MAP_VALUE,
    SIZE_BITS,
    AluOp,
    AtomicOp,
    InsnClass,
    JumpOp,
    X,
)
from beewire.rows import Row

_U32 = 0xFFFF_FFFF
_U64 = 0xFFFF_FFFF_FFFF_FFFF
_ALU = {32: 0x04, 64: 0x07}
_JMP = {32: 0x06, 64: 0x05}
_LOAD = {size: InsnClass.LDX | MODE_MEM | bits for size, bits in SIZE_BITS.items()}
_LOAD_SX = {size: InsnClass.LDX | MODE_MEMSX | bits for size, bits in SIZE_BITS.items()}
_STORE_IMM = {size: InsnClass.ST | MODE_MEM | bits for size, bits in SIZE_BITS.items()}
_STORE = {size: InsnClass.STX | MODE_MEM | bits for size, bits in SIZE_BITS.items()}
_ATOMIC = {size: InsnClass.STX | MODE_ATOMIC | b for size, b in SIZE_BITS.items()}


class Insn(Row):
    """One instruction (`struct bpf_insn`; LD_IMM64: two of them).

    `imm` is a signed 32-bit number; for LD_IMM64 it is 64 bits wide, -2**63 to 2**64-1
    (`decode` gives it unsigned), where the pseudo sources keep their first imm in the
    low and their second in the high half.
    """

    opcode: int
    dst: int = 0
    src: int = 0
    off: int = 0
    imm: int = 0

    @property
    def slots(self) -> int:
        """How many 8-byte units it fills: 2 for LD_IMM64, else 1."""
        return 2 if self.opcode == LD_IMM64 else 1


def alu_imm(op: AluOp, dst: int, imm: int, bits: int = 64) -> Insn:
    """`dst op= imm`, the imm sign-extended."""
    return Insn(_ALU[bits] | op, dst, 0, 0, imm)


def alu_reg(op: AluOp, dst: int, src: int, bits: int = 64) -> Insn:
    """`dst op= src`."""
    return Insn(_ALU[bits] | op | X, dst, src)


def sdiv_imm(dst: int, imm: int, bits: int = 64) -> Insn:
    """Signed `dst /= imm`, towards zero (v4, Linux 6.6)."""
    return Insn(_ALU[bits] | AluOp.DIV, dst, 0, 1, imm)


def sdiv_reg(dst: int, src: int, bits: int = 64) -> Insn:
    """Signed `dst /= src`, towards zero; x / 0 is 0 (v4, Linux 6.6)."""
    return Insn(_ALU[bits] | AluOp.DIV | X, dst, src, 1)


def smod_imm(dst: int, imm: int, bits: int = 64) -> Insn:
    """Signed `dst %= imm`; the sign is the dividend's (v4, Linux 6.6)."""
    return Insn(_ALU[bits] | AluOp.MOD, dst, 0, 1, imm)


def smod_reg(dst: int, src: int, bits: int = 64) -> Insn:
    """Signed `dst %= src`; x % 0 is x (v4, Linux 6.6)."""
    return Insn(_ALU[bits] | AluOp.MOD | X, dst, src, 1)


def mov_imm(dst: int, imm: int, bits: int = 64) -> Insn:
    """`dst = imm`, sign-extended to `bits`."""
    return Insn(_ALU[bits] | AluOp.MOV, dst, 0, 0, imm)


def mov_reg(dst: int, src: int, bits: int = 64) -> Insn:
    """`dst = src`."""
    return Insn(_ALU[bits] | AluOp.MOV | X, dst, src)


def movsx(dst: int, src: int, from_bits: int, bits: int = 64) -> Insn:
    """`dst = src`, sign-extended from 8, 16 or (to 64) 32 bits (v4, Linux 6.6)."""
    return Insn(_ALU[bits] | AluOp.MOV | X, dst, src, from_bits)


def addr_space_cast(dst: int, src: int, to_space: int, from_space: int) -> Insn:
    """`dst = src`, moved between address spaces (arenas; Linux 6.9)."""
    imm = _signed32(to_space << 16 | from_space)
    return Insn(_ALU[64] | AluOp.MOV | X, dst, src, ADDR_SPACE_CAST, imm)


def neg(dst: int, bits: int = 64) -> Insn:
    """`dst = -dst`."""
    return Insn(_ALU[bits] | AluOp.NEG, dst)


def to_be(dst: int, bits: int) -> Insn:
    """Host order -> big endian of the low 16, 32 or 64 bits; the rest is cleared."""
    return Insn(InsnClass.ALU | AluOp.END | X, dst, 0, 0, bits)


def to_le(dst: int, bits: int) -> Insn:
    """Host order -> little endian of the low 16, 32 or 64 bits; the rest is cleared."""
    return Insn(InsnClass.ALU | AluOp.END, dst, 0, 0, bits)


def bswap(dst: int, bits: int) -> Insn:
    """Reverse the bytes of the low 16, 32 or 64 bits (v4, Linux 6.6)."""
    return Insn(InsnClass.ALU64 | AluOp.END, dst, 0, 0, bits)


def load(size: int, dst: int, src: int, off: int) -> Insn:
    """`dst = *(src + off)`, `size` bytes (1, 2, 4, 8), zero-extended."""
    return Insn(_LOAD[size], dst, src, off)


def load_sx(size: int, dst: int, src: int, off: int) -> Insn:
    """`dst = *(src + off)`, `size` bytes (1, 2, 4), sign-extended (v4, Linux 6.6)."""
    return Insn(_LOAD_SX[size], dst, src, off)


def store_reg(size: int, dst: int, off: int, src: int) -> Insn:
    """`*(dst + off) = src`, its low `size` bytes."""
    return Insn(_STORE[size], dst, src, off)


def store_imm(size: int, dst: int, off: int, imm: int) -> Insn:
    """`*(dst + off) = imm`, sign-extended to `size` bytes."""
    return Insn(_STORE_IMM[size], dst, 0, off, imm)


def atomic(
    op: AtomicOp, size: int, dst: int, off: int, src: int, *, fetch: bool = False
) -> Insn:
    """`*(dst + off) op= src` in one step, 4 or 8 bytes (Linux 5.12; ADD always).

    `fetch` puts the old value in src (ADD, OR, AND, XOR). XCHG always does; CMPXCHG
    compares with r0, stores src if equal, and puts the old value in r0.
    """
    return Insn(_ATOMIC[size], dst, src, off, op | fetch)


def load_acquire(size: int, dst: int, src: int, off: int) -> Insn:
    """`dst = *(src + off)`; later accesses stay later (Linux 6.15)."""
    return Insn(_ATOMIC[size], dst, src, off, int(AtomicOp.LOAD_ACQ))


def store_release(size: int, dst: int, off: int, src: int) -> Insn:
    """`*(dst + off) = src`; earlier accesses stay earlier (Linux 6.15)."""
    return Insn(_ATOMIC[size], dst, src, off, int(AtomicOp.STORE_REL))


def ld_imm64(dst: int, imm: int) -> Insn:
    """`dst = imm`, all 64 bits, -2**63 to 2**64-1."""
    return Insn(LD_IMM64, dst, 0, 0, imm & _U64 if imm < 0 else imm)


def ld_map_fd(dst: int, fd: int) -> Insn:
    """`dst` = the map behind a file descriptor."""
    return Insn(LD_IMM64, dst, PSEUDO_MAP_FD, 0, fd)


def ld_map_value(dst: int, fd: int, off: int) -> Insn:
    """`dst` = address of byte `off` of the first value of an array map (Linux 5.2)."""
    return Insn(LD_IMM64, dst, PSEUDO_MAP_VALUE, 0, off << 32 | fd)


def ld_map_idx(dst: int, index: int) -> Insn:
    """As `ld_map_fd`, by index into BPF_PROG_LOAD's fd_array (Linux 5.14)."""
    return Insn(LD_IMM64, dst, PSEUDO_MAP_IDX, 0, index)


def ld_map_idx_value(dst: int, index: int, off: int) -> Insn:
    """As `ld_map_value`, by index into BPF_PROG_LOAD's fd_array (Linux 5.14)."""
    return Insn(LD_IMM64, dst, PSEUDO_MAP_IDX_VALUE, 0, off << 32 | index)


def ld_func(dst: int, off: int) -> Insn:
    """`dst` = the subprogram `off` slots after the next instruction (Linux 5.13)."""
    return Insn(LD_IMM64, dst, PSEUDO_FUNC, 0, off & _U32)


def ld_btf_id(dst: int, btf_id: int, module_fd: int = 0) -> Insn:
    """`dst` = address of the kernel variable with this BTF id (Linux 5.10)."""
    return Insn(LD_IMM64, dst, PSEUDO_BTF_ID, 0, module_fd << 32 | btf_id)


def ld_abs(size: int, imm: int) -> Insn:
    """`r0` = packet bytes at `imm`, in host order; socket filters, no new code."""
    return Insn(MODE_ABS | SIZE_BITS[size], imm=imm)


def ld_ind(size: int, src: int, imm: int) -> Insn:
    """`r0` = packet bytes at `src + imm`, in host order; socket filters, no new code."""
    return Insn(MODE_IND | SIZE_BITS[size], 0, src, 0, imm)


def jump(off: int) -> Insn:
    """Go `off` slots past the next instruction, -2**15 to 2**15-1."""
    return Insn(InsnClass.JMP | JumpOp.JA, off=off)


def jump_long(off: int) -> Insn:
    """Go `off` slots past the next instruction, -2**31 to 2**31-1 (v4, Linux 6.6)."""
    return Insn(InsnClass.JMP32 | JumpOp.JA, imm=off)


def jump_table(dst: int) -> Insn:
    """Go where `dst`, an entry of an instruction array map, says (Linux 6.19)."""
    return Insn(InsnClass.JMP | JumpOp.JA | X, dst)


def jump_imm(op: JumpOp, dst: int, imm: int, off: int, bits: int = 64) -> Insn:
    """`if dst op imm` go `off` slots past the next instruction."""
    return Insn(_JMP[bits] | op, dst, 0, off, imm)


def jump_reg(op: JumpOp, dst: int, src: int, off: int, bits: int = 64) -> Insn:
    """`if dst op src` go `off` slots past the next instruction."""
    return Insn(_JMP[bits] | op | X, dst, src, off)


def may_goto(off: int) -> Insn:
    """Go `off` slots past the next instruction once the loop budget is used up.

    Linux 6.9; the kernel counts 8 million rounds, or a quarter of a second.
    """
    return Insn(InsnClass.JMP | JumpOp.JCOND, off=off)


def call_helper(number: int) -> Insn:
    """Call the helper with this number (`enum bpf_func_id`)."""
    return Insn(CALL, 0, CALL_HELPER, 0, number)


def call_subprogram(off: int) -> Insn:
    """Call the function `off` slots after the next instruction (Linux 4.16)."""
    return Insn(CALL, 0, CALL_SUBPROGRAM, 0, off)


def call_kfunc(btf_id: int, module: int = 0) -> Insn:
    """Call the kernel function with this BTF id (Linux 5.13).

    `module` is the index of the module's BTF in fd_array, 0 for vmlinux.
    """
    return Insn(CALL, 0, CALL_KFUNC, module, btf_id)


def exit_insn() -> Insn:
    """Return r0."""
    return Insn(EXIT)


def _signed32(value: int) -> int:
    return (value & _U32 ^ 0x8000_0000) - 0x8000_0000
