"""Values in memory: bytes with a type, as structs, maps, packets and globals hold them."""

from typing import Any

from beewire.bpf.lang.layout import BitsType
from beewire.bpf.lang.reference.numbers import Number, in_order
from beewire.bpf.lang.structs import StructType
from beewire.bpf.lang.types import (
    U8,
    ArrayType,
    BigEndianType,
    CharsType,
    IntType,
    ValueType,
)
from beewire.errors import BeewireError


class Place:
    """`type` at `offset` of `memory`; `shared` where others may write it too."""

    __slots__ = ("memory", "offset", "shared", "type")

    def __init__(
        self,
        memory: bytearray,
        offset: int,
        type: ValueType,  # noqa: A002
        *,
        shared: bool = False,
    ) -> None:
        self.memory = memory
        self.offset = offset
        self.type = type
        self.shared = shared

    def part(self, offset: int, kind: ValueType) -> "Place":
        """What lies `offset` bytes further."""
        return type(self)(self.memory, self.offset + offset, kind, shared=self.shared)

    def raw(self) -> bytes:
        """The bytes of the value."""
        return bytes(self.memory[self.offset : self.offset + self.type.size])

    def put(self, raw: bytes) -> None:
        """Write bytes of the value's size."""
        self.memory[self.offset : self.offset + len(raw)] = raw


class Past(Exception):  # noqa: N818 - a way out, no error
    """An index past the end of an array: the program ends."""


def new(kind: ValueType) -> Place:
    """Memory of its own for a value, cleared."""
    return Place(bytearray(kind.size), 0, kind)


def load(place: Place) -> Any:
    """What a place holds: a Number; aggregates stay where they are."""
    kind = place.type
    if not isinstance(kind, IntType):
        return place
    # Any byte of a bool that is not zero reads as the number it is.
    value = int.from_bytes(
        place.raw(), "little", signed=kind.signed and not isinstance(kind, BitsType)
    )
    if isinstance(kind, BitsType):
        return Number(kind.wrap((value & kind.mask) >> kind.shift), kind.base)
    return Number(value, kind)


def store(place: Place, value: Any) -> None:
    """Put a value into a place.

    Raises:
        BeewireError: A value of this kind has no such form.
    """
    kind = place.type
    match kind:
        case BitsType():
            word = int.from_bytes(place.raw(), "little") & ~kind.mask
            word |= value.value << kind.shift & kind.mask
            place.put(word.to_bytes(kind.size, "little"))
        case IntType():
            place.put(
                kind.wrap(value.value).to_bytes(kind.size, "little", signed=kind.signed)
            )
        case StructType():
            place.put(value.raw())
        case CharsType() | ArrayType():
            _store_sequence(place, kind, value)
        case _:
            raise BeewireError(f"evaluate() knows no {kind.name} in memory")


def _store_sequence(place: Place, kind: CharsType | ArrayType, value: Any) -> None:
    if isinstance(value, str | bytes):
        raw = value.encode() if isinstance(value, str) else value
        place.put(raw.ljust(kind.size, b"\0"))
    elif isinstance(value, tuple) and isinstance(kind, ArrayType):
        for index, item in enumerate(value):
            store(place.part(index * kind.element.size, kind.element), item)
    else:
        place.put(value.raw())


def field(place: Place, name: str) -> Place:
    """The place of `place.name`; of `.value` where it is an integer."""
    kind = place.type
    if isinstance(kind, StructType):
        found = kind.fields[name]
        return place.part(found.offset, found.type)
    if name == "value":
        return place
    raise BeewireError(f"evaluate() knows no .{name} of {kind.name}")


def element(place: Place, index: int) -> Place:
    """`place[index]`; from the end when negative.

    Raises:
        Past: There is no such element: the program ends.
        BeewireError: It has no elements.
    """
    kind = place.type
    if isinstance(kind, CharsType):
        item: ValueType = U8
    elif isinstance(kind, ArrayType):
        item = kind.element
    else:
        raise BeewireError(f"evaluate() knows no elements of {kind.name}")
    if not -kind.count <= index < kind.count:
        raise Past
    return place.part(index % kind.count * item.size, item)


def made(kind: StructType, given: dict[str, Any]) -> Place:
    """A struct of its own: the fields given, defaults and zeros elsewhere."""
    place = new(kind)
    for name, known in kind.fields.items():
        if name in given:
            store(place.part(known.offset, known.type), given[name])
        elif known.default is not None:
            default = known.default
            item = Number(default) if isinstance(default, int) else default
            if isinstance(known.type, BigEndianType):
                item = in_order(known.type, Number(default))
            store(place.part(known.offset, known.type), item)
    return place


def encoded(value: Any, kind: ValueType) -> bytes:
    """The bytes of a value as a map takes it."""
    if isinstance(value, Place):
        return value.raw()
    place = new(kind)
    store(place, value)
    return bytes(place.memory)


def copy(place: Place) -> Place:
    """A second value with the same bytes, in memory of its own."""
    return Place(bytearray(place.raw()), 0, place.type)


def copy_fields(place: Place) -> Place:
    """A second value with the same content: the padding between fields is zero."""
    kind = place.type
    if not isinstance(kind, StructType):
        return copy(place)
    given: dict[str, Any] = {}
    for name, known in kind.fields.items():
        part = place.part(known.offset, known.type)
        inner = known.type
        is_struct = isinstance(inner, StructType) and not inner.is_union
        given[name] = copy_fields(part) if is_struct else load(part)
    return made(kind, given)


def loaded_all(place: Place) -> list[Any]:
    """What the elements of an array hold."""
    assert isinstance(place.type, ArrayType)
    return [load(element(place, index)) for index in range(place.type.count)]
