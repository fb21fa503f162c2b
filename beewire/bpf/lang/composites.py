"""What structs and unions are made of: their layout, and their bytes in user space."""

import struct as _struct
import sys

from beewire.bpf.lang.layout import BitsType, Declared, Field, Layout, lay_out
from beewire.bpf.lang.types import (
    FieldSpec,
    IntType,
    ValueType,
    pack,
    unpack,
    value_type,
)
from beewire.errors import DecodingError, EncodingError, SpecError
from beewire.hints import Any, ClassVar, Iterator, Self


class StructType(ValueType):
    """The layout of a `Struct` or `Union` subclass, padded as C pads.

    `plain`: its fields follow one another, so that one format unpacks them all; one
    with bit-fields or shared places is bytes to the struct that it is part of.
    """

    __slots__ = ("codec", "fields", "flat", "groups", "is_union", "plain", "python")

    def __init__(
        self, python: "type[Composite]", layout: Layout, *, union: bool
    ) -> None:
        fields = layout.fields
        of_bits = any(isinstance(each.type, BitsType) for each in fields)
        self.plain = not (union or of_bits or layout.groups)
        form = _format(fields, layout.size) if self.plain else f"{layout.size}s"
        super().__init__(python.__name__, layout.size, layout.align, form)
        self.python = python
        self.fields = {each.name: each for each in fields}
        self.groups = layout.groups
        self.is_union = union
        self.codec = _struct.Struct("=" + form)
        # One unpacked item for each field, and none to be converted.
        self.flat = self.plain and all(_is_plain_int(each.type) for each in fields)

    def take(self, items: Iterator[Any]) -> "Composite":
        """The next struct."""
        if not self.plain:
            return self.python.from_bytes(next(items))
        value = self.python.__new__(self.python)
        state = value.__dict__
        for name, each in self.fields.items():
            state[name] = each.type.take(items)
        return value

    def put(self, value: Any, items: list[Any]) -> None:
        """Append the fields of `value`, an instance of `python`."""
        if not isinstance(value, self.python):
            raise EncodingError(f"{value!r} is no {self.name}")
        if not self.plain:
            items.append(value.to_bytes())
            return
        state = value.__dict__
        for name, each in self.fields.items():
            each.type.put(state[name], items)

    def zero(self) -> "Composite":
        """A struct of zeros and defaults."""
        return self.python()


class Composite:
    """What structs and unions have in common."""

    __layout__: ClassVar[StructType]

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview) -> Self:
        """The struct at the start of `data`.

        Raises:
            DecodingError: `data` is shorter than the struct.
        """
        layout = cls.__layout__
        try:
            items = layout.codec.unpack_from(data)
        except _struct.error:
            size = f"{cls.__name__} takes {layout.size} bytes"
            raise DecodingError(f"{size}, {len(data)} were given") from None
        value = cls.__new__(cls)
        if layout.flat:
            value.__dict__.update(zip(layout.fields, items, strict=True))
        elif layout.plain:
            rest = iter(items)
            for name, each in layout.fields.items():
                value.__dict__[name] = each.type.take(rest)
        else:
            value._set_bytes(items[0])
        return value

    def to_bytes(self) -> bytes:
        """The struct as it lies in memory; padding is zero.

        Raises:
            EncodingError: A field's value does not fit its type.
        """
        layout = self.__layout__
        if not layout.plain:
            return self._get_bytes()
        items: list[Any] = []
        layout.put(self, items)
        try:
            return layout.codec.pack(*items)
        except _struct.error as error:
            raise EncodingError(f"{self!r}: {error}") from None

    def copy(self) -> Self:
        """A struct with the same content."""
        return self.from_bytes(self.to_bytes())

    def __repr__(self) -> str:
        inner = ", ".join(f"{n}={getattr(self, n)!r}" for n in self.__layout__.fields)
        return f"{type(self).__name__}({inner})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        """Over the content, so that structs serve as keys; leave a key unchanged."""
        if self.__layout__.flat:
            return hash(tuple(self.__dict__.values()))
        return hash(self.to_bytes())

    def _set_bytes(self, raw: bytes) -> None:
        """Take the content from `raw`, where the layout is not plain."""
        state = self.__dict__
        layout = self.__layout__
        for name, each in layout.fields.items():
            part = raw[each.offset : each.offset + each.type.size]
            if isinstance(each.type, BitsType):
                state[name] = each.type.extract(int.from_bytes(part, "little"))
            elif name in layout.groups:
                state[shared_key(name)].set_raw(raw[each.offset :])
            elif not isinstance(getattr(type(self), name, None), SharedField):
                state[name] = unpack(part, each.type)

    def _get_bytes(self) -> bytes:
        """The content, where the layout is not plain."""
        layout = self.__layout__
        state = self.__dict__
        raw = bytearray(layout.size)
        words: dict[tuple[int, int], int] = {}
        for name, each in layout.fields.items():
            if isinstance(each.type, BitsType):
                place = each.offset, each.type.size
                words[place] = words.get(place, 0) | _placed(self, name, each.type)
                continue
            if name in layout.groups:
                part = state[shared_key(name)].to_bytes()
            elif isinstance(getattr(type(self), name, None), SharedField):
                continue
            else:
                part = pack(state[name], each.type)
            raw[each.offset : each.offset + len(part)] = part
        for (offset, size), word in words.items():
            old = int.from_bytes(raw[offset : offset + size], "little")
            raw[offset : offset + size] = (old | word).to_bytes(size, "little")
        return bytes(raw)


def _placed(value: Composite, name: str, kind: BitsType) -> int:
    number = value.__dict__[name]
    if not isinstance(number, int) or not kind.holds(number):
        raise EncodingError(f"{value!r}: {name} does not fit {kind.name}")
    return number << kind.shift & kind.mask


def shared_key(first: str) -> str:
    """Where a struct keeps what the fields in the place of `first` share."""
    return f"{first}|"


class SharedField:
    """A field that shares its place: the content is the union's, which this asks."""

    __slots__ = ("key", "name")

    def __init__(self, key: str, name: str) -> None:
        self.key = key
        self.name = name

    def __get__(self, instance: Composite | None, owner: type) -> Any:
        if instance is None:
            return self
        return getattr(instance.__dict__[self.key], self.name)

    def __set__(self, instance: Composite, value: object) -> None:
        setattr(instance.__dict__[self.key], self.name, value)


