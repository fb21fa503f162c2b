"""Declarations: what a module of programs says about its maps, globals and programs.

They are plain data with the operations that programs may write; `author` adds what they
do in user space.
"""

from beewire.bpf.lang.contexts import BpfSock, Context, Ref, outside
from beewire.bpf.lang.structs import Struct, StructType
from beewire.bpf.lang.types import U32, IntType, ValueType, u64, value_type
from beewire.bpf.object.kinds import AttachKind, MapKind, ProgramKind
from beewire.bpf.object.spec import Argument
from beewire.errors import SpecError
from beewire.hints import (
    TYPE_CHECKING,
    AbstractContextManager,
    Any,
    Callable,
    ClassVar,
    Generic,
    NoReturn,
    TypeVar,
    overload,
)

if TYPE_CHECKING:
    from typing import Protocol

    from beewire.bpf.lang.constants import SkAction
    from beewire.bpf.object import DataSection, ObjectSpec
    from beewire.hints import Iterator

    class Prebuilt(Protocol):
        """Instructions that were compiled elsewhere (author.prepared)."""

        def uses(self) -> "Iterator[tuple[str, MapDecl | GlobalDecl]]":
            """(name, declaration) of every map and global that they refer to."""

        def targets(self) -> "Iterator[ProgramDecl]":
            """The programs that they go to."""

        def add_to(self, spec: ObjectSpec) -> None:
            """Put them into `spec`."""


K = TypeVar("K")
V = TypeVar("V")
C = TypeVar("C")
S = TypeVar("S", bound=Struct)


# Where the counters of buffers whose records may find them full can lie: in the first
# section that has no globals, for not every loader knows sections of other names.
COUNTERS = (".bss", ".data", ".data.dropped")


def dropped_name(decl: "MapDecl") -> str:
    """The variable that counts what programs could not send by `decl`."""
    return f"bw_dropped_{decl.name}"


class MapDecl:
    """A map. Subclasses give `kind` and list the `operations` that programs may use.

    `name` is the variable's, given when the module is collected, unless the author gave
    one (`is_named`). `key` and `value` come
    from the subscript (`HashMap[Key, u64](...)`); `max_entries` counts entries (bytes for
    ring buffers); `flags` are BPF_F_* of map creation. All that load a `pinned` map share
    the one under its name in the directory of pins (LIBBPF_PIN_BY_NAME).
    """

    kind: ClassVar[MapKind]
    operations: ClassVar[frozenset[str]] = frozenset()
    # The module of `lang.maps` that compiles them.
    lowering: ClassVar[str] = "keyed"
    # Which of key and value the subscript gives, in order.
    parameters: ClassVar[tuple[str, ...]] = ()
    # Of a map of maps: what its maps are like.
    inner: "MapDecl | None" = None
    # Of a map found in one: the register that it is in, while a program is compiled.
    operand: Any = None
    # Flags without which the kernel makes no map of this kind.
    implied_flags: ClassVar[int] = 0
    # `map_extra` of map creation: of Bloom filters and arenas.
    extra: int = 0

    def __init__(
        self,
        max_entries: int = 0,
        *,
        flags: int = 0,
        name: str = "",
        pinned: bool = False,
    ) -> None:
        self.name = name
        self.is_named = bool(name)
        self.max_entries = max_entries
        self.flags = flags | self.implied_flags
        self.pinned = pinned
        self._types: dict[str, ValueType] = {}

    def in_programs(self, operation: str, instead: str = "") -> NoReturn:
        """Refuse an operation that only programs have; `instead` is user space's."""
        del instead
        outside(operation)

    @property
    def key(self) -> ValueType | None:
        """The type of keys; None where the map has none."""
        return self._parameter("key")

    @property
    def value(self) -> ValueType | None:
        """The type of values; None where the map has none."""
        return self._parameter("value")

    @property
    def stored(self) -> tuple[ValueType | None, ValueType | None]:
        """The types of keys and values as the kernel stores them."""
        return self.key, self.value

    @property
    def per_cpu(self) -> bool:
        """Whether each CPU has values of its own."""
        kinds = (MapKind.PERCPU_HASH, MapKind.PERCPU_ARRAY, MapKind.LRU_PERCPU_HASH)
        return self.kind in kinds or self.kind is MapKind.PERCPU_CGROUP_STORAGE

    def _parameter(self, name: str) -> ValueType | None:
        if name not in self.parameters:
            return None
        found = self._types.get(name)
        if found is None:
            found = self._types[name] = self._given(name)
        return found

    def _given(self, name: str) -> ValueType:
        # Generic's alias sets this after __init__ has run.
        given = getattr(self, "__orig_class__", None)
        if given is None:
            pattern = ", ".join(self.parameters)
            raise SpecError(f"write {type(self).__name__}[{pattern}](...) with types")
        try:
            return value_type(given.__args__[self.parameters.index(name)])
        except SpecError as error:
            raise SpecError(f"the {name} of {type(self).__name__}: {error}") from None


