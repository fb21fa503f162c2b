"""The contexts that hooks pass to programs, with the fields of uapi/linux/bpf.h.

Each field says where it lies and whether a program may write it; a checker sees an int
(or a socket). Ports and addresses stand in the byte order that the docstring names.
"""

from beewire.bpf.lang.types import (
    I32,
    U32,
    U64,
    IntType,
    ValueType,
    find_value_type,
    network_type,
)
from beewire.errors import BeewireError, SpecError
from beewire.hints import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    NoReturn,
    Self,
    TypeVar,
    overload,
)

if TYPE_CHECKING:
    from beewire.bpf.lang.composites import Composite

S = TypeVar("S", bound="Composite")
V = TypeVar("V")

# In network order: they go into be32 and be16, and into plain integers as they are.
_IP4 = network_type(32, 32)


def outside(name: str) -> NoReturn:
    """Say that `name` means something in programs only."""
    raise BeewireError(f"{name} works in programs only: they run in the kernel")


class Ref(Generic[V]):
    """A scalar in memory, as a program sees it: read and write `.value`."""

    value: V


class Member:
    """A field of a context: `size` and `type` in the program's view of it."""

    __slots__ = ("count", "name", "offset", "type", "writable")

    def __init__(
        self,
        offset: int,
        type: ValueType,  # noqa: A002 - the field's type
        *,
        count: int = 0,
        writable: bool = False,
    ) -> None:
        self.offset = offset
        self.type = type
        self.count = count
        self.writable = writable
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name


class Readable(Member):
    """An integer that programs read."""

    __slots__ = ()

    def __init__(self, offset: int, type: IntType = U32) -> None:  # noqa: A002
        super().__init__(offset, type)

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> int: ...
    def __get__(self, instance: object | None, owner: type) -> Self | int:
        if instance is None:
            return self
        outside(self.name)


class Writable(Member):
    """An integer that programs read and write."""

    __slots__ = ()

    def __init__(self, offset: int, type: IntType = U32) -> None:  # noqa: A002
        super().__init__(offset, type, writable=True)

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> int: ...
    def __get__(self, instance: object | None, owner: type) -> Self | int:
        if instance is None:
            return self
        outside(self.name)

    def __set__(self, instance: object, value: int) -> None:
        outside(self.name)


class Words:
    """What a checker sees of an array that programs read."""

    def __getitem__(self, index: int) -> int:
        outside("an array of a context")


class WritableWords(Words):
    """What a checker sees of an array that programs read and write."""

    def __setitem__(self, index: int, value: int) -> None:
        outside("an array of a context")


class ReadableWords(Member):
    """`count` integers that programs read."""

    __slots__ = ()

    def __init__(self, offset: int, count: int, type: IntType = U32) -> None:  # noqa: A002
        super().__init__(offset, type, count=count)

    def __get__(self, instance: object | None, owner: type) -> Words:
        outside(self.name)


class WritableArray(Member):
    """`count` integers that programs read and write."""

    __slots__ = ()

    def __init__(self, offset: int, count: int, type: IntType = U32) -> None:  # noqa: A002
        super().__init__(offset, type, count=count, writable=True)

    def __get__(self, instance: object | None, owner: type) -> WritableWords:
        outside(self.name)


class Context:
    """Base of all contexts. `struct_name` is the kernel's name for it."""

    struct_name: ClassVar[str] = ""
    # Whether programs on probes may take it in the place of their arguments.
    of_probes: ClassVar[bool] = False
    # Whether the context is a Struct of the author's.
    is_struct: ClassVar[bool] = False

    @classmethod
    def member(cls, name: str) -> "AnyMember | None":
        """The field called `name`, or None."""
        for part in cls.__mro__:
            found = part.__dict__.get(name)
            if isinstance(found, Member | SocketMember | Record | KernelMember):
                return found
        return None

    @classmethod
    def member_names(cls) -> list[str]:
        """All fields, for advice."""
        kinds = (Member, SocketMember, Record, KernelMember)
        return [
            n for p in cls.__mro__ for n, v in vars(p).items() if isinstance(v, kinds)
        ]


class Arguments(Context):
    """Base of contexts that are arguments: programs take each as a parameter.

    `typed`: the verifier knows what pointers among them point to.
    """

    typed: ClassVar[bool] = True

    @classmethod
    def place(cls, index: int) -> int:
        """Where argument `index` lies in the context: in words of 64 bits.

        Raises:
            IndexError: There is no such argument.
        """
        return 8 * index


class BpfSock(Context):
    """`struct bpf_sock`: a socket as programs see it.

    `src_ip4/6` and `dst_ip4/6` are in network order, `src_port` in host order,
    `dst_port` in network order (16 bits).
    """

    struct_name = "bpf_sock"
    bound_dev_if = Writable(0)
    family = Readable(4)
    type = Readable(8)
    protocol = Readable(12)
    mark = Writable(16)
    priority = Writable(20)
    src_ip4 = Readable(24, _IP4)
    src_ip6 = ReadableWords(28, 4, _IP4)
    src_port = Readable(44)
    dst_port = Readable(48, network_type(16, 16))
    dst_ip4 = Readable(52, _IP4)
    dst_ip6 = ReadableWords(56, 4, _IP4)
    state = Readable(72)
    rx_queue_mapping = Readable(76, I32)


