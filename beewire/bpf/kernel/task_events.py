"""What processes do with their memory: map code, start, execute, end.

The kernel tells it by perf events that count nothing (PERF_COUNT_SW_DUMMY), on every CPU,
so that what a process had mapped is known when it has ended before anybody could look.
"""

import mmap
import os
import struct

from beewire.bpf.kernel import attr, explain, privilege, syscall
from beewire.bpf.kernel.descriptor import Closing
from beewire.bpf.kernel.links.perf_event import online_cpus
from beewire.errors import NotPermitted
from beewire.hints import Iterator
from beewire.rows import Row

_SOFTWARE, _DUMMY = 1, 9  # PERF_TYPE_SOFTWARE, PERF_COUNT_SW_DUMMY
_TIME = 1 << 2  # PERF_SAMPLE_TIME
# mmap, comm, task, sample_id_all, mmap2, comm_exec of `struct perf_event_attr`.
_BITS = 1 << 8 | 1 << 9 | 1 << 13 | 1 << 18 | 1 << 23 | 1 << 24
_LOST, _COMM, _EXIT, _FORK, _MMAP2 = 2, 3, 4, 7, 10  # enum perf_event_type
_COMM_EXEC = 1 << 13  # PERF_RECORD_MISC_COMM_EXEC
_USER, _CPUMODE = 2, 7  # PERF_RECORD_MISC_USER, .._CPUMODE_MASK
_EXECUTABLE = 4  # PROT_EXEC
_HEADER = struct.Struct("=IHH")  # struct perf_event_header: type, misc, size
# pid, tid, addr, len, pgoff, maj, min, ino, ino_generation, prot, flags; then the path
_MAPPED = struct.Struct("=IIQQQIIQQII")
_TASK = struct.Struct("=IIII")  # pid, ppid, tid, ptid
_PAGES = 64
# Words of `struct perf_event_mmap_page`: where the kernel writes, where we read.
_HEAD, _TAIL = 1024 // 8, 1032 // 8


class Mapped(Row):
    """A process maps code: `size` bytes from `offset` of a file, to `start`."""

    pid: int
    start: int
    size: int
    offset: int
    device: tuple[int, int]
    inode: int
    path: str


class Forked(Row):
    """A process starts, with the memory of its parent."""

    pid: int
    parent: int


class Executed(Row):
    """A process becomes another program; its memory is new."""

    pid: int


class Ended(Row):
    """A process ends: its last thread, or its first."""

    pid: int


TaskEvent = Mapped | Forked | Executed | Ended


class TaskEvents(Closing):
    """A reader of such events of all processes; a context manager.

    `fileno()` becomes readable when a quarter of a buffer is full. `lost` counts events
    that found it full.
    """

    __slots__ = ("_fds", "_pages", "_words", "lost")

    def __init__(self) -> None:
        """Begin to listen.

        Raises:
            NotPermitted: CAP_PERFMON is missing.
        """
        self.lost = 0
        self._fds: list[int] = []
        self._pages: list[mmap.mmap] = []
        self._words: list[memoryview] = []
        try:
            for cpu in online_cpus():
                self._open(cpu)
        except BaseException:
            self.close()
            raise

    def _open(self, cpu: int) -> None:
        event = attr.PERF_EVENT_ATTR.pack(
            type=_SOFTWARE,
            size=attr.PERF_EVENT_ATTR.size,
            config=_DUMMY,
            sample_type=_TIME,
            _bits=_BITS,
        )
        fd = syscall.perf_event_open(event, pid=-1, cpu=cpu)
        if fd < 0:
            about = "follow what processes map"
            if -fd in {1, 13}:
                why = privilege.why_forbidden(("CAP_PERFMON",))
                raise NotPermitted(-fd, "perf_event_open", f"cannot {about}: {why}")
            raise explain.refusal(-fd, "perf_event_open", about)
        self._fds.append(fd)
        length = (1 + _PAGES) * mmap.PAGESIZE
        pages = syscall.map_file(fd, length, mmap.PROT_READ | mmap.PROT_WRITE)
        self._pages.append(pages)
        # Whole words: struct would copy byte by byte, and half a position be seen.
        self._words.append(memoryview(pages).cast("Q"))

    def read(self) -> list[TaskEvent]:
        """What happened since the last time, in the order of time."""
        found: list[tuple[int, TaskEvent]] = []
        for pages, words in zip(self._pages, self._words, strict=True):
            found += self._drain(pages, words)
        found.sort(key=lambda pair: pair[0])
        return [event for _, event in found]

    def _drain(
        self, pages: mmap.mmap, words: memoryview
    ) -> Iterator[tuple[int, TaskEvent]]:
        size = _PAGES * mmap.PAGESIZE
        position, end = words[_TAIL], words[_HEAD]
        start = position % size
        data = pages[mmap.PAGESIZE + start : mmap.PAGESIZE + start + end - position]
        data += pages[mmap.PAGESIZE : mmap.PAGESIZE + end - position - len(data)]
        words[_TAIL] = end
        at = 0
        while at < len(data):
            kind, misc, length = _HEADER.unpack_from(data, at)
            record = data[at + _HEADER.size : at + length]
            at += length
            if kind == _LOST:
                self.lost += struct.unpack_from("=QQ", record)[1]
            elif (event := _event(kind, misc, record)) is not None:
                # The time comes last (sample_id_all).
                yield struct.unpack_from("=Q", record, len(record) - 8)[0], event

    def fileno(self) -> int:
        """The first CPU's descriptor."""
        return self._fds[0]

    def close(self) -> None:
        """Stop to listen. Closing twice does nothing."""
        while self._words:
            self._words.pop().release()
            self._pages.pop().close()
        while self._fds:
            os.close(self._fds.pop())


def _event(kind: int, misc: int, record: bytes) -> TaskEvent | None:
    if kind == _MMAP2:
        return _mapped(misc, record)
    if kind == _COMM and misc & _COMM_EXEC:
        return Executed(struct.unpack_from("=I", record)[0])
    if kind in {_FORK, _EXIT}:
        pid, parent, tid, _ = _TASK.unpack_from(record)
        if pid == tid:
            return Forked(pid, parent) if kind == _FORK else Ended(pid)
    return None


def _mapped(misc: int, record: bytes) -> Mapped | None:
    pid, _, start, size, offset, major, minor, inode, _, prot, _ = _MAPPED.unpack_from(
        record
    )
    if misc & _CPUMODE != _USER or not prot & _EXECUTABLE:
        return None
    path = record[_MAPPED.size : -8].split(b"\0", 1)[0]
    return Mapped(pid, start, size, offset, (major, minor), inode, os.fsdecode(path))
