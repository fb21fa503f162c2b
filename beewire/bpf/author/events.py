"""Perf buffers and counters, stack traces, arrays of cgroups.

    samples = PerfEventArray[Sample]()
    stacks = StackTrace(max_entries=1024)

In programs `samples.output(ctx, Sample(...))`, `stacks.stack_id(ctx)`; in user space
`for s in samples:`, `stacks[n]`.
"""

from __future__ import annotations

from beewire.bpf.author.bound import OnMap
from beewire.bpf.author.ring import LATENCY, Records, check_size, check_wakeup
from beewire.bpf.lang.decl import MapDecl, PerfCounter, Sending
from beewire.bpf.lang.types import U32, U64, ArrayType, ValueType
from beewire.bpf.object.kinds import MapKind
from beewire.hints import TYPE_CHECKING, Iterator, TypeVar

if TYPE_CHECKING:
    from beewire.bpf.kernel import AnyMap, PerfReader
    from beewire.bpf.kernel.maps import HasFileno
    from beewire.bpf.lang.contexts import Context

V = TypeVar("V")

PERF_SIZE = 1 << 16
MAX_STACK = 127  # PERF_MAX_STACK_DEPTH, unless an administrator changed it


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


class StackTrace(OnMap, MapDecl):
    """Call stacks by number: lists of addresses, innermost first (Linux 4.6).

    In programs `stacks.stack_id(ctx)` notes the present stack, at most `depth` frames of
    it, and gives its number.
    """

    kind = MapKind.STACK_TRACE
    operations = frozenset({"stack_id"})
    lowering = "events"

    def __init__(
        self,
        max_entries: int,
        *,
        depth: int = MAX_STACK,
        flags: int = 0,
        name: str = "",
    ) -> None:
        super().__init__(max_entries, flags=flags, name=name)
        self._frames = ArrayType(U64, depth)

    @property
    def stored(self) -> tuple[ValueType, ValueType]:
        """The frames of a stack by its number."""
        return U32, self._frames

    def stack_id(self, ctx: Context, *, user: bool = False, skip: int = 0) -> int:
        """In programs: note the kernel's stack, or the process's, and give its number.

        `skip` frames are left out. Negative: -EEXIST (-17) where another stack has the
        same place, -EFAULT (-14) where there is none.
        """
        del ctx, user, skip
        self.in_programs("stack_id")

    def __getitem__(self, number: int) -> list[int]:
        """The addresses of a stack, innermost first.

        Raises:
            KeyError: There is no stack of that number.
        """
        found: list[int] = self.live[number]
        return [address for address in found if address]

    def __delitem__(self, number: int) -> None:
        del self.live[number]

    def __contains__(self, number: object) -> bool:
        return number in self.live

    def __iter__(self) -> Iterator[int]:
        return iter(self.live)

    def __len__(self) -> int:
        return len(self.live)


class CgroupArray(OnMap, MapDecl):
    """Cgroups by number, to ask whether something lies below them (Linux 4.8).

    User space puts descriptors of cgroup directories in; the kernel does not tell them.
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

    def __setitem__(self, index: int, cgroup: int | HasFileno) -> None:
        self.live[index] = cgroup

    def __delitem__(self, index: int) -> None:
        del self.live[index]
