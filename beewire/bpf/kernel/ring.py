"""Reading ring buffers, in batches, from the memory that the kernel shares."""

import mmap
import select
import time
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

from beewire.bpf.kernel.maps import AnyMap
from beewire.bpf.kernel.syscall import STRONGLY_ORDERED
from beewire.bpf.object import MapKind
from beewire.errors import MapError

T = TypeVar("T")

# `struct bpf_ringbuf_hdr`: u32 len with two flags on top, u32 pg_off.
_BUSY, _DISCARD, _LENGTH = 1 << 31, 1 << 30, (1 << 30) - 1
_HEADER = 8

# As many records are decoded before the program gets the room back: a full ring is
# relieved early, and one publication serves many records.
_BATCH = 1024

# A record that is reserved but not yet submitted makes the ring look readable.
_BUSY_WAIT_S = 0.000_2


class RingReader(Generic[T]):
    """Records of one RINGBUF map, in the order in which they were reserved.

    `decode` gets the bytes of a record. The ring does not count what did not fit: the
    program sees it (reserve gives None, output gives an error) and counts it if that
    matters; `waiting_bytes` shows how full the ring is. One reader a ring: each record
    is read once.

        with RingReader(loaded.maps["events"]) as reader:
            for record in reader:               # waits; ends with the loop
                ...
            reader.poll(timeout_ms=100)         # waits for a list of records
    """

    __slots__ = (
        "_consumer",
        "_data",
        "_decode",
        "_epoll",
        "_fence",
        "_mask",
        "_pages",
        "_pending",
        "_producer",
    )

    def __init__(self, ring: AnyMap, decode: Callable[[bytes], T]) -> None:
        if ring.spec.kind is not MapKind.RINGBUF:
            raise MapError(
                f"map {ring.name!r} is of kind {ring.spec.kind.name}, not RINGBUF"
            )
        page, size = mmap.PAGESIZE, ring.spec.max_entries
        self._decode = decode
        self._mask = size - 1
        self._pending: deque[T] = deque()
        self._fence = allocate_lock()
        self._pages = mmap.mmap(
            ring.fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE
        )
        # The producer's page, then the data twice in a row: a record that wraps around
        # the end of the ring lies in one piece in memory.
        self._data = mmap.mmap(
            ring.fd, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page
        )
        # Views of 64-bit words: struct would copy byte by byte, and the kernel could see
        # half a position.
        self._consumer = memoryview(self._pages).cast("Q")
        self._producer = memoryview(self._data)[:8].cast("Q")
        self._epoll = select.epoll()
        self._epoll.register(ring.fd, select.EPOLLIN)

    @property
    def waiting_bytes(self) -> int:
        """Bytes between the oldest record not yet read and the newest one reserved."""
        return int(self._producer[0] - self._consumer[0])

    def fileno(self) -> int:
        """An epoll descriptor that is readable while records wait; for event loops."""
        return self._epoll.fileno()

    def read(self) -> list[T]:
        """All records that are there, without waiting; empty when there are none."""
        records = list(self._pending)
        self._pending.clear()
        while batch := self._batch():
            records += batch
        return records

    def poll(self, timeout_ms: float | None = None) -> list[T]:
        """Wait until there are records, at most `timeout_ms` (None: for ever).

        Returns all that are there; an empty list means that the time is over.
        """
        deadline = None if timeout_ms is None else time.monotonic() + timeout_ms / 1000
        while not (records := self.read()):
            rest = None if deadline is None else deadline - time.monotonic()
            if rest is not None and rest <= 0:
                break
            if self._epoll.poll(rest) and self.waiting_bytes and self._head_is_busy():
                time.sleep(_BUSY_WAIT_S)
        return records

    def __iter__(self) -> Iterator[T]:
        """Yield records for ever, waiting where there are none.

        Leaving the loop loses nothing: what was read but not yielded comes next time.
        """
        while True:
            while self._pending:
                yield self._pending.popleft()
            self._pending.extend(self._batch())
            if not self._pending:
                self._pending.extend(self.poll())

    def _batch(self) -> list[T]:
        """Decode up to _BATCH records and give their room back to the program."""
        found, position = self._committed()
        if position == self._consumer[0]:
            return []
        # The last room is given back even if a decoder fails, or it would fail for ever.
        try:
            page, data, decode = mmap.PAGESIZE, self._data, self._decode
            return [decode(data[page + at : page + at + size]) for at, size in found]
        finally:
            self._consumer[0] = position

    def _committed(self) -> tuple[list[tuple[int, int]], int]:
        """Offset and length of the records up to the first busy one, and its position."""
        found: list[tuple[int, int]] = []
        position, end = int(self._consumer[0]), int(self._producer[0])
        self._order()
        # One byte of the header's length is enough to be wrong on a torn read, so the
        # header is read as a word too.
        words, first = memoryview(self._data).cast("I"), mmap.PAGESIZE
        with words:
            while position < end and len(found) < _BATCH:
                at = position & self._mask
                header = words[(first + at) >> 2]
                if header & _BUSY:
                    break
                size = header & _LENGTH
                if not header & _DISCARD:
                    found.append((at + _HEADER, size))
                position += (size + _HEADER + 7) & ~7
        self._order()
        return found, position

    def _head_is_busy(self) -> bool:
        found, position = self._committed()
        return not found and position == self._consumer[0]

    def _order(self) -> None:
        """Keep later reads of the ring later, as the kernel's smp_load_acquire does.

        Two rounds through a lock are a full barrier on machines that reorder loads.
        """
        if not STRONGLY_ORDERED:
            for _ in range(2):
                with self._fence:
                    pass

    def close(self) -> None:
        """Give memory and descriptors back; the map stays open. Idempotent."""
        if self._epoll.closed:
            return
        self._epoll.close()
        self._consumer.release()
        self._producer.release()
        self._pages.close()
        self._data.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
