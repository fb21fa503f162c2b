"""Maps of keys and values that have a value for each CPU.

    counters = PerCpuHash[Key, u64](max_entries=1024)

In programs they have the operations of other maps, for the value of the CPU that runs; in
user space they are mappings whose values are a `PerCpu`, a list with `sum()` and `max()`.
"""

from __future__ import annotations

from beewire.bpf.author.maps import Fixed, Takeable
from beewire.bpf.lang import Keyed, Ref
from beewire.bpf.lang.types import U32, ValueType
from beewire.bpf.object.kinds import MapKind
from beewire.hints import TYPE_CHECKING, Any, Sequence, TypeVar, overload

if TYPE_CHECKING:
    from beewire.bpf.kernel.maps import PerCpu  # noqa: F401 - in the bases' strings

K = TypeVar("K")
V = TypeVar("V")


class PerCpuTable(Fixed[K, "PerCpu[V]"], Keyed[K, V]):
    """Operations that maps with one value for each CPU share."""

    operations = Keyed.operations | {"lookup_cpu"}

    def __setitem__(self, key: K, value: V | Sequence[V]) -> None:
        """Set the value of every CPU: a list of them, or one that serves them all."""
        self.live[key] = value

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

    def to_numpy(self) -> Any:
        """All keys, and all values as an array with an axis for entries, one for CPUs.

        Raises:
            MapError: numpy is not installed.
        """
        return self.live.to_numpy()


class _PerCpuHash(PerCpuTable[K, V], Takeable[K, "PerCpu[V]"]):
    def insert(self, key: K, value: V | Sequence[V]) -> int:
        """Add `key` unless it is there: 0, or -EEXIST (-17).

        In programs `value` is that of the running CPU; in user space as when it is set.
        """
        return super().insert(key, value)  # type: ignore[arg-type]  # wider, as __setitem__


class PerCpuHash(_PerCpuHash[K, V]):
    """A hash table with a value for each CPU."""

    kind = MapKind.PERCPU_HASH


class LruPerCpuHash(_PerCpuHash[K, V]):
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

    if TYPE_CHECKING:

        def to_numpy(self) -> Any:
            """All values as an array with an axis for indices, one for CPUs."""
