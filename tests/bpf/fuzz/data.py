"""Random statements about arrays, slices, texts, flags, and parts of structs."""

from typing import NamedTuple

from tests.bpf.fuzz.maker import Struct
from tests.bpf.fuzz.memory import Memory
from tests.bpf.fuzz.shapes import KINDS, Shape
from tests.bpf.fuzz.statements import Make


class Row(NamedTuple):
    """An array in scope."""

    text: str
    kind: str
    length: int
    own: bool = True


class Data(Memory):
    """Makes statements about what is more than one integer."""

    big_ = False  # whether there is a big array already

    def simple(self) -> list[Make]:
        """What makes statements without blocks."""
        return [
            *super().simple(),
            self.array,
            self.slice,
            self.flags_,
            self.named,
            *[self.part] * 3,
        ]

    def compound(self) -> list[Make]:
        """What makes statements with blocks."""
        return [*super().compound(), self.each, self.equal, self.equal, self.big]

    def arrays(self) -> list[Row]:
        """All arrays of integers in scope."""
        found = [Row(name, kind, 4) for name, kind in self.locals.items()]
        for struct in self.structs:
            for field in struct.shape.fields:
                if field.length and isinstance(field.kind, str):
                    text = f"{struct.text}.{field.name}"
                    found.append(Row(text, field.kind, field.length, struct.own))
        return found

    def array(self, indent: int, _depth: int) -> None:
        """An array of the program's own."""
        if self.inside or self.room < 32:
            return
        self.room -= 32
        self.use("array of its own")
        name, kind = self.fresh("a"), self.rng.choice(KINDS)
        self.line(indent, f"{name} = array({kind}, 4)")
        for index in range(self.rng.randrange(3)):
            self.line(indent, f"{name}[{index}] = {self.typed(kind[0], 1).text}")
        self.locals[name] = kind

    def big(self, indent: int, _depth: int) -> None:
        """More than the stack has room for: it goes to a scratch map."""
        if self.inside or self.nested or self.big_ or not self.chance(0.3):
            return
        self.big_ = True
        self.use("locals over 512 bytes")
        name, index = self.fresh("a"), self.fresh()
        self.line(indent, f"{name} = array(u64, 80)")
        self.line(indent, f"{name}[{self.name('u').text} & 63] = {self.name('u').text}")
        self.line(indent, f"{index} = {self.name('u').text} & 63")
        self.line(indent, f"mark.value ^= {name}[{index}] + {name}[79]")
        self.names[index] = "u64"

    def slice(self, indent: int, _depth: int) -> None:
        """`a[0:2] = b[1:3]`."""
        rows = self.arrays()
        pairs = [
            (one, other)
            for one in rows
            for other in rows
            if one.kind == other.kind and one.text != other.text
        ]
        if not pairs:
            return
        self.use("slice")
        one, other = self.rng.choice(pairs)
        self.line(indent, f"{self._slice(one)} = {self._slice(other)}")

    def _slice(self, row: Row) -> str:
        first = self.rng.randrange(row.length - 1)
        if row.own and row.length == 4 and self.chance(0.3):
            start = f"({self.name('u').text} & 1)"
            return f"{row.text}[{start} : {start} + 2]"
        return f"{row.text}[{first}:{first + 2}]"

    def flags_(self, indent: int, _depth: int) -> None:
        """Flags are set, and tested."""
        places = [
            f"{struct.text}.{field.name}"
            for struct in self.structs
            for field in struct.shape.fields
            if field.special.startswith(" = flags") and not struct.shared
        ]
        if not places:
            return
        self.use("flags")
        place = self.rng.choice(places)
        forms = [f"= Flag({self.name('u').text} & 31)", "|= Flag.ACK", "= Flag.FIN"]
        self.line(indent, f"{place} {self.rng.choice(forms)}")
        name = self.fresh("b")
        self.line(indent, f"{name}: bool = Flag.SYN in {place}")
        self.flags.append(name)

    def named(self, indent: int, _depth: int) -> None:
        """An enum's members in a field."""
        places = [
            f"{struct.text}.{field.name}"
            for struct in self.structs
            for field in struct.shape.fields
            if field.special == " = enum"
        ]
        if not places:
            return
        self.use("enum field")
        place, name = self.rng.choice(places), self.fresh("b")
        if self.chance(0.5):
            member = self.rng.choice(("RED", "BLUE"))
            self.line(indent, f"{place} = Color.{member}")
        self.line(indent, f"{name}: bool = {place} == Color.BLUE")
        self.flags.append(name)

    def part(self, indent: int, _depth: int) -> None:
        """A name for a struct in a struct."""
        wholes = [
            (struct, field.kind)
            for struct in self.structs
            for field in struct.shape.fields
            if isinstance(field.kind, Shape) and not field.length
            # On the stack its parts are not aligned, and have no names.
            if "packed" not in struct.shape.options
        ]
        fitting = [
            (struct, shape) for struct, shape in wholes if shape.base == "Struct"
        ]
        if not fitting or self.inside:
            return
        self.use("part of a struct")
        struct, shape = self.rng.choice(fitting)
        name = self.fresh("q")
        text = f"{struct.text}.inner"
        others = [s for s, _ in fitting if s.own and s.text != struct.text]
        if struct.own and others:
            self.use("reference to one of two")
            other = self.rng.choice(others)
            self.pinned.add(other.text)
            text = f"{text} if {self.test(1)} else {other.text}.inner"
        self.pinned.add(struct.text)
        self.line(indent, f"{name} = {text}")
        self.structs.append(Struct(name, shape, shared=struct.shared))

    def each(self, indent: int, _depth: int) -> None:
        """`for x in array`, `for x in (1, 2)`."""
        if self.inside:
            return
        rows = self.arrays()
        name, total = self.fresh(), self.fresh()
        self.line(indent, f"{total}: u64 = {self.typed('u', 1).text}")
        if rows and self.chance(0.7):
            self.use("for over an array")
            self.line(indent, f"for {name} in {self.rng.choice(rows).text}:")
        else:
            self.use("for over constants")
            self.line(indent, f"for {name} in (1, 80, 443):")
        symbol = self.rng.choice(("+", "^", "-"))
        self.line(indent + 1, f"{total} {symbol}= u64({name})")
        self.names[total] = "u64"

    def equal(self, indent: int, depth: int) -> None:
        """Arrays and texts are compared."""
        texts = [
            f"{struct.text}.{field.name}"
            for struct in self.structs
            for field in struct.shape.fields
            if field.kind == "str"
        ]
        rows = self.arrays()
        pairs = [
            (one.text, other.text)
            for one in rows
            for other in rows
            if (one.kind, one.length) == (other.kind, other.length)
        ]
        operator = self.rng.choice(("==", "!="))
        if texts and self.chance(0.7):
            self.use("texts compared")
            self.line(indent, f"if {self.rng.choice(texts)} {operator} 'name':")
        elif pairs:
            self.use("arrays compared")
            one, other = self.rng.choice(pairs)
            self.line(indent, f"if {one} {operator} {other}:")
        else:
            return
        self.inner(indent + 1, depth)
