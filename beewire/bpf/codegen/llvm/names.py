"""What a module of LLVM IR names: values, blocks, memory, symbols and source positions."""

from beewire.bpf import ir
from beewire.hints import Any, Iterator

MAGIC = 0x4000  # the first offset that stands for a field of the context
MAGIC_STEP = 8
_MASK = (1 << 64) - 1


class Inexpressible(Exception):  # noqa: N818 - becomes a CompileError where the place is known
    """An operation that LLVM has nothing for."""


class Module:
    """The text of a module in the making.

    `symbols` tells what `@bw.N` stands for: a note as `machine.Note`, with a CoreField
    for a CO-RE fact. `fields` are the context's fields by their number, `spans` the
    source positions, line 1 first.
    """

    def __init__(self, function: ir.Function) -> None:
        self.function = function
        self.text = ""
        self.lines: list[str] = []
        self.allocas: list[str] = []
        self.symbols: list[tuple[str, str] | ir.CoreField] = []
        self.fields: list[ir.CoreField] = []
        self.spans: list[ir.Span] = []
        self.span: ir.Span | None = None
        self._declared: list[str] = []
        self._names: dict[object, str] = {}
        self._known: dict[Any, int] = {}
        self._lines_of: dict[ir.Span, int] = {}
        self._count = 0
        # Fields of the context that are only loaded: their offsets go into the loads.
        self.loaded = _only_loaded(function)
        self._indexed = frozenset(_indexed(function))

    # Lines.

    def put(self, text: str) -> None:
        """An instruction without a value."""
        self.lines.append(f"{text}{self._position()}")

    def define(self, op: ir.Op, text: str) -> None:
        """The instruction that computes `op`."""
        self._names[op] = name = f"%v{len(self._names)}"
        self.put(f"{name} = {text}")

    def new(self, text: str) -> str:
        """The name of what an instruction computes."""
        self._count += 1
        name = f"%t{self._count}"
        self.put(f"{name} = {text}")
        return name

    def alias(self, op: ir.Op, name: str) -> None:
        """`op` is what `name` has."""
        self._names[op] = name

    def label(self, block: ir.Block) -> None:
        """Begin a block."""
        self.lines.append(f"{self.block(block)}:")

    def _position(self) -> str:
        if self.span is None:
            return ", !dbg !6"
        if self.span not in self._lines_of:
            self.spans.append(self.span)
            self._lines_of[self.span] = len(self.spans)
        return f", !dbg !{self._lines_of[self.span] + 6}"

    def positions(self) -> str:
        """The metadata that positions refer to."""
        lines = range(len(self.spans) + 1)
        return "".join(
            f"!{line + 6} = !DILocation(line: {line}, column: 1, scope: !3)\n"
            for line in lines
        )

    def declared(self) -> str:
        """The declarations of all symbols."""
        return "".join(f"{line}\n" for line in self._declared)

    # Operands.

    def type(self, op: ir.Op) -> str:
        """The LLVM type of a value."""
        return "ptr" if op.kind is ir.Kind.PTR else "i64"

    def value(self, op: ir.Op) -> str:
        """An operand of the value's own type."""
        found = self._names.get(op)
        return found if found is not None else self._leaf(op)

    def integer(self, op: ir.Op) -> str:
        """An operand of type i64."""
        value = self.value(op)
        if op.kind is ir.Kind.PTR:
            return self.new(f"ptrtoint ptr {value} to i64")
        return value

    def pointer(self, op: ir.Op) -> str:
        """An operand of type ptr."""
        if isinstance(op, ir.Const) and op.value == 0:
            return "null"
        value = self.value(op)
        return (
            value
            if op.kind is ir.Kind.PTR
            else self.new(f"inttoptr i64 {value} to ptr")
        )

    def narrow(self, op: ir.Op, bits: int) -> str:
        """The low `bits` of a value."""
        value = self.integer(op)
        return value if bits == 64 else self.new(f"trunc i64 {value} to i{bits}")

    def _leaf(self, op: ir.Op) -> str:
        if isinstance(op, ir.Const):
            return str(signed(op.value))
        if isinstance(op, ir.Param):
            return f"%p{op.index}"
        if isinstance(op, ir.Slot):
            name = self._names[op] = f"%s{len(self._names)}"
            self.allocas.append(f"{name} = alloca {self._room(op)}")
            return name
        if isinstance(op, ir.MapRef):
            return self.symbol(("map", op.name))
        if isinstance(op, ir.FunctionRef):
            return self.symbol(("subprogram", op.name))
        if not isinstance(op, ir.GlobalRef):
            raise Inexpressible(f"it has no {type(op).__name__}")
        symbol = self.symbol(("global", op.section))
        return self.new(f"getelementptr i8, ptr {symbol}, i64 {op.offset}")

    def _room(self, slot: ir.Slot) -> str:
        # LLVM computes &slot + i as &slot | i where the slot's alignment makes room for
        # that, and no kernel takes it. A slot of whole words is aligned all the same.
        if slot in self._indexed:
            return f"[{-(-slot.size // 8) * 8} x i8], align 1"
        return f"[{slot.size} x i8], align {slot.align}"

    def block(self, block: ir.Block) -> str:
        """A block's label, without the %."""
        return self._name(block, "b")

    def local(self, local: ir.Local) -> str:
        """A variable's memory."""
        if local not in self._names:
            kind = "ptr" if local.kind is ir.Kind.PTR else "i64"
            self.allocas.append(f"{self._name(local, '%l')} = alloca {kind}")
        return self._names[local]

    def _name(self, thing: object, letter: str) -> str:
        if thing not in self._names:
            self._names[thing] = f"{letter}{len(self._names)}"
        return self._names[thing]

    # Symbols.

    def symbol(self, note: tuple[str, str]) -> str:
        """The symbol that stands for a map or a section."""
        if note not in self._known:
            self._known[note] = self._add(note, "@{} = external global %opaque")
        return f"@bw.{self._known[note]}"

    def function_symbol(self, note: tuple[str, str], result: str, args: str) -> str:
        """The symbol that stands for a function elsewhere."""
        key = (*note, result, args)
        if key not in self._known:
            self._known[key] = self._add(note, f"declare {result} @{{}}({args})")
        return f"@bw.{self._known[key]}"

    def fact(self, field: ir.CoreField) -> str:
        """A number that CO-RE supplies, opaque to LLVM."""
        number = self._add(field, "@{} = external global %opaque")
        address = f"ptrtoint (ptr @bw.{number} to i64)"
        return self.new(
            f"call i64 @llvm.bpf.passthrough.i64.i64(i32 {number}, i64 {address})"
        )

    def callee(self, kind: str, op: ir.Call) -> str:
        """The symbol that a call reaches."""
        assert isinstance(op.target, str)
        args = ", ".join(self.type(arg) for arg in op.args)
        result = "ptr" if op.kind is ir.Kind.PTR else "i64"
        return self.function_symbol((kind, op.target), result, args)

    def _add(self, note: tuple[str, str] | ir.CoreField, pattern: str) -> int:
        number = len(self.symbols)
        self.symbols.append(note)
        self._declared.append(pattern.format(f"bw.{number}"))
        return number


