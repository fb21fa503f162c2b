"""Maps of keys and values: hash, LRU, array, longest prefix match.

    table = HashMap[Key, u64](max_entries=1024)

In programs they have `lookup`, `table[key] = value`, `table[key] += n`, `del`, `in`,
`update` and `insert`. In user space they are mutable mappings over the map in the kernel.
"""

from __future__ import annotations

import errno

from beewire.bpf.author.bound import OnMap
from beewire.bpf.lang import Keyed
from beewire.bpf.lang.types import U32, ValueType
from beewire.bpf.object.kinds import MapKind
from beewire.hints import (
    TYPE_CHECKING,
    Any,
    Generic,
    ItemsView,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    NoReturn,
    TypeVar,
    ValuesView,
    overload,
)

if TYPE_CHECKING:
    from mmap import mmap

    from beewire.bpf.author.prefixes import Prefix

K = TypeVar("K")
V = TypeVar("V")

NO_PREALLOC = 1  # BPF_F_NO_PREALLOC: entries take memory when they are made
MMAPABLE = 0x400  # BPF_F_MMAPABLE: user space may map the values


class Listed(OnMap, Generic[K, V]):
    """A map whose entries user space can list."""

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

    def to_dict(self) -> dict[K, V]:
        """All entries as a dict, read in batches."""
        return self.live.to_dict()


class Fixed(Listed[K, V], Mapping[K, V]):
    """A map whose keys are always there: its values are read and set."""

    def __getitem__(self, key: K) -> V:
        value: V = self.live[key]
        return value

    def __setitem__(self, key: K, value: V) -> None:
        self.live[key] = value

    if not TYPE_CHECKING:  # to checkers there is no such thing

        def __delitem__(self, key: object) -> NoReturn:
            del self.live[key]

    @overload
    def update(self, key: K, value: V, /) -> int: ...
    @overload
    def update(self, entries: Mapping[K, V], /) -> None: ...
    @overload
    def update(self, entries: Iterable[tuple[K, V]], /) -> None: ...
    def update(self, *entries: Any) -> Any:
        """Set one key (in programs and user space), or many in batches (user space)."""
        if len(entries) == 2:
            self[entries[0]] = entries[1]
            return 0
        self.live.update(*entries)
        return None


class Deletable(Fixed[K, V], MutableMapping[K, V]):
    """A map to which entries are added, and from which they are deleted."""

    def __delitem__(self, key: K) -> None:
        del self.live[key]

    if TYPE_CHECKING:  # the same one again, for MutableMapping has another

        @overload  # type: ignore[override]  # keywords are no keys of a BPF map
        def update(self, key: K, value: V, /) -> int: ...
        @overload
        def update(self, entries: Mapping[K, V], /) -> None: ...
        @overload
        def update(self, entries: Iterable[tuple[K, V]], /) -> None: ...
        def update(self, *entries: Any) -> Any:
            """As Fixed's."""

    def clear(self) -> None:
        """Delete every entry, in batches; what programs add meanwhile may stay."""
        self.live.clear()

    def insert(self, key: K, value: V) -> int:
        """Add `key` unless it is there: 0, or -EEXIST (-17)."""
        return 0 if self.live.insert(key, value) else -errno.EEXIST

    def replace(self, key: K, value: V) -> int:
        """In user space: set `key` if it is there: 0, or -ENOENT (-2)."""
        return 0 if self.live.replace(key, value) else -errno.ENOENT

    def delete(self, key: K) -> int:
        """Delete the entry at `key`: 0, or -ENOENT (-2) when there is none."""
        return delete(self.live, key)


class Takeable(Deletable[K, V]):
    """A map of which entries are read and deleted in one step."""

    def take(self, key: K) -> V | None:
        """Remove the entry at `key` and return its value, or None (Linux 5.14).

        No update by a program between reading and deleting gets lost.
        """
        value: V | None = self.live.take(key)
        return value

    def drain(self) -> dict[K, V]:
        """Remove and return all entries, in batches; no update by a program gets lost."""
        return self.live.drain()


class Table(Fixed[K, V], Keyed[K, V]):
    """Operations that maps with one value for each key share."""

    def to_numpy(self) -> Any:
        """All keys and all values, as two numpy arrays of one length.

        Structs become structured arrays with the fields' names, texts bytes; bit-fields
        are left out.

        Raises:
            MapError: numpy is not installed.
        """
        return self.live.to_numpy()


class HashMap(Table[K, V], Takeable[K, V]):
    """A hash table (`BPF_MAP_TYPE_HASH`)."""

    kind = MapKind.HASH


class LruHash(Table[K, V], Takeable[K, V]):
    """A hash table that forgets what was used longest ago when it is full."""

    kind = MapKind.LRU_HASH


class ResizableHash(Table[K, V], Takeable[K, V]):
    """A hash table whose buckets grow with its content (`BPF_MAP_TYPE_RHASH`, Linux 7.3).

    `max_entries` only bounds it: memory is taken as entries come.
    """

    kind = MapKind.RHASH
    implied_flags = NO_PREALLOC


class LpmTrie(Table[K, V], Deletable[K, V]):
    """Longest prefix match: keys are a prefix length (u32) and the bytes it is of.

    `LpmTrie[IPv4Prefix, u32]` has keys for addresses; `class Prefix(Struct): bits: u32;
    name: bytes = array(u8, 16)` are others, in network order.
    """

    kind = MapKind.LPM_TRIE
    implied_flags = NO_PREALLOC

    if TYPE_CHECKING:  # keys may be texts, and what `ipaddress` makes

        def __getitem__(self, key: K | Prefix) -> V: ...
        def __setitem__(self, key: K | Prefix, value: V) -> None: ...
        def __delitem__(self, key: K | Prefix) -> None: ...


class Array(Table[int, V]):
    """An array: the keys 0 to `max_entries` - 1 are always there.

    With `mmap` user space maps its values (Linux 5.5): `memory` is what programs see.
    """

    kind = MapKind.ARRAY
    parameters = ("value",)

    def __init__(
        self,
        max_entries: int,
        *,
        mmap: bool = False,
        flags: int = 0,
        name: str = "",
        pinned: bool = False,
    ) -> None:
        flags |= MMAPABLE if mmap else 0
        super().__init__(max_entries, flags=flags, name=name, pinned=pinned)

    @property
    def key(self) -> ValueType:
        """Always u32."""
        return U32

    @property
    def memory(self) -> mmap:
        """The values themselves, each at a multiple of 8 bytes; writing changes them.

        Raises:
            MapError: It was not made with `mmap=True`, or is not in the kernel.
        """
        live: Any = self.live  # an ArrayMap, as its kind says
        found: mmap = live.memory
        return found

    def to_numpy(self, *, copy: bool = True) -> Any:
        """All values as a numpy array.

        Without `copy` it is the memory that programs write to, of an array that was made
        with `mmap=True`: what they change shows at once.
        """
        live: Any = self.live
        return live.to_numpy(copy=copy)


def delete(live: Any, key: object) -> int:
    """`table.delete(key)` as programs write it."""
    try:
        del live[key]
    except KeyError:
        return -errno.ENOENT
    return 0
