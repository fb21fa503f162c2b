"""Systems that refuse: the kernel with one call failing, and no kernel at all."""

import contextlib
import ctypes
import errno
import gc
import mmap
import os
import select
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.syscall import Cmd, System

BPF = {"x86_64": 321, "ppc64le": 361}.get(os.uname().machine, 280)


class Faulty(System):
    """The real kernel, whose call number `at` (from 0) is refused with `number`.

    `times` calls in a row fail, so that what is retried may come through, or not.
    """

    __slots__ = ("at", "names", "number", "times")

    def __init__(self, at: int = -1, number: int = errno.EPERM, times: int = 1) -> None:
        self.at = at
        self.number = number
        self.times = times
        self.names: list[str] = []

    def _refuses(self, name: str) -> bool:
        self.names.append(name)
        place = len(self.names) - 1
        return 0 <= self.at <= place < self.at + self.times

    def _check(self, name: str) -> None:
        if self._refuses(name):
            raise OSError(self.number, os.strerror(self.number))

    def call(self, number: int, *arguments: int) -> int:
        """syscall(2)."""
        name = Cmd(arguments[0]).name if number == BPF else str(number)
        if self._refuses(name):
            return -self.number
        return super().call(number, *arguments)

    def open(self, path: str, flags: int, dir_fd: int | None) -> int:
        """open(2)."""
        self._check("open")
        return super().open(path, flags, dir_fd)

    def duplicate(self, fd: int) -> int:
        """dup(2)."""
        self._check("dup")
        return super().duplicate(fd)

    def read(self, fd: int, size: int) -> bytes:
        """read(2)."""
        self._check("read")
        return super().read(fd, size)

    def write(self, fd: int, content: bytes) -> int:
        """write(2)."""
        self._check("write")
        return super().write(fd, content)

    def socket(self, family: int, kind: int, protocol: int) -> socket.socket:
        """socket(2)."""
        self._check("socket")
        return super().socket(family, kind, protocol)

    def map(self, fd: int, length: int, access: int, offset: int) -> mmap.mmap:
        """mmap(2)."""
        self._check("mmap")
        return super().map(fd, length, access, offset)

    def poll(self) -> select.epoll:
        """epoll_create(2)."""
        self._check("epoll_create")
        return super().poll()


class Absent(System):
    """No kernel: bpf(2) is answered by `answers`, else by descriptors of nothing.

    An answer is a number, -errno, or a function of the record of the call.
    """

    __slots__ = ("answers", "calls")

    def __init__(self) -> None:
        self.answers: dict[Cmd, list[int | Callable[[memoryview], int]]] = {}
        self.calls: list[Cmd] = []

    def say(self, cmd: Cmd, *answers: "int | Callable[[memoryview], int]") -> None:
        """Give these answers one after another, the last one for ever."""
        self.answers[cmd] = list(answers)

    def call(self, number: int, *arguments: int) -> int:
        """syscall(2)."""
        if number != BPF:
            return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        cmd = Cmd(arguments[0])
        self.calls.append(cmd)
        waiting = self.answers.get(cmd, [nothing])
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return answer(memory(*arguments[1:])) if callable(answer) else answer


def nothing(_: memoryview) -> int:
    """A descriptor that is good for being closed."""
    return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


def memory(address: int, size: int) -> memoryview:
    """What lies at an address of this process."""
    return memoryview((ctypes.c_ubyte * size).from_address(address)).cast("B")


def logs(text: bytes, number: int, *, tells: bool) -> Callable[[memoryview], int]:
    """BPF_PROG_LOAD as the verifier does it: refuse with a log, or ENOSPC if it is cut.

    `tells`: as since Linux 6.4, it says how long the log is, and keeps its end.
    """

    def answer(record: memoryview) -> int:
        fields = attr.PROG_LOAD.unpack(bytes(record))
        size, place = fields["log_size"], fields["log_buf"]
        assert isinstance(size, int)
        assert isinstance(place, int)
        if not size:
            return -number
        if tells:
            at = attr.PROG_LOAD.offsets()["log_true_size"]
            record[at : at + 4] = (len(text) + 1).to_bytes(4, "little")
        kept = text[-(size - 1) :] if tells else text[: size - 1]
        memory(place, len(kept))[:] = kept
        return -number if len(text) < size else -errno.ENOSPC

    return answer


@contextlib.contextmanager
def using(system: System) -> Iterator[None]:
    """Let the toolkit ask `system` in the block."""
    syscall.use(system)
    try:
        yield
    finally:
        syscall.use(None)


def descriptors() -> dict[str, str]:
    """The descriptors of this process, and what they lead to.

    Without that of the kernel's types, which stays for all that is loaded afterwards.
    """
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of the directory itself
            found[path.name] = str(path.readlink())
    return {fd: path for fd, path in found.items() if "/btf/" not in path}


def descriptors_before() -> dict[str, str]:
    """The descriptors, without those that only cycles of earlier tests hold.

    The collector may come at any time, and a count that then falls says nothing of what
    a test leaves open.
    """
    gc.collect()
    return descriptors()
