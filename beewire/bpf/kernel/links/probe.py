"""Probes, of the kernel and of user space: one event for each.

Three ways: a perf event that a bpf_link holds (Linux 5.15), one that holds the program
itself (Linux 4.17), and a probe that is made by writing to tracefs. The last one is a
name that others see, and outlives a process that is killed: `leftovers` finds those.
"""

import errno
import os

from beewire.bpf.kernel import attr, functions, syscall, tracefs
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.bpf.kernel.links import event
from beewire.bpf.kernel.links.tracepoint import open_tracepoint
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import ProgramKind
from beewire.errors import AttachError, KernelError, NotSupported
from beewire.hints import Sequence
from beewire.rows import Row

TRACEFS = "tracefs"
WAYS = (event.LINK, event.IOCTL, TRACEFS)
_PREFIX = "bw_"
# What a kernel without is built without, and has in its place.
_MISSING = {
    "kprobe": "kprobes, it is built without CONFIG_KPROBE_EVENTS: use tracepoints "
    "(@tracepoint, @tp_btf), or fentry and fexit where it allows those",
    "uprobe": "uprobes, it is built without CONFIG_UPROBE_EVENTS",
}
_made = 0


class Place(Row):
    """Where a probe is: `offset` bytes into a function, or into the file at a path.

    `counter` is the file offset of a 16-bit counter of who looks (a semaphore), or 0.
    `returns`: at the return of the function there.
    """

    name: str
    offset: int = 0
    counter: int = 0
    returns: bool = False


def attach_probes(  # noqa: PLR0913 - what perf_event_open(2) takes
    program: Program,
    kind: str,
    places: Sequence[Place],
    about: str,
    refusal: event.Refusal,
    *,
    pid: int = -1,
    cookies: Sequence[int] = (),
    way: str = "",
) -> event.EventLink:
    """Run `program` at each of `places`; `kind` is "kprobe" or "uprobe".

    `way` takes another than the newest one: "ioctl" or "tracefs".

    Raises:
        AttachError: what `refusal` makes of an errno.
        NotPermitted: CAP_PERFMON or CAP_BPF is missing.
        NotSupported: the kernel is built without such probes, or has no cookies.
    """
    if program.spec.kind is not ProgramKind.KPROBE:
        section = program.spec.section
        raise AttachError(
            f"program {program.name!r} ({section}) is not for probes: mark it as "
            f"@{kind}, or put it in a section {kind}/..."
        )
    if way and way not in WAYS:
        raise AttachError(f"way={way!r} is none of {', '.join(WAYS)}")
    source = None if way == TRACEFS else functions.event_source(kind)
    if source is None:
        makes = _Maker(kind, places, pid)
        return _by_tracefs(program, makes, about, refusal, cookies)
    config = 1 << functions.return_bit(kind) if places[0].returns else 0
    number = source

    def opens(place: Place) -> event.Opens:
        return lambda: open_probe(number, config, place, pid)

    return event.attach_events(
        program,
        [(-1, opens(place)) for place in places],
        about,
        refusal,
        cookies=cookies,
        as_link=way != event.IOCTL,
    )


def open_probe(source: int, config: int, place: Place, pid: int) -> int:
    """A perf event of the probe, or -errno."""
    name = bytearray(os.fsencode(place.name) + b"\0")
    record = attr.PROBE_EVENT_ATTR.pack(
        type=source,
        size=attr.PROBE_EVENT_ATTR.size,
        # PERF_UPROBE_REF_CTR_OFFSET_SHIFT
        config=config | place.counter << 32,
        config1=syscall.address(name),
        config2=place.offset,
    )
    return syscall.perf_event_open(record, pid=pid, cpu=0 if pid < 0 else -1)


def _by_tracefs(
    program: Program,
    makes: "_Maker",
    about: str,
    refusal: event.Refusal,
    cookies: Sequence[int],
) -> event.EventLink:
    with tracefs.open_tracefs(f"attach {program.name!r} to {about}") as root:
        try:
            opened = [(-1, each) for each in makes.events(root)]
            link = event.attach_events(program, opened, about, refusal, cookies=cookies)
        except BaseException:
            makes.undo()
            raise
    link.kind = TRACEFS
    link.at_end(makes.undo)
    return link


