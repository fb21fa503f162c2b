"""Writing user ring buffers: records from user space to programs (Linux 6.1)."""

import mmap
import time
from collections.abc import Iterable

from beewire.bpf.kernel import syscall
from beewire.bpf.kernel.descriptor import Closing
from beewire.bpf.kernel.fence import Fence
from beewire.bpf.kernel.maps import AnyMap
from beewire.bpf.object import MapKind
from beewire.errors import EncodingError, MapError

# `struct bpf_ringbuf_hdr`: u32 len with two flags on top, u32 padding.
_BUSY, _DISCARD = 1 << 31, 1 << 30
_HEADER = 8

# The kernel wakes nobody when a program has drained a part of the ring.
_FULL_WAIT_S = 0.001


class UserRing(Closing):
    """The writing end of one USER_RINGBUF map; one writer at a time.

    with UserRing(loaded.maps["commands"]) as ring:
        ring.submit(b"...")
        ring.submit_all([b"...", b"..."])
    """

    __slots__ = (
        "_consumer",
        "_fence",
        "_mask",
        "_pages",
        "_producer",
        "_reading",
        "_size",
        "_written",
    )

    def __init__(self, ring: AnyMap) -> None:
        if ring.spec.kind is not MapKind.USER_RINGBUF:
            kind = ring.spec.kind.name
            raise MapError(f"map {ring.name!r} is of kind {kind}, not USER_RINGBUF")
        page, size = mmap.PAGESIZE, ring.spec.max_entries
        self._size = size
        self._mask = size - 1
        # The kernel's position may be read only; ours and the data, which follow, lie
        # there twice in a row, so that a record that wraps around is in one piece.
        self._reading = syscall.map_file(ring.fd, page, mmap.PROT_READ)
        self._pages = syscall.map_file(
            ring.fd, page + 2 * size, mmap.PROT_READ | mmap.PROT_WRITE, page
        )
        self._consumer = memoryview(self._reading)[:8].cast("Q")
        self._producer = memoryview(self._pages).cast("Q")
        self._fence = Fence()
        # Where the next record goes; programs see those before the producer's position.
        self._written = int(self._producer[0])

    @property
    def waiting_bytes(self) -> int:
        """Bytes that programs have not drained yet."""
        return int(self._producer[0] - self._consumer[0])

    def reserve(self, size: int, timeout: float = 0) -> memoryview | None:
        """Room for a record of `size` bytes, or None when the ring is full.

        It waits up to `timeout` seconds for programs to make room. Fill it, then call
        `submit()` without a record, or `discard()`.

        Raises:
            EncodingError: The ring is too small for such a record, ever.
        """
        room = self._room(size)
        if room is None and timeout > 0:
            end = time.monotonic() + timeout
            while room is None and time.monotonic() < end:
                time.sleep(_FULL_WAIT_S)
                room = self._room(size)
        return room

    def submit(self, record: bytes | None = None, timeout: float = 0) -> bool:
        """Hand over the reserved record, or this one; False when the ring is full.

        It waits up to `timeout` seconds for programs to make room.
        """
        if record is not None:
            room = self.reserve(len(record), timeout)
            if room is None:
                return False
            room[:] = record
        self._finish(0)
        self._publish()
        return True

    def submit_all(self, records: Iterable[bytes]) -> int:
        """Hand over as many of these as the ring has room for; how many that were.

        Programs see all of them at once.
        """
        count = 0
        for record in records:
            room = self._room(len(record))
            if room is None:
                break
            room[:] = record
            self._finish(0)
            count += 1
        self._publish()
        return count

    def discard(self) -> None:
        """Skip the reserved record."""
        self._finish(_DISCARD)
        self._publish()

    def _room(self, size: int) -> memoryview | None:
        whole = _HEADER + (size + 7 & ~7)
        if whole > self._size:
            raise EncodingError(f"a record of {size} bytes: the ring has {self._size}")
        position = self._written
        if self._size - (position - self._consumer[0]) < whole:
            return None
        self._fence.order()
        at = mmap.PAGESIZE + (position & self._mask)
        with memoryview(self._pages) as view:
            words = view[at : at + _HEADER].cast("I")
            words[0], words[1] = size | _BUSY, 0
            return view[at + _HEADER : at + _HEADER + size]

    def _finish(self, flag: int) -> None:
        """Write the header of the reserved record as programs are to see it."""
        position = self._written
        at = mmap.PAGESIZE + (position & self._mask)
        with memoryview(self._pages) as view, view[at : at + 4].cast("I") as words:
            size = words[0] & ~(_BUSY | _DISCARD)
            words[0] = size | flag
        self._written = position + _HEADER + (size + 7 & ~7)

    def _publish(self) -> None:
        self._fence.order()
        self._producer[0] = self._written

    def close(self) -> None:
        """Give the memory back; the map stays open. Idempotent."""
        if self._pages.closed:
            return
        self._consumer.release()
        self._producer.release()
        self._reading.close()
        self._pages.close()
