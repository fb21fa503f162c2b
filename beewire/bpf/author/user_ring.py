"""Ring buffers from user space to programs.

    commands = UserRingBuf[Command](size=1 << 16)

In user space `commands.send(Command(...))`; in programs
`commands.drain(on_command)` calls a function for each record.
"""

from __future__ import annotations

from beewire.bpf.author.bound import OnMap, home_of
from beewire.bpf.author.codec import encoder
from beewire.bpf.author.ring import DEFAULT_SIZE, check_size
from beewire.bpf.lang.decl import MapDecl
from beewire.bpf.lang.types import ValueType
from beewire.bpf.object.kinds import MapKind
from beewire.hints import (
    TYPE_CHECKING,
    Any,
    Callable,
    Generic,
    Iterable,
    TypeVar,
    overload,
)

if TYPE_CHECKING:
    from beewire.bpf.kernel import UserRing

V = TypeVar("V")
C = TypeVar("C")


class UserRingBuf(OnMap, MapDecl, Generic[V]):
    """A ring buffer that user space writes (`BPF_MAP_TYPE_USER_RINGBUF`, Linux 6.1).

    `size` in bytes: a power of two, and at least a page.

    Raises:
        SpecError: The kernel takes no ring of that size.
    """

    kind = MapKind.USER_RINGBUF
    parameters = ("value",)
    operations = frozenset({"drain"})
    lowering = "rings"

    def __init__(
        self, size: int = DEFAULT_SIZE, *, flags: int = 0, name: str = ""
    ) -> None:
        check_size(size)
        super().__init__(size, flags=flags, name=name)

    @property
    def stored(self) -> tuple[ValueType | None, ValueType | None]:
        """Neither: records have their own types, and the kernel takes none."""
        return None, None

    @overload
    def drain(self, callback: Callable[[V | None], bool | None]) -> int: ...
    @overload
    def drain(self, callback: Callable[[V | None, C], bool | None], ctx: C) -> int: ...
    def drain(self, callback: Any, ctx: object = None) -> int:
        """In programs: call `callback(record, ctx)` for every record there is.

        A record is None where user space sent fewer bytes than it has. It ends early
        when the callback returns True; the result is how many there were, or an error.
        """
        del callback, ctx
        self.in_programs("drain")

    @property
    def writer(self) -> UserRing:
        """The writing end, for records of any size: `reserve`, `submit`, `discard`."""
        from beewire.bpf.kernel import UserRing  # noqa: PLC0415 - after attaching

        return home_of(self).end(self.origin or self, UserRing)

    def send(self, record: V, timeout: float = 0) -> bool:
        """Hand a record to the programs that drain the ring; False when it is full.

        It waits up to `timeout` seconds for them to make room.
        """
        value = self.value
        assert value is not None
        return self.writer.submit(encoder(value)(record), timeout)

    def send_all(self, records: Iterable[V]) -> int:
        """Hand over as many records as there is room for; how many that were."""
        value = self.value
        assert value is not None
        return self.writer.submit_all(map(encoder(value), records))