class _Maker:
    """Makes probes by writing to tracefs, and takes them away."""

    __slots__ = ("_kind", "_names", "_pid", "_places")

    def __init__(self, kind: str, places: Sequence[Place], pid: int) -> None:
        self._kind = kind
        self._places = places
        self._pid = pid
        self._names: list[str] = []

    def events(self, root: Descriptor) -> list[event.Opens]:
        """What opens an event of each place; it makes the probe first.

        Raises:
            NotSupported: the kernel is built without.
        """
        _check_built_in(root, self._kind)
        return [lambda place=each: self._open(root, place) for each in self._places]  # type: ignore[misc]  # a default

    def _open(self, root: Descriptor, place: Place) -> int:
        name = _name()
        try:
            tracefs.append(root, f"{self._kind}_events", _line(self._kind, name, place))
            self._names.append(name)
            text = tracefs.read(root, f"events/{self._kind}s/{name}/id")
        except OSError as error:
            return -(error.errno or errno.EIO)
        return open_tracepoint(int(text), self._pid)

    def undo(self) -> None:
        """Remove the probes; their events have ended."""
        if not self._names:
            return
        with tracefs.open_tracefs(f"remove a {self._kind}") as root:
            while self._names:
                name = self._names.pop()
                try:
                    _remove(self._kind, name, root)
                except OSError as error:
                    raise _stays(error, f"{self._kind}s/{name}") from None


def _stays(error: OSError, name: str) -> KernelError:
    number = error.errno or errno.EIO
    why = os.strerror(number).lower()
    message = (
        f"cannot remove the probe {name} from tracefs: {why}; it stays there, and runs "
        "nothing: leftovers(remove=True) of a later process removes it"
    )
    return KernelError(number, "write", message)


def check_built_in(kind: str) -> None:
    """Make sure that the kernel has probes of this kind.

    Raises:
        NotSupported: it is built without.
    """
    with tracefs.open_tracefs(f"look for {kind}s") as root:
        _check_built_in(root, kind)


def _check_built_in(root: Descriptor, kind: str) -> None:
    if not tracefs.has(root, f"{kind}_events"):
        raise NotSupported(errno.EOPNOTSUPP, _MISSING[kind])


def _name() -> str:
    global _made  # noqa: PLW0603 - names are the machine's, one counter for a process
    _made += 1
    return f"{_PREFIX}{os.getpid()}_{_made}"


def _line(kind: str, name: str, place: Place) -> str:
    """The command of Documentation/trace/{k,u}probetrace.rst."""
    word = "r" if place.returns else "p"
    if kind == "kprobe":
        offset = f"+{place.offset}" if place.offset else ""
        return f"{word}:kprobes/{name} {place.name}{offset}"
    counter = f"({place.counter:#x})" if place.counter else ""
    return f"{word}:uprobes/{name} {place.name}:{place.offset:#x}{counter}"


def _remove(kind: str, name: str, root: Descriptor) -> None:
    tracefs.append(root, f"{kind}_events", f"-:{kind}s/{name}")


def leftovers(*, remove: bool = False) -> list[str]:
    """Probes in tracefs of processes that were killed, such as "kprobes/bw_4711_1".

    They run no program and cost nothing; `remove` takes them away.

    Raises:
        AttachError: tracefs cannot be read.
    """
    found = []
    with tracefs.open_tracefs("look for probes") as root:
        for kind in ("kprobe", "uprobe"):
            try:
                names = tracefs.names(root, f"events/{kind}s")
            except OSError:
                continue
            for name in names:
                pid = name.removeprefix(_PREFIX).partition("_")[0]
                is_ours = name.startswith(_PREFIX) and pid.isdigit()
                if is_ours and not os.path.exists(f"/proc/{pid}"):  # noqa: PTH110
                    found.append(f"{kind}s/{name}")
                    if remove:
                        _remove(kind, name, root)
    return found
