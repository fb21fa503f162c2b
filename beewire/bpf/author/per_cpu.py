"""Maps of keys and values that have a value for each CPU.

    counters = PerCpuHash[Key, u64](max_entries=1024)

In programs they have the operations of other maps, for the value of the CPU that runs; in
user space they are mutable mappings whose values are lists.
"""

from __future__ import annotations

from beewire.bpf.author.bound import OnMap
from beewire.bpf.author.maps import delete, update
from beewire.bpf.lang import Keyed, Ref
from beewire.bpf.lang.types import U32, ValueType
from beewire.bpf.object.kinds import MapKind
from beewire.hints import (
    TYPE_CHECKING,
    Any,
    ItemsView,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    Self,
    Sequence,
    TypeVar,
    ValuesView,
    overload,
)

K = TypeVar("K")
V = TypeVar("V")


class PerCpu(list[V]):
    """The values of one key, one for each possible CPU: `sum(counters[0])`."""

    if TYPE_CHECKING:
        # In programs `counters[key] += n` adds to the value of the CPU that runs.
        @overload  # type: ignore[override,misc]  # wider than list's
        def __iadd__(self, other: Iterable[V], /) -> Self: ...
        @overload
        def __iadd__(self, other: V, /) -> Self: ...
        def __iadd__(self, other: Any, /) -> Self: ...  # type: ignore[misc]  # as above


class PerCpuTable(OnMap, Keyed[K, V], MutableMapping[K, PerCpu[V]]):
    """Operations that maps with one value for each CPU share."""

    operations = Keyed.operations | {"lookup_cpu"}

    def __getitem__(self, key: K) -> PerCpu[V]:
        return PerCpu(self.live[key])

    def __setitem__(self, key: K, value: V | Sequence[V]) -> None:
        """Set the value of every CPU; one value that is no list serves them all."""
        if not isinstance(value, list | tuple):
            from beewire.bpf.kernel.maps import possible_cpus  # noqa: PLC0415

            self.live[key] = [value] * possible_cpus()
        else:
            self.live[key] = value

    def __delitem__(self, key: K) -> None:
        del self.live[key]

    def __contains__(self, key: object) -> bool:
        return key in self.live

    def __iter__(self) -> Iterator[K]:
        return iter(self.live)

    def __len__(self) -> int:
        return len(self.live)

    def items(self) -> ItemsView[K, PerCpu[V]]:
        """Keys and values, read in batches."""
        return {key: PerCpu(value) for key, value in self.live.items()}.items()

    def values(self) -> ValuesView[PerCpu[V]]:
        """The values, read in batches."""
        return dict(self.items()).values()

    def clear(self) -> None:
        """Delete every entry; what programs add meanwhile may stay."""
        self.live.clear()

    @overload
    def lookup(self: PerCpuTable[K, int], key: K) -> Ref[int] | None: ...
    @overload
    def lookup(self: PerCpuTable[K, bool], key: K) -> Ref[bool] | None: ...
    @overload
    def lookup(self, key: K) -> V | None: ...
    def lookup(self, key: Any) -> Any:
        """In programs: a reference to the running CPU's value of `key`, or None."""
        self.in_programs("lookup", f"{self.name or 'table'}.get({key!r})")

    @overload
    def lookup_cpu(self: PerCpuTable[K, int], key: K, cpu: int) -> Ref[int] | None: ...
    @overload
    def lookup_cpu(
        self: PerCpuTable[K, bool], key: K, cpu: int
    ) -> Ref[bool] | None: ...
    @overload
    def lookup_cpu(self, key: K, cpu: int) -> V | None: ...
    def lookup_cpu(self, key: Any, cpu: int) -> Any:
        """In programs: another CPU's value of `key`, or None (Linux 5.19)."""
        self.in_programs("lookup_cpu", f"{self.name or 'table'}[{key!r}][{cpu}]")

    def insert(self, key: K, value: V) -> int:
        """Add `key` unless it is there: 0, or -EEXIST (-17)."""
        self.in_programs("insert", f"{self.name or 'table'}[{key!r}] = {value!r}")

    def delete(self, key: K) -> int:
        """Delete the entry at `key`: 0, or -ENOENT (-2) when there is none."""
        return delete(self.live, key)

    @overload  # type: ignore[override]  # keywords are no keys of a BPF map
    def update(self, key: K, value: V, /) -> int: ...
    @overload
    def update(self, entries: Mapping[K, V], /) -> None: ...
    @overload
    def update(self, entries: Iterable[tuple[K, V]], /) -> None: ...
    def update(self, *entries: Any) -> Any:
        """Set one key (in programs and user space), or all of a mapping (user space)."""
        return update(self, entries)


class PerCpuHash(PerCpuTable[K, V]):
    """A hash table with a value for each CPU."""

    kind = MapKind.PERCPU_HASH


class LruPerCpuHash(PerCpuTable[K, V]):
    """A `PerCpuHash` that forgets what was used longest ago when it is full."""

    kind = MapKind.LRU_PERCPU_HASH


class PerCpuArray(PerCpuTable[int, V]):
    """An array with a value for each CPU."""

    kind = MapKind.PERCPU_ARRAY
    parameters = ("value",)

    @property
    def key(self) -> ValueType:
        """Always u32."""
        return U32
