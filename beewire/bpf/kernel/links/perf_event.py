"""Perf events: software and hardware counters that run a program every so often.

One event counts on one CPU (for all tasks) or in one thread (on all CPUs), so that a
program on the whole machine has an event for each CPU. They are one link here.
"""

import errno
import os

from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.links.base import Link, LinkKind
from beewire.bpf.kernel.links.perf_names import Event, find_event
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import AttachKind, ProgramKind
from beewire.errors import AttachError, KernelError, NotPermitted, NotSupported
from beewire.hints import Iterable
from beewire.rows import Row

# Bits of `struct perf_event_attr`, behind read_format.
_INHERIT, _EXCLUDE_USER, _EXCLUDE_KERNEL, _FREQUENCY = 1 << 1, 1 << 4, 1 << 5, 1 << 10
_IOC_ENABLE, _IOC_SET_BPF = 0x2400, 0x4004_2408
_ANY = -1
_ONLINE = "/sys/devices/system/cpu/online"
_MAX_RATE = "/proc/sys/kernel/perf_event_max_sample_rate"


class Sampling(Row):
    """When a perf event runs its program: so often a second, or every so many counts.

    One of `frequency` (Hz, which the kernel steers towards) and `period` (events) is 0.
    """

    frequency: int = 0
    period: int = 0
    user: bool = True
    kernel: bool = True
    inherit: bool = False


class PerfEventLink(Link):
    """A program on one or more perf events, which end together.

    `events` says on how many; `as_link` whether bpf_links hold them (Linux 5.15) or the
    events themselves do, by ioctl(2).
    """

    __slots__ = ("_others", "as_link")

    def __init__(self, fds: list[int], description: str, *, as_link: bool) -> None:
        first, *others = fds
        super().__init__(first, LinkKind.PERF_EVENT, description)
        self._others = others
        self.as_link = as_link

    @property
    def events(self) -> int:
        """How many events run the program: one for each CPU or thread; 0 once closed."""
        return 0 if self.closed else 1 + len(self._others)

    def close(self) -> None:
        """Detach from all events. Closing twice does nothing."""
        super().close()
        others, self._others = self._others, []
        for fd in others:
            os.close(fd)

    def detach(self) -> None:
        """End the attachment; the same as `close`: the kernel has no other way."""
        self.close()

    def update(self, program: Program) -> None:
        """Refused: a perf event keeps its program."""
        what = f"another program ({program.name!r}) on a perf event; attach it anew"
        raise NotSupported(errno.EOPNOTSUPP, what)

    def pin(self, path: str) -> None:
        """Keep the program attached under `path`, where there is one event.

        Raises:
            NotSupported: there are several events, or no bpf_links of them (before
                Linux 5.15).
        """
        if not self.as_link:
            what = f"pinning a perf event at {path}"
            raise NotSupported(errno.EOPNOTSUPP, what, "5.15")
        if self._others:
            what = (
                f"pinning {self.events} perf events under one path ({path}); attach to "
                "one CPU at a time, with cpus=[n]"
            )
            raise NotSupported(errno.EOPNOTSUPP, what)
        super().pin(path)


def attach_perf_event(  # noqa: PLR0913 - what perf_event_open(2) takes
    program: Program,
    event: str,
    sampling: Sampling,
    *,
    pid: int = _ANY,
    cpus: Iterable[int] | None = None,
    cookie: int = 0,
    as_link: bool = True,
) -> PerfEventLink:
    """Run `program` at samples of `event`, such as "cpu-clock" or "cpu-cycles".

    `pid` is a thread, -1 every task; `cpus` the CPUs to count on, which are all that are
    online where a task is not given. With `sampling.inherit` threads and processes that
    `pid` starts from now on count as well. `cookie` is what `get_attach_cookie` gives.
    `as_link=False` takes the older way (ioctl on the events), which is also what kernels
    without such links get (before Linux 5.15).

    Raises:
        AttachError: there is no such event, task or CPU, or no counter for it here.
        NotPermitted: CAP_PERFMON or CAP_BPF is missing.
        NotSupported: a cookie, on a kernel without links of perf events.
    """
    if program.spec.kind is not ProgramKind.PERF_EVENT:
        section = program.spec.section
        message = f"program {program.name!r} ({section}) is not for perf events"
        raise AttachError(message)
    place = _place(event, pid)
    record = _attributes(find_event(event), sampling)
    where = [_ANY] if cpus is None and pid != _ANY else _wanted(cpus)
    fds: list[int] = []
    try:
        for cpu in where:
            event_fd = _open(record, pid, cpu, program, place)
            fds.append(event_fd)
            link = _link(program, event_fd, cookie) if as_link else -errno.EINVAL
            as_link = link >= 0
            if as_link:
                os.close(event_fd)  # the link holds the event from here on
                fds[-1] = link
            else:
                _run_by_event(program, event_fd, cookie, place)
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise
    return PerfEventLink(fds, f"{program.name!r} on {place}", as_link=as_link)


