"""What an expression of a program is while it is compiled."""

from beewire.bpf import ir
from beewire.bpf.lang.contexts import BpfSock, Context, Member
from beewire.bpf.lang.decl import GlobalDecl, MapDecl
from beewire.bpf.lang.structs import Kernel, StructType
from beewire.bpf.lang.types import ArrayType, CharsType, IntType, ObjectType, ValueType
from beewire.hints import Any, Callable


class Value:
    """Any value; `describe` is what diagnostics call it."""

    __slots__ = ()

    def describe(self) -> str:
        """A noun phrase."""
        return "a value"


class Literal(Value):
    """An integer known when the program is compiled."""

    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        self.value = value

    def describe(self) -> str:
        """A noun phrase."""
        return f"the number {self.value}"


class Int(Value):
    """An integer in a register, extended to 64 bits; its type bounds it.

    `adapts`: it is a variable's that got literals only so far, named by this key.
    """

    __slots__ = ("adapts", "op", "type")

    def __init__(
        self,
        op: ir.Op,
        type: IntType,  # noqa: A002
        adapts: tuple[object, str] | None = None,
    ) -> None:
        self.op = op
        self.type = type
        self.adapts = adapts

    def describe(self) -> str:
        """A noun phrase."""
        return f"an integer ({self.type.name})"


# What arithmetic takes; a union would be made anew at each test.
NUMBER = (Int, Literal)


class Nothing(Value):
    """None."""

    __slots__ = ()

    def describe(self) -> str:
        """A noun phrase."""
        return "None"


class Static(Value):
    """A Python object of the module: a map, a type, a function, a text."""

    __slots__ = ("obj",)

    def __init__(self, obj: Any) -> None:
        self.obj = obj

    def describe(self) -> str:
        """A noun phrase."""
        if isinstance(self.obj, str | bytes):
            return f"the text {self.obj!r}"
        if isinstance(self.obj, GlobalDecl):
            return f"the global {self.obj.name!r}"
        name = getattr(self.obj, "__name__", "")
        kind = type(self.obj).__name__
        article = "an" if kind[0] in "aeiouAEIOU" else "a"
        return f"{name!r} ({kind})" if name else f"{article} {kind}"


class Tuple(Value):
    """Several values, written with commas."""

    __slots__ = ("items",)

    def __init__(self, items: tuple[Value, ...]) -> None:
        self.items = items

    def describe(self) -> str:
        """A noun phrase."""
        return f"a tuple of {len(self.items)}"


class Reference:
    """Something acquired at one place of the source that must be given back.

    `what` is a noun phrase, `advice` says how it is given back. `give_back` compiles the
    call that a `with` block makes at its end, `abandon` where it is left early. `place`
    is where diagnostics point: a frame and a node of it.
    """

    __slots__ = ("abandon", "advice", "by", "give_back", "place", "reported", "what")

    def __init__(
        self,
        what: str,
        advice: str,
        give_back: Callable[[ir.Op], object],
        abandon: Callable[[ir.Op], object] | None = None,
    ) -> None:
        self.what = what
        self.advice = advice
        self.give_back = give_back
        self.abandon = abandon or give_back
        self.place: Any = None
        # Who gave it back, and whether it was said that nobody does.
        self.by = ""
        self.reported = False


NO_REFERENCES: frozenset[Reference] = frozenset()


class Pointer(Value):
    """An address in a register; `nullable` where it may be None.

    It is good as long as its `references` are held. `owns`: it is them, and does not
    merely lean on them; `fresh`: no variable has it yet.
    """

    __slots__ = ("fresh", "nullable", "op", "owns", "references")
    # Whether a variable of this kind must be tested wherever nothing else is known.
    can_be_none = True

    def __init__(self, op: ir.Op, *, nullable: bool = False) -> None:
        self.op = op
        self.nullable = nullable
        self.references = NO_REFERENCES
        self.owns = False
        self.fresh = False

    @property
    def test(self) -> ir.Op:
        """What is 0 when this is None."""
        return self.op

    def at(self, op: ir.Op) -> "Pointer":
        """The same kind of pointer with another address."""
        raise AssertionError(op)

    def same_kind(self, other: Value) -> bool:
        """Whether one variable may hold this and `other`."""
        return type(other) is type(self)


