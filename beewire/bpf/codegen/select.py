"""Instruction selection: SSA operations to instructions with virtual registers.

    %3 = binary add64 %1, %2      =>      v13 = v11
    store u32 stack [&key+4], 7           v13 += v12
                                          *(u32 *)(r10 -4) = 7

Two-address arithmetic copies its first operand, Phis copy at the end of each
predecessor; coalescing takes most of these copies away. Constants, maps and addresses
are made where they are used.
"""

from beewire.bpf.codegen import arith, graph
from beewire.bpf.codegen.carried import carried, ordered
from beewire.bpf.codegen.machine import (
    ADD_IMM,
    ADDRESS,
    ALU,
    ALU32_K,
    ALU32_X,
    ALU64_K,
    ALU64_X,
    AND_IMM,
    ARSH_IMM,
    ATOMIC,
    CALL,
    EXIT,
    FRAME,
    JUMP,
    LD_IMM64,
    LDX,
    LDX_SIGNED,
    LSH_IMM,
    MAY_GOTO,
    MOV,
    MOV32,
    MOV_IMM,
    NEG,
    NONE,
    RSH_IMM,
    ST,
    STX,
    Ins,
    Machine,
    Note,
    Part,
)
from beewire.bpf.codegen.ordered import check_atomic
from beewire.bpf.codegen.reads import may_write
from beewire.bpf.codegen.work import Work
from beewire.bpf.ir import (
    ArenaAddress,
    Atomic,
    AtomicOp,
    Binary,
    BinOp,
    Block,
    Branch,
    Budget,
    ByteSwap,
    Call,
    CallKind,
    CmpOp,
    Const,
    CoreValue,
    Extend,
    FieldAddress,
    FunctionRef,
    GlobalRef,
    Jump,
    Load,
    MapRef,
    Op,
    Phi,
    Return,
    Slot,
    Space,
    Span,
    Store,
    SymbolRef,
)
from beewire.bpf.isa import (
    ADDR_SPACE_CAST,
    CALL_KFUNC,
    CALL_SUBPROGRAM,
    PSEUDO_BTF_ID,
    PSEUDO_FUNC,
    PSEUDO_MAP_FD,
    PSEUDO_MAP_VALUE,
    AluOp,
    InsnClass,
)
from beewire.bpf.isa import AtomicOp as Code
from beewire.bpf.object.target import CONTEXT_STORES
from beewire.hints import Callable

_ATOMIC = {
    AtomicOp.ADD: Code.ADD,
    AtomicOp.AND: Code.AND,
    AtomicOp.OR: Code.OR,
    AtomicOp.XOR: Code.XOR,
    AtomicOp.XCHG: Code.XCHG,
    AtomicOp.CMPXCHG: Code.CMPXCHG,
    AtomicOp.LOAD_ACQ: Code.LOAD_ACQ,
    AtomicOp.STORE_REL: Code.STORE_REL,
}
_TO_BE = int(InsnClass.ALU | AluOp.END) | 8
_OFFSETS = range(-(1 << 15), 1 << 15)
_MEMORY = (Load, Store, Atomic)
USER_TO_KERNEL = 1  # address space 0 << 16 | address space 1


def select(work: Work) -> Machine:
    """Choose instructions for every operation."""
    selector = _Selector(work)
    selector.run(work.function.blocks)
    return selector.machine


