"""Maps without keys: queues, stacks, Bloom filters.

    jobs = Queue[Job](max_entries=256)
    seen = BloomFilter[u32](max_entries=10_000)

In programs `jobs.push(Job(...))`, `if (job := jobs.pop()) is not None:`, `seen.add(x)` and
`x in seen`; in user space the same.
"""

from __future__ import annotations

import errno

from beewire.bpf.author.bound import OnMap
from beewire.bpf.lang import Ref
from beewire.bpf.lang.decl import MapDecl
from beewire.bpf.object.kinds import MapKind
from beewire.errors import SpecError
from beewire.hints import TYPE_CHECKING, Any, Generic, TypeVar, overload

if TYPE_CHECKING:
    from beewire.bpf.kernel.maps.queues import BloomMap, QueueMap

V = TypeVar("V")

# The hash functions of a Bloom filter are counted by four bits of `map_extra`.
_HASHES = range(1, 16)


class Value(Ref[Any]):
    """An integer that left a map: `.value`, as programs read it."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Value({self.value})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Value) and other.value == self.value

    def __hash__(self) -> int:
        return hash(self.value)


class _Ends(OnMap, MapDecl, Generic[V]):
    """Operations that queues and stacks share."""

    parameters = ("value",)
    operations = frozenset({"push", "pop", "peek"})
    lowering = "queues"

    @property
    def _queue(self) -> QueueMap:
        # The kernel room makes one for these kinds.
        return self.live  # type: ignore[return-value]

    def push(self, value: V, flags: int = 0) -> int:
        """Add a value: 0, or -E2BIG (-7) when the map is full.

        With `flags` BPF_EXIST (2) a full map forgets its oldest value instead.
        """
        added = self._queue.push(value, replace=flags != 0)
        return 0 if added else -errno.E2BIG

    @overload
    def pop(self: _Ends[int]) -> Ref[int] | None: ...
    @overload
    def pop(self) -> V | None: ...
    def pop(self) -> Any:
        """Take the next value out; None when there is none.

        In programs it is a copy on the stack. Integers are read by `.value`.
        """
        return _wrapped(self._queue.pop())

    @overload
    def peek(self: _Ends[int]) -> Ref[int] | None: ...
    @overload
    def peek(self) -> V | None: ...
    def peek(self) -> Any:
        """The next value, which stays in the map; None when there is none."""
        return _wrapped(self._queue.peek())


def _wrapped(value: Any) -> Any:
    return Value(value) if isinstance(value, int) else value


class Queue(_Ends[V]):
    """Values that leave in the order in which they came (Linux 4.20)."""

    kind = MapKind.QUEUE


class Stack(_Ends[V]):
    """Values of which the last that came leaves first (Linux 4.20)."""

    kind = MapKind.STACK


class BloomFilter(OnMap, MapDecl, Generic[V]):
    """A set that never misses what was added, and seldom finds what was not.

    `max_entries` is how many values are expected; `hashes` (1-15, usually 5) trades time
    for fewer false hits. Nothing can be removed (Linux 5.16).

    Raises:
        SpecError: `hashes` is out of range.
    """

    kind = MapKind.BLOOM_FILTER
    parameters = ("value",)
    operations = frozenset({"add", "contains"})
    lowering = "queues"

    def __init__(
        self,
        max_entries: int,
        *,
        hashes: int = 5,
        flags: int = 0,
        name: str = "",
        pinned: bool = False,
    ) -> None:
        if hashes not in _HASHES:
            raise SpecError(f"{hashes} hash functions: a Bloom filter has 1 to 15")
        super().__init__(max_entries, flags=flags, name=name, pinned=pinned)
        self.extra = hashes

    def add(self, value: V) -> int:
        """Add a value, for good: 0."""
        live: BloomMap = self.live  # type: ignore[assignment]  # as its kind says
        live.add(value)
        return 0

    def __contains__(self, value: object) -> bool:
        return value in self.live