def _open(record: bytearray, pid: int, cpu: int, program: Program, place: str) -> int:
    fd = syscall.perf_event_open(record, pid=pid, cpu=cpu)
    if fd < 0:
        raise _refusal(-fd, program, place, cpu)
    return fd


def _place(event: str, pid: int) -> str:
    return f"perf event {event}" + (f" of task {pid}" if pid != _ANY else "")


def _attributes(event: Event, sampling: Sampling) -> bytearray:
    """`struct perf_event_attr`.

    Raises:
        AttachError: the sampling contradicts itself.
    """
    if (sampling.frequency > 0) == (sampling.period > 0):
        raise AttachError(
            "a perf event is sampled by frequency=Hz or by period=COUNT: give one of "
            f"them, above 0, not frequency={sampling.frequency} and "
            f"period={sampling.period}"
        )
    bits = _FREQUENCY if sampling.frequency else 0
    bits |= _INHERIT if sampling.inherit else 0
    bits |= 0 if sampling.user else _EXCLUDE_USER
    bits |= 0 if sampling.kernel else _EXCLUDE_KERNEL
    return attr.PERF_EVENT_ATTR.pack(
        type=event.type,
        size=attr.PERF_EVENT_ATTR.size,
        config=event.config,
        sample_period=sampling.frequency or sampling.period,
        _bits=bits,
    )


def _wanted(cpus: Iterable[int] | None) -> list[int]:
    """The CPUs to count on.

    Raises:
        AttachError: none was given.
    """
    found = online_cpus() if cpus is None else list(cpus)
    if not found:
        raise AttachError("a perf event needs a CPU to count on: cpus is empty")
    return found


def online_cpus() -> list[int]:
    """The numbers of the CPUs that are online."""
    with open(_ONLINE, encoding="ascii") as file:  # noqa: PTH123 - no pathlib here
        return parse_cpus(file.read())


def parse_cpus(text: str) -> list[int]:
    """The numbers in a list as the kernel writes them, such as "0-3,6"."""
    found: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            found.extend(range(int(first), int(last or first) + 1))
    return found


def _link(program: Program, event_fd: int, cookie: int) -> int:
    """A bpf_link of the event, or -errno."""
    record = attr.LINK_CREATE.pack(
        prog_fd=program.fd,
        target_fd=event_fd,
        attach_type=AttachKind.PERF_EVENT,
        bpf_cookie=cookie,
    )
    return syscall.try_bpf(syscall.Cmd.LINK_CREATE, record)


def _run_by_event(program: Program, fd: int, cookie: int, place: str) -> None:
    if cookie:
        raise NotSupported(errno.EINVAL, "cookies of perf events", "5.15")
    for request, argument in ((_IOC_SET_BPF, program.fd), (_IOC_ENABLE, 0)):
        result = syscall.ioctl(fd, request, argument)
        if result < 0:
            raise _refusal(-result, program, place, _ANY)


def _refusal(
    number: int, program: Program, place: str, cpu: int
) -> KernelError | AttachError:
    about = f"attach {program.name!r} to {place}"
    if number == errno.EINVAL and cpu not in {_ANY, *online_cpus()}:
        number = errno.ENODEV
    if number in (errno.EACCES, errno.EPERM):
        from beewire.bpf.kernel import privilege  # noqa: PLC0415 - errors only

        why = privilege.why_forbidden(("CAP_BPF", "CAP_PERFMON"))
        return NotPermitted(number, "perf_event_open", f"cannot {about}: {why}")
    reasons = {
        errno.ENOENT: "this machine has no counter for it, which is usual in virtual "
        "machines; software events such as cpu-clock work everywhere",
        errno.EOPNOTSUPP: "this machine's counter cannot take samples of it; software "
        "events such as cpu-clock work everywhere",
        errno.ESRCH: "there is no such task",
        errno.ENODEV: f"CPU {cpu} is not online",
        errno.EINVAL: "the kernel takes no such sampling; frequencies end at "
        f"{_limit()} Hz ({_MAX_RATE})",
        errno.EEXIST: "the event has a program already",
    }
    if number in reasons:
        return AttachError(f"cannot {about}: {reasons[number]}")
    from beewire.bpf.kernel import explain  # noqa: PLC0415 - errors only

    return explain.refusal(number, "perf_event_open", about)


def _limit() -> str:
    try:
        with open(_MAX_RATE, encoding="ascii") as file:  # noqa: PTH123 - no pathlib here
            return file.read().strip()
    except OSError:
        return "an unknown number of"
