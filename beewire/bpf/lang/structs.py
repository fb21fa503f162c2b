"""`Struct`: one class for kernel layout, BTF and the user-space view. `Kernel`: CO-RE."""

from beewire.bpf.lang.composites import (
    Composite,
    SharedField,
    StructType,
    annotations_of,
    field_type,
    layout_of,
    resolve,
    shared_key,
)
from beewire.bpf.lang.types import (
    FieldSpec,
    IntType,
    KernelSpec,
    ValueType,
    array,
    bits,
    chars,
    field,
    find_value_type,
    overlay,
)
from beewire.errors import SpecError
from beewire.hints import ClassVar, Self, dataclass_transform

__all__ = [
    "Address",
    "Composite",
    "Embedded",
    "Kernel",
    "KernelBits",
    "Pointer",
    "Several",
    "Struct",
    "StructType",
    "resolve",
]


class Pointer(ValueType):
    """A pointer to kernel memory; `to` is a Kernel class."""

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


class Address(IntType):
    """A pointer of which only the address is known: an integer to programs."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("u64", 64, signed=False)


ADDRESS = Address()


class Several(ValueType):
    """An array of pointers, or of kernel structs, inside a kernel struct."""

    __slots__ = ("count", "element")

    def __init__(self, element: "Pointer | Embedded | Address", count: int) -> None:
        size = element.size * count
        super().__init__(f"{element.name}[{count}]", size, element.align, "")
        self.element = element
        self.count = count


class KernelBits(ValueType):
    """A bit-field of a kernel struct, read as a `base`; where it lies the kernel says."""

    __slots__ = ("base", "width")

    def __init__(self, base: IntType, width: int) -> None:
        super().__init__(f"{base.name}:{width}", base.size, base.align, "")
        self.base = base
        self.width = width


@dataclass_transform(
    kw_only_default=True, field_specifiers=(chars, array, field, bits, overlay)
)
class Struct(Composite):
    """A C struct: annotated fields in memory order, natural alignment.

        class Exec(Struct):
            pid: u32
            comm: str = chars(16)

    Fields not given to the constructor are zero, or their default (`port: u32 = 80`).
    In programs an instance lives on the stack, in a map or in a ring buffer; in user
    space it is an ordinary object, `to_bytes()` and `from_bytes()` convert.
    `class Header(Struct, packed=True)` has no padding; `class Line(Struct, align=64)`
    begins, and ends, at a multiple of 64 bytes.
    """

    def __init_subclass__(cls, *, packed: bool = False, align: int = 0) -> None:
        """Lay the fields out.

        Raises:
            SpecError: A field's annotation is no type of a fixed size, or its place
                cannot be had.
        """
        layout = layout_of(cls, Struct, packed=packed, align=align)
        cls.__layout__ = StructType(cls, layout, union=False)
        for first, names in layout.groups.items():
            for name in names:
                setattr(cls, name, SharedField(shared_key(first), name))

    def __new__(cls, **_: object) -> Self:
        """An instance, with the unions that its fields share."""
        value = super().__new__(cls)
        layout = cls.__layout__
        if layout.groups:
            from beewire.bpf.lang.unions import make_union  # noqa: PLC0415 - few have any

            for first, names in layout.groups.items():
                value.__dict__[shared_key(first)] = make_union(layout, names)
        return value

    def __init__(self, **values: object) -> None:
        state = self.__dict__
        layout = self.__layout__
        shared = () if layout.plain else _shared(layout)
        for name, each in layout.fields.items():
            if name in shared:
                if name in values:
                    setattr(self, name, values.pop(name))
            elif name in values:
                state[name] = values.pop(name)
            elif each.default is not None:
                state[name] = each.default
            else:
                state[name] = each.type.zero()
        if values:
            unknown = ", ".join(sorted(values))
            raise TypeError(f"{type(self).__name__} has no field {unknown}")


def _shared(layout: StructType) -> tuple[str, ...]:
    return tuple([name for names in layout.groups.values() for name in names])


class Kernel:
    """A kernel struct, by CO-RE: name only the fields that are read.

        class task_struct(Kernel):
            real_parent: "task_struct"      # another Kernel class is a pointer to it
            tgid: i32

    The class has the kernel's name (`task_struct___old` is a flavour of it: what
    follows the three underscores is for the reader). A field that lies inside the struct
    is `= embedded()`, a pointer to anything else `= pointer()`, a bit-field `= bits(n)`.
    `class sigval(Kernel, union=True)` is a union.
    """

    is_union: ClassVar[bool] = False

    def __init_subclass__(cls, *, union: bool = False) -> None:
        """Note whether the kernel's type is a union."""
        cls.is_union = union

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
                for name, annotation, spec in annotations_of(cls, Kernel)
            }
            cls.__fields_cache__ = found  # type: ignore[attr-defined]  # made on demand
        fields: dict[str, ValueType] = found
        return fields


def _kernel_type(cls: type, name: str, annotation: object, spec: object) -> ValueType:
    found = spec.type if isinstance(spec, FieldSpec) else find_value_type(annotation)
    if found is not None:
        return found
    if isinstance(spec, FieldSpec) and spec.width:
        base = find_value_type(annotation)
        if isinstance(base, IntType):
            return KernelBits(base, spec.width)
    if not isinstance(spec, KernelSpec):
        if isinstance(annotation, type) and issubclass(annotation, Kernel):
            return Pointer(annotation)
        return field_type(cls, name, annotation)
    element = _pointed(cls, name, annotation, spec)
    return Several(element, spec.count) if spec.count else element


def _pointed(
    cls: type, name: str, annotation: object, spec: KernelSpec
) -> "Pointer | Embedded | Address":
    of = annotation if spec.of is None else resolve(cls, spec.of)
    if isinstance(of, type) and issubclass(of, Kernel):
        return Embedded(of) if spec.embedded else Pointer(of)
    if spec.embedded:
        raise SpecError(f"{cls.__name__}.{name}: embedded() is for Kernel classes")
    return ADDRESS
