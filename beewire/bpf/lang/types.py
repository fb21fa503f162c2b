"""The types of values in programs: integers of fixed width, characters, arrays.

A `ValueType` says how a value lies in memory and how Python sees it. What a user writes
in an annotation (`u32`, `bool`, a `Struct`) leads to one through `value_type`.
"""

import struct as _struct
import sys

from beewire.errors import EncodingError, SpecError
from beewire.hints import TYPE_CHECKING, Annotated, Any, Iterator

if TYPE_CHECKING:
    from enum import IntEnum
    from typing import TypeGuard


class ValueType:
    """How a value lies in memory; `size` and `align` in bytes.

    `format` is its `struct` format without byte order. `take` turns unpacked items into
    a Python value, `put` appends the items to pack for one.
    """

    __slots__ = ("align", "format", "name", "size")

    def __init__(self, name: str, size: int, align: int, format: str) -> None:  # noqa: A002
        self.name = name
        self.size = size
        self.align = align
        self.format = format

    def __repr__(self) -> str:
        return self.name

    def take(self, items: Iterator[Any]) -> Any:
        """The next value of `items`, as unpacked by `format`."""
        return next(items)

    def put(self, value: Any, items: list[Any]) -> None:
        """Append to `items` what `format` packs for `value`."""
        items.append(value)

    def zero(self) -> Any:
        """The value of all-zero bytes."""
        return 0


class IntType(ValueType):
    """An integer of 8, 16, 32 or 64 bits; `enum` gives its members' class, if any."""

    __slots__ = ("bits", "enum", "is_bool", "signed")

    def __init__(
        self,
        name: str,
        bits: int,
        *,
        signed: bool,
        is_bool: bool = False,
        enum: "type[IntEnum] | None" = None,
    ) -> None:
        letter = "?" if is_bool else "BHIQ"[bits.bit_length() - 4]
        super().__init__(
            name, bits // 8, bits // 8, letter.lower() if signed else letter
        )
        self.bits = bits
        self.signed = signed
        self.is_bool = is_bool
        self.enum = enum

    @property
    def low(self) -> int:
        """The least value."""
        return -(1 << self.bits - 1) if self.signed else 0

    @property
    def high(self) -> int:
        """The greatest value."""
        return 1 if self.is_bool else (1 << self.bits - self.signed) - 1

    def holds(self, value: int) -> bool:
        """Whether `value` is one of this type's values."""
        return self.low <= value <= self.high

    def wrap(self, value: int) -> int:
        """The value of this type with the same low bits as `value`."""
        if self.is_bool:
            return int(value != 0)
        value &= (1 << self.bits) - 1
        return value - (1 << self.bits) if value > self.high else value

    def take(self, items: Iterator[Any]) -> Any:
        """The next integer; a member of `enum` where it is one."""
        value = next(items)
        if self.enum is not None and value in self.enum._value2member_map_:
            return self.enum(value)
        return value

    def zero(self) -> Any:
        """0, or False."""
        return False if self.is_bool else 0


class CharsType(ValueType):
    """`count` bytes of text, ended by a NUL where it is shorter. Python sees a str."""

    __slots__ = ("count",)

    def __init__(self, count: int) -> None:
        super().__init__(f"chars({count})", count, 1, f"{count}s")
        self.count = count

    def take(self, items: Iterator[Any]) -> str:
        """The text before the first NUL."""
        raw: bytes = next(items)
        return raw.split(b"\0", 1)[0].decode("utf-8", "replace")

    def put(self, value: Any, items: list[Any]) -> None:
        """Append the bytes of a str or bytes that fits."""
        raw = value.encode() if isinstance(value, str) else bytes(value)
        if len(raw) > self.count:
            raise EncodingError(f"{value!r} is longer than {self.count} bytes")
        items.append(raw)

    def zero(self) -> str:
        """The empty text."""
        return ""


class ArrayType(ValueType):
    """`count` elements in a row. Python sees a list; bytes where they are u8."""

    __slots__ = ("count", "element")

    def __init__(self, element: ValueType, count: int) -> None:
        name = f"array({element.name}, {count})"
        as_bytes = element is U8
        form = f"{count}s" if as_bytes else element.format * count
        super().__init__(name, element.size * count, element.align, form)
        self.element = element
        self.count = count

    def take(self, items: Iterator[Any]) -> list[Any] | bytes:
        """The next `count` elements."""
        if self.element is U8:
            raw: bytes = next(items)
            return raw
        return [self.element.take(items) for _ in range(self.count)]

    def put(self, value: Any, items: list[Any]) -> None:
        """Append the elements; there must be `count` of them."""
        if len(value) != self.count:
            raise EncodingError(f"{self.name} takes {self.count} elements: {value!r}")
        if self.element is U8:
            items.append(bytes(value))
            return
        for element in value:
            self.element.put(element, items)

    def zero(self) -> list[Any] | bytes:
        """`count` zero elements."""
        if self.element is U8:
            return bytes(self.count)
        return [self.element.zero() for _ in range(self.count)]


