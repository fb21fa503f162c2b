"""Ring buffers: records from programs to user space, in order.

    exits = RingBuf[Exec](size=1 << 18)

In programs `with exits.reserve() as e:` or `exits.emit(Exec(...))`; in user space
`for e in exits:`.
"""

from __future__ import annotations

import sys

from beewire.bpf.author.bound import OnMap, home_of
from beewire.bpf.lang import Ring
from beewire.errors import MapError, SpecError
from beewire.hints import (
    TYPE_CHECKING,
    AbstractContextManager,
    Any,
    Callable,
    Generic,
    Iterator,
    TypeVar,
    overload,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Literal

    from numpy.typing import NDArray

    from beewire.bpf.kernel import AnyMap, Counts, Reader, RingReader

V = TypeVar("V")

DEFAULT_SIZE = 1 << 18
LATENCY = 0.1
PAGE = 4096


class Records(OnMap, Generic[V]):
    """Operations in user space that ring buffers and perf buffers share."""

    wakeup_bytes: int
    latency: float

    @property
    def is_typed(self) -> bool:
        """Whether it has records: perf events to be counted have no type."""
        return getattr(self, "__orig_class__", None) is not None

    def open_reader(self, live: AnyMap) -> Reader[V]:
        """A reader of the buffer that this became in the kernel."""
        raise MapError(f"{live.name!r} has no records to read")

    @property
    def reader(self) -> Any:
        """The reader of this buffer, for event loops (`fileno()`) and counts.

        Raises:
            MapError: It is not in the kernel: nothing that uses it was attached.
        """
        return home_of(self).end(self.origin or self, self.open_reader)

    def __iter__(self) -> Iterator[V]:
        """Yield records, waiting where there are none; Ctrl-C ends the iteration.

        The body of the loop finishes first; a second Ctrl-C interrupts it.
        """
        return self._arriving(None)

    def during(self, seconds: float) -> Iterator[V]:
        """As iteration, until so many seconds are over, however many records come."""
        return self._arriving(seconds)

    def _arriving(self, seconds: float | None) -> Iterator[V]:
        from time import monotonic  # noqa: PLC0415 - after attaching

        from beewire.bpf.author.interrupt import CtrlC  # noqa: PLC0415 - after attaching

        reader = self.reader
        end = None if seconds is None else monotonic() + seconds
        with CtrlC() as ctrl_c:
            while ctrl_c.wait(reader, None if end is None else end - monotonic()):
                for record in reader.held():
                    yield record
                    if ctrl_c.seen or (end is not None and monotonic() >= end):
                        return

    def __aiter__(self) -> AsyncIterator[V]:
        """Yield records to a task of asyncio; others run while there are none."""
        found: AsyncIterator[V] = aiter(self.reader)
        return found

    def read(self, timeout: float | None = None) -> list[V]:
        """All records there are, waiting up to `timeout` seconds (None: for ever).

        An empty list means that the time is over.
        """
        found: list[V] = self.reader.poll(timeout)
        return found

    def poll(self) -> list[V]:
        """All records there are, without waiting."""
        found: list[V] = self.reader.read()
        return found

    @overload
    def read_batch(
        self, timeout: float | None = ..., *, limit: int = ..., numpy: Literal[True]
    ) -> NDArray[Any]: ...
    @overload
    def read_batch(
        self,
        timeout: float | None = ...,
        *,
        limit: int = ...,
        numpy: Literal[False] = ...,
    ) -> list[Any]: ...
    def read_batch(
        self,
        timeout: float | None = None,
        *,
        limit: int = sys.maxsize,
        numpy: bool = False,
    ) -> Any:
        """As `read`, at most `limit` records, as tuples of their fields.

        With `numpy`, one structured array of all: its fields are named as theirs, text
        is bytes, bit-fields are left out. Where records are plain numbers, so are the
        items. Nothing is faster.

        Raises:
            MapError: numpy is not installed.
        """
        reader = self.reader
        reader.wait(timeout)
        return reader.array(limit) if numpy else reader.rows(limit)

    def consume(
        self, callback: Callable[[V], object], timeout: float | None = None
    ) -> int:
        """Call `callback` with every record, until it returns True; how many there were.

        It ends after `timeout` seconds, however many records come (None: never), and
        with Ctrl-C.
        """
        count = 0
        for record in self._arriving(timeout):
            count += 1
            if callback(record) is True:
                break
        return count

    async def ready(self, timeout: float | None = None) -> bool:
        """Wait in asyncio until there are records, at most `timeout` seconds.

        False means that the time is over; else `poll()` or `read_batch(0)` has some.
        """
        found: bool = await self.reader.ready(timeout)
        return found

    @property
    def dropped(self) -> int:
        """How many records programs could not send, because the buffer was full.

        Programs count it; those that call helpers for rings by number do not.
        """
        return home_of(self).dropped(self.origin or self)

    @property
    def counts(self) -> Counts:
        """What became of the records so far: `read`, `discarded`, `busy`, `lost`."""
        found: Counts = self.reader.counts
        return found


class RingBuf(Records[V], Ring[V]):
    """A ring buffer of records (`BPF_MAP_TYPE_RINGBUF`, Linux 5.8).

    `size` in bytes: a power of two, and at least a page. A full ring makes `reserve`
    give None and `emit` False; nothing is overwritten, and `dropped` counts it, unless
    `count_dropped` is False.

    The kernel wakes a reader that has read everything, for each record. With
    `wakeup_bytes`, programs have it woken when so many bytes wait; the reader looks by
    itself every `latency` seconds, so that no record waits longer.

    Raises:
        SpecError: The kernel takes no ring of that size, or so many bytes never wait.
    """

    def __init__(
        self,
        size: int = DEFAULT_SIZE,
        *,
        wakeup_bytes: int = 0,
        latency: float = LATENCY,
        count_dropped: bool = True,
        flags: int = 0,
        name: str = "",
    ) -> None:
        check_size(size)
        check_wakeup(wakeup_bytes, latency, size)
        super().__init__(size, flags=flags, name=name)
        self.wakeup_bytes = wakeup_bytes
        self.latency = latency
        self.count_dropped = count_dropped

    def open_reader(self, live: AnyMap) -> RingReader[V]:
        """A reader of the ring that this became in the kernel."""
        from beewire.bpf.author.records import decoding  # noqa: PLC0415 - after attaching
        from beewire.bpf.kernel import RingReader  # noqa: PLC0415 - after attaching

        latency = self.latency if self.wakeup_bytes else None
        return RingReader(live, decoding(self.value), latency)

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


def check_wakeup(wakeup_bytes: int, latency: float, size: int) -> None:
    """Refuse what would let a reader sleep over a full buffer.

    Raises:
        SpecError: So many bytes never wait, or the time is none.
    """
    if not 0 <= wakeup_bytes <= size // 2:
        raise SpecError(
            f"wakeup_bytes={wakeup_bytes}: at most half of the buffer, {size // 2}, or "
            "the reader wakes when it is full"
        )
    if latency <= 0:
        raise SpecError(f"latency={latency}: a time above zero, in seconds")