class Memory(Pointer):
    """`type` at `op` + `offset`.

    `shared`: others may write it at the same time, `+=` is atomic. `unnamed`: a struct
    on the stack that no variable refers to yet. `read_only`: a constant. `flag`, where
    there is one, is 0 when the reference is None: a constant on each way here, so that
    tests of it fold.
    `aligned`: what `op` is a multiple of, at most 8; on the stack that counts, be it the
    stack of a caller, `lent` to this function.
    """

    __slots__ = (
        "aligned",
        "flag",
        "home",
        "lent",
        "offset",
        "read_only",
        "shared",
        "space",
        "type",
        "unnamed",
    )

    def __init__(  # noqa: PLR0913 - the facts of a place
        self,
        op: ir.Op,
        offset: int,
        type: ValueType,  # noqa: A002
        space: ir.Space,
        *,
        nullable: bool = False,
        shared: bool = False,
        unnamed: bool = False,
        read_only: bool = False,
        flag: ir.Op | None = None,
    ) -> None:
        super().__init__(op, nullable=nullable)
        # The map that it lies in, where that is known.
        self.home: MapDecl | None = None
        self.flag = flag
        self.offset = offset
        self.type = type
        self.space = space
        self.shared = shared
        self.unnamed = unnamed
        self.aligned = 8
        self.lent = False
        self.read_only = read_only

    @property
    def test(self) -> ir.Op:
        """What is 0 when this is None."""
        return self.op if self.flag is None else self.flag

    def at(self, op: ir.Op) -> "Memory":
        """The same kind of reference with another address."""
        made = self._with(op, 0, self.type, nullable=self.nullable)
        made.aligned = min(self.type.align, self.align_at(0))
        return made

    def part(self, offset: int, type_: ValueType) -> "Memory":
        """What lies `offset` bytes further."""
        return self._with(self.op, self.offset + offset, type_)

    def element(self, op: ir.Op, type_: ValueType) -> "Memory":
        """What lies at the address `op`, a multiple of `type_` inside this."""
        made = self._with(op, 0, type_)
        made.aligned = min(self.aligned, type_.size & -type_.size)
        return made

    def _with(
        self, op: ir.Op, offset: int, type_: ValueType, *, nullable: bool = False
    ) -> "Memory":
        made = Memory(
            op,
            offset,
            type_,
            self.space,
            nullable=nullable,
            shared=self.shared,
            read_only=self.read_only,
        )
        made.references = self.references
        made.aligned = self.aligned
        made.home = self.home
        made.lent = self.lent
        return made

    def lent_at(self, op: ir.Op) -> "Memory":
        """This struct of the stack to a function that is called with its address."""
        made = Memory(op, 0, self.type, ir.Space.MEM, nullable=self.nullable)
        made.aligned = self.align_at(0)
        made.lent = True
        return made

    def align_at(self, offset: int) -> int:
        """What the address `offset` bytes into this is a multiple of, at most 8."""
        align = self.aligned
        while (self.offset + offset) % align:
            align //= 2
        return align

    @property
    def on_stack(self) -> bool:
        """Whether it is a struct of the program's own."""
        return self.space is ir.Space.STACK

    def same_kind(self, other: Value) -> bool:
        """Whether one variable may hold this and `other`."""
        return (
            isinstance(other, Memory)
            and other.type is self.type
            and other.space is self.space
            and other.shared is self.shared
            and other.lent is self.lent
            and other.read_only is self.read_only
        )

    def describe(self) -> str:
        """A noun phrase."""
        if isinstance(self.type, IntType):
            return f"a reference to {self.type.name}"
        if isinstance(self.type, ObjectType):
            return self.type.noun
        kind = "a struct" if isinstance(self.type, StructType) else "an array"
        return f"{kind} ({self.type.name})"

    @property
    def where(self) -> str:
        """In what kind of memory it lies: a variable refers to one kind only."""
        if self.space is ir.Space.MAP:
            return "in a map" if self.shared else "in a per-CPU map"
        return _WHERE[self.space]


_WHERE = {
    ir.Space.STACK: "of the program's own",
    ir.Space.PACKET: "in the packet",
    ir.Space.CTX: "in the context",
    ir.Space.KERNEL: "in the kernel's memory",
    ir.Space.MEM: "in a record of a ring buffer",
}


class Record(Memory):
    """A record that a callback is given as a dynptr: memory once it has been asked for."""

    __slots__ = ()

    def at(self, op: ir.Op) -> "Record":
        """The same kind of record with another address."""
        return Record(op, 0, self.type, self.space, nullable=True)


class Link(Memory):
    """A struct that a callback is given by the address of the field it is linked by."""

    __slots__ = ()

    def at(self, op: ir.Op) -> "Memory":
        """The struct, `op` being the address of its link."""
        return Memory(op, self.offset, self.type, self.space)


class Socket(Pointer):
    """A socket."""

    __slots__ = ()
    cls: type[Context] = BpfSock

    def at(self, op: ir.Op) -> "Socket":
        """The same kind of pointer with another address."""
        return Socket(op, nullable=self.nullable)

    def describe(self) -> str:
        """A noun phrase."""
        return "a socket"


class InnerMap(Pointer):
    """A map that was found in a map of maps; `decl` says of what kind it is."""

    __slots__ = ("decl",)

    def __init__(self, op: ir.Op, decl: MapDecl, *, nullable: bool) -> None:
        super().__init__(op, nullable=nullable)
        self.decl = decl

    def at(self, op: ir.Op) -> "InnerMap":
        """The same kind of pointer with another address."""
        return InnerMap(op, self.decl, nullable=self.nullable)

    def same_kind(self, other: Value) -> bool:
        """Whether one variable may hold this and `other`."""
        return isinstance(other, InnerMap) and other.decl is self.decl

    def describe(self) -> str:
        """A noun phrase."""
        return f"a map ({type(self.decl).__name__})"