U8 = IntType("u8", 8, signed=False)
U16 = IntType("u16", 16, signed=False)
U32 = IntType("u32", 32, signed=False)
U64 = IntType("u64", 64, signed=False)
I8 = IntType("i8", 8, signed=True)
I16 = IntType("i16", 16, signed=True)
I32 = IntType("i32", 32, signed=True)
I64 = IntType("i64", 64, signed=True)
BOOL = IntType("bool", 8, signed=False, is_bool=True)

# A checker reads these as int; the program's compiler reads the width.
u8 = Annotated[int, U8]
u16 = Annotated[int, U16]
u32 = Annotated[int, U32]
u64 = Annotated[int, U64]
i8 = Annotated[int, I8]
i16 = Annotated[int, I16]
i32 = Annotated[int, I32]
i64 = Annotated[int, I64]


class FieldSpec:
    """What `chars()` and `array()` leave in a class body until the class is made."""

    __slots__ = ("default", "embedded", "type")

    def __init__(
        self,
        type: ValueType | None,  # noqa: A002 - the field's name
        default: Any = None,
        *,
        embedded: bool = False,
    ) -> None:
        self.type = type
        self.default = default
        self.embedded = embedded


def chars(count: int, *, default: str = "") -> Any:
    """A field of `count` bytes of text: `comm: str = chars(16)`.

    Raises:
        SpecError: `count` is not positive.
    """
    if count <= 0:
        raise SpecError(f"chars({count}): a text needs at least one byte")
    return FieldSpec(CharsType(count), default)


def array(element: object, count: int, *, default: object = None) -> Any:
    """A field of `count` elements: `addr: list[u32] = array(u32, 4)`.

    `element` is an integer type, a `Struct`, or another `array(...)`.

    Raises:
        SpecError: `count` is not positive, or `element` is no type of a fixed size.
    """
    if count <= 0:
        raise SpecError(f"array of {count} elements: it needs at least one")
    return FieldSpec(ArrayType(value_type(element), count), default)


def embedded() -> Any:
    """A field of a `Kernel` class that lies inside it, rather than being pointed to."""
    return FieldSpec(None, embedded=True)


def value_type(annotation: object) -> ValueType:
    """The type that an annotation stands for.

    Raises:
        SpecError: It stands for none, such as `float`, or `int` without a width.
    """
    found = find_value_type(annotation)
    if found is None:
        name = getattr(annotation, "__name__", None) or repr(annotation)
        advice = "an integer type such as u32, bool, a Struct, chars(n) or array(T, n)"
        raise SpecError(f"{name} has no fixed size in memory: write {advice}")
    return found


def find_value_type(annotation: object) -> ValueType | None:
    """As `value_type`, but None when there is none."""
    if isinstance(annotation, ValueType):
        return annotation
    if isinstance(annotation, FieldSpec):
        return annotation.type
    if annotation is bool:
        return BOOL
    if (metadata := getattr(annotation, "__metadata__", None)) is not None:
        for extra in metadata:
            if isinstance(extra, ValueType):
                return extra
        return find_value_type(getattr(annotation, "__origin__", None))
    if isinstance(annotation, type):
        return _class_type(annotation)
    return None


_enums: "dict[type[IntEnum], IntType]" = {}


def is_enum(cls: type) -> "TypeGuard[type[IntEnum]]":
    """Whether a class is an IntEnum."""
    # Where `enum` was not imported there is none; importing it takes 3 ms.
    module = sys.modules.get("enum")
    return module is not None and issubclass(cls, module.IntEnum)


def _class_type(cls: type) -> ValueType | None:
    layout = cls.__dict__.get("__layout__")
    if isinstance(layout, ValueType):
        return layout
    if not is_enum(cls):
        return None
    # C gives an enum 4 bytes, signed when a member is negative.
    if cls not in _enums:
        signed = any(member < 0 for member in cls)
        _enums[cls] = IntType(cls.__name__, 32, signed=signed, enum=cls)
    return _enums[cls]


def pack(value: Any, type: ValueType) -> bytes:  # noqa: A002 - the word for it
    """The bytes of `value` in memory, in host order.

    Raises:
        EncodingError: It does not fit.
    """
    items: list[Any] = []
    type.put(value, items)
    try:
        return _struct.pack("=" + type.format, *items)
    except _struct.error as error:
        raise EncodingError(f"{value!r} does not fit {type.name}: {error}") from None


def unpack(data: bytes | memoryview, type: ValueType) -> Any:  # noqa: A002
    """The value whose bytes stand at the start of `data`."""
    return type.take(iter(_struct.unpack_from("=" + type.format, data)))
