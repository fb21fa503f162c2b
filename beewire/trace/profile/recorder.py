"""Recording: attach, follow the processes, and take home what was counted."""

import errno
import os
import select
import time
from collections.abc import Iterable
from contextlib import ExitStack
from typing import NamedTuple, Self

from beewire.bpf import load
from beewire.bpf.author import Loaded
from beewire.bpf.kernel.features import helper
from beewire.bpf.kernel.task_events import TaskEvents
from beewire.bpf.object import ProgramKind
from beewire.errors import AttachError, NotSupported
from beewire.symbols import Symbolizer
from beewire.trace.profile import programs
from beewire.trace.profile.options import Options
from beewire.trace.profile.taking import Taken, way_of
from beewire.trace.profile.watch import Watch

# The inode of the machine's own pid namespace (PROC_PID_INIT_INO).
_INITIAL_NAMESPACE = 0xEFFFFFFC
_LOOK_EVERY = 0.1


class Sample(NamedTuple):
    """One stack of one thread's name, and how often, or how many ns, it was there.

    Addresses innermost first. `whole` says that the user's reach the thread's beginning
    for sure. `kernel_lost` and `user_lost` say that there was a stack,
    which had no room.
    """

    pid: int
    process: str
    thread: str
    value: int
    kernel: list[int]
    user: list[int]
    ready: bool = False
    whole: bool = False
    kernel_lost: bool = False
    user_lost: bool = False


class Recording(NamedTuple):
    """What was recorded, in how many `seconds`; `lost` counts what had no place."""

    samples: list[Sample]
    options: Options
    seconds: float
    lost: int


class Recorder:
    """Records from its entry as a context manager; `wait`, then `finish`."""

    def __init__(self, options: Options, symbols: Symbolizer) -> None:
        self.options = options
        self._symbols = symbols
        self._stack = ExitStack()
        self._started = 0.0

    def __enter__(self) -> Self:
        """Attach.

        Raises:
            NotPermitted: CAP_BPF or CAP_PERFMON is missing.
            AttachError: There is no such process or cgroup.
            NotSupported: Unwind tables are followed on x86-64 only, from Linux 5.15 on.
        """
        if self.options.unwind and (fault := unwind_fault()):
            raise NotSupported(errno.EOPNOTSUPP, f"stacks by unwind tables: {fault}")
        with ExitStack() as stack:
            events = stack.enter_context(TaskEvents())
            self._watch = Watch(self._symbols, events)
            loaded = stack.enter_context(self._load())
            self._loaded = loaded
            self._select(loaded)
            self._arrivals = loaded[programs.arrivals].reader
            self._taking = way_of(self.options)(loaded, self.options, self._symbols)
            self._links = stack.enter_context(ExitStack())
            if self.options.children:
                self._links.enter_context(loaded[programs.follow].attach())
            self._links.enter_context(self._taking.attach())
            self._started = time.monotonic()
            self._stack = stack.pop_all()
        return self

    def _load(self) -> Loaded:
        options = self.options
        program = way_of(options).program()
        device, inode = _namespace()
        values: dict[str, object] = {
            "namespace_device": device,
            "namespace_inode": inode,
            "some_pids": bool(options.pids),
            "some_groups": bool(options.cgroup),
            "want_kernel": options.kernel,
        }
        if not options.unwind:
            values["want_user"] = options.user
        if options.off_cpu:
            values["least_ns"] = options.least_us * 1000
        together = (program, programs.follow) if options.children else program
        return load(together, globals=values, name="profile")

    def _select(self, loaded: Loaded) -> None:
        for pid in self.options.pids:
            if not os.path.isdir(f"/proc/{pid}"):  # noqa: PTH112 - as the rest of /proc
                raise AttachError(f"there is no process {pid}")
            loaded[programs.pids][pid] = 1
        if self.options.cgroup:
            fd = _open_cgroup(self.options.cgroup)
            try:
                loaded[programs.groups][0] = fd
            finally:
                os.close(fd)

    def wait(self, seconds: float | None, until: Iterable[int] = ()) -> None:
        """Follow the processes for so long (None: until Ctrl-C).

        `until` are descriptors, such as those of pidfd_open(2): when all of them have
        been readable, the time is over as well.
        """
        end = None if seconds is None else time.monotonic() + seconds
        left = set(until)
        some = bool(left)
        with select.epoll() as poll:
            for fd in (self._arrivals.fileno(), *left):
                poll.register(fd, select.EPOLLIN)
            while left or not some:
                rest = _LOOK_EVERY if end is None else end - time.monotonic()
                if rest <= 0:
                    return
                ready = {fd for fd, _ in poll.poll(min(rest, _LOOK_EVERY))}
                self._note()
                for fd in left & ready:
                    poll.unregister(fd)
                left -= ready

    def _note(self) -> None:
        arrivals: list[int] = self._arrivals.read()
        self._watch.note(arrivals)
        self._taking.note()

    def finish(self) -> Recording:
        """Detach, and give what was counted."""
        self._links.close()
        seconds = time.monotonic() - self._started
        self._note()
        samples = [self._sample(taken) for taken in self._taking.take()]
        self._watch.finish()
        return Recording(samples, self.options, seconds, self._taking.lost)

    def _sample(self, taken: Taken) -> Sample:
        key, taken_room = taken.key, programs.TAKEN
        return Sample(
            key.tgid,
            self._watch.name(key.tgid),
            key.comm,
            taken.value,
            taken.kernel,
            taken.user,
            ready=bool(key.ready),
            whole=taken.whole,
            kernel_lost=key.kernel == taken_room and not taken.kernel,
            user_lost=key.user == taken_room and not taken.user,
        )

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def unwind_fault() -> str:
    """Why callers cannot be found by unwind tables here; "" where they can."""
    if os.uname().machine != "x86_64":
        return "they are read on x86-64 only"
    found = helper("task_pt_regs", ProgramKind.PERF_EVENT)
    return "" if found else found.reason


def _namespace() -> tuple[int, int]:
    """Device and inode of our pid namespace; zeros for the machine's own."""
    facts = os.stat("/proc/self/ns/pid")  # noqa: PTH116 - as the rest of /proc
    if facts.st_ino == _INITIAL_NAMESPACE:
        return 0, 0
    return facts.st_dev, facts.st_ino


def _open_cgroup(path: str) -> int:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise AttachError(f"cannot open cgroup {path}: {error.strerror}") from error
    if not os.access(f"{path}/cgroup.controllers", os.F_OK):
        os.close(fd)
        raise AttachError(f"{path} is not a cgroup2 directory")
    return fd
