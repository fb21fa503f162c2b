"""The typed IR between `lang` and `codegen`: three-address operations in basic blocks.

A function is a control-flow graph. Every `Op` that yields a value *is* that value and is
computed once; Python's locals are `Local`s, read and written by `GetLocal`/`SetLocal`,
which codegen turns into SSA form (`Phi`).

    block entry:
      %1 = call helper 14 ()                   # get_current_pid_tgid
      %2 = binary lshr64 %1, 32
      set pid, %2
      branch ne64 %2, 0 -> live, done

All values are 64-bit registers. Integers narrower than 64 bits are kept extended to 64
(zero-extended when unsigned, sign-extended when signed); `bits=32` operations compute
in 32 bits and zero-extend. Pointers carry no arithmetic but `Binary ADD`/`FieldAddress`.
Bytes in memory are in host order.
"""

from beewire.bpf.btf import types as btf
from beewire.enums import WireEnum
from beewire.hints import Iterator
from beewire.rows import Row


class Span(Row):
    """A piece of source; lines and columns count from 1, the end column is exclusive."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int


class Kind(WireEnum):
    """What a value is."""

    VOID = 0
    INT = 1
    PTR = 2


class Space(WireEnum):
    """What memory a load or store touches; codegen may forward and merge by it.

    CTX and STACK are private to the program, and so is a PACKET between two calls; MAP,
    KERNEL and MEM (unknown) may change under its feet at any time.
    """

    MEM = 0
    CTX = 1
    STACK = 2
    MAP = 3
    PACKET = 4
    KERNEL = 5


class BinOp(WireEnum):
    """Two-operand arithmetic. Shift counts are modulo `bits`; x/0 == 0, x%0 == x."""

    ADD = 0
    SUB = 1
    MUL = 2
    UDIV = 3
    UMOD = 4
    SDIV = 5
    SMOD = 6
    AND = 7
    OR = 8
    XOR = 9
    SHL = 10
    LSHR = 11
    ASHR = 12


class CmpOp(WireEnum):
    """Comparisons; U unsigned, S signed. SET tests (a & b) != 0, CLEAR == 0."""

    EQ = 0
    NE = 1
    ULT = 2
    ULE = 3
    UGT = 4
    UGE = 5
    SLT = 6
    SLE = 7
    SGT = 8
    SGE = 9
    SET = 10
    CLEAR = 11


class AtomicOp(WireEnum):
    """One step for other CPUs; CMPXCHG takes (base, new, expected), LOAD_ACQ (base, 0).

    LOAD_ACQ comes before all that follows, STORE_REL after all that came before.
    """

    ADD = 0
    AND = 1
    OR = 2
    XOR = 3
    XCHG = 4
    CMPXCHG = 5
    LOAD_ACQ = 6
    STORE_REL = 7


class CallKind(WireEnum):
    """What a call reaches."""

    HELPER = 0
    KFUNC = 1
    SUBPROGRAM = 2


class CoreField(Row):
    """A CO-RE fact: `access` ("0:1") into `type`; `kind` is enum bpf_core_relo_kind.

    `local` is the value that the local type gives (the byte offset, say).
    """

    type: "btf.Type"
    access: str
    kind: int
    local: int


class Op:
    """An operation; `args` are the values that it uses, in order.

    Classes of which a program has many set both fields themselves: a third of the time.
    """

    __slots__ = ("args", "span")
    kind: Kind = Kind.VOID

    def __init__(self, *args: "Op", span: Span | None = None) -> None:
        self.args = list(args)
        self.span = span


class Const(Op):
    """A constant; held as Python int in -2**63 .. 2**64-1, meaning its low 64 bits."""

    __slots__ = ("value",)
    kind = Kind.INT

    def __init__(self, value: int) -> None:
        self.args = []
        self.span = None
        self.value = value


class Param(Op):
    """The function's argument number `index` (0 = r1)."""

    __slots__ = ("index", "kind", "name")

    def __init__(self, index: int, name: str, kind: Kind) -> None:
        super().__init__()
        self.index = index
        self.name = name
        self.kind = kind


class Slot(Op):
    """The address of `size` bytes on the stack, not initialised; align 1, 2, 4 or 8."""

    __slots__ = ("align", "name", "size")
    kind = Kind.PTR

    def __init__(self, name: str, size: int, align: int = 8) -> None:
        super().__init__()
        self.name = name
        self.size = size
        self.align = align


class Local:
    """A variable of the source, or of the front end; not an address."""

    __slots__ = ("kind", "name")

    def __init__(self, name: str, kind: Kind) -> None:
        self.name = name
        self.kind = kind


class GetLocal(Op):
    """The present value of `local`."""

    __slots__ = ("kind", "local")

    def __init__(self, local: Local, span: Span | None = None) -> None:
        self.args = []
        self.span = span
        self.local = local
        self.kind = local.kind


