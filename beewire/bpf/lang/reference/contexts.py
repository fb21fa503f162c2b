"""What hooks pass to programs, and kernel structs that programs read."""

from collections.abc import Mapping
from typing import Any

from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.contexts import (
    Context,
    Member,
)
from beewire.bpf.lang.reference.numbers import Number, truth
from beewire.bpf.lang.reference.places import Place, copy
from beewire.bpf.lang.reference.run import Run, method
from beewire.bpf.lang.socket_contexts import (
    SkBuff,
)
from beewire.bpf.lang.structs import Embedded, Kernel, KernelBits, Pointer
from beewire.bpf.lang.types import (
    I64,
    U8,
    U32,
    IntType,
    ValueType,
    array_of,
    find_value_type,
)
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
        if name == "data":
            return PacketBytes(self)
        if name == "length":
            return Number(len(self.memory), U32)
        if issubclass(self.cls, SkBuff) and name == "wire_len":
            return Number(len(self.memory), U32)
        return super().read(name)


class PacketBytes:
    """`ctx.data`, of which slices are taken."""

    def __init__(self, packet: Packet) -> None:
        self.packet = packet


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
        if isinstance(kind, KernelBits):
            return Number(found & (1 << kind.width) - 1).narrowed(kind.base)
        return Number(found).narrowed(kind) if isinstance(kind, IntType) else found


@method(Packet, "at")
def at(run: Run, owner: Packet, node: ast.Call) -> Place | None:
    """`ctx.at(offset, T)`: a reference that is None past the packet's end."""
    offset_node, type_node = node.args
    return _part(owner, run.number(offset_node).value, _type_of(run, type_node))


@method(Packet, "read")
def read(run: Run, owner: Packet, node: ast.Call) -> Place | None:
    """`ctx.read(offset, T)`: a copy, or None."""
    found = at(run, owner, node)
    return None if found is None else copy(found)


@method(Packet, "write")
def write(run: Run, owner: Packet, node: ast.Call) -> Number:
    """`ctx.write(offset, value)`: whether there was room."""
    offset, value = (run.expr(argument) for argument in node.args)
    place = _part(owner, offset.value, value.type)
    if place is not None:
        place.put(value.raw())
    return truth(place is not None)


@method(Packet, "pull")
def pull(run: Run, owner: Packet, node: ast.Call) -> Number:
    """`ctx.pull(length)`: here all of the packet is in one piece."""
    length = run.number(node.args[0]).value
    return Number(0 if length <= len(owner.memory) else -12).narrowed(I64)  # -ENOMEM


def packet_slice(owner: Packet, low: int, high: int) -> Place | None:
    """`ctx.data[low:high]`, or None past the end."""
    return _part(owner, low, array_of(U8, high - low))


def _part(owner: Packet, offset: int, kind: ValueType) -> Place | None:
    if not 0 <= offset <= len(owner.memory) - kind.size:
        return None
    return Place(owner.memory, offset, kind)


def _type_of(run: Run, node: ast.expr) -> ValueType:
    given = run.expr(node)
    kind = given.type if isinstance(given, Place) else find_value_type(given)
    assert kind is not None
    return kind