def _is_plain_int(type_: ValueType) -> bool:
    return isinstance(type_, IntType) and type_.enum is None and not type_.is_big_endian


def _format(fields: tuple[Field, ...], size: int) -> str:
    parts = []
    end = 0
    for each in fields:
        if each.offset > end:
            parts.append(f"{each.offset - end}x")
        parts.append(each.type.format)
        end = each.offset + each.type.size
    if size > end:
        parts.append(f"{size - end}x")
    return "".join(parts)


def layout_of(
    cls: type[Composite],
    base: type[Composite],
    *,
    packed: bool,
    align: int,
    union: bool = False,
) -> Layout:
    """Lay out the annotated fields of `cls`, those of base classes first.

    Raises:
        SpecError: A field's annotation is no type of a fixed size, or its place cannot
            be had.
    """
    declared = []
    for name, annotation, spec in annotations_of(cls, base):
        found = spec.type if isinstance(spec, FieldSpec) else None
        if found is None:
            found = field_type(cls, name, annotation)
        said = spec if isinstance(spec, FieldSpec) else FieldSpec(None, spec)
        default = _default(cls, name, said.default)
        if said.overlay and default is not None:
            raise SpecError(f"{cls.__name__}.{name}: an overlay has no default")
        each = Declared(name, found, default, said.width, said.align, said.overlay)
        declared.append(each)
    if align and align & (align - 1):
        raise SpecError(f"{cls.__name__}: align={align} is no power of two")
    try:
        return lay_out(declared, packed=packed, align=align, union=union)
    except SpecError as error:
        raise SpecError(f"{cls.__name__}: {error}") from None


def _default(cls: type, name: str, default: Any) -> Any:
    """A default other than zero; `inner: Inner = Inner()` only says "may be left out"."""
    if isinstance(default, Composite):
        if any(default.to_bytes()):
            raise SpecError(f"{cls.__name__}.{name}: a nested struct's default is zero")
        return None
    return default or None


def field_type(cls: type, name: str, annotation: object) -> ValueType:
    """The type that a field's annotation stands for.

    Raises:
        SpecError: It stands for none.
    """
    try:
        return value_type(annotation)
    except SpecError as error:
        raise SpecError(f"{cls.__name__}.{name}: {error}") from None


def annotations_of(cls: type, base: type) -> Iterator[tuple[str, object, object]]:
    """(name, annotation, class attribute or None) of all fields, base classes first."""
    for part in reversed(cls.__mro__):
        if part is base or not issubclass(part, base):
            continue
        own = part.__dict__.get("__annotations__", {})  # noqa: RUF063 - inspect is slow to import
        for name, annotation in own.items():
            # Python mangles __sk_common inside the class body.
            prefix = f"_{part.__name__.lstrip('_')}"
            plain = (
                name.removeprefix(prefix) if name.startswith(f"{prefix}__") else name
            )
            spec = part.__dict__.get(name)
            if isinstance(spec, FieldSpec) and spec.type is not None:
                yield plain, spec.type, spec
                continue
            resolved = resolve(part, annotation)
            if "ClassVar" not in repr(resolved):
                yield plain, resolved, spec


def resolve(cls: type, annotation: object) -> object:
    """What an annotation of `cls` means, where it is written as a string."""
    if not isinstance(annotation, str):
        return annotation
    if annotation == cls.__name__:
        return cls
    module = sys.modules.get(cls.__module__)
    scope = {} if module is None else module.__dict__
    try:
        found = eval(annotation, dict(scope), {cls.__name__: cls})
    except NameError as error:
        raise SpecError(f"{cls.__name__}: {error}") from None
    # Under `from __future__ import annotations` a string is quoted once more.
    return resolve(cls, found) if isinstance(found, str) else found
