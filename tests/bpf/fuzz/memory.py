"""Random statements about structs, globals and packets."""

from tests.bpf.fuzz.expressions import GLOBALS
from tests.bpf.fuzz.maker import Struct
from tests.bpf.fuzz.shapes import KINDS, Shape, bits
from tests.bpf.fuzz.statements import Make, Statements

ATOMIC = ("+", "-", "&", "|", "^")


class Memory(Statements):
    """Makes statements that write to memory."""

    def simple(self) -> list[Make]:
        """What makes statements without blocks."""
        return [
            *super().simple(),
            *[self.field] * 3,
            self.add,
            self.struct,
            self.struct,
            self.word,
            self.copy,
        ]

    def compound(self) -> list[Make]:
        """What makes statements with blocks."""
        makers = [*super().compound(), self.elements]
        if self.hook != "xdp":
            return makers
        return [*makers, self.packet, self.bytes_, self.taken]

    def field(self, indent: int, _depth: int) -> None:
        """`s.a = x`."""
        sign = self.rng.choice("uiuiuib")
        found = self.place(sign)
        if found is None:
            return
        self.use("field written")
        value = self.network(found[1]) if sign == "b" else self.typed(sign, 2).text
        self.line(indent, f"{found[0]} = {value}")

    def text(self, indent: int, _depth: int) -> None:
        """`s.name = "..."`, `s.name[1] = x`."""
        texts = [
            f"{struct.text}.{field.name}"
            for struct in self.structs
            for field in struct.shape.fields
            if field.kind == "str"
        ]
        if not texts:
            return
        self.use("text")
        name = self.rng.choice(texts)
        if self.chance(0.5):
            self.line(indent, f"{name} = {self.rng.choice(('', 'ab', 'eight888'))!r}")
        else:
            at = self.rng.randrange(8)
            self.line(indent, f"{name}[{at}] = {self.name('u').text} & 127")

    def add(self, indent: int, _depth: int) -> None:
        """`s.a += x`, atomic where it is shared."""
        sign = self.rng.choice("ui")
        found = self.place(sign)
        if found is None:
            return
        text, kind, struct = found
        if not struct.shared:
            self.use("field augmented")
            symbol = self.rng.choice(ATOMIC)
        elif bits(kind) >= 32 and not self.packed:
            self.use("atomic")
            symbol = self.rng.choice(ATOMIC)
        else:
            return  # what is not aligned cannot be changed atomically
        self.line(indent, f"{text} {symbol}= {self.name(sign).text}")

    def word(self, indent: int, _depth: int) -> None:
        """Globals are written."""
        self.use("global")
        if self.chance(0.2):
            self.use("per-CPU global")
            self.line(indent, f"mine.value += {self.name('u').text}")
            return
        if self.chance(0.2):
            self.use("global array")
            index = self.index(4)
            self.line(indent, f"table_of[{index}] = {self.typed('u', 1).text}")
            self.line(indent, f"mark.value ^= table_of[{self.index(4)}]")
            return
        sign = self.rng.choice("ui")
        name, kind = self.rng.choice(GLOBALS[sign])
        if bits(kind) >= 32 and self.chance(0.5):
            self.use("atomic")
            symbol = self.rng.choice(ATOMIC)
            self.line(indent, f"{name}.value {symbol}= {self.name(sign).text}")
        else:
            self.line(indent, f"{name}.value = {self.typed(sign, 2).text}")

    def struct(self, indent: int, _depth: int) -> None:
        """A struct on the stack."""
        shape = self.rng.choice(list(self.shapes.values()))
        size = 8 * len(shape.fields)
        if self.room < size or self.inside:
            return
        self.room -= size
        self.use("struct made")
        name = self.fresh("s")
        self.line(indent, f"{name} = {self.made(shape)}")
        self.structs.append(Struct(name, shape, own=True))

    def made(self, shape: Shape) -> str:
        """A struct with some of its fields given."""
        items = []
        for field in shape.fields:
            is_flags = field.special == " = flags"
            if isinstance(field.kind, Shape) or is_flags or self.chance(0.4):
                continue
            if field.kind == "str":
                items.append(f"{field.name}={self.rng.choice(('x', 'name'))!r}")
            elif field.kind.startswith("be"):
                items.append(f"{field.name}={self.network(field.kind)}")
            elif field.length:
                self.use("array made")
                values = [self.name(field.kind[0]).text for _ in range(field.length)]
                items.append(f"{field.name}=[{', '.join(values)}]")
            else:
                items.append(f"{field.name}={self.typed(field.kind[0], 1).text}")
        return f"{shape.name}({', '.join(items)})"

    def copy(self, indent: int, _depth: int) -> None:
        """One struct becomes another; or two change places."""
        pairs = [
            (one, other)
            for one in self.structs
            for other in self.structs
            if one.own and one is not other and one.shape is other.shape
            if one.text not in self.pinned
        ]
        if not pairs:
            return
        one, other = self.rng.choice(pairs)
        self.use("struct copied")
        if other.own and other.text not in self.pinned and self.chance(0.4):
            pair = f"{other.text}.copy(), {one.text}.copy()"
            self.line(indent, f"{one.text}, {other.text} = {pair}")
        else:
            self.line(indent, f"{one.text} = {other.text}.copy()")

    def elements(self, indent: int, _depth: int) -> None:
        """A loop over an array."""
        arrays = [
            (f"{struct.text}.{field.name}", field)
            for struct in self.structs
            for field in struct.shape.fields
            if field.length and isinstance(field.kind, str)
        ]
        if not arrays or self.inside > 1:
            return
        text, field = self.rng.choice(arrays)
        assert isinstance(field.kind, str)
        self.use("loop over an array")
        name = self.fresh()
        value = self.typed(field.kind[0], 1).text
        self.line(indent, f"for {name} in range({field.length}):")
        self.line(indent + 1, f"{text}[{name}] = {value}")

    def _offset(self) -> str:
        if self.chance(0.5):
            return str(self.rng.randrange(90))
        self.use("variable packet offset")
        return f"({self.name('u').text} & 63)"

    def bytes_(self, indent: int, depth: int) -> None:
        """`ctx.data[a:b]`, and integers in the packet."""
        name, offset = self.fresh("p"), self._offset()
        if self.chance(0.5):
            kind = self.rng.choice(KINDS)
            self.use("integer in the packet")
            self.line(indent, f"{name} = ctx.at({offset}, {kind})")
            self.line(indent, f"if {name} is not None:")
            self.line(indent + 1, f"{name}.value = {self.typed(kind[0], 1).text}")
            kept = {"u": "mark", "i": "level"}[kind[0]]
            self.line(indent + 1, f"{kept}.value ^= {name}.value")
            return
        self.use("slice of the packet")
        self.line(indent, f"{name} = ctx.data[{offset} : {offset} + 4]")
        self.line(indent, f"if {name} is not None and {name} != b'GET ':")
        self.line(indent + 1, f"mark.value += {name}[{self.rng.randrange(4)}]")
        self.scoped(lambda: self.block(indent + 1, depth, 1))

    def taken(self, indent: int, depth: int) -> None:
        """`ctx.read`, `ctx.write`."""
        shape = self.rng.choice(list(self.shapes.values()))
        own = [s for s in self.structs if s.own and s.shape is shape]
        if own and self.chance(0.5):
            self.use("packet: write")
            name = self.fresh("b")
            call = f"ctx.write({self._offset()}, {self.rng.choice(own).text})"
            self.line(indent, f"{name}: bool = {call}")
            self.flags.append(name)
            return
        size = 8 * len(shape.fields)
        if self.room < size or self.inside:
            return
        self.room -= size
        self.use("packet: read")
        name = self.fresh("p")
        self.line(indent, f"{name} = ctx.read({self._offset()}, {shape.name})")
        self.line(indent, f"if {name} is not None:")

        def body() -> None:
            self.structs.append(Struct(name, shape))
            self.block(indent + 1, depth, self.rng.randrange(1, 3))
            self.line(indent + 1, "pass")

        self.scoped(body)

    def packet(self, indent: int, depth: int) -> None:
        """A struct in the packet, where it is long enough."""
        shape = self.rng.choice(list(self.shapes.values()))
        name = self.fresh("p")
        offset = self._offset()
        self.use("packet")
        self.line(indent, f"{name} = ctx.at({offset}, {shape.name})")
        self.line(indent, f"if {name} is not None:")

        def body() -> None:
            self.structs.append(Struct(name, shape))
            self.block(indent + 1, depth, self.rng.randrange(1, 3))
            self.line(indent + 1, "pass")

        self.scoped(body)
