"""Programs that a perf event runs: tracepoints, probes, samples.

A bpf_link holds the event (Linux 5.15). On older kernels the event itself holds the
program, by ioctl(2), and there are no cookies and no pins.
"""

import errno
import os

from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.links.base import Link, LinkKind, fixed
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import AttachKind
from beewire.errors import AttachError, KernelError, NotPermitted, NotSupported
from beewire.hints import TYPE_CHECKING, Callable, Iterable

if TYPE_CHECKING:
    from beewire.bpf.kernel.links.info import LinkInfo

TRACEPOINT = 2  # PERF_TYPE_TRACEPOINT
LINK, IOCTL = "perf_event", "ioctl"  # Link.kind
_IOC_ENABLE, _IOC_SET_BPF = 0x2400, 0x4004_2408
_SINCE = "5.15"

# Opens an event: a descriptor, or -errno.
Opens = Callable[[], int]
# The error for (errno, CPU) of a refused event.
Refusal = Callable[[int, int], "KernelError | AttachError"]


class EventLink(Link):
    """A program on one or more perf events, which end together.

    `kind` is "perf_event" where bpf_links hold them (Linux 5.15), "ioctl" where the
    events themselves do, "tracefs" where the probe was made by writing there.
    """

    __slots__ = ("_clean_up", "_others", "as_link")

    def __init__(
        self, fds: list[int], kind: str, description: str, *, cookie: int, as_link: bool
    ) -> None:
        first, *others = fds
        super().__init__(first, kind, description, cookie=cookie)
        self._others = others
        self.as_link = as_link
        self._clean_up: list[Callable[[], None]] = []

    @property
    def events(self) -> int:
        """How many events run the program; 0 once closed."""
        return 0 if self.closed else 1 + len(self._others)

    def absorb(self, other: "EventLink") -> None:
        """Hold the events of another link too, which is closed with nothing left."""
        self._others += [*other._others, other.release()]
        self._clean_up += other._clean_up
        other._others, other._clean_up = [], []
        self.as_link = self.as_link and other.as_link

    def at_end(self, action: Callable[[], None]) -> None:
        """Do this when the link is closed, after its events have ended."""
        self._clean_up.append(action)

    def close(self) -> None:
        """Detach from all events. Closing twice does nothing."""
        super().close()
        others, self._others = self._others, []
        for fd in others:
            os.close(fd)
        while self._clean_up:
            self._clean_up.pop()()

    def detach(self) -> None:
        """End the attachment; the same as `close` unless it is pinned."""
        if self.as_link:
            super().detach()
        else:
            self.close()

    def update(self, program: Program) -> None:
        """Refused: a perf event keeps its program."""
        del program
        raise fixed(self.kind)

    def pin(self, path: str) -> None:
        """Keep the program attached under `path`, where there is one event.

        Raises:
            NotSupported: there are several events, or no bpf_links of them (before
                Linux 5.15).
        """
        if not self.as_link:
            what = f"pinning a program on a perf event at {path}"
            raise NotSupported(errno.EOPNOTSUPP, what, _SINCE)
        if self._others:
            what = (
                f"pinning {self.events} perf events under one path ({path}); attach to "
                "one of them at a time (a CPU: cpus=[n])"
            )
            raise NotSupported(errno.EOPNOTSUPP, what)
        super().pin(path)

    @property
    def info(self) -> "LinkInfo":
        """What the kernel knows of it; of kind UNSPEC where no link holds the event."""
        if self.as_link:
            return super().info
        from beewire.bpf.kernel.links.info import LinkInfo  # noqa: PLC0415 - rare

        return LinkInfo(LinkKind.UNSPEC, 0, _program_of(self.fd))


def attach_events(
    program: Program,
    events: Iterable[tuple[int, Opens]],
    place: str,
    refusal: Refusal,
    *,
    cookies: Iterable[int] = (),
    as_link: bool = True,
) -> EventLink:
    """Run `program` by every one of `events`: (CPU to tell of, what opens it).

    `cookies` are one for each event, where there are any.

    Raises:
        AttachError: what `refusal` makes of an errno.
        NotSupported: a cookie, on a kernel without links of perf events.
    """
    held: list[int] = []
    given = list(cookies)
    try:
        for number, (cpu, open_event) in enumerate(events):
            cookie = given[number] if given else 0
            as_link = _hold(held, program, open_event, cookie, as_link=as_link)
            if held[-1] < 0:
                raise refusal(-held.pop(), cpu)  # noqa: TRY301 - closes what is held
    except BaseException:
        for fd in held:
            if fd >= 0:
                os.close(fd)
        raise
    kind = LINK if as_link else IOCTL
    about = f"{program.name!r} on {place}"
    first = given[0] if given else 0
    return EventLink(held, kind, about, cookie=first, as_link=as_link)


def _hold(
    held: list[int], program: Program, opens: Opens, cookie: int, *, as_link: bool
) -> bool:
    """Add to `held` what keeps `program` on one event, or -errno; whether it is a link."""
    fd = opens()
    held.append(fd)
    if fd < 0:
        return as_link
    result = _link(program, fd, cookie) if as_link else -errno.EINVAL
    if result >= 0:
        held[-1] = result  # the link holds the event from here on
        os.close(fd)
        return True
    if result in (-errno.EINVAL, -errno.E2BIG):
        as_link = False
        if cookie:
            raise NotSupported(errno.EINVAL, "cookies of perf events", _SINCE)
        result = _run(program, fd)
    if result < 0:
        held[-1] = result
        os.close(fd)
    return as_link


def _link(program: Program, event_fd: int, cookie: int) -> int:
    """A bpf_link of the event, or -errno."""
    record = attr.LINK_CREATE.pack(
        prog_fd=program.fd,
        target_fd=event_fd,
        attach_type=AttachKind.PERF_EVENT,
        bpf_cookie=cookie,
    )
    return syscall.try_bpf(syscall.Cmd.LINK_CREATE, record)


def _run(program: Program, event_fd: int) -> int:
    result = syscall.ioctl(event_fd, _IOC_SET_BPF, program.fd)
    return result if result < 0 else syscall.ioctl(event_fd, _IOC_ENABLE, 0)


def _program_of(event_fd: int) -> int:
    """The id of the program that the event runs (BPF_TASK_FD_QUERY, Linux 4.18)."""
    record = attr.TASK_FD_QUERY.pack(pid=os.getpid(), fd=event_fd)
    about = "read what the kernel knows of a perf event"
    syscall.bpf(syscall.Cmd.TASK_FD_QUERY, record, about, ("CAP_SYS_ADMIN",))
    return attr.TASK_FD_QUERY.integer(record, "prog_id")


def forbidden(number: int, about: str) -> NotPermitted:
    """The error for EPERM and EACCES of perf_event_open(2)."""
    from beewire.bpf.kernel import privilege  # noqa: PLC0415 - errors only

    why = privilege.why_forbidden(("CAP_PERFMON",))
    return NotPermitted(number, "perf_event_open", f"cannot {about}: {why}")


def usual(number: int, program: Program, about: str) -> KernelError | AttachError:
    """The error for what any perf event may be refused for."""
    if number in (errno.EACCES, errno.EPERM):
        return forbidden(number, about)
    if number == errno.EEXIST:
        return AttachError(f"cannot {about}: it is attached there already")
    if number == errno.EINVAL:
        section = program.spec.section
        return AttachError(
            f"cannot {about}: a program of section {section!r} does not belong there, "
            "or reads more of the context than there is"
        )
    from beewire.bpf.kernel import explain  # noqa: PLC0415 - errors only

    return explain.refusal(number, "perf_event_open", about)
