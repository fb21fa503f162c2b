"""Random statements about maps and ring buffers."""

from typing import NamedTuple

from tests.bpf.fuzz.data import Data
from tests.bpf.fuzz.maker import Struct
from tests.bpf.fuzz.shapes import Shape, bits
from tests.bpf.fuzz.statements import Make


class Table(NamedTuple):
    """A map: its kind, and those of its key and its values."""

    name: str
    kind: str
    key: "str | Shape"
    value: "str | Shape"
    shared: bool = True

    @property
    def text(self) -> str:
        """Its declaration."""
        key = self.key if isinstance(self.key, str) else self.key.name
        value = self.value if isinstance(self.value, str) else self.value.name
        if self.is_array:
            return f"{self.name} = {self.kind}[{value}](4)"
        return f"{self.name} = {self.kind}[{key}, {value}](8)"

    @property
    def is_array(self) -> bool:
        """Whether every key is there from the start."""
        return self.kind in {"Array", "PerCpuArray"}


class Maps(Data):
    """Makes statements that use maps."""

    tables: tuple[Table, ...] = ()
    record: Shape
    queue = ("Queue", "u32")

    def simple(self) -> list[Make]:
        """What makes statements without blocks."""
        return [
            *super().simple(),
            self.update,
            self.update,
            self.count,
            self.drop,
            self.push,
        ]

    def compound(self) -> list[Make]:
        """What makes statements with blocks."""
        return [
            *super().compound(),
            self.look,
            self.look,
            self.emit,
            self.reserve,
            self.pop,
        ]

    def table(self) -> Table:
        """A map."""
        return self.rng.choice(self.tables)

    def key(self, table: Table) -> str:
        """A key; arrays have 4 that are there, and others that are not."""
        if isinstance(table.key, Shape):
            self.use("struct as key")
            return f"{table.key.name}(p0={self.name('u').text} & 3)"
        if self.chance(0.5):
            return str(self.rng.randrange(8))
        mask = 7 if table.is_array else 5
        return f"({self.name('u').text} & {mask})"

    def item(self, table: Table) -> str:
        """A value for the map."""
        if isinstance(table.value, str):
            return self.typed(table.value[0], 1).text
        own = [s for s in self.structs if s.shape is table.value]
        if own and self.chance(0.5):
            return self.rng.choice(own).text
        return self.made(table.value)

    def update(self, indent: int, _depth: int) -> None:
        """`table[key] = value`, `update`, `insert`."""
        table = self.table()
        self.use(f"map: {table.kind}")
        key, item = self.key(table), self.item(table)
        chance = self.rng.random()
        if chance < 0.5:
            self.line(indent, f"{table.name}[{key}] = {item}")
            return
        name = self.fresh()
        if chance < 0.75 or table.is_array:
            self.use("map update")
            flags = self.rng.choice(("", "", ", 2" if not table.is_array else ""))
            call = f"update({key}, {item}{flags})"
        else:
            self.use("map insert")
            call = f"insert({key}, {item})"
        self.line(indent, f"{name} = {table.name}.{call}")
        self.names[name] = "i64"

    def count(self, indent: int, _depth: int) -> None:
        """`table[key] += n`."""
        fitting = [t for t in self.tables if isinstance(t.value, str)]
        fitting = [t for t in fitting if not t.shared or bits(str(t.value)) >= 32]
        table = self.rng.choice(fitting)
        self.use("map += ")
        amount = self.name(str(table.value)[0]).text
        self.line(indent, f"{table.name}[{self.key(table)}] += {amount}")

    def drop(self, indent: int, _depth: int) -> None:
        """`del table[key]`, `delete`."""
        table = self.rng.choice([t for t in self.tables if not t.is_array])
        self.use("map delete")
        if self.chance(0.5):
            self.line(indent, f"del {table.name}[{self.key(table)}]")
            return
        name = self.fresh()
        self.line(indent, f"{name} = {table.name}.delete({self.key(table)})")
        self.names[name] = "i64"

    def look(self, indent: int, depth: int) -> None:
        """`lookup`, and what is done with the value where it is there."""
        table = self.table()
        name = self.fresh("r")
        self.use("map lookup")
        self.use(f"map: {table.kind}")
        call = f"{table.name}.lookup({self.key(table)})"
        if self.chance(0.5):
            self.use("walrus")
            self.line(indent, f"if ({name} := {call}) is not None:")
        else:
            self.line(indent, f"{name} = {call}")
            self.line(indent, f"if {name} is not None:")
        self._found(indent, depth, table, name)
        if self.chance(0.3):
            self.use("else")
            self.line(indent, "else:")
            self.inner(indent + 1, 0)

    def _found(self, indent: int, depth: int, table: Table, name: str) -> None:
        def body() -> None:
            if isinstance(table.value, Shape):
                self.structs.append(Struct(name, table.value, shared=table.shared))
                # What replaces the entry would leave the reference to the old one.
                tables, self.tables = self.tables, self._others(table)
                self.block(indent + 1, depth, self.rng.randrange(1, 3))
                self.tables = tables
                self.line(indent + 1, "pass")
                return
            kind = table.value
            if table.shared and bits(kind) >= 32:
                self.use("atomic")
                symbol = self.rng.choice(("+", "-", "&", "|", "^"))
                amount = self.name(kind[0]).text
                self.line(indent + 1, f"{name}.value {symbol}= {amount}")
            else:
                value = self.typed(kind[0], 2).text
                self.line(indent + 1, f"{name}.value = {value}")
            kept = self.fresh()
            self.line(indent + 1, f"{kept}: {kind} = {name}.value")
            self.names[kept] = kind
            self.block(indent + 1, 0, 1)

        self.scoped(body)

    def _others(self, table: Table) -> tuple[Table, ...]:
        return tuple(t for t in self.tables if t is not table)

    # Queues and stacks.

    def push(self, indent: int, _depth: int) -> None:
        """`jobs.push(value)`."""
        self.use("queue, stack")
        name, kind = self.fresh(), self.queue[1]
        self.line(indent, f"{name} = jobs.push({self.typed(kind[0], 1).text})")
        self.names[name] = "i64"
        if self.chance(0.3):
            self.use("Bloom filter")
            self.line(indent, f"seen.add({self.name('u').text} & 3)")

    def pop(self, indent: int, _depth: int) -> None:
        """`jobs.pop()`, `jobs.peek()`."""
        self.use("queue, stack")
        name, kind = self.fresh("j"), self.queue[1]
        call = self.rng.choice(("pop", "peek"))
        self.line(indent, f"{name} = jobs.{call}()")
        self.line(indent, f"if {name} is not None:")
        changed = self.rng.choice("+^-")
        sum_ = {"u": "mark", "i": "level"}[kind[0]]
        self.line(indent + 1, f"{sum_}.value {changed}= {name}.value")

    # Ring buffers.

    def _fields(self) -> list[tuple[str, str]]:
        return [
            (field.name, self.typed(str(field.kind)[0], 1).text)
            for field in self.record.fields
        ]

    def emit(self, indent: int, _depth: int) -> None:
        """`events.emit(Record(...))`."""
        self.use("ring buffer: emit")
        given = ", ".join(f"{name}={value}" for name, value in self._fields())
        name = self.fresh()
        self.line(indent, f"{name}: u8 = events.emit(Record({given}))")
        self.names[name] = "u8"

    def reserve(self, indent: int, _depth: int) -> None:
        """`with events.reserve() as e:`, all of it written."""
        self.use("ring buffer: reserve")
        name = self.fresh("e")
        self.line(indent, f"with events.reserve() as {name}:")
        self.line(indent + 1, f"if {name} is not None:")
        for field, value in self._fields():
            self.line(indent + 2, f"{name}.{field} = {value}")
        if self.chance(0.3) and not self.nested and not self.inside:
            self.use("record discarded")
            self.line(indent + 2, f"if {self.test(0)}:")
            self.leave(indent + 3)
