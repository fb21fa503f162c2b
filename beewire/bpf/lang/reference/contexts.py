"""What hooks pass to programs, and kernel structs that programs read."""

from collections.abc import Mapping
from typing import Any

from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.contexts import Context, SkBuff
from beewire.bpf.lang.reference.numbers import Number
from beewire.bpf.lang.reference.places import Place
from beewire.bpf.lang.reference.run import Run, method
from beewire.bpf.lang.structs import Embedded, Kernel, Pointer
from beewire.bpf.lang.types import U32, IntType, find_value_type
from beewire.errors import BeewireError


class ContextFields:
    """A context as its fields; those that nobody gave are 0."""

    def __init__(self, cls: type[Context], fields: Mapping[str, int]) -> None:
        self.cls = cls
        self.fields = dict(fields)

    def read(self, name: str) -> Any:
        """`ctx.name`."""
        return Number(self.fields.get(name, 0), self._type(name))

    def write(self, name: str, value: Number) -> None:
        """`ctx.name = value`."""
        self.fields[name] = self._type(name).wrap(value.value)

    def _type(self, name: str) -> IntType:
        member = self.cls.member(name)
        kind = getattr(member, "type", None)
        if not isinstance(kind, IntType):
            raise BeewireError(f"evaluate() knows no {self.cls.__name__}.{name}")
        return kind


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
