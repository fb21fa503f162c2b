"""Reading ring buffers, in runs, from the memory that the kernel shares."""

import mmap
import select
from array import array

from beewire.bpf.kernel import syscall
from beewire.bpf.kernel.maps import AnyMap
from beewire.bpf.kernel.reader import Reader
from beewire.bpf.kernel.runs import Decoding, Pieces, Run
from beewire.bpf.kernel.versions import MapFlag
from beewire.bpf.object import MapKind
from beewire.errors import MapError
from beewire.hints import Callable, TypeVar

T = TypeVar("T")

# `struct bpf_ringbuf_hdr`: u32 len with two flags on top, u32 pg_off.
_BUSY, _DISCARD, _LENGTH = 1 << 31, 1 << 30, (1 << 30) - 1
_HEADER = 8

# A run ends after a quarter of the ring, so that programs get room back while others of
# their records are decoded; many records share one publication nevertheless.
_PARTS = 4
# Of records that differ in size as many are taken at once, and runs that are shorter than
# this are not worth it.
_MIXED, _SHORT = 256, 8


class RingReader(Reader[T]):
    """Records of one RINGBUF map, in the order in which they were reserved.

    `decode` gets the bytes of a record, or is a Decoding, which knows their type. The
    ring does not count what did not fit: programs do (`RingBuf.dropped`). Where programs
    wake the reader late, it looks by itself every `latency` seconds.
    """

    __slots__ = (
        "_after",
        "_busy_at",
        "_consumer",
        "_data",
        "_gaps",
        "_mask",
        "_most",
        "_pages",
        "_pattern",
        "_position",
        "_producer",
        "_view",
        "_words",
    )

    def __init__(
        self,
        ring: AnyMap,
        decode: Callable[[bytes], T] | Decoding[T],
        latency: float | None = None,
    ) -> None:
        if ring.spec.kind is not MapKind.RINGBUF:
            raise MapError(
                f"map {ring.name!r} is of kind {ring.spec.kind.name}, not RINGBUF"
            )
        if ring.spec.flags & MapFlag.RB_OVERWRITE:
            raise MapError(
                f"ring {ring.name!r} overwrites its oldest records (BPF_F_RB_OVERWRITE),"
                " which this reader would take for new ones: leave the flag out"
            )
        super().__init__(decode, latency)
        page, size = mmap.PAGESIZE, ring.spec.max_entries
        self._mask = size - 1
        self._most = size // _PARTS
        self._pages = syscall.map_file(ring.fd, page, mmap.PROT_READ | mmap.PROT_WRITE)
        # The producer's page, then the data twice in a row: a record that wraps around
        # the end of the ring lies in one piece in memory.
        self._data = syscall.map_file(ring.fd, page + 2 * size, mmap.PROT_READ, page)
        self._consumer = memoryview(self._pages).cast("Q")
        self._producer = memoryview(self._data)[:8].cast("Q")
        self._view = memoryview(self._data)[page:]
        self._words = self._view.cast("I")
        # Nobody else moves it.
        self._position = self._after = int(self._consumer[0])
        self._gaps = 0
        self._busy_at = -1
        # The headers of a run of complete records, as they were last.
        self._pattern = memoryview(array("I"))
        self._epoll.register(ring.fd, select.EPOLLIN)

    @property
    def waiting_bytes(self) -> int:
        """Bytes between the oldest record not yet read and the newest one reserved."""
        return int(self._producer[0]) - self._position

    def _mark(self) -> int:
        newest = int(self._producer[0])
        self._fence.order()
        return newest

    def _is_behind(self) -> bool:
        return int(self._producer[0]) != self._position

    def _publish(self) -> None:
        self._fence.order()
        self._consumer[0] = self._position = self._after
        self.discarded += self._gaps
        self._gaps = 0

    def _next(self, mark: int, most: int) -> Run | Pieces | None:
        position = self._position
        left = mark - position
        if left <= 0:
            return None
        at = position & self._mask
        size = self._words[at >> 2]
        stride = (size + _HEADER + 7) & ~7
        if size & (_BUSY | _DISCARD):
            return self._mixed(mark, most)
        fit = min(left // stride, most, self._most // stride or 1)
        count = self._equal(at >> 2, stride >> 2, size, fit)
        if count < min(fit, _SHORT):
            return self._mixed(mark, most)
        self._fence.order()
        self._gaps = 0
        length = count * stride
        self._after = position + length
        return Run(self._view[at : at + length], _HEADER, size, stride, count)

    def _equal(self, first: int, step: int, size: int, fit: int) -> int:
        """How many of `fit` headers, from word `first` on, are complete and of `size`."""
        pattern = self._pattern
        if len(pattern) < fit or pattern[0] != size:
            self._pattern = pattern = memoryview(array("I", [size]) * fit)
        headers = self._words[first : first + fit * step : step]
        if headers == pattern[:fit]:
            return fit
        # They change while we look: decide by what they were at one time.
        found, wanted = headers.tobytes(), bytes(pattern[:fit])
        low, high = 1, fit
        while low < high:
            middle = (low + high + 1) // 2
            if found[: 4 * middle] == wanted[: 4 * middle]:
                low = middle
            else:
                high = middle - 1
        return low

    def _mixed(self, mark: int, most: int) -> Pieces | None:
        """Records of any size up to the first busy one, without those discarded."""
        found: list[tuple[int, int]] = []
        position, words = self._position, self._words
        most = min(most, _MIXED)
        end = min(mark, position + self._most)
        gaps = 0
        while position < mark and position <= end and len(found) < most:
            at = position & self._mask
            header = words[at >> 2]
            if header & _BUSY:
                self._note_busy(position)
                break
            size = header & _LENGTH
            if header & _DISCARD:
                gaps += 1
            else:
                found.append((at + _HEADER, size))
            position += (size + _HEADER + 7) & ~7
        if position == self._position:
            return None
        self._fence.order()
        self._after = position
        self._gaps = gaps
        view = self._view
        return Pieces([bytes(view[at : at + size]) for at, size in found])

    def _note_busy(self, position: int) -> None:
        if position != self._busy_at:
            self._busy_at = position
            self.busy += 1

    def _unmap(self) -> None:
        for view in (self._consumer, self._producer, self._words, self._view):
            view.release()
        self._pages.close()
        try:
            self._data.close()
        except BufferError:
            # Somebody still looks at a run; the memory goes with the last who does.
            return
