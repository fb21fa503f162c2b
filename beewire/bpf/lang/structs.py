"""`Struct`: one class for kernel layout, BTF and the user-space view. `Kernel`: CO-RE."""

import struct as _struct
import sys

from beewire.bpf.lang.types import (
    FieldSpec,
    IntType,
    ValueType,
    array,
    chars,
    find_value_type,
    value_type,
)
from beewire.errors import DecodingError, EncodingError, SpecError
from beewire.hints import Any, ClassVar, Iterator, Self, dataclass_transform
from beewire.rows import Row


class Field(Row):
    """A member of a Struct; `offset` in bytes. `default` None means zero."""

    name: str
    type: ValueType
    offset: int
    default: Any


class StructType(ValueType):
    """The layout of a `Struct` subclass, padded as C pads."""

    __slots__ = ("codec", "fields", "flat", "python")

    def __init__(
        self, python: "type[Struct]", fields: tuple[Field, ...], align: int
    ) -> None:
        end = fields[-1].offset + fields[-1].type.size if fields else 0
        size = -(-end // align) * align
        super().__init__(python.__name__, size, align, _format(fields, size))
        self.python = python
        self.fields = {field.name: field for field in fields}
        self.codec = _struct.Struct("=" + self.format)
        # One unpacked item for each field, and none to be converted.
        self.flat = all(_is_plain_int(field.type) for field in fields)

    def take(self, items: Iterator[Any]) -> "Struct":
        """The next struct."""
        value = self.python.__new__(self.python)
        state = value.__dict__
        for name, field in self.fields.items():
            state[name] = field.type.take(items)
        return value

    def put(self, value: Any, items: list[Any]) -> None:
        """Append the fields of `value`, an instance of `python`."""
        if not isinstance(value, self.python):
            raise EncodingError(f"{value!r} is no {self.name}")
        state = value.__dict__
        for name, field in self.fields.items():
            field.type.put(state[name], items)

    def zero(self) -> "Struct":
        """A struct of zeros and defaults."""
        return self.python()


class Pointer(ValueType):
    """A pointer to kernel memory; `to` names a Kernel class."""

    __slots__ = ("to",)

    def __init__(self, to: "type[Kernel]") -> None:
        super().__init__(f"{to.__name__} *", 8, 8, "Q")
        self.to = to


class Embedded(ValueType):
    """A Kernel struct inside another; its size is the kernel's affair."""

    __slots__ = ("of",)

    def __init__(self, of: "type[Kernel]") -> None:
        super().__init__(of.__name__, 8, 8, "")
        self.of = of


@dataclass_transform(kw_only_default=True, field_specifiers=(chars, array))
class Struct:
    """A C struct: annotated fields in memory order, natural alignment.

        class Exec(Struct):
            pid: u32
            comm: str = chars(16)

    Fields not given to the constructor are zero, or their default (`port: u32 = 80`).
    In programs an instance lives on the stack, in a map or in a ring buffer; in user
    space it is an ordinary object, `to_bytes()` and `from_bytes()` convert.
    `class Header(Struct, packed=True)` has no padding.
    """

    __layout__: ClassVar[StructType]

    def __init_subclass__(cls, *, packed: bool = False) -> None:
        """Lay the fields out.

        Raises:
            SpecError: A field's annotation is no type of a fixed size.
        """
        cls.__layout__ = _lay_out(cls, packed=packed)

    def __init__(self, **values: object) -> None:
        state = self.__dict__
        for name, field in self.__layout__.fields.items():
            if name in values:
                state[name] = values.pop(name)
            elif field.default is not None:
                state[name] = field.default
            else:
                state[name] = field.type.zero()
        if values:
            unknown = ", ".join(sorted(values))
            raise TypeError(f"{type(self).__name__} has no field {unknown}")

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
            return value
        rest = iter(items)
        for name, field in layout.fields.items():
            value.__dict__[name] = field.type.take(rest)
        return value

    def to_bytes(self) -> bytes:
        """The struct as it lies in memory; padding is zero.

        Raises:
            EncodingError: A field's value does not fit its type.
        """
        items: list[Any] = []
        self.__layout__.put(self, items)
        try:
            return self.__layout__.codec.pack(*items)
        except _struct.error as error:
            raise EncodingError(f"{self!r}: {error}") from None

    def copy(self) -> Self:
        """A second struct with the same content."""
        return self.from_bytes(self.to_bytes())

    def __repr__(self) -> str:
        state = self.__dict__
        inner = ", ".join(f"{name}={state[name]!r}" for name in self.__layout__.fields)
        return f"{type(self).__name__}({inner})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        """Over the content, so that structs serve as keys; leave a key unchanged."""
        return hash(self.to_bytes())


class Kernel:
    """A kernel struct, by CO-RE: name only the fields that are read.

        class task_struct(Kernel):
            real_parent: "task_struct"      # another Kernel class is a pointer to it
            tgid: i32

    The class has the kernel's name (`task_struct___old` is a flavour of it). A field
    that lies inside the struct is `= embedded()`.
    """

    @classmethod
    def kernel_fields(cls) -> dict[str, ValueType]:
        """The declared fields and their types, in order.

        Raises:
            SpecError: A field's annotation is neither a type nor a Kernel class.
        """
        found = cls.__dict__.get("__fields_cache__")
        if found is None:
            found = {
                name: _kernel_type(cls, name, annotation, spec)
                for name, annotation, spec in _annotations(cls, Kernel)
            }
            cls.__fields_cache__ = found  # type: ignore[attr-defined]  # made on demand
        fields: dict[str, ValueType] = found
        return fields


def _is_plain_int(type_: ValueType) -> bool:
    return isinstance(type_, IntType) and type_.enum is None


def _format(fields: tuple[Field, ...], size: int) -> str:
    parts = []
    end = 0
    for field in fields:
        if field.offset > end:
            parts.append(f"{field.offset - end}x")
        parts.append(field.type.format)
        end = field.offset + field.type.size
    if size > end:
        parts.append(f"{size - end}x")
    return "".join(parts)


def _lay_out(cls: type[Struct], *, packed: bool) -> StructType:
    fields = []
    offset = 0
    align = 1
    for name, annotation, spec in _annotations(cls, Struct):
        found = spec.type if isinstance(spec, FieldSpec) else None
        if found is None:
            found = _field_type(cls, name, annotation)
        needs = 1 if packed else found.align
        offset = -(-offset // needs) * needs
        default = spec.default if isinstance(spec, FieldSpec) else spec
        fields.append(Field(name, found, offset, _default(cls, name, default)))
        offset += found.size
        align = max(align, needs)
    return StructType(cls, tuple(fields), align)


def _default(cls: type, name: str, default: Any) -> Any:
    """A default other than zero; `inner: Inner = Inner()` only says "may be left out"."""
    if isinstance(default, Struct):
        if any(default.to_bytes()):
            raise SpecError(f"{cls.__name__}.{name}: a nested struct's default is zero")
        return None
    return default or None


def _field_type(cls: type, name: str, annotation: object) -> ValueType:
    try:
        return value_type(annotation)
    except SpecError as error:
        raise SpecError(f"{cls.__name__}.{name}: {error}") from None


def _kernel_type(cls: type, name: str, annotation: object, spec: object) -> ValueType:
    found = spec.type if isinstance(spec, FieldSpec) else find_value_type(annotation)
    if found is not None:
        return found
    if isinstance(annotation, type) and issubclass(annotation, Kernel):
        inside = isinstance(spec, FieldSpec) and spec.embedded
        return Embedded(annotation) if inside else Pointer(annotation)
    return _field_type(cls, name, annotation)


def _annotations(cls: type, base: type) -> Iterator[tuple[str, object, object]]:
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
            if isinstance(spec, FieldSpec) and not spec.embedded:
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
