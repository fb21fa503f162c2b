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
    from typing import Literal, TypeGuard


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
    """An integer of 8, 16, 32 or 64 bits; `enum` gives its members' class, if any.

    `network`: that many low bits may be in network order, as htons() makes them; such a
    number goes into a be type and into a plain one.
    """

    __slots__ = ("bits", "enum", "high", "is_bool", "low", "network", "signed")
    # Whether the number is in network order for certain, and meets only its like.
    is_big_endian = False

    def __init__(
        self,
        name: str,
        bits: int,
        *,
        signed: bool,
        is_bool: bool = False,
        enum: "type[IntEnum] | None" = None,
        network: int = 0,
    ) -> None:
        letter = "?" if is_bool else "BHIQ"[bits.bit_length() - 4]
        super().__init__(
            name, bits // 8, bits // 8, letter.lower() if signed else letter
        )
        self.signed = signed
        self.enum = enum
        self.network = network
        self.bound(bits, is_bool=is_bool)

    def bound(self, bits: int, *, is_bool: bool) -> None:
        """Set the width, and with it the least and the greatest value."""
        self.bits = bits
        self.is_bool = is_bool
        self.low = -(1 << bits - 1) if self.signed else 0
        self.high = 1 if is_bool else (1 << bits - self.signed) - 1

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
        if self.enum is None:
            return value
        # Flags have a member for every combination; other enums may meet a stranger.
        if self.is_flags or value in self.enum._value2member_map_:
            return self.enum(value)
        return value

    def zero(self) -> Any:
        """0, or False."""
        return False if self.is_bool else 0

    @property
    def is_flags(self) -> bool:
        """Whether it is an IntFlag."""
        # Where there is one, `enum` has been imported.
        return self.enum is not None and issubclass(
            self.enum, sys.modules["enum"].IntFlag
        )


class Network(int):
    """An integer in network order, as `htons()` gives it: programs tell it from others.

    `bits` is how many of them changed places.
    """

    __slots__ = ()
    bits = 0


class Network16(Network):
    """What `htons()` gives."""

    __slots__ = ()
    bits = 16


class Network32(Network):
    """What `htonl()` and `ip4()` give."""

    __slots__ = ()
    bits = 32


class Network64(Network):
    """What `bswap64()` gives."""

    __slots__ = ()
    bits = 64


NETWORK: dict[int, type[Network]] = {16: Network16, 32: Network32, 64: Network64}


