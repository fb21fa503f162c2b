"""Where the fields of a struct lie: as C compilers put them on little-endian machines.

Bit-fields follow the System V ABI: each begins at the next bit, unless it would then lie
across two words of its type; a packed one begins at the next bit whatever happens.
"""

from beewire.bpf.lang.types import IntType, ValueType
from beewire.errors import SpecError
from beewire.hints import Any
from beewire.rows import Row


class Declared(Row):
    """A field as it is declared; `align` is the least, `width` that of a bit-field."""

    name: str
    type: ValueType
    default: Any = None
    width: int = 0
    align: int = 0
    overlay: str = ""


class Field(Row):
    """A member of a Struct; `offset` in bytes. `default` None means zero."""

    name: str
    type: ValueType
    offset: int
    default: Any


class BitsType(IntType):
    """`bits` bits of an integer: those from bit `shift` of the `size` bytes at the field.

    `base` is the declared type, `bits` bounds the values.
    """

    __slots__ = ("base", "shift")

    def __init__(self, base: IntType, width: int, size: int, shift: int) -> None:
        super().__init__(base.name, base.bits, signed=base.signed, enum=base.enum)
        self.name = f"{base.name}:{width}"
        self.size = size
        self.align = 1
        self.bound(width, is_bool=base.is_bool)
        self.base = base
        self.shift = shift

    @property
    def mask(self) -> int:
        """Its bits in the word that it is part of."""
        return ((1 << self.bits) - 1) << self.shift

    def extract(self, word: int) -> Any:
        """Its value in a word, as Python sees it."""
        value = self.wrap((word & self.mask) >> self.shift)
        return self.base.take(iter((bool(value) if self.is_bool else value,)))


class Layout(Row):
    """`fields` in the order of the declaration; `groups` share a place, by first name."""

    fields: tuple[Field, ...]
    size: int
    align: int
    groups: dict[str, tuple[str, ...]]


def lay_out(
    declared: list[Declared], *, packed: bool, align: int, union: bool
) -> Layout:
    """Give each field its place.

    Raises:
        SpecError: A bit-field is wider than its type, or no integer; an overlay has
            nothing to lie over.
    """
    groups = _groups(declared)
    by_name = {field.name: field for field in declared}
    end = 0  # in bits
    widest = max(align, 1)
    largest = 0
    places: dict[str, int] = {}
    for names in groups.values():
        members = [by_name[name] for name in names]
        needs = max(_needs(member, packed=packed) for member in members)
        widest = max(widest, needs)
        start = 0 if union else _start(members, end, needs, packed=packed)
        places |= dict.fromkeys(names, start)
        end = start + max(_bits(member) for member in members)
        largest = max(largest, end)
    size = -(-largest // (8 * widest)) * widest
    fields = tuple(_field(member, places, declared, size) for member in declared)
    shared = {first: names for first, names in groups.items() if len(names) > 1}
    return Layout(fields, size, widest, {} if union else shared)


def _groups(declared: list[Declared]) -> dict[str, tuple[str, ...]]:
    """Fields that share a place, by the name of the first of them."""
    groups: dict[str, tuple[str, ...]] = {}
    first_of: dict[str, str] = {}
    for field in declared:
        first = field.name
        if field.overlay:
            if field.overlay not in first_of:
                raise SpecError(f"overlay({field.overlay!r}): no field before this one")
            first = first_of[field.overlay]
        first_of[field.name] = first
        groups[first] = (*groups.get(first, ()), field.name)
    return groups


def _needs(field: Declared, *, packed: bool) -> int:
    _check_width(field)
    return max(1 if packed else field.type.align, field.align)


def _check_width(field: Declared) -> None:
    if not field.width:
        return
    kind = field.type
    if not isinstance(kind, IntType) or kind.is_big_endian:
        raise SpecError(f"{kind.name} has no bit-fields: they are of integers")
    most = 1 if kind.is_bool else kind.bits
    if field.width > most:
        raise SpecError(f"bits({field.width}) is wider than {kind.name}, {most}")


def _bits(field: Declared) -> int:
    return field.width or field.type.size * 8


def _start(members: list[Declared], end: int, needs: int, *, packed: bool) -> int:
    [field, *others] = members
    if others or not field.width:
        return -(-end // (8 * needs)) * 8 * needs
    unit = field.type.size * 8
    crosses = end // unit != (end + field.width - 1) // unit
    return -(-end // unit) * unit if crosses and not packed else end


def _field(
    field: Declared, places: dict[str, int], declared: list[Declared], size: int
) -> Field:
    start = places[field.name]
    if not field.width:
        return Field(field.name, field.type, start // 8, field.default)
    plain = [
        (places[other.name] // 8, places[other.name] // 8 + other.type.size)
        for other in declared
        if not other.width
    ]
    first, length = _window(start, field.width, size, plain)
    if length > 8:
        raise SpecError(f"a bit-field of {field.width} bits lies across nine bytes")
    assert isinstance(field.type, IntType)
    kind = BitsType(field.type, field.width, length, start - 8 * first)
    return Field(field.name, kind, first, field.default)


def _window(
    start: int, width: int, size: int, plain: list[tuple[int, int]]
) -> tuple[int, int]:
    """(offset, length) of the bytes that are read and written for a bit-field.

    One aligned word if that touches no other kind of field, which another CPU may be
    writing; else the bytes that it lies in.
    """
    for length in (1, 2, 4, 8):
        first = start // (8 * length) * length
        last = first + length
        holds = start + width <= 8 * last and last <= size
        if holds and all(last <= low or high <= first for low, high in plain):
            return first, length
    first = start // 8
    return first, -(-(start + width) // 8) - first