class KernelMemory(Pointer):
    """A kernel struct, `path` being the members that lead to it inside `root`.

    `typed`: the verifier knows its type (an argument of tp_btf, fentry, LSM, ...), and
    programs read it like memory of their own. Any other address is read by
    bpf_probe_read_kernel. Neither ever faults: a bad address reads as zeros. `nullable`
    is one that the verifier wants tested first.
    """

    __slots__ = ("can_be_none", "kernel", "path", "root", "typed")

    def __init__(
        self,
        op: ir.Op,
        kernel: type[Kernel],
        root: type[Kernel] | None = None,
        path: tuple[int, ...] = (),
        *,
        typed: bool = False,
        nullable: bool = False,
    ) -> None:
        super().__init__(op, nullable=nullable)
        self.kernel = kernel
        self.root = kernel if root is None else root
        self.path = path
        self.typed = typed
        self.can_be_none = nullable

    def at(self, op: ir.Op) -> "KernelMemory":
        """The same kind of pointer with another address."""
        made = KernelMemory(op, self.kernel, self.root, self.path, typed=self.typed)
        made.nullable, made.can_be_none = self.nullable, self.can_be_none
        return made

    def same_kind(self, other: Value) -> bool:
        """Whether one variable may hold this and `other`."""
        return (
            isinstance(other, KernelMemory)
            and other.kernel is self.kernel
            and (other.root, other.path) == (self.root, self.path)
            and other.typed == self.typed
        )

    def describe(self) -> str:
        """A noun phrase."""
        return f"a kernel struct ({self.kernel.__name__})"


class KernelField(Value):
    """A field of a kernel struct: read when, and where, it is used.

    `inside` and `path` say where it is, for one whose elements are read one by one.
    """

    __slots__ = ("address", "inside", "path", "type")

    def __init__(
        self,
        address: ir.Op,
        type: ValueType,  # noqa: A002
        inside: KernelMemory | None = None,
        path: tuple[int, ...] = (),
    ) -> None:
        self.address = address
        self.type = type
        self.inside = inside
        self.path = path

    def describe(self) -> str:
        """A noun phrase."""
        return f"a kernel field ({self.type.name})"


class TextAt(Value):
    """`kernel_str(address)`: a text that ends with a NUL, read where it is put."""

    __slots__ = ("address", "helper")

    def __init__(self, address: ir.Op, helper: int) -> None:
        self.address = address
        self.helper = helper

    def describe(self) -> str:
        """A noun phrase."""
        return "a text at an address"


class ContextValue(Pointer):
    """The program's context, as `cls` describes it."""

    __slots__ = ("cls",)

    def __init__(self, op: ir.Op, cls: type[Context]) -> None:
        super().__init__(op)
        self.cls = cls

    def at(self, op: ir.Op) -> "ContextValue":
        """The same kind of pointer with another address."""
        return ContextValue(op, self.cls)

    def describe(self) -> str:
        """A noun phrase."""
        return f"the context ({self.cls.__name__})"


class PacketBytes(Value):
    """`ctx.data`: the bytes of the packet, of which slices are taken."""

    __slots__ = ("context",)

    def __init__(self, context: ContextValue) -> None:
        self.context = context

    def describe(self) -> str:
        """A noun phrase."""
        return "the packet"


class ContextWords(Value):
    """An array of a context, or of a socket: `ctx.user_ip6`."""

    __slots__ = ("context", "member", "space")

    def __init__(self, context: ir.Op, member: Member, space: ir.Space) -> None:
        self.context = context
        self.member = member
        self.space = space

    def describe(self) -> str:
        """A noun phrase."""
        return f"the array {self.member.name!r}"


class Comm(Value):
    """`current_comm()`: written where it is put."""

    __slots__ = ()

    def describe(self) -> str:
        """A noun phrase."""
        return "current_comm()"


class Fields(Value):
    """A struct that is being made: the constructor's call, its arguments evaluated."""

    __slots__ = ("items", "type")

    def __init__(self, type: StructType, items: dict[str, Value]) -> None:  # noqa: A002
        self.type = type
        self.items = items

    def describe(self) -> str:
        """A noun phrase."""
        return f"a struct ({self.type.name})"


class Content(Value):
    """A text or an array that is being made; `value` None for zeros."""

    __slots__ = ("type", "value")

    def __init__(self, type: ValueType, value: Value | None) -> None:  # noqa: A002
        self.type = type
        self.value = value

    def describe(self) -> str:
        """A noun phrase."""
        return f"an array ({self.type.name})"


def is_cell(value: Value) -> bool:
    """Whether it is an integer in memory, named without `.value`."""
    if isinstance(value, Static):
        return isinstance(value.obj, GlobalDecl)
    return isinstance(value, Memory) and isinstance(value.type, IntType)


def is_sequence(value: Value) -> bool:
    """Whether it is a text or an array, wherever it lies."""
    if isinstance(value, Static):
        return isinstance(value.obj, str | bytes)
    if isinstance(value, Memory | KernelField):
        return isinstance(value.type, CharsType | ArrayType)
    return isinstance(value, Comm | Content)
