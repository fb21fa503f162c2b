"""Maps of keys and values: hash, LRU, array, longest prefix match.

    table = HashMap[Key, u64](max_entries=1024)

In programs they have `lookup`, `table[key] = value`, `table[key] += n`, `del`, `in`,
`update` and `insert`. In user space they are mutable mappings over the map in the kernel.
"""

from __future__ import annotations

import errno

from beewire.bpf.author.bound import OnMap
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
    TypeVar,
    ValuesView,
    overload,
)

if TYPE_CHECKING:
    from beewire.bpf.kernel import AnyMap

K = TypeVar("K")
V = TypeVar("V")

NO_PREALLOC = 1  # BPF_F_NO_PREALLOC: entries take memory when they are made


class Table(OnMap, Keyed[K, V], MutableMapping[K, V]):
    """Operations that maps with one value for each key share."""

    def __getitem__(self, key: K) -> V:
        value: V = self.live[key]
        return value

    def __setitem__(self, key: K, value: V) -> None:
        self.live[key] = value

    def __delitem__(self, key: K) -> None:
        del self.live[key]

    def __contains__(self, key: object) -> bool:
        return key in self.live

    def __iter__(self) -> Iterator[K]:
        return iter(self.live)

    def __len__(self) -> int:
        return len(self.live)

    def items(self) -> ItemsView[K, V]:
        """Keys and values, read in batches."""
        return self.live.items()

    def values(self) -> ValuesView[V]:
        """The values, read in batches."""
        return self.live.values()

    def clear(self) -> None:
        """Delete every entry; what programs add meanwhile may stay."""
        self.live.clear()

    @overload
    def lookup(self: Table[K, int], key: K) -> Ref[int] | None: ...
    @overload
    def lookup(self: Table[K, bool], key: K) -> Ref[bool] | None: ...
    @overload
    def lookup(self, key: K) -> V | None: ...
    def lookup(self, key: Any) -> Any:
        """In programs: a reference to the value of `key`, or None."""
        self.in_programs("lookup", f"{self.name or 'table'}.get({key!r})")

    def insert(self, key: K, value: V) -> int:
        """Add `key` unless it is there: 0, or -EEXIST (-17)."""
        return 0 if self.live.insert(key, value) else -errno.EEXIST

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


class HashMap(Table[K, V]):
    """A hash table (`BPF_MAP_TYPE_HASH`)."""

    kind = MapKind.HASH


class LruHash(Table[K, V]):
    """A hash table that forgets what was used longest ago when it is full."""

    kind = MapKind.LRU_HASH


class LpmTrie(Table[K, V]):
    """Longest prefix match: keys are a prefix length (u32) and the bytes it is of.

    `class Prefix(Struct): bits: u32; address: bytes = array(u8, 4)`, network order.
    """

    kind = MapKind.LPM_TRIE

    def __init__(self, max_entries: int, *, flags: int = 0, name: str = "") -> None:
        # The kernel has no tries that take their memory beforehand.
        super().__init__(max_entries, flags=flags | NO_PREALLOC, name=name)


class Array(Table[int, V]):
    """An array: the keys 0 to `max_entries` - 1 are always there."""

    kind = MapKind.ARRAY
    parameters = ("value",)

    @property
    def key(self) -> ValueType:
        """Always u32."""
        return U32


def delete(live: AnyMap, key: object) -> int:
    """`table.delete(key)` as programs write it."""
    try:
        del live[key]
    except KeyError:
        return -errno.ENOENT
    return 0


def update(table: Any, entries: tuple[Any, ...]) -> int | None:
    """`table.update(key, value)` as programs write it, or as a mapping has it."""
    if len(entries) == 2:
        table[entries[0]] = entries[1]
        return 0
    MutableMapping.update(table, *entries)
    return None
