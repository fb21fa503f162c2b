"""Which processes hold programs, maps, links and perf events: an iterator over all files.

A program of our own finds them several times as fast as a walk through /proc, and at one
moment. What a file is, its operations tell: their addresses are learned from files that
this process has open itself, in a first reading, as not every kernel tells addresses.
"""

from contextlib import ExitStack

from beewire.bpf.author.loaded import load
from beewire.bpf.author.trace_hooks import iter as iterator
from beewire.bpf.author.variable import Global
from beewire.bpf.kernel import attr, read_iterator, syscall
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.bpf.kernel.features.maps import create
from beewire.bpf.kernel.ids import LINK, MAP, PROGRAM
from beewire.bpf.kernel.inspection.owners import PERF_EVENT, Held
from beewire.bpf.lang import Kernel, Struct, chars, embedded, pointer, u32, u64
from beewire.bpf.lang.calls import (
    current_tgid,
    kernel_ptr,
    kernel_str,
    seq_write,
    sizeof,
)
from beewire.bpf.lang.trace_contexts import bpf_iter_meta
from beewire.bpf.object import MapKind


class file_operations(Kernel):  # noqa: N801 - the kernel's name
    """Whose `release` is another function for each type of file."""

    release: int = pointer()


class file(Kernel):  # noqa: N801 - as above
    """An open file."""

    f_op: file_operations
    private_data: int = pointer()


class task_struct(Kernel):  # noqa: N801 - as above
    """A thread; `tgid` is the process that it belongs to."""

    tgid: u32
    pid: u32
    comm: str = chars(16)


class bpf_prog_aux(Kernel):  # noqa: N801 - as above
    """What the kernel knows of a program beside its code."""

    id: u32


class bpf_prog(Kernel):  # noqa: N801 - as above
    """A program."""

    aux: bpf_prog_aux


class bpf_map(Kernel):  # noqa: N801 - as above
    """A map."""

    id: u32


class bpf_link(Kernel):  # noqa: N801 - as above
    """A link."""

    id: u32


class perf_event_attr(Kernel):  # noqa: N801 - as above
    """What a perf event counts."""

    type: u32
    config: u64


class pmu(Kernel):  # noqa: N801 - as above
    """The unit that counts perf events."""

    name: int = pointer()


class perf_event(Kernel):  # noqa: N801 - as above
    """A perf event; that of a tracepoint or probe has its programs elsewhere."""

    attr: perf_event_attr = embedded()
    prog: bpf_prog
    pmu: pmu


class Row(Struct):
    """One file; `release` is of those of this process in the first reading.

    `id` is a perf event's program; `type`, `config` and `unit` tell the event.
    """

    release: u64
    config: u64
    id: u32
    kind: u32
    pid: u32
    fd: u32
    type: u32
    comm: str = chars(16)
    unit: str = chars(16)


PROGRAMS, MAPS, LINKS, EVENTS = 1, 2, 3, 4
_SOFTWARE, _DUMMY = 1, 9  # PERF_TYPE_SOFTWARE, PERF_COUNT_SW_DUMMY
_WORDS = {PROGRAMS: PROGRAM, MAPS: MAP, LINKS: LINK, EVENTS: PERF_EVENT}

of_programs = Global(u64)
of_maps = Global(u64)
of_links = Global(u64)
of_events = Global(u64)


@iterator("task_file")
def held(
    meta: bpf_iter_meta, task: task_struct | None, fd: u32, file: file | None
) -> None:
    """Write a Row for each file that is one of ours: of this process, or of any."""
    if task is None or file is None or task.tgid != task.pid:
        return
    row = Row(
        release=file.f_op.release, config=0, id=0, kind=0, pid=task.tgid, fd=fd, type=0,
        comm="", unit="",
    )  # fmt: skip
    where = file.private_data
    if of_programs.value == 0:
        if task.tgid != current_tgid():
            return
    elif row.release == of_programs.value:
        row.kind = PROGRAMS
        row.id = kernel_ptr(where, bpf_prog).aux.id
    elif row.release == of_maps.value:
        row.kind = MAPS
        row.id = kernel_ptr(where, bpf_map).id
    elif row.release == of_links.value:
        row.kind = LINKS
        row.id = kernel_ptr(where, bpf_link).id
    elif row.release == of_events.value:
        event = kernel_ptr(where, perf_event)
        row.kind = EVENTS
        row.id = event.prog.aux.id
        row.type = event.attr.type
        row.config = event.attr.config
        row.unit = kernel_str(event.pmu.name)
    else:
        return
    row.comm = task.comm
    seq_write(meta.seq, row)


def held_files() -> list[Held]:
    """The descriptors of all processes there are.

    Raises:
        BeewireError: The kernel has no such iterator (before Linux 5.8), or does not let
            this process load one.
    """
    with load([held]) as part, ExitStack() as stack:
        program = part[held]
        link = stack.enter_context(program.attach())
        samples = {LINKS: link.fd, PROGRAMS: program.live.fd}
        for kind, sample in ((MAPS, create(MapKind.ARRAY)), (EVENTS, idle_event())):
            if sample >= 0:
                samples[kind] = stack.enter_context(Descriptor(sample)).fd
        releases = {row.fd: row.release for row in rows(read_iterator(link))}
        for kind, place in (
            (MAPS, of_maps),
            (LINKS, of_links),
            (EVENTS, of_events),
            (PROGRAMS, of_programs),
        ):
            part[place].value = releases.get(samples.get(kind, -1), 0)
        found = rows(read_iterator(link))
    return [
        Held(
            _WORDS[row.kind],
            row.id,
            row.pid,
            row.fd,
            row.comm,
            (row.type, row.config, row.unit),
        )
        for row in found
    ]


def rows(data: bytes) -> list[Row]:
    """What the iterator wrote."""
    size = sizeof(Row)
    return [Row.from_bytes(data[at : at + size]) for at in range(0, len(data), size)]


def idle_event() -> int:
    """A descriptor of a perf event that never happens, or -errno."""
    event = attr.PERF_EVENT_ATTR.pack(
        type=_SOFTWARE, size=attr.PERF_EVENT_ATTR.size, config=_DUMMY
    )
    return syscall.perf_event_open(event, pid=0, cpu=-1)
