"""Perf buffers and counters, arrays of cgroups.

    samples = PerfEventArray[Sample]()

In programs `samples.output(ctx, Sample(...))`; in user space `for s in samples:`.
"""

from __future__ import annotations

from beewire.bpf.author.bound import OnMap
from beewire.bpf.author.ring import LATENCY, Records, check_size, check_wakeup
from beewire.bpf.lang.decl import MapDecl, PerfCounter, Sending
from beewire.bpf.lang.types import U32, ValueType
from beewire.bpf.object.kinds import MapKind
from beewire.hints import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from beewire.bpf.kernel import AnyMap, PerfReader
    from beewire.bpf.kernel.maps import HasFileno
    from beewire.bpf.lang.contexts import Context

V = TypeVar("V")

PERF_SIZE = 1 << 16


class PerfEventArray(Records[V], Sending):
    """Records to user space by a buffer for each CPU, or counters (Linux 4.3).

    A RingBuf is better for records: one buffer, in order. This one is for kernels before
    5.8, and for hardware counters: `cycles[cpu] = descriptor` of perf_event_open(2).
    `max_entries` 0 means as many as there are CPUs. Each CPU's buffer has `size` bytes:
    a power of two, and at least a page.

    The kernel wakes a reader for each record; with `wakeup_bytes`, when so many bytes
    wait on one CPU, and the reader looks by itself every `latency` seconds. `dropped`
    counts what did not fit, unless `count_dropped` is False.

    Raises:
        SpecError: The kernel has no buffers of that size, or so many bytes never wait.
    """

    kind = MapKind.PERF_EVENT_ARRAY
    parameters = ("value",)
    operations = frozenset({"output", "counter"})
    lowering = "events"

    def __init__(  # noqa: PLR0913 - the settings of a buffer
        self,
        max_entries: int = 0,
        *,
        size: int = PERF_SIZE,
        wakeup_bytes: int = 0,
        latency: float = LATENCY,
        count_dropped: bool = True,
        flags: int = 0,
        name: str = "",
    ) -> None:
        check_size(size)
        check_wakeup(wakeup_bytes, latency, size)
        super().__init__(max_entries, flags=flags, name=name)
        self.size = size
        self.wakeup_bytes = wakeup_bytes
        self.latency = latency
        self.count_dropped = count_dropped

    def open_reader(self, live: AnyMap) -> PerfReader[V]:
        """A reader of the buffers that this became in the kernel."""
        from beewire.bpf.author.records import decoding  # noqa: PLC0415 - after attaching
        from beewire.bpf.kernel import PerfReader  # noqa: PLC0415 - after attaching

        late = self.wakeup_bytes
        latency = self.latency if late else None
        return PerfReader(
            live, decoding(self.value), self.size, wakeup_bytes=late, latency=latency
        )

    @property
    def stored(self) -> tuple[ValueType, ValueType]:
        """A descriptor for each CPU."""
        return U32, U32

    def output(self, ctx: Context, record: V) -> int:
        """In programs: send a record; 0, or -ENOSPC (-28) when the buffer is full."""
        del ctx, record
        self.in_programs("output")

    def counter(self, cpu: int = -1) -> PerfCounter | None:
        """In programs: the counter of a CPU (of this one, when left out), or None."""
        del cpu
        self.in_programs("counter")

    def __setitem__(self, cpu: int, event: int | HasFileno) -> None:
        self.live[cpu] = event

    def __delitem__(self, cpu: int) -> None:
        del self.live[cpu]


class CgroupArray(OnMap, MapDecl):
    """Cgroups by number, to ask whether something lies below them (Linux 4.8).

    User space puts cgroups in, by path or descriptor; the kernel does not tell them.
    """

    kind = MapKind.CGROUP_ARRAY
    operations = frozenset({"has_current_task", "has_packet"})
    lowering = "events"

    @property
    def stored(self) -> tuple[ValueType, ValueType]:
        """A descriptor by number."""
        return U32, U32

    def has_current_task(self, index: int) -> int:
        """In programs: 1 when the running task lies below it, 0 when not.

        Negative: -EAGAIN (-11) where nothing is (`bpf_current_task_under_cgroup`).
        """
        del index
        self.in_programs("has_current_task")

    def has_packet(self, ctx: Context, index: int) -> int:
        """In tc programs: as `has_current_task`, for the packet's socket."""
        del ctx, index
        self.in_programs("has_packet")

    def __setitem__(self, index: int, cgroup: int | HasFileno | str) -> None:
        """Put a cgroup there: a descriptor of its directory, or its path."""
        self.live[index] = cgroup

    def __delitem__(self, index: int) -> None:
        del self.live[index]