class SetLocal(Op):
    """Give `local` a new value (args: value)."""

    __slots__ = ("local",)

    def __init__(self, local: Local, value: Op, span: Span | None = None) -> None:
        self.args = [value]
        self.span = span
        self.local = local


class Phi(Op):
    """SSA join; args stand in the order of the block's predecessors. Made by codegen."""

    __slots__ = ("kind", "local")

    def __init__(self, local: Local, *args: Op) -> None:
        super().__init__(*args)
        self.local = local
        self.kind = local.kind


class Binary(Op):
    """args: a, b. `kind` is PTR for pointer + int, else INT."""

    __slots__ = ("bits", "kind", "op")

    def __init__(
        self, op: BinOp, a: Op, b: Op, bits: int = 64, span: Span | None = None
    ) -> None:
        self.args = [a, b]
        self.span = span
        self.op = op
        self.bits = bits
        pointer = op in {BinOp.ADD, BinOp.SUB} and a.kind is Kind.PTR
        self.kind = Kind.PTR if pointer and b.kind is Kind.INT else Kind.INT


class Extend(Op):
    """The low `bits` (8, 16, 32) of args[0], zero- or sign-extended to 64."""

    __slots__ = ("bits", "signed")
    kind = Kind.INT

    def __init__(
        self, value: Op, bits: int, *, signed: bool, span: Span | None = None
    ) -> None:
        self.args = [value]
        self.span = span
        self.bits = bits
        self.signed = signed


class ByteSwap(Op):
    """Host order <-> big endian of the low `bits` (16, 32, 64), zero-extended."""

    __slots__ = ("bits",)
    kind = Kind.INT

    def __init__(self, value: Op, bits: int, span: Span | None = None) -> None:
        super().__init__(value, span=span)
        self.bits = bits


class Load(Op):
    """`size` bytes (1, 2, 4, 8) at args[0] + offset, extended to 64 bits.

    `kind` is PTR where the loaded word is a pointer (ctx.sk, packet start).
    """

    __slots__ = ("kind", "offset", "signed", "size", "space")

    def __init__(  # noqa: PLR0913 - the fields of one instruction
        self,
        base: Op,
        offset: int,
        size: int,
        *,
        space: Space,
        signed: bool = False,
        kind: Kind = Kind.INT,
        span: Span | None = None,
    ) -> None:
        self.args = [base]
        self.span = span
        self.offset = offset
        self.size = size
        self.space = space
        self.signed = signed
        self.kind = kind


class Store(Op):
    """args: base, value. Writes the low `size` bytes at base + offset."""

    __slots__ = ("offset", "size", "space")

    def __init__(
        self,
        base: Op,
        offset: int,
        size: int,
        value: Op,
        *,
        space: Space,
        span: Span | None = None,
    ) -> None:
        self.args = [base, value]
        self.span = span
        self.offset = offset
        self.size = size
        self.space = space


class Copy(Op):
    """args: dst, src. Copies `size` bytes, not overlapping; `align` holds for both."""

    __slots__ = ("align", "dst_offset", "dst_space", "size", "src_offset", "src_space")

    def __init__(  # noqa: PLR0913 - both ends of a memcpy
        self,
        dst: Op,
        dst_offset: int,
        src: Op,
        src_offset: int,
        size: int,
        *,
        align: int,
        dst_space: Space = Space.MEM,
        src_space: Space = Space.MEM,
        span: Span | None = None,
    ) -> None:
        super().__init__(dst, src, span=span)
        self.dst_offset = dst_offset
        self.src_offset = src_offset
        self.size = size
        self.align = align
        self.dst_space = dst_space
        self.src_space = src_space


class Zero(Op):
    """args: dst. Clears `size` bytes at dst + offset."""

    __slots__ = ("align", "offset", "size", "space")

    def __init__(
        self,
        dst: Op,
        offset: int,
        size: int,
        *,
        align: int,
        space: Space = Space.MEM,
        span: Span | None = None,
    ) -> None:
        super().__init__(dst, span=span)
        self.offset = offset
        self.size = size
        self.align = align
        self.space = space


class FieldAddress(Op):
    """args: base pointer to a kernel type -> address of a field, by CO-RE."""

    __slots__ = ("field",)
    kind = Kind.PTR

    def __init__(self, base: Op, field: CoreField, span: Span | None = None) -> None:
        super().__init__(base, span=span)
        self.field = field


class ArenaAddress(Op):
    """args: an address of the arena as user space has it -> as programs reach it."""

    __slots__ = ()
    kind = Kind.PTR


class CoreValue(Op):
    """A number that CO-RE supplies: size, existence, enum value."""

    __slots__ = ("field",)
    kind = Kind.INT

    def __init__(self, field: CoreField, span: Span | None = None) -> None:
        super().__init__(span=span)
        self.field = field


