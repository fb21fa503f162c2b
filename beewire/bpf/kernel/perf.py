"""Reading perf buffers: one for each CPU, in memory that the kernel shares."""

import mmap
import os
import select
import struct

from beewire.bpf.kernel import attr, explain, syscall
from beewire.bpf.kernel.maps import AnyMap
from beewire.bpf.kernel.reader import Reader
from beewire.bpf.kernel.runs import Decoding, Run
from beewire.bpf.object import MapKind
from beewire.errors import MapError
from beewire.hints import Callable, TypeVar

T = TypeVar("T")

_SOFTWARE, _BPF_OUTPUT = 1, 10  # PERF_TYPE_SOFTWARE, PERF_COUNT_SW_BPF_OUTPUT
_SAMPLE_RAW = 1 << 10
_WATERMARK = 1 << 14  # perf_event_attr.watermark
_LOST, _SAMPLE = 2, 9  # enum perf_event_type
_ENABLE = 0x2400  # PERF_EVENT_IOC_ENABLE
# Words of `struct perf_event_mmap_page`: where the kernel writes, where we read.
_HEAD, _TAIL = 1024 // 8, 1032 // 8
# struct perf_event_header: u32 type, u16 misc, u16 size; a sample's u32 raw size follows.
_RECORD, _PREFIX = struct.Struct("=IHH"), 12
_COUNT = struct.Struct("=16xQ")  # of a PERF_RECORD_LOST


class _Buffer:
    """One CPU's buffer."""

    __slots__ = ("fd", "pages", "size", "words")

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.size = size
        self.pages = syscall.map_file(
            fd, mmap.PAGESIZE + size, mmap.PROT_READ | mmap.PROT_WRITE
        )
        self.words = memoryview(self.pages).cast("Q")

    def close(self) -> None:
        self.words.release()
        self.pages.close()
        os.close(self.fd)

    def copy(self, tail: int, head: int) -> bytes:
        """The bytes between two positions, which may wrap around the end."""
        start = mmap.PAGESIZE + tail % self.size
        end = mmap.PAGESIZE + self.size
        count = head - tail
        first = self.pages[start : min(start + count, end)]
        rest = count - len(first)
        return first + self.pages[mmap.PAGESIZE : mmap.PAGESIZE + rest]


class PerfReader(Reader[T]):
    """Records of one PERF_EVENT_ARRAY map, in order for each CPU.

    `decode` gets the bytes of a record, of which the kernel may have appended some to
    fill up 8, or is a Decoding. `size` is that of one CPU's buffer in bytes, a power of
    two pages. `wakeup_bytes`: the kernel wakes the reader once so many wait (0: for
    each), which then looks by itself every `latency` seconds.
    """

    __slots__ = ("_after", "_buffers", "_chunk", "_map")

    def __init__(
        self,
        events: AnyMap,
        decode: Callable[[bytes], T] | Decoding[T],
        size: int = 1 << 16,
        *,
        wakeup_bytes: int = 0,
        latency: float | None = None,
    ) -> None:
        if events.spec.kind is not MapKind.PERF_EVENT_ARRAY:
            kind = events.spec.kind.name
            raise MapError(
                f"map {events.name!r} is of kind {kind}, not PERF_EVENT_ARRAY"
            )
        if size < mmap.PAGESIZE or size & (size - 1):
            raise MapError(
                f"a perf buffer of {size} bytes: the kernel takes powers of two from "
                f"{mmap.PAGESIZE} on"
            )
        super().__init__(decode, latency)
        self._map = events
        # What was taken out of one buffer, and how far it is read.
        self._chunk = memoryview(b"")
        self._after = 0
        self._buffers: list[_Buffer] = []
        event = attr.PERF_EVENT_ATTR.pack(
            type=_SOFTWARE,
            size=attr.PERF_EVENT_ATTR.size,
            config=_BPF_OUTPUT,
            sample_period=1,
            sample_type=_SAMPLE_RAW,
            _bits=_WATERMARK if wakeup_bytes else 0,
            wakeup_events=wakeup_bytes or 1,
        )
        try:
            for cpu in range(events.spec.max_entries or os.cpu_count() or 1):
                self._open(cpu, event, size)
        except BaseException:
            self.close()
            raise

    def _open(self, cpu: int, event: bytearray, size: int) -> None:
        fd = syscall.perf_event_open(event, pid=-1, cpu=cpu)
        if fd == -19:  # ENODEV: a CPU that is possible and not there
            return
        if fd < 0:
            raise explain.refusal(-fd, "perf_event_open", "read perf events")
        try:
            buffer = _Buffer(fd, size)
        except BaseException:
            os.close(fd)
            raise
        self._buffers.append(buffer)
        self._map[cpu] = fd
        syscall.ioctl(fd, _ENABLE, 0)
        self._epoll.register(fd, select.EPOLLIN)

    def _mark(self) -> dict[_Buffer, int]:
        """The buffers that have something, and up to where."""
        heads = {each: int(each.words[_HEAD]) for each in self._buffers}
        self._fence.order()
        return {each: at for each, at in heads.items() if at != each.words[_TAIL]}

    def _is_behind(self) -> bool:
        return bool(self._chunk) or bool(self._mark())

    def _publish(self) -> None:
        self._chunk = self._chunk[self._after :]

    def _next(self, mark: dict[_Buffer, int], most: int) -> Run | None:
        while self._chunk or self._refill(mark):
            chunk = self._chunk
            kind, _, length = _RECORD.unpack_from(chunk)
            if kind == _SAMPLE:
                count = _equal(chunk, length, most)
                self._after = count * length
                view, size = chunk[: self._after], length - _PREFIX
                return Run(view, _PREFIX, size, length, count)
            if kind == _LOST:
                self.lost += _COUNT.unpack_from(chunk)[0]
            self._chunk = chunk[length:]
        return None

    def _refill(self, mark: dict[_Buffer, int]) -> bool:
        """Copy what one buffer has, and give its room back at once."""
        if not mark:
            return False
        buffer, head = mark.popitem()
        tail = int(buffer.words[_TAIL])
        self._chunk = memoryview(buffer.copy(tail, head))
        self._fence.order()
        buffer.words[_TAIL] = head
        return True

    def _unmap(self) -> None:
        while self._buffers:
            self._buffers.pop().close()


def _equal(chunk: memoryview, length: int, most: int) -> int:
    """How many samples of `length` bytes `chunk` begins with."""
    count = min(len(chunk) // length, most)
    step = length >> 3
    words = chunk[: count * length].cast("Q")[::step]
    header = words[0]
    if words == memoryview(struct.pack("=Q", header) * count).cast("Q"):
        return count
    headers = words.tolist()
    return next(at for at, other in enumerate(headers) if other != header)