class Keyed(MapDecl, Generic[K, V]):
    """A map from keys to values: hash, array, LRU, per-CPU, LPM trie."""

    parameters: ClassVar[tuple[str, ...]] = ("key", "value")
    operations = frozenset(
        {
            "lookup",
            "update",
            "insert",
            "delete",
            "subscript",
            "contains",
            "for_each",
        }
    )

    @overload
    def lookup(self: "Keyed[K, int]", key: K) -> Ref[int] | None: ...
    @overload
    def lookup(self: "Keyed[K, bool]", key: K) -> Ref[bool] | None: ...
    @overload
    def lookup(self, key: K) -> V | None: ...
    def lookup(self, key: Any) -> Any:
        """In programs: a reference to the value of `key`, the running CPU's, or None."""
        self.in_programs("lookup", f"{self.name or 'table'}.get({key!r})")

    def insert(self, key: K, value: V) -> int:  # noqa: ARG002
        """In programs: add `key` unless it is there; 0, or -EEXIST (-17) and the like."""
        outside("insert")

    @overload
    def for_each(
        self: "Keyed[K, int]", callback: Callable[[K, Ref[int]], "bool | None"]
    ) -> int: ...
    @overload
    def for_each(
        self: "Keyed[K, int]",
        callback: Callable[[K, Ref[int], C], "bool | None"],
        ctx: C,
    ) -> int: ...
    @overload
    def for_each(self, callback: Callable[[K, V], "bool | None"]) -> int: ...
    @overload
    def for_each(self, callback: Callable[[K, V, C], "bool | None"], ctx: C) -> int: ...
    def for_each(self, callback: Any, ctx: object = None) -> int:  # noqa: ARG002
        """In programs: call `callback(key, value, ctx)` for every entry (Linux 5.13).

        It ends early when the callback returns True. `ctx` is a Struct that both share.
        Returns how often it was called.
        """
        outside("for_each")


class Sending(MapDecl):
    """A buffer of records on their way to user space.

    `count_dropped`: programs count what does not fit. `wakeup_bytes`: so many wait before
    they have the reader woken; 0 is the kernel's own way.
    """

    count_dropped: bool = False
    wakeup_bytes: int = 0


class Ring(Sending, Generic[V]):
    """A ring buffer of records."""

    kind = MapKind.RINGBUF
    parameters = ("value",)
    operations = frozenset(
        {"reserve", "submit", "discard", "emit", "output", "waiting"}
    )
    lowering = "rings"

    @property
    def stored(self) -> tuple[ValueType | None, ValueType | None]:
        """Neither: records have their own types, and the kernel takes none."""
        return None, None

    def reserve(self) -> "AbstractContextManager[V | None]":
        """In programs: `with events.reserve() as e:`, None when the ring is full.

        The record is submitted at the end of the block, and discarded when `return`,
        `break` or `continue` leaves the block early. It is not cleared: fields that are
        not assigned hold what was there before.
        """
        outside("reserve")

    def submit(self, record: V) -> None:  # noqa: ARG002
        """In programs: send a reserved record before its block ends."""
        outside("submit")

    def discard(self, record: V) -> None:  # noqa: ARG002
        """In programs: drop a reserved record before its block ends."""
        outside("discard")

    def emit(self, record: V) -> bool:  # noqa: ARG002
        """In programs: send a record; False when the ring is full."""
        outside("emit")

    def output(self, record: V, flags: int = 0) -> int:  # noqa: ARG002
        """In programs: `bpf_ringbuf_output`; 0, or -EAGAIN when the ring is full."""
        outside("output")

    def waiting(self) -> int:
        """In programs: bytes that user space has not read yet (`bpf_ringbuf_query`)."""
        outside("waiting")


class Storage(MapDecl, Generic[V]):
    """Values that live in sockets (`BPF_MAP_TYPE_SK_STORAGE`)."""

    kind = MapKind.SK_STORAGE
    parameters = ("value",)
    operations = frozenset({"get", "get_or_create", "delete"})
    lowering = "storage"

    @overload
    def get(self: "Storage[int]", owner: object) -> Ref[int] | None: ...
    @overload
    def get(self, owner: object) -> V | None: ...
    def get(self, owner: object) -> Any:  # noqa: ARG002
        """In programs: a reference to the value that `owner` holds, or None."""
        outside("get")

    @overload  # a subclass of int and of Struct at once does not exist
    def get_or_create(self: "Storage[int]", owner: object) -> Ref[int] | None: ...
    @overload
    def get_or_create(self, owner: object) -> V | None: ...
    def get_or_create(self, owner: object) -> Any:  # noqa: ARG002
        """In programs: as `get`, making a zero value first; None without memory."""
        outside("get_or_create")

    def delete(self, owner: object) -> int:  # noqa: ARG002
        """In programs: forget the value; 0, or -ENOENT (-2)."""
        outside("delete")


