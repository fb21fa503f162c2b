"""Instructions with virtual registers, between selection and emission.

Registers 0 to 10 are the machine's; those above are virtual until `allocate` has
coloured them. An instruction keeps the fields of the encoded form and says besides what
it reads and writes.
"""

from beewire.bpf.ir import (
    BinOp,
    CmpOp,
    CoreField,
    Load,
    Op,
    Slot,
    Space,
    Span,
    Store,
)
from beewire.bpf.isa import AluOp, InsnClass, JumpOp
from beewire.bpf.object.target import Target

FRAME = 10  # r10, the stack's upper end
FIRST_VIRTUAL = 11
NONE = -1

ALU64_K, ALU64_X = int(InsnClass.ALU64), int(InsnClass.ALU64) | 8
ALU32_K, ALU32_X = int(InsnClass.ALU), int(InsnClass.ALU) | 8
MOV = ALU64_X | AluOp.MOV
MOV32 = ALU32_X | AluOp.MOV
MOV_IMM = ALU64_K | AluOp.MOV
ADD_IMM = ALU64_K | AluOp.ADD
LSH_IMM = ALU64_K | AluOp.LSH
RSH_IMM = ALU64_K | AluOp.RSH
ARSH_IMM = ALU64_K | AluOp.ARSH
AND_IMM = ALU64_K | AluOp.AND
NEG = ALU64_K | AluOp.NEG
LDX = {1: 0x71, 2: 0x69, 4: 0x61, 8: 0x79}
LDX_SIGNED = {1: 0x91, 2: 0x89, 4: 0x81}
ST = {1: 0x72, 2: 0x6A, 4: 0x62, 8: 0x7A}
STX = {1: 0x73, 2: 0x6B, 4: 0x63, 8: 0x7B}
ATOMIC = {1: 0xD3, 2: 0xCB, 4: 0xC3, 8: 0xDB}
LD_IMM64 = 0x18
CALL = int(InsnClass.JMP | JumpOp.CALL)
EXIT = int(InsnClass.JMP | JumpOp.EXIT)
GOTO = int(InsnClass.JMP | JumpOp.JA)
MAY_GOTO = int(InsnClass.JMP | JumpOp.JCOND)
ADDRESS = -1  # not encoded: dst = r10 + imm, two instructions

ALU = {
    BinOp.ADD: AluOp.ADD,
    BinOp.SUB: AluOp.SUB,
    BinOp.MUL: AluOp.MUL,
    BinOp.UDIV: AluOp.DIV,
    BinOp.UMOD: AluOp.MOD,
    BinOp.SDIV: AluOp.DIV,
    BinOp.SMOD: AluOp.MOD,
    BinOp.AND: AluOp.AND,
    BinOp.OR: AluOp.OR,
    BinOp.XOR: AluOp.XOR,
    BinOp.SHL: AluOp.LSH,
    BinOp.LSHR: AluOp.RSH,
    BinOp.ASHR: AluOp.ARSH,
}
JUMP = {
    CmpOp.EQ: JumpOp.JEQ,
    CmpOp.NE: JumpOp.JNE,
    CmpOp.ULT: JumpOp.JLT,
    CmpOp.ULE: JumpOp.JLE,
    CmpOp.UGT: JumpOp.JGT,
    CmpOp.UGE: JumpOp.JGE,
    CmpOp.SLT: JumpOp.JSLT,
    CmpOp.SLE: JumpOp.JSLE,
    CmpOp.SGT: JumpOp.JSGT,
    CmpOp.SGE: JumpOp.JSGE,
    CmpOp.SET: JumpOp.JSET,
}

_REWRITTEN = (Space.CTX, Space.KERNEL)  # accesses by pointers of one kind at a time


class Ins:
    """One instruction. `reads` are registers; `write` is one, or NONE.

    A call has `moves`, (argument register, virtual register) pairs that happen at once
    just before it, and then `setup`, which makes arguments out of nothing. `note` is
    what a relocation or CO-RE record says about it.
    """

    __slots__ = (
        "code",
        "dst",
        "imm",
        "moves",
        "note",
        "off",
        "reads",
        "setup",
        "span",
        "src",
        "write",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - the fields of one instruction
        self,
        code: int,
        dst: int,
        src: int,
        off: int,
        imm: int,
        reads: tuple[int, ...],
        write: int,
        span: Span | None,
        note: "Note | None" = None,
    ) -> None:
        self.code = code
        self.dst = dst
        self.src = src
        self.off = off
        self.imm = imm
        self.reads = reads
        self.write = write
        self.span = span
        self.note = note
        self.moves: tuple[tuple[int, int], ...] = ()
        self.setup: tuple[Ins, ...] = ()


Note = tuple[str, str, int] | CoreField


class Part:
    """A basic block of instructions; the terminator is apart.

    `branch` is a conditional jump to `then`, or None; the other way out is `next`.
    A part without `next` ends with EXIT.
    """

    __slots__ = ("branch", "depth", "ins", "name", "next", "then")

    def __init__(self, name: str, depth: int) -> None:
        self.name = name
        self.depth = depth
        self.ins: list[Ins] = []
        self.branch: Ins | None = None
        self.then: Part | None = None
        self.next: Part | None = None


class Machine:
    """A function as parts, and how many registers it uses so far.

    `frame` counts the bytes of stack in use, `slots` has each slot's distance from r10,
    `loads` the registers that hold what was read from the context, `writes` which bytes
    of it (start and end) an instruction may write. `apart` are the instructions that use
    a pointer of those that the kernel rewrites accesses by, and the pointer: one
    instruction cannot serve two kinds of them.
    """

    __slots__ = (
        "apart",
        "frame",
        "loads",
        "parts",
        "registers",
        "slots",
        "target",
        "writes",
    )

    def __init__(self, target: Target) -> None:
        self.target = target
        self.parts: list[Part] = []
        self.registers = FIRST_VIRTUAL
        self.frame = 0
        self.slots: dict[Slot, int] = {}
        self.loads: dict[int, Load] = {}
        self.writes: dict[Ins, tuple[int, int]] = {}
        self.apart: dict[Ins, Op] = {}

    def accessed(self, ins: Ins, op: Load | Store) -> None:
        """Note what `ins`, made of `op`, does to memory that the kernel lays out."""
        if op.space in _REWRITTEN:
            self.apart[ins] = op.args[0]
        if op.space is Space.CTX and isinstance(op, Store):
            self.writes[ins] = (ins.off, ins.off + op.size)

    def place(self, size: int, align: int = 8) -> int:
        """Room for `size` bytes on the stack: its distance from r10, negative."""
        self.frame = (self.frame + size + align - 1) // align * align
        return -self.frame

    def new(self) -> int:
        """A fresh virtual register."""
        self.registers += 1
        return self.registers - 1