class _Selector:
    """The state of one selection: values to registers, and where we are."""

    __slots__ = (
        "cache",
        "carried",
        "ins",
        "machine",
        "regs",
        "target",
        "uses",
        "whole",
        "work",
    )

    def __init__(self, work: Work) -> None:
        self.work = work
        self.target = work.target
        self.machine = Machine(work.target)
        self.machine.slots = work.places
        self.machine.frame = (work.frame + 7) & -8
        self.regs: dict[Op, int] = {}
        self.ins: list[Ins] = []
        self.cache: dict[object, int] = {}
        self.uses: dict[Op, int] = {}
        self.whole: set[Op] = set()  # addresses needed as values
        self.carried = carried(work.function.blocks) if work.loops() else {}

    def run(self, blocks: list[Block]) -> None:
        """Select block by block, then join the parts and their Phis."""
        self.count(blocks)
        depths = graph.loop_depths(blocks, self.work.loops())
        parts = {b: Part(b.name, d) for b, d in zip(blocks, depths, strict=True)}
        self.machine.parts = list(parts.values())
        phis: list[tuple[Block, list[tuple[Phi, int]]]] = []
        for block, part in parts.items():
            self.ins = part.ins
            self.cache = {}
            if block is blocks[0]:
                self.entry()
            group = self.heads(block)
            if group:
                phis.append((block, group))
        for block, part in parts.items():
            self.ins = part.ins
            self.cache = {}
            for op in block.ops:
                _RULES[type(op)](self, op)
            self.leave(block.ops[-1], part, parts)
        for block, group in phis:
            for index, pred in enumerate(block.preds):
                self.ins = parts[pred].ins
                self.copies(group, index)

    def count(self, blocks: list[Block]) -> None:
        """Count uses; find the addresses that no load or store can take in."""
        uses = self.uses
        for block in blocks:
            for op in block.ops:
                for i, arg in enumerate(op.args):
                    uses[arg] = uses.get(arg, 0) + 1
                    if type(arg) in _ADDRESSES and (
                        i
                        or not isinstance(op, Load | Store)
                        or (op.offset and isinstance(arg, FieldAddress))
                    ):
                        self.whole.add(arg)

    def entry(self) -> None:
        """Take the parameters out of the registers that they come in."""
        for param in self.work.function.params:
            if param not in self.uses:
                continue
            self.regs[param] = dst = self.machine.new()
            self.move(dst, param.index + 1, None)

    def heads(self, block: Block) -> list[tuple[Phi, int]]:
        """Registers for the block's Phis: one that preds write, one of its own."""
        group: list[tuple[Phi, int]] = []
        for op in block.ops:
            if not isinstance(op, Phi):
                break
            source, dst = self.machine.new(), self.machine.new()
            self.regs[op] = dst
            group.append((op, source))
        for op, source in group:
            self.move(self.regs[op], source, None)
        return group

    def copies(self, group: list[tuple[Phi, int]], index: int) -> None:
        """Write the Phis' sources; those first whose old value nobody waits for."""
        self.cache = {}
        waiting = list(group)
        while waiting:
            for item in waiting:
                phi, _ = item
                others = (p.args[index] for p, _ in waiting if p is not phi)
                if phi not in others:
                    break
            else:
                item = waiting[0]
            waiting.remove(item)
            phi, source = item
            self.make(source, phi.args[index], None)

    def leave(self, last: Op, part: Part, parts: dict[Block, Part]) -> None:
        if isinstance(last, Jump):
            part.next = parts[last.target]
        elif isinstance(last, Branch) and isinstance(last.args[0], Budget):
            part.branch = Ins(MAY_GOTO, 0, 0, 0, 0, (), NONE, last.span)
            part.then, part.next = parts[last.orelse], parts[last.then]
            if last.op is not CmpOp.NE:
                part.then, part.next = part.next, part.then
        elif isinstance(last, Branch):
            part.branch, inverted = self.test(last, jumps=part.depth > 0)
            part.then, part.next = parts[last.then], parts[last.orelse]
            if inverted:
                part.then, part.next = part.next, part.then

    # Emission.

    def put(  # noqa: PLR0913, PLR0917 - the fields of one instruction
        self,
        code: int,
        dst: int,
        src: int,
        off: int,
        imm: int,
        reads: tuple[int, ...],
        write: int,
        span: Span | None,
        note: Note | None = None,
    ) -> None:
        self.ins.append(Ins(code, dst, src, off, imm, reads, write, span, note))

    def move(self, dst: int, src: int, span: Span | None) -> None:
        self.ins.append(Ins(MOV, dst, src, 0, 0, (src,), dst, span))

    def modify(self, code: int, dst: int, imm: int, span: Span | None) -> None:
        """`dst op= imm`."""
        self.ins.append(Ins(code, dst, 0, 0, imm, (dst,), dst, span))

    def make(self, dst: int, op: Op, span: Span | None) -> None:
        """Put a value into `dst`."""
        if isinstance(op, _LEAVES):
            self.ins.append(self.leaf(dst, op, span))
        else:
            self.move(dst, self.regs[op], span)

    def leaf(self, dst: int, op: Op, span: Span | None) -> Ins:
        """The instruction that makes a constant or an address in `dst`."""
        if isinstance(op, Const):
            return self.constant(dst, arith.signed(op.value), span)
        if isinstance(op, Slot):
            return Ins(ADDRESS, dst, FRAME, 0, self.slot(op), (), dst, span)
        if isinstance(op, MapRef):
            note: Note = ("map", op.name, 0)
            return Ins(LD_IMM64, dst, PSEUDO_MAP_FD, 0, 0, (), dst, span, note)
        if isinstance(op, FunctionRef):
            note = ("subprogram", op.name, 0)
            return Ins(LD_IMM64, dst, PSEUDO_FUNC, 0, 0, (), dst, span, note)
        if isinstance(op, SymbolRef):
            note = ("ksym", op.name, 0)
            return Ins(LD_IMM64, dst, PSEUDO_BTF_ID, 0, 0, (), dst, span, note)
        assert isinstance(op, GlobalRef)
        note = ("global", op.section, op.offset)
        return Ins(LD_IMM64, dst, PSEUDO_MAP_VALUE, 0, 0, (), dst, span, note)

    def constant(self, dst: int, value: int, span: Span | None) -> Ins:
        """The instruction that makes a number in `dst`."""
        if arith.fits_imm(value):
            return Ins(MOV_IMM, dst, 0, 0, value, (), dst, span)
        if 0 <= value <= arith.M32 and self.target.at_least(3):
            imm = arith.signed(value, 32)
            return Ins(ALU32_K | AluOp.MOV, dst, 0, 0, imm, (), dst, span)
        return Ins(LD_IMM64, dst, 0, 0, value, (), dst, span)

    def slot(self, slot: Slot) -> int:
        """Where a slot is, counted from r10."""
        slots = self.machine.slots
        if slot not in slots:
            slots[slot] = self.machine.place(slot.size, slot.align)
        return slots[slot]

    def reg(self, op: Op, span: Span | None) -> int:
        """A register with the value; constants are shared within a block."""
        found = self.regs.get(op)
        if found is not None:
            return found
        key = (type(op), op.value) if isinstance(op, Const) else op
        cached = self.cache.get(key)
        if cached is None:
            cached = self.cache[key] = self.machine.new()
            self.ins.append(self.leaf(cached, op, span))
        return cached

    def result(self, op: Op) -> int:
        self.regs[op] = dst = self.machine.new()
        return dst

    def copied(self, op: Op, value: Op) -> int:
        """A register for the result of `op`, that begins as `value`."""
        dst = self.result(op)
        self.make(dst, value, op.span)
        return dst

    def address(self, op: Load | Store | Atomic) -> tuple[int, int, Note | None]:
        """Register, offset and note of a memory operand."""
        base, offset = op.args[0], op.offset
        if isinstance(base, Slot):
            return FRAME, self.slot(base) + offset, None
        if isinstance(base, GlobalRef) and base.offset + offset in _OFFSETS:
            return self.section(base, op.span), base.offset + offset, None
        if isinstance(base, FieldAddress) and base not in self.whole:
            field = base.field
            return self.reg(base.args[0], op.span), field.local, field
        if isinstance(base, Binary) and self.is_indexed(base):
            slot = base.args[0]
            assert isinstance(slot, Slot)
            offset += self.slot(slot)
        if offset in _OFFSETS:
            return self.reg(base, op.span), offset, None
        far = self.machine.new()
        self.make(far, base, op.span)
        self.modify(ADD_IMM, far, offset, op.span)
        return far, 0, None

    def is_indexed(self, op: Binary) -> bool:
        """Whether `op` is &slot + index, of which only loads and stores are made.

        They add the slot's place to their offsets.
        """
        return (
            op.op is BinOp.ADD and isinstance(op.args[0], Slot) and op not in self.whole
        )

    def section(self, ref: GlobalRef, span: Span | None) -> int:
        """The address of a data section, shared within a block."""
        found = self.cache.get(ref.section)
        if found is None:
            found = self.cache[ref.section] = self.machine.new()
            self.ins.append(self.leaf(found, GlobalRef(ref.section, 0), span))
        return found

    def test(self, op: Branch, *, jumps: bool) -> tuple[Ins, bool]:
        """The conditional jump, and whether it jumps where `op` does not hold."""
        a, b = op.args
        cmp, inverted = op.op, False
        # Outside of loops equals follow the test: the verifier walks that way first.
        follows = not jumps and cmp is CmpOp.EQ and len(op.then.preds) == 1
        late = not self.target.at_least(2) and cmp in _SINCE_V2
        if cmp is CmpOp.CLEAR or follows or late:
            cmp, inverted = arith.INVERSE[cmp], True
        group = InsnClass.JMP32 if op.bits == 32 else InsnClass.JMP
        code = int(group | JUMP[cmp])
        left = self.reg(a, op.span)
        if isinstance(b, Const):
            value = arith.signed(b.value, op.bits)
            if arith.fits_imm(value):
                return Ins(code, left, 0, 0, value, (left,), NONE, op.span), inverted
        right = self.reg(b, op.span)
        reads = (left, right)
        return Ins(code | 8, left, right, 0, 0, reads, NONE, op.span), inverted


