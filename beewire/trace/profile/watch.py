"""Processes that are sampled: what they have mapped, noted while they live."""

from beewire.bpf.kernel.task_events import (
    Ended,
    Executed,
    Forked,
    Mapped,
    TaskEvent,
    TaskEvents,
)
from beewire.symbols import Mapping, Mappings, Process, Symbolizer


class Watch:
    """Follows processes, so that stacks have names when their processes are gone.

    What unknown ones map is kept until they are sampled, or end without that.
    """

    def __init__(self, symbols: Symbolizer, events: TaskEvents) -> None:
        self._symbols = symbols
        self._events = events
        self._names: dict[int, str] = {}
        # Of processes that were not sampled yet.
        self._mappings: dict[int, Mappings] = {}
        self._parents: dict[int, int] = {}

    def note(self, arrivals: list[int]) -> None:
        """Take in what happened, and processes that were sampled for the first time.

        `arrivals` were read before: whoever ended is among them if it was ever sampled.
        """
        ended = []
        for event in self._events.read():
            self._apply(event)
            if isinstance(event, Ended):
                ended.append(event.pid)
        for pid in arrivals:
            self._arrive(pid)
        for pid in ended:
            self._mappings.pop(pid, None)
            self._parents.pop(pid, None)

    def name(self, pid: int) -> str:
        """The process's name, as its first thread has it; "" where it was too short."""
        return self._names.get(pid, "")

    def finish(self) -> None:
        """Look once more at those that live: what compilers in them made meanwhile."""
        for process in self._symbols.processes.values():
            process.refresh()

    def _apply(self, event: TaskEvent) -> None:
        known = self._symbols.processes.get(event.pid)
        match event:
            case Mapped():
                self._map(event, known)
            case Forked():
                self._parents[event.pid] = event.parent
            case Executed():
                self._parents.pop(event.pid, None)
                self._mappings.pop(event.pid, None)
                if known is not None:
                    self._names[event.pid] = _comm(event.pid) or self.name(event.pid)
            case _:
                pass

    def _map(self, event: Mapped, known: Process | None) -> None:
        end = event.start + event.size
        mapping = Mapping(
            event.start, end, event.offset, event.device, event.inode, event.path
        )
        if known is None:
            self._mappings.setdefault(event.pid, Mappings()).add(mapping)
            return
        known.mappings.add(mapping)
        known.hold()

    def _arrive(self, pid: int) -> None:
        process = self._symbols.process(pid)
        self._names[pid] = _comm(pid)
        if not len(process.mappings):
            # It has ended: what it inherited, then what it mapped itself.
            parent = self._parents.get(pid)
            if parent is not None:
                process.mappings.update(self._inherited(parent))
            process.mappings.update(self._mappings.pop(pid, Mappings()))
        process.hold()

    def _inherited(self, parent: int) -> Mappings:
        if parent in self._mappings:
            return self._mappings[parent]
        return self._symbols.process(parent).mappings


def _comm(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - as the rest of /proc
            return file.read().rstrip("\n")
    except OSError:
        return ""