class Sockets(MapDecl, Generic[K]):
    """Sockets by index (SOCKMAP) or by key (SOCKHASH)."""

    parameters = ("key",)
    operations = frozenset({"update", "lookup", "redirect", "delete", "select"})
    lowering = "sockets"

    def lookup(self, key: K) -> BpfSock | None:  # noqa: ARG002
        """In programs: the socket of `key`, or None; give it back by `sk_release`.

        `with socks.lookup(key) as sk:` gives it back on every way out of the block.
        """
        outside("lookup")

    def redirect(self, ctx: Context, key: K, *, ingress: bool = False) -> "SkAction":  # noqa: ARG002
        """In programs: SK_PASS when the message went to the socket of `key`."""
        outside("redirect")

    def select(self, ctx: Context, key: K, flags: int = 0) -> int:  # noqa: ARG002
        """In sk_reuseport programs: let the socket of `key` have it; 0 or an error."""
        outside("select")


class PerfCounter(Struct):
    """What `cycles.counter()` gives (`struct bpf_perf_event_value`).

    `enabled_ns` and `running_ns` differ where the counter shared its hardware.
    """

    value: u64
    enabled_ns: u64
    running_ns: u64


class GlobalDecl:
    """A variable that programs and user space share, in `.data` or `.bss`.

    One that is `read_only` stands in `.rodata`: the verifier knows what it holds. So does
    an `option` of the kernel's configuration, in `.kconfig`: the loader reads it; 0 where
    there is none of that name, if it is `optional`. `section` and `offset` are set by `lay_out_globals`; `initial` is what it holds at
    load.
    """

    def __init__(
        self,
        type: object,  # noqa: A002 - as it is declared
        initial: Any = None,
        *,
        name: str = "",
        read_only: bool = False,
        option: bool = False,
        optional: bool = False,
    ) -> None:
        self.type = value_type(type)
        self.option, self.optional = option, optional
        self.read_only = read_only
        self.initial = initial
        self.name = name
        self.is_named = bool(name)
        self.section = ""
        self.offset = -1
        # Where compiled programs expect it, if such do.
        self.fixed: DataSection | None = None

    @property
    def is_struct(self) -> bool:
        """Whether programs see its fields directly, rather than `.value`."""
        return isinstance(self.type, StructType)

    @property
    def is_place(self) -> bool:
        """Whether its name alone is what it holds: it is no integer."""
        return not isinstance(self.type, IntType)


@overload
def Global(  # type: ignore[overload-overlap]  # a Struct is what it is declared as
    type: type[S], initial: S | None = None
) -> S: ...
@overload
def Global(type: object, initial: int = 0) -> Ref[int]: ...
def Global(type: Any, initial: Any = None) -> Any:  # noqa: A002, N802 - reads as a type
    """Declare a variable that programs and user space share.

        settings = Global(Settings)     # settings.port
        limit = Global(u32, 7)          # limit.value

    Raises:
        SpecError: `type` is no type of a fixed size.
    """
    return GlobalDecl(type, initial)


class PerCpuDecl(MapDecl):
    """A variable of which each CPU has its own: the one entry of a per-CPU array."""

    kind = MapKind.PERCPU_ARRAY

    def __init__(self, type: object, *, name: str = "") -> None:  # noqa: A002
        super().__init__(1, name=name)
        self.item = value_type(type)

    @property
    def stored(self) -> tuple[ValueType, ValueType]:
        """The index 0, and the variable."""
        return U32, self.item


class Symbol:
    """A function or variable of the kernel: see `symbols`.

    `weak`: a program asks whether it exists.
    """

    name: str
    weak = False


class ProgramDecl:
    """A function that is a program, and the hook it is written for.

    `arguments` are its parameters where the hook passes more than a context, once it is
    compiled. `variants` are loaded together with it: the same function for other places
    of a static probe. `returns_nothing`: the kernel takes 0 only. `neutral` is what it returns when it is annotated `-> None`; `context` the context's
    class when the parameter is not annotated.
    """

    arguments: tuple[Argument, ...] = ()
    returns_nothing = False
    # The table of struct_ops that it is a member of.
    table: MapDecl | None = None
    variants: "tuple[ProgramDecl, ...]" = ()
    # The program of which it replaces a function.
    target: "ProgramDecl | None" = None

    def __init__(  # noqa: PLR0913 - the fields of a declaration
        self,
        function: Callable[..., object],
        *,
        kind: ProgramKind,
        section: str,
        context: type[Context],
        attach_kind: AttachKind | None = None,
        attach_to: str = "",
        neutral: int = 0,
        name: str = "",
        license: str = "Dual BSD/GPL",  # noqa: A002 - the kernel's word
        flags: int = 0,
    ) -> None:
        self.function = function
        self.name = name or function.__name__
        self.is_named = bool(name)
        self.kind = kind
        self.section = section
        self.context = context
        self.attach_kind = attach_kind
        self.attach_to = attach_to
        self.neutral = neutral
        self.license = license
        self.flags = flags
        self.prebuilt: Prebuilt | None = None
