"""BTF types as slotted, mutable objects, compared by identity.

`None` in the place of a type stands for void. A recursive type is made by giving a
reference its target last:

    task = Struct("task_struct", 16)
    task.members = (Member("real_parent", Ptr(task), 0), Member("tgid", i32, 64))

Sizes are in bytes, offsets of members in bits, as in the kernel's BTF documentation.
"""

from beewire.enums import WireEnum
from beewire.hints import TYPE_CHECKING, Callable
from beewire.rows import Row


class Kind(WireEnum):
    """`BTF_KIND_*`."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


class Linkage(WireEnum):
    """`enum btf_func_linkage`; the linkage of a variable has the same numbers."""

    STATIC = 0
    GLOBAL = 1
    EXTERN = 2


class Type:
    """Any type. `name` is "" where the kind has none, or this type is anonymous."""

    __slots__ = ("_pending",)
    kind: Kind
    name: str = ""
    # Set by a lazy reader: fills the references of this type when one is first read.
    _pending: "Callable[[], None] | None"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            # Python calls this only where a slot is empty: a lazy reader leaves the
            # references of a type out until somebody looks.
            if not name.startswith("_") and hasattr(self, "_pending"):
                # Two threads may get here at once: both fill it, and alike.
                fill = self._pending
                if fill is not None:
                    fill()
                    self._pending = None
                return object.__getattribute__(self, name)
            message = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(message, name=name, obj=self)

    def facts(self) -> tuple[object, ...]:
        """Return what tells this type from others of its class, references left out."""
        return ()

    def references(self) -> "tuple[Type | None, ...]":
        """Return the types that this one refers to, in the order BTF stores them."""
        return ()

    def __repr__(self) -> str:
        # The name alone: types are recursive, and lazy ones not to be read for this.
        name = f" {self.name!r}" if self.name else ""
        return f"<{type(self).__name__}{name}>"


class Int(Type):
    """An integer; `bits` and `offset_bits` are those of an old-style bit-field."""

    __slots__ = ("bits", "bool", "char", "name", "offset_bits", "signed", "size")
    kind = Kind.INT

    def __init__(  # noqa: PLR0913 - a record of the format
        self,
        name: str,
        size: int,
        *,
        signed: bool = False,
        bool: bool = False,  # noqa: A002 - the kernel's word
        char: bool = False,
        bits: int | None = None,
        offset_bits: int = 0,
    ) -> None:
        self.name = name
        self.size = size
        self.signed = signed
        self.bool = bool
        self.char = char
        self.bits = size * 8 if bits is None else bits
        self.offset_bits = offset_bits

    def facts(self) -> tuple[object, ...]:
        """Return name, size and encoding."""
        encoding = (self.signed, self.char, self.bool)
        return self.name, self.size, *encoding, self.bits, self.offset_bits


class Float(Type):
    """A floating-point number of 2, 4, 8, 12 or 16 bytes."""

    __slots__ = ("name", "size")
    kind = Kind.FLOAT

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size

    def facts(self) -> tuple[object, ...]:
        """Return name and size."""
        return self.name, self.size


class Reference(Type):
    """A type that says one thing about one other type."""

    __slots__ = ("to",)

    def __init__(self, to: Type | None) -> None:
        self.to = to

    def references(self) -> tuple[Type | None, ...]:
        """Return the type referred to."""
        return (self.to,)


class Ptr(Reference):
    """A pointer; 8 bytes in BPF programs."""

    __slots__ = ()
    kind = Kind.PTR


class Const(Reference):
    """`const to`."""

    __slots__ = ()
    kind = Kind.CONST


class Volatile(Reference):
    """`volatile to`."""

    __slots__ = ()
    kind = Kind.VOLATILE


class Restrict(Reference):
    """`restrict to`."""

    __slots__ = ()
    kind = Kind.RESTRICT


class _NamedReference(Reference):
    __slots__ = ("name",)

    def __init__(self, name: str, to: Type | None) -> None:
        super().__init__(to)
        self.name = name

    def facts(self) -> tuple[object, ...]:
        """Return the name."""
        return (self.name,)


class Typedef(_NamedReference):
    """`typedef to name`."""

    __slots__ = ()
    kind = Kind.TYPEDEF


class TypeTag(_NamedReference):
    """`btf_type_tag(name)` on a type; `attribute`: any other attribute (Linux 6.15)."""

    __slots__ = ("attribute",)
    kind = Kind.TYPE_TAG

    def __init__(self, name: str, to: Type | None, *, attribute: bool = False) -> None:
        super().__init__(name, to)
        self.attribute = attribute

    def facts(self) -> tuple[object, ...]:
        """Return the tag."""
        return self.name, self.attribute


class DeclTag(_NamedReference):
    """`btf_decl_tag(name)` on `to`; from 0 up, on its member or parameter `component`."""

    __slots__ = ("attribute", "component")
    kind = Kind.DECL_TAG

    def __init__(
        self,
        name: str,
        to: Type | None,
        component: int = -1,
        *,
        attribute: bool = False,
    ) -> None:
        super().__init__(name, to)
        self.component = component
        self.attribute = attribute

    def facts(self) -> tuple[object, ...]:
        """Return the tag and what it is on."""
        return self.name, self.component, self.attribute


class Fwd(Type):
    """A struct, or union, whose members are not known here."""

    __slots__ = ("name", "union")
    kind = Kind.FWD

    def __init__(self, name: str, *, union: bool = False) -> None:
        self.name = name
        self.union = union

    def facts(self) -> tuple[object, ...]:
        """Return the name, and whether it is a union."""
        return self.name, self.union


# BTF wants a type for the index; compilers write this one.
ARRAY_INDEX = Int("__ARRAY_SIZE_TYPE__", 4)


class Array(Type):
    """`count` elements."""

    __slots__ = ("count", "element", "index")
    kind = Kind.ARRAY

    def __init__(
        self, element: Type | None, count: int, index: Type | None = ARRAY_INDEX
    ) -> None:
        self.element = element
        self.count = count
        self.index = index

    def facts(self) -> tuple[object, ...]:
        """Return the number of elements."""
        return (self.count,)

    def references(self) -> tuple[Type | None, ...]:
        """Return the types of element and index."""
        return self.element, self.index


class Member(Row):
    """A member of a struct or union; `bitfield_bits` is 0 unless it is a bit-field."""

    name: str
    type: Type | None
    offset_bits: int
    bitfield_bits: int = 0


class Composite(Type):
    """A struct or a union."""

    __slots__ = ("members", "name", "size")

    def __init__(self, name: str, size: int, members: tuple[Member, ...] = ()) -> None:
        self.name = name
        self.size = size
        self.members = members

    def facts(self) -> tuple[object, ...]:
        """Return name, size, and each member's name and place."""
        places = tuple((m.name, m.offset_bits, m.bitfield_bits) for m in self.members)
        return self.name, self.size, places

    def references(self) -> tuple[Type | None, ...]:
        """Return the types of the members."""
        return tuple([member.type for member in self.members])