class MapRef(Op):
    """The map itself, as helpers take it."""

    __slots__ = ("name",)
    kind = Kind.PTR

    def __init__(self, name: str, span: Span | None = None) -> None:
        super().__init__(span=span)
        self.name = name


class FunctionRef(Op):
    """The address of a subprogram, as helpers take callbacks."""

    __slots__ = ("name",)
    kind = Kind.PTR

    def __init__(self, name: str, span: Span | None = None) -> None:
        super().__init__(span=span)
        self.name = name


class SymbolRef(Op):
    """The address of a variable, or function, of the kernel; 0 where it lacks it."""

    __slots__ = ("name",)
    kind = Kind.PTR

    def __init__(self, name: str, span: Span | None = None) -> None:
        super().__init__(span=span)
        self.name = name


class GlobalRef(Op):
    """The address `offset` bytes into a data section (".data", ".bss", ".rodata")."""

    __slots__ = ("offset", "section")
    kind = Kind.PTR

    def __init__(self, section: str, offset: int, span: Span | None = None) -> None:
        super().__init__(span=span)
        self.section = section
        self.offset = offset


class Call(Op):
    """args: up to five. `target` is a helper's number, or the name of the function."""

    __slots__ = ("call", "kind", "target")

    def __init__(
        self,
        call: CallKind,
        target: int | str,
        *args: Op,
        kind: Kind = Kind.INT,
        span: Span | None = None,
    ) -> None:
        super().__init__(*args, span=span)
        self.call = call
        self.target = target
        self.kind = kind


class Budget(Op):
    """Not 0 while the loop may go on: the kernel gives each run a budget of rounds.

    Stands just before the Branch that tests it, on every way round the loop. `rounds` is
    how many there may be at most, None where nothing tells.
    """

    __slots__ = ("rounds",)
    kind = Kind.INT

    def __init__(self, rounds: int | None = None, span: Span | None = None) -> None:
        super().__init__(span=span)
        self.rounds = rounds


class Atomic(Op):
    """args: base, value (, expected). Yields the old value when `fetch`.

    `size` is 4 or 8; of LOAD_ACQ and STORE_REL also 1 or 2.
    """

    __slots__ = ("fetch", "kind", "offset", "op", "size")

    def __init__(  # noqa: PLR0913 - the fields of one instruction
        self,
        op: AtomicOp,
        base: Op,
        offset: int,
        size: int,
        value: Op,
        expected: Op | None = None,
        *,
        fetch: bool = False,
        span: Span | None = None,
    ) -> None:
        args = (base, value) if expected is None else (base, value, expected)
        super().__init__(*args, span=span)
        self.op = op
        self.offset = offset
        self.size = size
        self.fetch = fetch
        self.kind = Kind.INT if fetch else Kind.VOID


class Jump(Op):
    """Go to `target`."""

    __slots__ = ("target",)

    def __init__(self, target: "Block", span: Span | None = None) -> None:
        self.args = []
        self.span = span
        self.target = target


class Branch(Op):
    """args: a, b. Go to `then` when `a op b` (of the low `bits`), else to `orelse`."""

    __slots__ = ("bits", "op", "orelse", "then")

    def __init__(  # noqa: PLR0913, PLR0917 - the fields of one instruction
        self,
        op: CmpOp,
        a: Op,
        b: Op,
        then: "Block",
        orelse: "Block",
        bits: int = 64,
        span: Span | None = None,
    ) -> None:
        self.args = [a, b]
        self.span = span
        self.op = op
        self.bits = bits
        self.then = then
        self.orelse = orelse


class Return(Op):
    """args: the value in r0."""

    __slots__ = ()


Terminator = Jump | Branch | Return


class Block:
    """Operations that run one after another; the last one is a terminator.

    `preds` are the predecessors in the order of the Phis' args; codegen keeps them.
    """

    __slots__ = ("name", "ops", "preds")

    def __init__(self, name: str) -> None:
        self.name = name
        self.ops: list[Op] = []
        self.preds: list[Block] = []

    def successors(self) -> tuple["Block", ...]:
        """The blocks that the terminator may go to."""
        last = self.ops[-1] if self.ops else None
        if isinstance(last, Branch):
            return last.then, last.orelse
        return (last.target,) if isinstance(last, Jump) else ()


class Function:
    """A program or subprogram; `blocks[0]` is the entry. Slots are found by use."""

    __slots__ = ("blocks", "name", "params", "span")

    def __init__(self, name: str, params: tuple[Param, ...], span: Span) -> None:
        self.name = name
        self.params = params
        self.span = span
        self.blocks: list[Block] = []

    def ops(self) -> Iterator[Op]:
        """All operations, block by block."""
        for block in self.blocks:
            yield from block.ops