_ADDRESSES = frozenset((FieldAddress, Binary))
_LEAVES = (Const, Slot, MapRef, GlobalRef, FunctionRef, SymbolRef)
_SHIFTS = frozenset((BinOp.SHL, BinOp.LSHR, BinOp.ASHR))
_DIVISIONS = frozenset((BinOp.UDIV, BinOp.UMOD, BinOp.SDIV, BinOp.SMOD))
_SINCE_V2 = frozenset((CmpOp.ULT, CmpOp.ULE, CmpOp.SLT, CmpOp.SLE))


def _binary(s: _Selector, op: Op) -> None:
    assert isinstance(op, Binary)
    a, b = ordered(op, s.uses, s.carried.get(op))
    wide = op.bits == 64
    if s.is_indexed(op):
        right = s.reg(op.args[1], op.span)
        dst = s.result(op)
        s.move(dst, FRAME, op.span)
        s.put(ALU64_X | AluOp.ADD, dst, right, 0, 0, (dst, right), dst, op.span)
        return
    if op.op is BinOp.SUB and isinstance(a, Const) and a.value == 0:
        dst = s.copied(op, b)
        s.modify(NEG if wide else ALU32_K | AluOp.NEG, dst, 0, op.span)
        return
    code = ALU[op.op]
    off = 1 if op.op in {BinOp.SDIV, BinOp.SMOD} else 0
    value = _immediate(op, b)
    if value is not None:
        dst = s.copied(op, a)
        group = ALU64_K if wide else ALU32_K
        s.put(group | code, dst, 0, off, value, (dst,), dst, op.span)
        return
    right = s.reg(b, op.span)
    dst = s.copied(op, a)
    group = ALU64_X if wide else ALU32_X
    s.put(group | code, dst, right, off, 0, (dst, right), dst, op.span)


