"""The numbers of RFC 9669: classes, operations, sizes, and the fields each opcode uses.

An opcode is one byte. For arithmetic and jumps it is operation (4 bits), source (1 bit:
`K` immediate or `X` register), class (3 bits); for loads and stores it is mode (3 bits),
size (2 bits), class (3 bits).
"""

from beewire.enums import WireEnum


class InsnClass(WireEnum):
    """The low three bits of every opcode (BPF_CLASS)."""

    LD = 0
    LDX = 1
    ST = 2
    STX = 3
    ALU = 4
    JMP = 5
    JMP32 = 6
    ALU64 = 7


class AluOp(WireEnum):
    """Arithmetic, as the high four bits of the opcode."""

    ADD = 0x00
    SUB = 0x10
    MUL = 0x20
    DIV = 0x30
    OR = 0x40
    AND = 0x50
    LSH = 0x60
    RSH = 0x70
    NEG = 0x80
    MOD = 0x90
    XOR = 0xA0
    MOV = 0xB0
    ARSH = 0xC0
    END = 0xD0


class JumpOp(WireEnum):
    """Jumps, as the high four bits of the opcode; an S before the letters is signed."""

    JA = 0x00
    JEQ = 0x10
    JGT = 0x20
    JGE = 0x30
    JSET = 0x40
    JNE = 0x50
    JSGT = 0x60
    JSGE = 0x70
    CALL = 0x80
    EXIT = 0x90
    JLT = 0xA0
    JLE = 0xB0
    JSLT = 0xC0
    JSLE = 0xD0
    JCOND = 0xE0


class Size(WireEnum):
    """How many bytes a load or store touches."""

    B = 1
    H = 2
    W = 4
    DW = 8


class AtomicOp(WireEnum):
    """The imm of an ATOMIC store. FETCH is a flag on ADD, OR, AND and XOR.

    LOAD_ACQ and STORE_REL are Linux's since 6.15.
    """

    ADD = 0x00
    FETCH = 0x01
    OR = 0x40
    AND = 0x50
    XOR = 0xA0
    XCHG = 0xE1
    CMPXCHG = 0xF1
    LOAD_ACQ = 0x100
    STORE_REL = 0x110


# BPF_SRC: where the right-hand operand of arithmetic and jumps stands.
K = 0x00
X = 0x08

# BPF_MODE: how a load or store finds its bytes.
MODE_ABS = 0x20
MODE_IND = 0x40
MODE_MEM = 0x60
MODE_MEMSX = 0x80
MODE_ATOMIC = 0xC0

# What LD_IMM64 loads, told by its src field.
PSEUDO_IMM = 0
PSEUDO_MAP_FD = 1
PSEUDO_MAP_VALUE = 2
PSEUDO_BTF_ID = 3
PSEUDO_FUNC = 4
PSEUDO_MAP_IDX = 5
PSEUDO_MAP_IDX_VALUE = 6

# What CALL calls, told by its src field.
CALL_HELPER = 0
CALL_SUBPROGRAM = 1
CALL_KFUNC = 2

LD_IMM64 = 0x18
CALL = InsnClass.JMP | JumpOp.CALL
EXIT = InsnClass.JMP | JumpOp.EXIT
ADDR_SPACE_CAST = 1

# BPF_SIZE's two bits by the number of bytes.
SIZE_BITS = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}

# The fields that an opcode may fill; all others are reserved and zero.
DST = 1
SRC = 2
OFF = 4
IMM = 8
PICKY = 16  # the field's values are restricted too: see `check.fault`


def _fields() -> dict[int, int]:
    table = {LD_IMM64: DST | SRC | IMM | PICKY}
    for code in (0x00, 0x08, 0x10):
        table[MODE_ABS | code] = IMM
        table[MODE_IND | code] = SRC | IMM
        table[InsnClass.LDX | MODE_MEMSX | code] = DST | SRC | OFF
    for code in SIZE_BITS.values():
        table[InsnClass.LDX | MODE_MEM | code] = DST | SRC | OFF
        table[InsnClass.ST | MODE_MEM | code] = DST | OFF | IMM
        table[InsnClass.STX | MODE_MEM | code] = DST | SRC | OFF
        table[InsnClass.STX | MODE_ATOMIC | code] = DST | SRC | OFF | IMM | PICKY
    for group in (InsnClass.ALU, InsnClass.ALU64):
        _add_alu(table, int(group))
    for group in (InsnClass.JMP, InsnClass.JMP32):
        for jump in range(JumpOp.JEQ, JumpOp.JCOND, 0x10):
            if jump not in {JumpOp.CALL, JumpOp.EXIT}:
                table[group | jump | K] = DST | OFF | IMM
                table[group | jump | X] = DST | SRC | OFF
    table[InsnClass.JMP | JumpOp.JA] = OFF
    table[InsnClass.JMP | JumpOp.JA | X] = DST
    table[InsnClass.JMP32 | JumpOp.JA] = IMM
    table[InsnClass.JMP | JumpOp.JCOND] = OFF
    table[CALL] = SRC | OFF | IMM | PICKY
    table[EXIT] = 0
    return table


def _add_alu(table: dict[int, int], group: int) -> None:
    for op in range(0, AluOp.END, 0x10):
        table[group | op | K] = DST | IMM
        table[group | op | X] = DST | SRC
    for op in (AluOp.DIV, AluOp.MOD):
        table[group | op | K] = DST | OFF | IMM | PICKY
        table[group | op | X] = DST | SRC | OFF | PICKY
    table[group | AluOp.MOV | X] = DST | SRC | OFF | IMM | PICKY
    table[group | AluOp.NEG | K] = DST
    del table[group | AluOp.NEG | X]
    table[group | AluOp.END | K] = DST | IMM | PICKY
    if group == InsnClass.ALU:
        table[group | AluOp.END | X] = DST | IMM | PICKY


FIELDS = _fields()
