"""Which processes hold descriptors of programs, maps, links and perf events, by /proc."""

import os
from collections.abc import Iterator
from typing import NamedTuple

from beewire.bpf.kernel import places
from beewire.bpf.kernel.inspection.pins import object_of
from beewire.bpf.kernel.privilege import read_text

PERF_EVENT = "perf event"
_OURS = ("bpf-prog", "bpf-map", "bpf_link", "bpf-link")


class Held(NamedTuple):
    """A descriptor of a process.

    For a perf event, `id` is that of the program that it runs itself, if that is known,
    and `event` its type, number and unit; tracepoints and probes keep their programs elsewhere.
    """

    kind: str
    id: int
    pid: int
    fd: int
    comm: str
    event: tuple[int, int, str] = (0, 0, "")


def held_by_proc() -> list[Held]:
    """Every such descriptor of those processes that this one may look into."""
    return [held for pid in places.processes_seen() for held in _of_process(pid)]


def _of_process(pid: int) -> Iterator[Held]:
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)  # noqa: PTH208 - no pathlib in this room
    except OSError:
        return  # it ended, or belongs to somebody else
    comm = ""
    for name in names:
        try:
            target = os.readlink(f"{folder}/{name}")  # noqa: PTH115 - as above
        except OSError:
            continue
        if not target.startswith("anon_inode:"):
            continue
        what = _what(target, f"/proc/{pid}/fdinfo/{name}")
        if what is not None:
            comm = comm or read_text(f"/proc/{pid}/comm")
            yield Held(*what, pid, int(name), comm)


def _what(target: str, fdinfo: str) -> tuple[str, int] | None:
    kind = target.removeprefix("anon_inode:").strip("[]")
    if kind == "perf_event":
        return PERF_EVENT, 0
    return object_of(read_text(fdinfo)) if kind in _OURS else None
