"""Static tracepoints, through a perf event."""

from beewire.bpf.kernel import attr, syscall, tracefs
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.bpf.kernel.links import event
from beewire.bpf.kernel.program import Program
from beewire.errors import AttachError, KernelError


def attach_tracepoint(
    program: Program,
    category: str,
    name: str,
    *,
    cookie: int = 0,
    as_link: bool = True,
) -> event.EventLink:
    """Run `program` at the tracepoint `category:name`, on every CPU and in every task.

    `cookie` is what `get_attach_cookie` gives (Linux 5.15). `as_link=False` takes the
    older way (ioctl on a perf event), which is also the fallback for kernels without
    perf event links (before Linux 5.15).

    Raises:
        AttachError: this kernel has no such tracepoint, or tracefs cannot be read.
        NotPermitted: CAP_PERFMON or CAP_BPF is missing.
    """
    place = f"tracepoint {category}:{name}"
    number = tracepoint_id(category, name)

    def refusal(code: int, _: int) -> KernelError | AttachError:
        return event.usual(code, program, f"attach {program.name!r} to {place}")

    return event.attach_events(
        program,
        [(-1, lambda: open_tracepoint(number))],
        place,
        refusal,
        cookies=[cookie],
        as_link=as_link,
    )


def open_tracepoint(number: int, pid: int = -1) -> int:
    """A perf event of the tracepoint, or -errno."""
    record = attr.PERF_EVENT_ATTR.pack(
        type=event.TRACEPOINT,
        size=attr.PERF_EVENT_ATTR.size,
        config=number,
        sample_period=1,
        wakeup_events=1,
    )
    # The program runs on every CPU; the event's own one only counts.
    return syscall.perf_event_open(record, pid=pid, cpu=0 if pid < 0 else -1)


def tracepoint_id(category: str, name: str) -> int:
    """The number of a tracepoint, from tracefs.

    Where tracefs is not mounted it is mounted for the moment, where no path leads.

    Raises:
        AttachError: there is no such tracepoint, or no way to read tracefs.
    """
    with tracefs.open_tracefs(f"look up tracepoint {category}:{name}") as root:
        try:
            return int(tracefs.read(root, f"events/{category}/{name}/id"))
        except FileNotFoundError:
            raise AttachError(_unknown(root, category, name)) from None
        except OSError as error:
            raise AttachError(
                f"cannot read tracepoint {category}:{name} in tracefs: {error.strerror}"
            ) from error


def _unknown(root: Descriptor, category: str, name: str) -> str:
    from beewire.bpf.kernel.hooks import near  # noqa: PLC0415 - errors only

    try:
        lines = tracefs.read(root, "available_events").decode().split()
    except OSError:
        lines = []
    own = [line for line in lines if line.startswith(f"{category}:")]
    similar = near(f"{category}:{name}", own or lines)
    hint = f"did you mean {similar}?" if similar else (
        '`beewire.bpf` names them as "category:name", such as "sched:sched_process_exec"'
    )  # fmt: skip
    return f"this kernel has no tracepoint {category}:{name}; {hint}"
