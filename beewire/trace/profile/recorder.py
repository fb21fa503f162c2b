"""Recording: attach, follow the processes, and take home what was counted."""

import os
import select
import time
from contextlib import ExitStack
from typing import NamedTuple, Self

from beewire.bpf import load
from beewire.bpf.author import Loaded
from beewire.bpf.kernel import Link
from beewire.bpf.kernel.task_events import TaskEvents
from beewire.errors import AttachError
from beewire.symbols import Symbolizer
from beewire.trace.profile import programs
from beewire.trace.profile.watch import Watch

# The inode of the machine's own pid namespace (PROC_PID_INIT_INO).
_INITIAL_NAMESPACE = 0xEFFFFFFC
_LOOK_EVERY = 0.1


class Options(NamedTuple):
    """What is recorded: `frequency` in Hz, or waiting of at least `least_us`.

    `children` of `pids` are recorded as well, from now on.
    """

    pids: tuple[int, ...] = ()
    children: bool = False
    cgroup: str = ""
    frequency: int = 99
    off_cpu: bool = False
    kernel: bool = True
    user: bool = True
    least_us: int = 1


class Sample(NamedTuple):
    """One stack of one thread's name, and how often, or how many ns, it was there.

    Addresses innermost first. `kernel_lost` and `user_lost` say that there was a stack,
    which had no room.
    """

    pid: int
    process: str
    thread: str
    value: int
    kernel: list[int]
    user: list[int]
    ready: bool = False
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
        """
        with ExitStack() as stack:
            events = stack.enter_context(TaskEvents())
            self._watch = Watch(self._symbols, events)
            loaded = stack.enter_context(self._load())
            self._loaded = loaded
            self._select(loaded)
            self._arrivals = loaded[programs.arrivals].reader
            # The other program never sends any.
            self._wholes = None if self.options.off_cpu else loaded[programs.wholes]
            self._whole: list[programs.Whole] = []
            self._links = stack.enter_context(ExitStack())
            if self.options.children:
                self._links.enter_context(loaded[programs.follow].attach())
            self._links.enter_context(self._attach(loaded))
            self._started = time.monotonic()
            self._stack = stack.pop_all()
        return self

    def _load(self) -> Loaded:
        options = self.options
        program = programs.off_cpu if options.off_cpu else programs.on_cpu
        device, inode = _namespace()
        values: dict[str, object] = {
            "namespace_device": device,
            "namespace_inode": inode,
            "some_pids": bool(options.pids),
            "some_groups": bool(options.cgroup),
            "want_kernel": options.kernel,
            "want_user": options.user,
        }
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

    def _attach(self, loaded: Loaded) -> Link:
        if self.options.off_cpu:
            return loaded[programs.off_cpu].attach()
        return loaded[programs.on_cpu].attach(
            "cpu-clock", frequency=self.options.frequency
        )

    def wait(self, seconds: float | None, until: int = -1) -> None:
        """Follow the processes for so long (None: until Ctrl-C).

        `until` is a descriptor: when it is readable, the time is over as well.
        """
        end = None if seconds is None else time.monotonic() + seconds
        with select.epoll() as poll:
            poll.register(self._arrivals.fileno(), select.EPOLLIN)
            if until >= 0:
                poll.register(until, select.EPOLLIN)
            while True:
                rest = _LOOK_EVERY if end is None else end - time.monotonic()
                if rest <= 0:
                    return
                ready = poll.poll(min(rest, _LOOK_EVERY))
                self._note()
                if any(fd == until for fd, _ in ready):
                    return

    def _note(self) -> None:
        arrivals: list[int] = self._arrivals.read()
        self._watch.note(arrivals)
        if self._wholes is not None:
            self._whole += self._wholes.poll()

    def finish(self) -> Recording:
        """Detach, and give what was counted."""
        self._links.close()
        seconds = time.monotonic() - self._started
        self._note()
        samples = [*self._counted(), *map(self._of_whole, self._whole)]
        self._watch.finish()
        lost = int(self._loaded.globals["lost"])
        return Recording(samples, self.options, seconds, lost)

    def _counted(self) -> list[Sample]:
        counts = dict(self._loaded[programs.counts].items())
        if self.options.off_cpu:
            self._still_waiting(counts)
        stacks: dict[int, list[int]] = {}
        for key in counts:
            for number in (key.kernel, key.user):
                if number >= 0 and number not in stacks:
                    stacks[number] = self._loaded[programs.stacks][number]
        return [
            self._sample(
                key, value, stacks.get(key.kernel, []), stacks.get(key.user, [])
            )
            for key, value in counts.items()
        ]

    def _still_waiting(self, counts: dict[programs.Key, int]) -> None:
        """Add threads that stopped while we looked and did not go on."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        for wait in self._loaded[programs.waits].values():
            took = now - wait.since
            if took >= self.options.least_us * 1000:
                counts[wait.key] = counts.get(wait.key, 0) + took

    def _of_whole(self, whole: programs.Whole) -> Sample:
        kernel = list(whole.kernel[: max(whole.kernel_size, 0) // 8])
        user = list(whole.user[: max(whole.user_size, 0) // 8])
        return self._sample(whole.key, whole.value, kernel, user)

    def _sample(
        self, key: programs.Key, value: int, kernel: list[int], user: list[int]
    ) -> Sample:
        return Sample(
            key.tgid,
            self._watch.name(key.tgid),
            key.comm,
            value,
            kernel,
            user,
            ready=bool(key.ready),
            kernel_lost=key.kernel == programs.TAKEN and not kernel,
            user_lost=key.user == programs.TAKEN and not user,
        )

    def __exit__(self, *_: object) -> None:
        self._stack.close()


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