def _immediate(op: Binary, b: Op) -> int | None:
    """The second operand as an imm, if the verifier takes it there."""
    if not isinstance(b, Const):
        return None
    if op.op in _SHIFTS:
        return b.value % op.bits
    value = arith.signed(b.value, op.bits)
    if value == 0 and op.op in _DIVISIONS:
        return None  # "div by zero", though a register may well be zero
    return value if arith.fits_imm(value) else None


def _extend(s: _Selector, op: Op) -> None:
    assert isinstance(op, Extend)
    value = op.args[0]
    if op.signed and s.target.at_least(4):
        source = s.reg(value, op.span)
        dst = s.result(op)
        s.put(MOV, dst, source, op.bits, 0, (source,), dst, op.span)
    elif op.bits == 32 and not op.signed and s.target.at_least(3):
        source = s.reg(value, op.span)
        dst = s.result(op)
        s.put(MOV32, dst, source, 0, 0, (source,), dst, op.span)
    elif op.bits < 32 and not op.signed:
        s.modify(AND_IMM, s.copied(op, value), arith.MASK[op.bits], op.span)
    else:
        _shifted(s, s.copied(op, value), op.bits, op.span, is_signed=op.signed)


def _shifted(
    s: _Selector, dst: int, bits: int, span: Span | None, *, is_signed: bool
) -> None:
    """Extend by shifting up and down again."""
    s.modify(LSH_IMM, dst, 64 - bits, span)
    s.modify(ARSH_IMM if is_signed else RSH_IMM, dst, 64 - bits, span)


def _byteswap(s: _Selector, op: Op) -> None:
    assert isinstance(op, ByteSwap)
    s.modify(_TO_BE, s.copied(op, op.args[0]), op.bits, op.span)


def _load(s: _Selector, op: Op) -> None:
    assert isinstance(op, Load)
    base, offset, note = s.address(op)
    dst = s.result(op)
    narrow = op.signed and op.size < 8
    # The kernel rewrites context loads, and refuses sign-extending ones.
    native = narrow and s.target.at_least(4) and op.space is not Space.CTX
    code = (LDX_SIGNED if native else LDX)[op.size]
    s.put(code, dst, base, offset, 0, (base,), dst, op.span, note)
    s.machine.accessed(s.ins[-1], op)
    if op.space is Space.CTX:
        s.machine.loads[dst] = op
    if narrow and not native:
        _shifted(s, dst, op.size * 8, op.span, is_signed=True)


