"""Ring buffers: records from programs to user space, in order.

    exits = RingBuf[Exec](size=1 << 18)

In programs `with exits.reserve() as e:` or `exits.emit(Exec(...))`; in user space
`for e in exits:`.
"""

from __future__ import annotations

from beewire.bpf.author.bound import OnMap, home_of
from beewire.bpf.author.codec import decoder
from beewire.bpf.lang import Ring
from beewire.errors import SpecError
from beewire.hints import (
    TYPE_CHECKING,
    AbstractContextManager,
    Any,
    Generic,
    Iterator,
    TypeVar,
)

if TYPE_CHECKING:
    from beewire.bpf.kernel import RingReader

V = TypeVar("V")

DEFAULT_SIZE = 1 << 18
PAGE = 4096


class Records(OnMap, Generic[V]):
    """Operations in user space that ring buffers and perf buffers share."""

    @property
    def reader(self) -> Any:
        """The reader of this buffer, for event loops (`fileno()`) and `read()`.

        Raises:
            MapError: It is not in the kernel: nothing that uses it was attached.
        """
        value = self.value
        assert value is not None
        return home_of(self).reader(self.origin or self, decoder(value))

    def __iter__(self) -> Iterator[V]:
        """Yield records, waiting where there are none; Ctrl-C ends the iteration.

        The body of the loop finishes first; a second Ctrl-C interrupts it.
        """
        from beewire.bpf.author.interrupt import CtrlC  # noqa: PLC0415 - after attaching

        records = iter(self.reader)
        with CtrlC() as ctrl_c:
            while not ctrl_c.seen:
                try:
                    ctrl_c.waiting = True
                    record = next(records)
                    ctrl_c.waiting = False
                except KeyboardInterrupt:
                    return
                yield record

    def read(self, timeout: float | None = None) -> list[V]:
        """All records there are, waiting up to `timeout` seconds (None: for ever).

        An empty list means that the time is over.
        """
        found: list[V] = self.reader.poll(None if timeout is None else timeout * 1000)
        return found

    def poll(self) -> list[V]:
        """All records there are, without waiting."""
        found: list[V] = self.reader.read()
        return found


class RingBuf(Records[V], Ring[V]):
    """A ring buffer of records (`BPF_MAP_TYPE_RINGBUF`, Linux 5.8).

    `size` in bytes: a power of two, and at least a page. A full ring makes `reserve`
    give None and `emit` False; nothing is overwritten.

    Raises:
        SpecError: The kernel takes no ring of that size.
    """

    def __init__(
        self, size: int = DEFAULT_SIZE, *, flags: int = 0, name: str = ""
    ) -> None:
        check_size(size)
        super().__init__(size, flags=flags, name=name)

    if TYPE_CHECKING:

        @property
        def reader(self) -> RingReader[V]:
            """As above; `waiting_bytes` says how much is unread."""

    def reserve(self) -> AbstractContextManager[V | None]:
        """In programs: `with events.reserve() as e:`, None when the ring is full.

        The record is submitted at the end of the block, and discarded when `return`
        leaves it early. Fields that are not assigned hold what was there before.
        """
        self.in_programs("reserve")

    def submit(self, record: V) -> None:
        """In programs: send a reserved record before its block ends."""
        del record
        self.in_programs("submit")

    def discard(self, record: V) -> None:
        """In programs: drop a reserved record before its block ends."""
        del record
        self.in_programs("discard")

    def waiting(self) -> int:
        """In programs: bytes that user space has not read yet."""
        self.in_programs("waiting", "reader.waiting_bytes")

    def emit(self, record: V) -> bool:
        """In programs: send a record; False when the ring is full."""
        del record
        self.in_programs("emit")

    def output(self, record: V, flags: int = 0) -> int:
        """In programs: `bpf_ringbuf_output`; 0, or -EAGAIN when the ring is full."""
        del record, flags
        self.in_programs("output")


def check_size(size: int) -> None:
    """Refuse a size that no ring has.

    Raises:
        SpecError: It is no power of two, or less than a page.
    """
    if size < PAGE or size & (size - 1):
        raise SpecError(
            f"a ring buffer of {size} bytes: the kernel takes powers of two from "
            f"{PAGE} on, such as {DEFAULT_SIZE}"
        )
