"""What hooks pass to programs, and kernel structs that programs read."""

from collections.abc import Mapping
from typing import Any

from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.contexts import Context, Member, SkBuff
from beewire.bpf.lang.reference.numbers import Number
from beewire.bpf.lang.reference.places import Place
from beewire.bpf.lang.reference.run import Run, method
from beewire.bpf.lang.structs import Embedded, Kernel, Pointer
from beewire.bpf.lang.types import U32, IntType, find_value_type
from beewire.errors import BeewireError


class Word:
    """An integer of a context: number `key` of `held`."""

    def __init__(self, held: Any, key: str | int, kind: IntType) -> None:
        self.held = held
        self.key = key
        self.kind = kind

    def read(self) -> Number:
        """What it is."""
        return Number(self.held[self.key]).narrowed(self.kind)

    def write(self, value: Number) -> None:
        """Give it another value."""
        self.held[self.key] = self.kind.wrap(value.value)


class Words:
    """An array of a context: `ctx.args`."""

    def __init__(self, held: list[int], kind: IntType) -> None:
        self.held = held
        self.kind = kind

    def word(self, index: int) -> Word:
        """One of its elements."""
        return Word(self.held, index, self.kind)


class ContextFields:
    """A context as its fields; those that nobody gave are 0."""

    def __init__(self, cls: type[Context], fields: Mapping[str, Any]) -> None:
        self.cls = cls
        self.fields: dict[str, Any] = {
            name: value if isinstance(value, int) else list(value)
            for name, value in fields.items()
        }

    def read(self, name: str) -> Any:
        """`ctx.name`."""
        found = self.word(name)
        return found if isinstance(found, Words) else found.read()

    def word(self, name: str) -> Word | Words:
        """The integer, or the array, that is called `name`."""
        member = self.cls.member(name)
        kind = getattr(member, "type", None)
        if not isinstance(member, Member) or not isinstance(kind, IntType):
            raise BeewireError(f"evaluate() knows no {self.cls.__name__}.{name}")
        if not member.count:
            self.fields.setdefault(name, 0)
            return Word(self.fields, name, kind)
        words = self.fields.setdefault(name, [])
        words += [0] * (member.count - len(words))
        return Words(words, kind)


class Packet(ContextFields):
    """A context with a packet behind it; programs write `memory` in place."""

    def __init__(self, cls: type[Context], memory: bytearray) -> None:
        super().__init__(cls, {})
        self.memory = memory

    def read(self, name: str) -> Any:
        """`ctx.length`, and what other fields the context has."""
        if name == "length":
            return Number(len(self.memory), U32)
        if issubclass(self.cls, SkBuff) and name == "wire_len":
            return Number(len(self.memory), U32)
        return super().read(name)


class KernelObject:
    """A kernel struct: what was given for its fields, as `cls` types them."""

    def __init__(self, cls: type[Kernel], fields: Mapping[str, Any]) -> None:
        self.cls = cls
        self.fields = fields

    def read(self, name: str) -> Any:
        """A field: followed, stepped into, or read."""
        kind = self.cls.kernel_fields()[name]
        found = self.fields[name]
        if isinstance(kind, Pointer):
            return KernelObject(kind.to, found)
        if isinstance(kind, Embedded):
            return KernelObject(kind.of, found)
        return Number(found).narrowed(kind) if isinstance(kind, IntType) else found


@method(Packet, "at")
def at(run: Run, owner: Packet, node: ast.Call) -> Place | None:
    """`ctx.at(offset, T)`: a reference that is None past the packet's end."""
    offset_node, type_node = node.args
    kind = find_value_type(run.expr(type_node))
    assert kind is not None
    offset = run.number(offset_node).value
    if not 0 <= offset <= len(owner.memory) - kind.size:
        return None
    return Place(owner.memory, offset, kind)