def swap(value: int, bits: int) -> int:
    """`value` between host and network order."""
    return int.from_bytes(value.to_bytes(bits // 8, sys.byteorder), "big")


class BigEndianType(IntType):
    """An unsigned integer in network order. Python sees the number that it stands for."""

    __slots__ = ()
    is_big_endian = True

    def __init__(self, bits: int) -> None:
        super().__init__(f"be{bits}", bits, signed=False, network=bits)

    def take(self, items: Iterator[Any]) -> Any:
        """The next number."""
        return swap(next(items), self.bits)

    def put(self, value: Any, items: list[Any]) -> None:
        """Append the number as it lies in memory."""
        if isinstance(value, Network):
            raise EncodingError(
                f"{value:#x} is in network order already: a {self.name} takes the "
                f"number itself, {swap(value, value.bits):#x}"
            )
        if not self.holds(value):
            raise EncodingError(f"{value!r} does not fit {self.name}")
        items.append(swap(value, self.bits))


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


_networks: dict[tuple[int, int], IntType] = {}


def network_type(bits: int, network: int) -> IntType:
    """The plain type of `bits` whose low `network` bits are in network order."""
    key = bits, network
    if key not in _networks:
        _networks[key] = IntType(f"u{bits}", bits, signed=False, network=network)
    return _networks[key]


class ObjectType(ValueType):
    """An object of the kernel; its bytes are the kernel's affair."""

    __slots__ = ("noun",)

    def __init__(self, name: str, size: int, align: int, noun: str) -> None:
        super().__init__(name, size, align, f"{size}x")
        self.noun = noun

    def take(self, items: Iterator[Any]) -> None:
        """Nothing: user space does not see it."""

    def put(self, value: Any, items: list[Any]) -> None:
        """Nothing: user space does not set it."""

    def zero(self) -> None:
        """Nothing."""


U8 = IntType("u8", 8, signed=False)
U16 = IntType("u16", 16, signed=False)
U32 = IntType("u32", 32, signed=False)
U64 = IntType("u64", 64, signed=False)
I8 = IntType("i8", 8, signed=True)
I16 = IntType("i16", 16, signed=True)
I32 = IntType("i32", 32, signed=True)
I64 = IntType("i64", 64, signed=True)
BOOL = IntType("bool", 8, signed=False, is_bool=True)
BE16 = BigEndianType(16)
BE32 = BigEndianType(32)
BE64 = BigEndianType(64)
BIG_ENDIAN: dict[int, IntType] = {16: BE16, 32: BE32, 64: BE64}

# A checker reads these as int, which may be called too; the compiler reads the width.
if TYPE_CHECKING:
    u8 = int
    u16 = int
    u32 = int
    u64 = int
    i8 = int
    i16 = int
    i32 = int
    i64 = int
    be16 = int
    be32 = int
    be64 = int
else:
    u8 = Annotated[int, U8]
    u16 = Annotated[int, U16]
    u32 = Annotated[int, U32]
    u64 = Annotated[int, U64]
    i8 = Annotated[int, I8]
    i16 = Annotated[int, I16]
    i32 = Annotated[int, I32]
    i64 = Annotated[int, I64]
    be16 = Annotated[int, BE16]
    be32 = Annotated[int, BE32]
    be64 = Annotated[int, BE64]


class FieldSpec:
    """What `chars()`, `array()` and their kin leave in a class body until it is made.

    `width` of a bit-field in bits, `align` in bytes, `overlay` the field that this one
    shares its place with; 0 and "" say nothing.
    """

    __slots__ = ("align", "default", "embedded", "overlay", "type", "width")

    def __init__(
        self,
        type: ValueType | None,  # noqa: A002 - the field's name
        default: Any = None,
        *,
        embedded: bool = False,
        width: int = 0,
        align: int = 0,
        overlay: str = "",
    ) -> None:
        self.type = type
        self.default = default
        self.embedded = embedded
        self.width = width
        self.align = align
        self.overlay = overlay


_texts: dict[int, CharsType] = {}
_arrays: dict[tuple[ValueType, int], ArrayType] = {}


def text_of(count: int) -> CharsType:
    """The type of `count` characters, the same object each time."""
    if count not in _texts:
        _texts[count] = CharsType(count)
    return _texts[count]


def array_of(element: ValueType, count: int) -> ArrayType:
    """The type of `count` elements, the same object each time."""
    if (element, count) not in _arrays:
        _arrays[element, count] = ArrayType(element, count)
    return _arrays[element, count]


def chars(count: int, *, default: str = "", align: int = 0) -> Any:
    """A field of `count` bytes of text: `comm: str = chars(16)`.

    In a program, `name = chars(16)` makes a text of its own, empty at first.

    Raises:
        SpecError: `count` is not positive, or `align` no power of two.
    """
    if count <= 0:
        raise SpecError(f"chars({count}): a text needs at least one byte")
    return FieldSpec(text_of(count), default, align=_alignment(align))


def array(
    element: object, count: int, *, default: object = None, align: int = 0
) -> Any:
    """A field of `count` elements: `addr: list[u32] = array(u32, 4)`.

    `element` is an integer type, a `Struct`, or another `array(...)`. In a program,
    `counts = array(u32, 8)` makes an array of its own, zero at first.

    Raises:
        SpecError: `count` is not positive, `element` is no type of a fixed size, or
            `align` no power of two.
    """
    if count <= 0:
        raise SpecError(f"array of {count} elements: it needs at least one")
    kind = array_of(value_type(element), count)
    return FieldSpec(kind, default, align=_alignment(align))


def field(*, default: object = None, align: int = 0) -> Any:
    """A field of the annotated type: `hits: u64 = field(align=64)`.

    `align` in bytes moves it, and the struct, to a multiple of that.

    Raises:
        SpecError: `align` is no power of two.
    """
    return FieldSpec(None, default, align=_alignment(align))


def bits(width: int, *, default: int = 0) -> Any:
    """A bit-field of the annotated integer type: `version: u8 = bits(4)`.

    It lies where C compilers put it on little-endian machines: the first one in the
    lowest bits, and none across two words of its type unless the struct is packed.

    Raises:
        SpecError: `width` is not positive.
    """
    if width <= 0:
        raise SpecError(f"bits({width}): a bit-field needs at least one bit")
    return FieldSpec(None, default, width=width)


def overlay(
    name: str,
    type: object = None,  # noqa: A002 - the word for it
    *,
    init: "Literal[False]" = False,  # noqa: ARG001 - for checkers: no argument is needed
) -> Any:
    """A field in the place of the field `name`: both are members of one union.

        class Address(Struct):
            words: list[be32] = array(be32, 4)
            v4: be32 = overlay("words")
            raw: bytes = overlay("words", array(u8, 16))

    `type` is needed where the annotation is not enough: array(...) or chars(n). To a
    type checker such a field is assigned, rather than given to the constructor.

    Raises:
        SpecError: `type` is no type of a fixed size.
    """
    return FieldSpec(None if type is None else value_type(type), overlay=name)


def _alignment(align: int) -> int:
    if align < 0 or align & (align - 1) or align > 1 << 16:
        raise SpecError(f"align={align}: an alignment is a power of two, as 1, 2, 4, 8")
    return align


class KernelSpec(FieldSpec):
    """What `embedded()` and `pointer()` leave in the body of a Kernel class."""

    __slots__ = ("count", "of")

    def __init__(self, of: Any, count: int, *, embedded: bool) -> None:
        super().__init__(None, embedded=embedded)
        self.of = of
        self.count = count


def embedded(of: Any = None, count: int = 0) -> Any:
    """A field of a `Kernel` class that lies inside it, rather than being pointed to.

    With `count`, an array of such: `fields: list[file] = embedded(file, 64)`.
    """
    return KernelSpec(of, count, embedded=True)


def pointer(to: Any = None, count: int = 0) -> Any:
    """A pointer in a `Kernel` class, where the annotation does not say it.

        name: int = pointer()                            # void *, char *: an address
        nodes: list["node"] = pointer("node", 4)         # four pointers

    An address is read by `kernel_str`, `kernel_ptr` or `helpers.probe_read_kernel`.
    """
    return KernelSpec(to, count, embedded=False)


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
        return _annotated_type(getattr(annotation, "__origin__", None), metadata)
    if isinstance(annotation, type):
        return _class_type(annotation)
    return None


def _annotated_type(origin: object, metadata: tuple[object, ...]) -> ValueType | None:
    for extra in metadata:
        # Annotated[Protocol, u8] says how wide an enum is.
        found = None if isinstance(extra, type | str) else find_value_type(extra)
        if found is None:
            continue
        if isinstance(origin, type) and is_enum(origin) and isinstance(found, IntType):
            return enum_type(origin, found.bits, signed=found.signed)
        return found
    return find_value_type(origin)


_enums: "dict[tuple[type[IntEnum], int, bool], IntType]" = {}


def enum_type(cls: "type[IntEnum]", bits: int, *, signed: bool) -> IntType:
    """The type of an enum's members in `bits` bits, the same object each time.

    Raises:
        SpecError: A member does not fit.
    """
    found = _enums.get((cls, bits, signed))
    if found is None:
        found = IntType(cls.__name__, bits, signed=signed, enum=cls)
        for member in cls:
            if not found.holds(member):
                raise SpecError(
                    f"{cls.__name__}.{member.name} does not fit {bits} bits: write "
                    f"Annotated[{cls.__name__}, u64], say"
                )
        _enums[cls, bits, signed] = found
    return found


def is_enum(cls: type) -> "TypeGuard[type[IntEnum]]":
    """Whether a class is an IntEnum or an IntFlag."""
    # Where `enum` was not imported there is none; importing it takes 3 ms.
    module = sys.modules.get("enum")
    return module is not None and issubclass(cls, (module.IntEnum, module.IntFlag))


def _class_type(cls: type) -> ValueType | None:
    layout = cls.__dict__.get("__layout__")
    if isinstance(layout, ValueType):
        return layout
    if not is_enum(cls):
        return None
    # C gives an enum 4 bytes, signed when a member is negative.
    return enum_type(cls, 32, signed=any(member < 0 for member in cls))


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