class SocketMember:
    """A pointer to a socket in a context; `nullable` where it may be None."""

    __slots__ = ("name", "nullable", "offset")

    def __init__(self, offset: int, *, nullable: bool) -> None:
        self.offset = offset
        self.nullable = nullable
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name


class Socket(SocketMember):
    """A pointer to a socket that is always there."""

    __slots__ = ()

    def __init__(self, offset: int) -> None:
        super().__init__(offset, nullable=False)

    def __get__(self, instance: object | None, owner: type) -> BpfSock:
        outside(self.name)


class MaybeSocket(SocketMember):
    """A pointer to a socket, or None."""

    __slots__ = ()

    def __init__(self, offset: int) -> None:
        super().__init__(offset, nullable=True)

    def __get__(self, instance: object | None, owner: type) -> BpfSock | None:
        outside(self.name)


class Record(Generic[S]):
    """A pointer to a Struct that the program may write."""

    __slots__ = ("name", "offset", "struct")

    def __init__(self, offset: int, struct: type[S]) -> None:
        self.offset = offset
        self.struct = struct
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: object | None, owner: type) -> S:
        outside(self.name)


class KernelMember:
    """A pointer to a kernel struct, of which only the name is known here."""

    __slots__ = ("name", "offset", "struct")

    def __init__(self, offset: int, struct: str) -> None:
        self.offset = offset
        self.struct = struct
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: object | None, owner: type) -> int:
        outside(self.name)


AnyMember = Member | SocketMember | Record[Any] | KernelMember


class PacketBytes:
    """What a checker sees of a packet's bytes."""

    def __getitem__(self, part: slice) -> bytes | None:
        """The bytes from one to another, or None when that passes the end."""
        outside("a packet")


class PacketContext(Context):
    """A context with memory behind it.

    `window` holds the offsets of the pointers to its start and end in the context, and
    their size.
    """

    window: ClassVar[tuple[int, int, int]]

    @property
    def data(self) -> PacketBytes:
        """The bytes: `ctx.data[0:4]`, or `ctx.data[i : i + 4]`."""
        outside("data")

    @overload  # a class is an object too, and the first that fits is taken
    def at(self, offset: int, type: type[S]) -> S | None: ...  # type: ignore[overload-overlap]
    @overload
    def at(self, offset: int, type: object) -> Ref[int] | None: ...
    def at(self, offset: int, type: object) -> Any:  # noqa: A002, ARG002
        """A reference to a `type` at `offset` bytes, or None when it passes the end."""
        outside("at")


class CopiedPacket(PacketContext):
    """A packet that is copied from and to as well: also of pieces that `at` lacks."""

    @overload  # a class is an object too, and the first that fits is taken
    def read(self, offset: int, type: type[S]) -> S | None: ...  # type: ignore[overload-overlap]
    @overload
    def read(self, offset: int, type: object) -> Ref[int] | None: ...
    def read(self, offset: int, type: object) -> Any:  # noqa: A002, ARG002
        """A copy of a `type` at `offset` bytes, or None when it passes the end.

        It reaches into fragments, too (`bpf_skb_load_bytes`, `bpf_xdp_load_bytes`).
        """
        outside("read")

    def write(self, offset: int, value: object) -> bool:  # noqa: ARG002
        """Write a struct or an array at `offset` bytes; whether there was room.

        In tc programs, references from `at` are gone afterwards.
        """
        outside("write")


class Tracepoint(Context):
    """A tracepoint's record.

    Subclass it with the event's name and the fields that are read; they are found by
    CO-RE in `struct trace_event_raw_<name>`:

        class sched_process_fork(Tracepoint):
            parent_pid: i32
            child_pid: i32
    """

    @classmethod
    def record_fields(cls) -> dict[str, ValueType]:
        """The declared fields and their types.

        Raises:
            SpecError: A field's annotation is no type of a fixed size.
        """
        fields = {}
        for part in reversed(cls.__mro__):
            if part is Tracepoint or not issubclass(part, Tracepoint):
                continue
            own = part.__dict__.get("__annotations__", {})  # noqa: RUF063 - inspect is slow to import
            for name, annotation in own.items():
                fields[name] = _record_type(part, name, annotation)
        return fields


class RawTracepoint(Context):
    """A raw tracepoint: `ctx.args[n]` is argument number n, 64 bits each, at most 12."""

    struct_name = "bpf_raw_tracepoint_args"
    args = ReadableWords(0, 12, U64)


class XdpContext(CopiedPacket):
    """`struct xdp_md`: a frame before the network stack sees it."""

    struct_name = "xdp_md"
    window = (0, 4, 4)
    ingress_ifindex = Readable(12)
    rx_queue_index = Readable(16)
    egress_ifindex = Readable(20)

    @property
    def length(self) -> int:
        """Bytes from the start of the frame to its end."""
        outside("length")


def _record_type(cls: type, name: str, annotation: Any) -> ValueType:
    spec = cls.__dict__.get(name)
    if spec is not None:
        annotation = spec
    elif isinstance(annotation, str):
        from beewire.bpf.lang.structs import resolve  # noqa: PLC0415 - for strings only

        annotation = resolve(cls, annotation)
    found = find_value_type(annotation)
    if found is None:
        raise SpecError(f"{cls.__name__}.{name}: write an integer type, chars or array")
    return found
