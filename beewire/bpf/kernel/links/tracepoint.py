"""Static tracepoints, through a perf event."""

import errno
import os

from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.bpf.kernel.links.base import Link, LinkKind
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import AttachKind
from beewire.errors import AttachError, KernelError, NotPermitted, NotSupported

_PERF_TYPE_TRACEPOINT = 2
_IOC_ENABLE = 0x2400
_IOC_SET_BPF = 0x4004_2408
_PLACES = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")


class PerfLink(Link):
    """A tracepoint attachment held by its perf event (kernels before 5.15)."""

    __slots__ = ()

    def detach(self) -> None:
        """End the attachment; the same as `close`."""
        self.close()

    def update(self, program: Program) -> None:
        """Refused: perf events take one program."""
        raise NotSupported(errno.EOPNOTSUPP, f"another program ({program.name!r}) here")

    def pin(self, path: str) -> None:
        """Refused: only bpf_links of perf events can be pinned."""
        raise NotSupported(errno.EOPNOTSUPP, f"pinning a tracepoint at {path}", "5.15")


def attach_tracepoint(
    program: Program, category: str, name: str, *, as_link: bool = True
) -> Link:
    """Run `program` at the tracepoint `category:name`, on every CPU and in every task.

    `as_link=False` takes the older way (ioctl on a perf event), which is also the
    fallback for kernels without perf event links (before Linux 5.15).

    Raises:
        AttachError: this kernel has no such tracepoint, or tracefs cannot be read.
        NotPermitted: CAP_PERFMON or CAP_BPF is missing.
    """
    place = f"tracepoint {category}:{name}"
    with Descriptor(
        _open_event(tracepoint_id(category, name), program, place)
    ) as event:
        if as_link:
            fd = _create_link(program, event.fd)
            if fd >= 0:
                # The link holds the event from here on.
                return Link(fd, LinkKind.PERF_EVENT, f"{program.name!r} on {place}")
        _control(event.fd, _IOC_SET_BPF, program.fd, program, place)
        _control(event.fd, _IOC_ENABLE, 0, program, place)
        description = f"{program.name!r} on {place}"
        return PerfLink(event.release(), LinkKind.PERF_EVENT, description)


def _create_link(program: Program, event_fd: int) -> int:
    record = attr.LINK_CREATE.pack(
        prog_fd=program.fd, target_fd=event_fd, attach_type=AttachKind.PERF_EVENT
    )
    return syscall.try_bpf(syscall.Cmd.LINK_CREATE, record)


def _open_event(number: int, program: Program, place: str) -> int:
    event = attr.PERF_EVENT_ATTR.pack(
        type=_PERF_TYPE_TRACEPOINT,
        size=attr.PERF_EVENT_ATTR.size,
        config=number,
        sample_period=1,
        wakeup_events=1,
    )
    # The program runs on every CPU; the event's own one only counts.
    fd = syscall.perf_event_open(event, pid=-1, cpu=0)
    if fd < 0:
        raise _refusal(-fd, program, place)
    return fd


def _control(
    fd: int, request: int, argument: int, program: Program, place: str
) -> None:
    result = syscall.ioctl(fd, request, argument)
    if result < 0:
        raise _refusal(-result, program, place)


def _refusal(number: int, program: Program, place: str) -> KernelError | AttachError:
    about = f"attach {program.name!r} to {place}"
    if number in (errno.EACCES, errno.EPERM):
        from beewire.bpf.kernel import privilege  # noqa: PLC0415 - errors only

        why = privilege.why_forbidden(("CAP_BPF", "CAP_PERFMON"))
        return NotPermitted(number, "perf_event_open", f"cannot {about}: {why}")
    if number == errno.EEXIST:
        return AttachError(f"cannot {about}: it is attached there already")
    if number == errno.EINVAL:
        section = program.spec.section
        return AttachError(
            f"cannot {about}: a program of section {section!r} does not belong there, "
            "or reads more of the context than the tracepoint has"
        )
    from beewire.bpf.kernel import explain  # noqa: PLC0415 - errors only

    return explain.refusal(number, "perf_event_open", about)


def tracepoint_id(category: str, name: str) -> int:
    """The number of a tracepoint, from tracefs.

    Where tracefs is not mounted it is mounted for the moment, where no path leads.

    Raises:
        AttachError: there is no such tracepoint, or no way to read tracefs.
    """
    place = f"events/{category}/{name}/id"
    for directory in _PLACES:
        if os.path.isdir(f"{directory}/events"):  # noqa: PTH112 - no pathlib here
            return _read_id(f"{directory}/{place}", category, name, None)
    root = syscall.open_file_system("tracefs")
    if root < 0:
        raise AttachError(
            f"cannot look up tracepoint {category}:{name}: tracefs is not mounted "
            "(as root: `mount -t tracefs tracefs /sys/kernel/tracing`) and mounting it "
            f"is refused ({os.strerror(-root).lower()})"
        )
    with Descriptor(root):
        return _read_id(place, category, name, root)


def _read_id(path: str, category: str, name: str, root: int | None) -> int:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=root)
    except FileNotFoundError:
        raise AttachError(
            f"this kernel has no tracepoint {category}:{name}; `beewire.bpf` names them "
            'as "category:name", such as "sched:sched_process_exec"'
        ) from None
    except OSError as error:
        raise AttachError(
            f"cannot read tracepoint {category}:{name} in tracefs: {error.strerror}"
        ) from error
    with Descriptor(fd):
        return int(os.read(fd, 32))
