"""Perf events: software and hardware counters that run a program every so often.

One event counts on one CPU (for all tasks) or in one thread (on all CPUs), so that a
program on the whole machine has an event for each CPU. They are one link here.
"""

import errno

from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.links.event import EventLink, attach_events, forbidden
from beewire.bpf.kernel.links.perf_names import Event, find_event
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import ProgramKind
from beewire.errors import AttachError, KernelError
from beewire.hints import Callable, Iterable
from beewire.rows import Row

# Bits of `struct perf_event_attr`, behind read_format.
_INHERIT, _EXCLUDE_USER, _EXCLUDE_KERNEL, _FREQUENCY = 1 << 1, 1 << 4, 1 << 5, 1 << 10
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


def attach_perf_event(  # noqa: PLR0913 - what perf_event_open(2) takes
    program: Program,
    event: str,
    sampling: Sampling,
    *,
    pid: int = _ANY,
    cpus: Iterable[int] | None = None,
    cookie: int = 0,
    as_link: bool = True,
) -> EventLink:
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

    def opens(cpu: int) -> Callable[[], int]:
        return lambda: syscall.perf_event_open(record, pid=pid, cpu=cpu)

    return attach_events(
        program,
        [(cpu, opens(cpu)) for cpu in where],
        place,
        lambda number, cpu: _refusal(number, program, place, cpu),
        cookies=[cookie] * len(where),
        as_link=as_link,
    )


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


def _refusal(
    number: int, program: Program, place: str, cpu: int
) -> KernelError | AttachError:
    about = f"attach {program.name!r} to {place}"
    if number == errno.EINVAL and cpu not in {_ANY, *online_cpus()}:
        number = errno.ENODEV
    if number in (errno.EACCES, errno.EPERM):
        return forbidden(number, about)
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