def _store(s: _Selector, op: Op) -> None:
    assert isinstance(op, Store)
    value = op.args[1]
    if isinstance(value, Const) and (
        op.space is not Space.CTX or s.target.has(CONTEXT_STORES)
    ):
        imm = arith.signed(value.value, min(64, op.size * 8))
        if arith.fits_imm(imm):
            base, offset, note = s.address(op)
            s.put(ST[op.size], base, 0, offset, imm, (base,), NONE, op.span, note)
            s.machine.accessed(s.ins[-1], op)
            return
    source = s.reg(value, op.span)
    base, offset, note = s.address(op)
    code = STX[op.size]
    s.put(code, base, source, offset, 0, (base, source), NONE, op.span, note)
    s.machine.accessed(s.ins[-1], op)


def _atomic(s: _Selector, op: Op) -> None:
    assert isinstance(op, Atomic)
    span = op.span or s.work.function.span
    check_atomic(s.target, op, wanted=op in s.uses, span=span)
    base, offset, note = s.address(op)
    code, kind = ATOMIC[op.size], int(_ATOMIC[op.op])
    changes = op.op is not AtomicOp.STORE_REL
    if op.op is AtomicOp.LOAD_ACQ:
        dst = s.result(op)
        s.put(code, dst, base, offset, kind, (base,), dst, op.span, note)
    elif op.op is AtomicOp.CMPXCHG:
        source = s.reg(op.args[1], op.span)
        s.make(0, op.args[2], op.span)
        s.put(code, base, source, offset, kind, (base, source, 0), 0, op.span, note)
        if op in s.uses:
            s.move(s.result(op), 0, op.span)
    elif changes and (op.op is AtomicOp.XCHG or (op.fetch and op in s.uses)):
        dst = s.copied(op, op.args[1])
        s.put(code, base, dst, offset, kind | 1, (base, dst), dst, op.span, note)
    else:
        source = s.reg(op.args[1], op.span)
        s.put(code, base, source, offset, kind, (base, source), NONE, op.span, note)


def _field(s: _Selector, op: Op) -> None:
    assert isinstance(op, FieldAddress)
    if op in s.whole:
        dst = s.copied(op, op.args[0])
        s.put(ADD_IMM, dst, 0, 0, op.field.local, (dst,), dst, op.span, op.field)


def _core_value(s: _Selector, op: Op) -> None:
    assert isinstance(op, CoreValue)
    dst = s.result(op)
    value = arith.signed(op.field.local)
    code = MOV_IMM if arith.fits_imm(value) else LD_IMM64
    s.put(code, dst, 0, 0, value, (), dst, op.span, op.field)


def _call(s: _Selector, op: Op) -> None:
    assert isinstance(op, Call)
    moves: list[tuple[int, int]] = []
    setup: list[Ins] = []
    for i, arg in enumerate(op.args):
        if isinstance(arg, _LEAVES):
            setup.append(s.leaf(i + 1, arg, op.span))
        else:
            moves.append((i + 1, s.regs[arg]))
    reads = tuple(source for _, source in moves)
    call = _called(op, reads)
    call.moves = tuple(moves)
    call.setup = tuple(setup)
    if may_write(op):
        s.machine.writes[call] = (0, 1 << 16)
    s.ins.append(call)
    if op in s.uses:
        s.move(s.result(op), 0, op.span)


def _called(op: Call, reads: tuple[int, ...]) -> Ins:
    if isinstance(op.target, int):
        return Ins(CALL, 0, 0, 0, op.target, reads, 0, op.span)
    source, kind = (
        (CALL_KFUNC, "kfunc")
        if op.call is CallKind.KFUNC
        else (CALL_SUBPROGRAM, "subprogram")
    )
    note = (kind, op.target, 0)
    return Ins(CALL, 0, source, 0, -1, reads, 0, op.span, note)


def _return(s: _Selector, op: Op) -> None:
    if op.args:
        s.make(0, op.args[0], op.span)
    s.put(EXIT, 0, 0, 0, 0, (0,), NONE, op.span)


def _nothing(_selector: _Selector, _op: Op) -> None:
    """Phis, jumps and what may_goto tests are made elsewhere."""


def _arena(s: _Selector, op: Op) -> None:
    source = s.reg(op.args[0], op.span)
    dst = s.result(op)
    s.put(MOV, dst, source, ADDR_SPACE_CAST, USER_TO_KERNEL, (source,), dst, op.span)


_RULES: dict[type[Op], Callable[[_Selector, Op], None]] = {
    ArenaAddress: _arena,
    Atomic: _atomic,
    Binary: _binary,
    Branch: _nothing,
    Budget: _nothing,
    ByteSwap: _byteswap,
    Call: _call,
    CoreValue: _core_value,
    Extend: _extend,
    FieldAddress: _field,
    Jump: _nothing,
    Load: _load,
    Phi: _nothing,
    Return: _return,
    Store: _store,
}
