"""Reading perf buffers: one for each CPU, in memory that the kernel shares."""

import mmap
import os
import select
import struct
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

from beewire.bpf.kernel import attr, explain, syscall
from beewire.bpf.kernel.maps import AnyMap
from beewire.bpf.object import MapKind
from beewire.errors import MapError

T = TypeVar("T")

_SOFTWARE, _BPF_OUTPUT = 1, 10  # PERF_TYPE_SOFTWARE, PERF_COUNT_SW_BPF_OUTPUT
_SAMPLE_RAW = 1 << 10
_LOST, _SAMPLE = 2, 9  # enum perf_event_type
_ENABLE = 0x2400  # PERF_EVENT_IOC_ENABLE
# Words of `struct perf_event_mmap_page`: where the kernel writes, where we read.
_HEAD, _TAIL = 1024 // 8, 1032 // 8
_RECORD = struct.Struct("=IHH")  # struct perf_event_header: type, misc, size


class _Buffer:
    """One CPU's buffer."""

    __slots__ = ("cpu", "fd", "pages", "size", "words")

    def __init__(self, cpu: int, fd: int, size: int) -> None:
        self.cpu = cpu
        self.fd = fd
        self.size = size
        self.pages = mmap.mmap(
            fd, mmap.PAGESIZE + size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE
        )
        # Whole words: struct would copy byte by byte, and half a position be seen.
        self.words = memoryview(self.pages).cast("Q")

    def close(self) -> None:
        self.words.release()
        self.pages.close()
        os.close(self.fd)

    def take(self, at: int, count: int) -> bytes:
        """`count` bytes at the position `at`, which may wrap around the end."""
        start = mmap.PAGESIZE + at % self.size
        end = mmap.PAGESIZE + self.size
        first = self.pages[start : min(start + count, end)]
        rest = count - len(first)
        return first + self.pages[mmap.PAGESIZE : mmap.PAGESIZE + rest]


class PerfReader(Generic[T]):
    """Records of one PERF_EVENT_ARRAY map, in order for each CPU.

    `decode` gets the bytes of a record, of which the kernel may have appended some to
    fill up 8. `lost` counts what found the buffers full. `size` is that of one CPU's
    buffer in bytes, a power of two pages.
    """

    __slots__ = ("_buffers", "_decode", "_epoll", "_map", "lost")

    def __init__(
        self, events: AnyMap, decode: Callable[[bytes], T], size: int = 1 << 16
    ) -> None:
        if events.spec.kind is not MapKind.PERF_EVENT_ARRAY:
            kind = events.spec.kind.name
            raise MapError(
                f"map {events.name!r} is of kind {kind}, not PERF_EVENT_ARRAY"
            )
        self._decode = decode
        self._map = events
        self.lost = 0
        self._buffers: list[_Buffer] = []
        self._epoll = select.epoll()
        try:
            for cpu in range(events.spec.max_entries or os.cpu_count() or 1):
                self._open(cpu, size)
        except BaseException:
            self.close()
            raise

    def _open(self, cpu: int, size: int) -> None:
        event = attr.PERF_EVENT_ATTR.pack(
            type=_SOFTWARE,
            size=attr.PERF_EVENT_ATTR.size,
            config=_BPF_OUTPUT,
            sample_period=1,
            sample_type=_SAMPLE_RAW,
            wakeup_events=1,
        )
        fd = syscall.perf_event_open(event, pid=-1, cpu=cpu)
        if fd == -19:  # ENODEV: a CPU that is possible and not there
            return
        if fd < 0:
            raise explain.refusal(-fd, "perf_event_open", "read perf events")
        buffer = _Buffer(cpu, fd, size)
        self._buffers.append(buffer)
        self._map[cpu] = fd
        syscall.ioctl(fd, _ENABLE, 0)
        self._epoll.register(fd, select.EPOLLIN)

    def fileno(self) -> int:
        """An epoll descriptor that is readable while records wait; for event loops."""
        return self._epoll.fileno()

    def read(self) -> list[T]:
        """All records that are there, without waiting, CPU by CPU."""
        found: list[T] = []
        for buffer in self._buffers:
            self._drain(buffer, found)
        return found

    def _drain(self, buffer: _Buffer, found: list[T]) -> None:
        position, end = buffer.words[_TAIL], buffer.words[_HEAD]
        try:
            while position < end:
                kind, _, size = _RECORD.unpack(buffer.take(position, 8))
                if kind == _SAMPLE:
                    [length] = struct.unpack("=I", buffer.take(position + 8, 4))
                    found.append(self._decode(buffer.take(position + 12, length)))
                elif kind == _LOST:
                    self.lost += struct.unpack("=Q", buffer.take(position + 16, 8))[0]
                position += size
        finally:
            buffer.words[_TAIL] = end

    def poll(self, timeout_ms: float | None = None) -> list[T]:
        """Wait until there are records, at most `timeout_ms` (None: for ever)."""
        deadline = None if timeout_ms is None else time.monotonic() + timeout_ms / 1000
        while not (records := self.read()):
            rest = None if deadline is None else deadline - time.monotonic()
            if rest is not None and rest <= 0:
                break
            self._epoll.poll(rest)
        return records

    def __iter__(self) -> Iterator[T]:
        """Yield records for ever, waiting where there are none."""
        while True:
            yield from self.poll()

    def close(self) -> None:
        """Give memory and descriptors back; the map stays open. Idempotent."""
        if self._epoll.closed:
            return
        self._epoll.close()
        while self._buffers:
            self._buffers.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
