"""What maps of keys and values are in user space: mappings over the map in the kernel."""

from __future__ import annotations

import errno

from beewire.bpf.author.bound import OnMap
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

K = TypeVar("K")
V = TypeVar("V")


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


def delete(live: Any, key: object) -> int:
    """`table.delete(key)` as programs write it."""
    try:
        del live[key]
    except KeyError:
        return -errno.ENOENT
    return 0
