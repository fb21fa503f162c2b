"""A BPF machine in plain Python, strict where the kernel is.

Reading a register that nothing wrote (or that a call clobbered) is a fault, so is
reading stack bytes that nothing wrote, and running off the end.
"""

from beewire.bpf import ir
from beewire.bpf.codegen import Code
from beewire.bpf.isa import Insn
from tests.bpf.codegen.memory import HELPERS, MAP, SECTION, STACK, Memory
from tests.bpf.codegen.reference import arithmetic, comparison, signed

M64 = (1 << 64) - 1
SIZES = {0x10: 1, 0x08: 2, 0x00: 4, 0x18: 8}
ALU = {
    0x00: ir.BinOp.ADD,
    0x10: ir.BinOp.SUB,
    0x20: ir.BinOp.MUL,
    0x30: ir.BinOp.UDIV,
    0x40: ir.BinOp.OR,
    0x50: ir.BinOp.AND,
    0x60: ir.BinOp.SHL,
    0x70: ir.BinOp.LSHR,
    0x90: ir.BinOp.UMOD,
    0xA0: ir.BinOp.XOR,
    0xC0: ir.BinOp.ASHR,
}
SIGNED = {ir.BinOp.UDIV: ir.BinOp.SDIV, ir.BinOp.UMOD: ir.BinOp.SMOD}
JUMPS = {
    0x10: ir.CmpOp.EQ,
    0x20: ir.CmpOp.UGT,
    0x30: ir.CmpOp.UGE,
    0x40: ir.CmpOp.SET,
    0x50: ir.CmpOp.NE,
    0x60: ir.CmpOp.SGT,
    0x70: ir.CmpOp.SGE,
    0xA0: ir.CmpOp.ULT,
    0xB0: ir.CmpOp.ULE,
    0xC0: ir.CmpOp.SLT,
    0xD0: ir.CmpOp.SLE,
}


class Fault(Exception):  # noqa: N818 - the machine's word
    """What the verifier would have refused."""


class Processor:
    """r0 to r10, a stack, and the instructions by slot."""

    def __init__(self, code: Code, memory: Memory, params: tuple[int, ...]) -> None:
        self.memory = memory
        memory.add(STACK, 512)
        self.written: set[int] = set()
        self.regs: list[int | None] = [None] * 11
        for i, value in enumerate(params):
            self.regs[i + 1] = value
        self.regs[10] = STACK + 512
        self.slots: dict[int, Insn] = {}
        at = 0
        for insn in code.insns:
            self.slots[at] = insn
            at += insn.slots
        self.relocations = {r.slot: r for r in code.relocations}
        self.steps = 0

    def run(self) -> int:
        """Run to the exit; gives r0."""
        pc = 0
        while True:
            self.steps += 1
            if self.steps > 100_000:
                raise TimeoutError
            insn = self.slots.get(pc)
            if insn is None:
                raise Fault(f"no instruction at {pc}")
            if insn.opcode == 0x95:
                return self.get(0)
            pc = self.step(insn, pc)

    def get(self, register: int) -> int:
        value = self.regs[register]
        if value is None:
            raise Fault(f"r{register} is not readable")
        return value

    def step(self, insn: Insn, pc: int) -> int:
        match insn.opcode & 7:
            case 0:
                self.regs[insn.dst] = self.wide(insn, pc)
                return pc + 2
            case 1:
                self.load(insn)
            case 2 | 3:
                self.store(insn)
            case 4 | 7:
                self.alu(insn)
            case _:
                return self.jump(insn, pc)
        return pc + 1

    def wide(self, insn: Insn, pc: int) -> int:
        relocation = self.relocations.get(pc)
        if relocation is None:
            return insn.imm & M64
        return MAP if relocation.kind == "map" else SECTION + relocation.offset

    def stack(self, address: int, size: int, *, write: bool) -> None:
        if not STACK <= address < STACK + 512:
            return
        touched = range(address, address + size)
        if address % size:
            raise Fault(f"misaligned stack access at {address - STACK - 512}")
        if write:
            self.written.update(touched)
        elif not self.written.issuperset(touched):
            raise Fault(f"stack at {address - STACK - 512} is not initialised")

    def load(self, insn: Insn) -> None:
        size = SIZES[insn.opcode & 0x18]
        address = self.get(insn.src) + insn.off
        self.stack(address, size, write=False)
        value = self.memory.read(address, size)
        if insn.opcode & 0xE0 == 0x80:
            value = signed(value, size * 8) & M64
        self.regs[insn.dst] = value

    def store(self, insn: Insn) -> None:
        size = SIZES[insn.opcode & 0x18]
        address = self.get(insn.dst) + insn.off
        if insn.opcode & 0xE0 == 0xC0:
            self.atomic(insn, address, size)
            return
        self.stack(address, size, write=True)
        value = insn.imm if insn.opcode & 7 == 2 else self.get(insn.src)
        self.memory.write(address, size, value)

    def atomic(self, insn: Insn, address: int, size: int) -> None:
        self.stack(address, size, write=False)
        old = self.memory.read(address, size)
        value = self.get(insn.src)
        mask = (1 << size * 8) - 1
        match insn.imm & 0xF0 if insn.imm < 0xE0 else insn.imm:
            case 0xF1:
                new = value if old == self.get(0) & mask else old
                self.regs[0] = old
            case 0xE1:
                new = value
            case kind:
                new = arithmetic(ALU[kind], old, value, size * 8)
        self.memory.write(address, size, new)
        if insn.imm & 1 and insn.imm != 0xF1:
            self.regs[insn.src] = old

    def alu(self, insn: Insn) -> None:
        bits = 64 if insn.opcode & 7 == 7 else 32
        mask = (1 << bits) - 1
        kind = insn.opcode & 0xF0
        if kind == 0xD0:
            self.regs[insn.dst] = self.swapped(insn)
            return
        if kind == 0x80:
            self.regs[insn.dst] = -self.get(insn.dst) & mask
            return
        right = self.get(insn.src) if insn.opcode & 8 else insn.imm
        if kind == 0xB0:
            value = signed(right, insn.off) if insn.off else right
            self.regs[insn.dst] = value & mask
            return
        op = SIGNED[ALU[kind]] if insn.off else ALU[kind]
        self.regs[insn.dst] = arithmetic(op, self.get(insn.dst), right, bits)

    def swapped(self, insn: Insn) -> int:
        bits = insn.imm
        value = self.get(insn.dst) & (1 << bits) - 1
        if insn.opcode & 8 or insn.opcode & 7 == 7:
            return int.from_bytes(value.to_bytes(bits // 8, "little"), "big")
        return value

    def jump(self, insn: Insn, pc: int) -> int:
        kind = insn.opcode & 0xF0
        if kind == 0x80:
            args = [value or 0 for value in self.regs[1:6]]
            self.regs[:6] = [None] * 6
            self.regs[0] = HELPERS[insn.imm](self.memory, args) & M64
            return pc + 1
        if insn.opcode == 0xE5:  # may_goto: no test runs as long as its budget
            return pc + 1
        if kind == 0:
            return pc + 1 + (insn.imm if insn.opcode & 7 == 6 else insn.off)
        bits = 64 if insn.opcode & 7 == 5 else 32
        right = self.get(insn.src) if insn.opcode & 8 else insn.imm
        taken = comparison(JUMPS[kind], self.get(insn.dst), right, bits)
        return pc + 1 + (insn.off if taken else 0)