class Struct(Composite):
    """`struct name`."""

    __slots__ = ()
    kind = Kind.STRUCT


class Union(Composite):
    """`union name`."""

    __slots__ = ()
    kind = Kind.UNION


class Enumerator(Row):
    """One constant of an enum."""

    name: str
    value: int


class Enum(Type):
    """An enum whose constants have 32 bits; `size` is the number of bytes it fills."""

    __slots__ = ("name", "signed", "size", "values")
    kind = Kind.ENUM

    def __init__(
        self,
        name: str,
        size: int = 4,
        values: tuple[Enumerator, ...] = (),
        *,
        signed: bool = False,
    ) -> None:
        self.name = name
        self.size = size
        self.values = values
        self.signed = signed

    def facts(self) -> tuple[object, ...]:
        """Return everything: an enum refers to no type."""
        return self.name, self.size, self.signed, self.values


class Enum64(Enum):
    """An enum whose constants have 64 bits (Linux 6.0)."""

    __slots__ = ()
    kind = Kind.ENUM64

    def __init__(
        self,
        name: str,
        size: int = 8,
        values: tuple[Enumerator, ...] = (),
        *,
        signed: bool = False,
    ) -> None:
        super().__init__(name, size, values, signed=signed)


class Param(Row):
    """A parameter. `Param("", None)` at the end stands for "..."."""

    name: str
    type: Type | None


class FuncProto(Type):
    """What a function takes and returns."""

    __slots__ = ("params", "returns")
    kind = Kind.FUNC_PROTO

    def __init__(self, returns: Type | None, params: tuple[Param, ...] = ()) -> None:
        self.returns = returns
        self.params = params

    def facts(self) -> tuple[object, ...]:
        """Return the names of the parameters."""
        return tuple([param.name for param in self.params])

    def references(self) -> tuple[Type | None, ...]:
        """Return the type returned, then those of the parameters."""
        return self.returns, *[param.type for param in self.params]


class Func(Type):
    """A function of a program, or an `EXTERN` one of the kernel (a kfunc)."""

    __slots__ = ("linkage", "name", "proto")
    kind = Kind.FUNC

    def __init__(
        self, name: str, proto: FuncProto, linkage: Linkage = Linkage.GLOBAL
    ) -> None:
        self.name = name
        self.proto = proto
        self.linkage = linkage

    def facts(self) -> tuple[object, ...]:
        """Return name and linkage."""
        return self.name, self.linkage

    def references(self) -> tuple[Type | None, ...]:
        """Return the prototype."""
        return (self.proto,)


class Var(Type):
    """A global variable."""

    __slots__ = ("linkage", "name", "type")
    kind = Kind.VAR

    def __init__(
        self,
        name: str,
        type: Type | None,  # noqa: A002 - the word of the format
        linkage: Linkage = Linkage.GLOBAL,
    ) -> None:
        self.name = name
        self.type = type
        self.linkage = linkage

    def facts(self) -> tuple[object, ...]:
        """Return name and linkage."""
        return self.name, self.linkage

    def references(self) -> tuple[Type | None, ...]:
        """Return the variable's type."""
        return (self.type,)


class SectionEntry(Row):
    """A variable, or in `.ksyms` a function, of a section; in bytes from its start."""

    type: "Var | Func"
    offset: int
    size: int


class DataSec(Type):
    """A section of an object file, such as `.maps` or `.rodata`."""

    __slots__ = ("entries", "name", "size")
    kind = Kind.DATASEC

    def __init__(
        self, name: str, size: int, entries: tuple[SectionEntry, ...] = ()
    ) -> None:
        self.name = name
        self.size = size
        self.entries = entries

    def facts(self) -> tuple[object, ...]:
        """Return name, size, and the place of each variable."""
        return self.name, self.size, tuple((e.offset, e.size) for e in self.entries)

    def references(self) -> tuple[Type | None, ...]:
        """Return the variables."""
        return tuple([entry.type for entry in self.entries])