def signed(value: int) -> int:
    """A constant as LLVM prints it."""
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


def is_context(op: ir.Op) -> bool:
    """Whether a pointer is the program's context itself."""
    return isinstance(op, ir.Param) and op.kind is ir.Kind.PTR


def _indexed(function: ir.Function) -> Iterator[ir.Op]:
    """The slots of which an element is reached by a variable index."""
    held: dict[ir.Local, list[ir.Op]] = {}
    for op in function.ops():
        if isinstance(op, ir.SetLocal) and op.local.kind is ir.Kind.PTR:
            held.setdefault(op.local, []).append(op.args[0])
    for op in function.ops():
        if isinstance(op, ir.Binary) and op.kind is ir.Kind.PTR:
            base, step = op.args
            if not isinstance(step, ir.Const):
                yield from _slots(base, held, set())


def _slots(
    op: ir.Op, held: dict[ir.Local, list[ir.Op]], seen: set[ir.Local]
) -> Iterator[ir.Op]:
    """The slots that an address may lead to."""
    if isinstance(op, ir.Slot):
        yield op
    elif isinstance(op, ir.Binary):
        yield from _slots(op.args[0], held, seen)
    elif isinstance(op, ir.GetLocal) and op.local not in seen:
        seen.add(op.local)
        for value in held.get(op.local, ()):
            yield from _slots(value, held, seen)


def _only_loaded(function: ir.Function) -> frozenset[ir.Op]:
    """The addresses of context fields that nothing but loads use."""
    fields = {
        op
        for op in function.ops()
        if isinstance(op, ir.FieldAddress) and is_context(op.args[0])
    }
    for op in function.ops():
        if not (isinstance(op, ir.Load) and op.offset == 0):
            fields.difference_update(op.args)
    return frozenset(fields)
