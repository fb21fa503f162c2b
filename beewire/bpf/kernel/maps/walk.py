"""Walk over the entries of a map in a bounded number of steps.

Whole batches where the kernel has them (`batch`), else key by key: BPF_MAP_GET_NEXT_KEY
and BPF_MAP_LOOKUP_ELEM for each entry. A key that is deleted while a walk stands on it
has no next one, and the kernel begins anew: then keys come again that were seen. The
walk goes back to the last key that is still there.
"""

import errno
from collections.abc import Iterator
from itertools import chain
from struct import Struct

from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.maps.batch import (
    BUCKETS,
    BYTES,
    INDEXED,
    BatchReader,
    supported,
)
from beewire.bpf.kernel.maps.shape import Chunk, Shape, refusal
from beewire.bpf.kernel.syscall import Cmd
from beewire.errors import MapError

_CHUNK = 1024
# How many keys a walk goes back to find one that is still there.
_BACK = 64
_INTEGERS = {1: "B", 2: "H", 4: "I", 8: "Q"}


def chunks(shape: Shape) -> Iterator[Chunk]:
    """Yield the entries, many at a time; a chunk is valid until the next.

    Each that stays in the map meanwhile comes once. What is added or deleted during the
    walk may appear or not. It ends even when others write without pause.

    Raises:
        MapError: others change the map faster than it can be walked.
        KernelError: the kernel refuses.
    """
    if not supported(shape, Cmd.MAP_LOOKUP_BATCH):
        yield from _once(shape, KeyReader(shape))
        return
    reader = BatchReader(shape)
    if shape.kind not in BUCKETS and shape.kind not in INDEXED:
        yield from _once(shape, reader)
        return
    while (chunk := reader.read()) is not None:
        yield chunk


def count_entries(shape: Shape) -> int:
    """How many entries there are, as `chunks` would yield them."""
    return sum(count for _, _, count in chunks(shape))


class KeyReader:
    """Reads a map key by key, some at a time."""

    def __init__(self, shape: Shape, after: bytes | None = None) -> None:
        self.shape = shape
        self.stuck = False
        self._key = bytearray(shape.key_size)
        self._value = bytearray(shape.value_size)
        key, value = syscall.address(self._key), syscall.address(self._value)
        # Each key takes the place of the one before it.
        self._records = (
            attr.MAP_ELEM.pack(map_fd=shape.fd, value=key),
            attr.MAP_ELEM.pack(map_fd=shape.fd, key=key, value=key),
            attr.MAP_ELEM.pack(
                map_fd=shape.fd, key=key, value=value, flags=shape.flags
            ),
        )
        first, following, lookup = self._records
        self._first = syscall.prepared(Cmd.MAP_GET_NEXT_KEY, first)
        self._following = syscall.prepared(Cmd.MAP_GET_NEXT_KEY, following)
        self._lookup = syscall.prepared(Cmd.MAP_LOOKUP_ELEM, lookup)
        size = shape.key_size + shape.value_size
        self._count = max(1, min(_CHUNK, BYTES // size))
        self.seek(after)

    def seek(self, key: bytes | None) -> None:
        """Go on after `key`, or begin anew."""
        self._ended, self._started = False, key is not None
        if key is not None:
            self._key[:] = key

    def read(self) -> Chunk | None:
        """The next entries; None at the end. There may be none among so many keys.

        Raises:
            KernelError: the kernel refuses.
        """
        if self._ended:
            return None
        keys, values = bytearray(), bytearray()
        key, value, lookup = self._key, self._value, self._lookup
        step = self._following if self._started else self._first
        for _ in range(self._count):
            if step() < 0:
                self._end()
                break
            step = self._following
            if lookup() >= 0 or self._is_there():
                keys += key
                values += value
        self._started = True
        return memoryview(keys), memoryview(values), len(keys) // self.shape.key_size

    def _end(self) -> None:
        number = syscall.last_errno()
        if number != errno.ENOENT:
            raise refusal(number, "MAP_GET_NEXT_KEY", self.shape)
        self._ended = True

    def _is_there(self) -> bool:
        """Whether an entry that cannot be read is there all the same.

        ENOENT: somebody deleted it, or nothing is at this index. ENOSPC: a socket map with
        4-byte values, which has no room for the cookie.
        """
        number = syscall.last_errno()
        if number not in (errno.ENOENT, errno.ENOSPC):
            raise refusal(number, "MAP_LOOKUP_ELEM", self.shape)
        return number == errno.ENOSPC


def _once(shape: Shape, reader: "KeyReader | BatchReader") -> Iterator[Chunk]:
    """What `reader` reads, without the keys that come again."""
    size, width = shape.key_size, shape.value_size
    seen: set[int | bytes] = set()
    trail = b""
    left = 4 * shape.max_entries + 4 * _CHUNK
    while left > 0 and (chunk := reader.read()) is not None:
        keys, values, count = chunk
        left -= count or _CHUNK
        names = _names(keys, size)
        new = _new(names, seen)
        seen.update(names[:new])
        trail = trail[-_BACK * size :] + bytes(keys[: new * size])
        yield keys[: new * size], values[: new * width], new
        if new < count:
            reader.seek(_last_present(shape, trail))
        elif isinstance(reader, BatchReader) and reader.stuck:
            reader = KeyReader(shape, reader.cursor)
    if left <= 0:
        raise MapError(
            f"map {shape.name!r} changes faster than it can be read: after four times "
            f"its {shape.max_entries} entries there was no end"
        )


def _names(keys: memoryview, size: int) -> list[int | bytes]:
    """The keys as something to tell them apart by."""
    if size in _INTEGERS:
        return keys.cast(_INTEGERS[size]).tolist()  # type: ignore[call-overload,no-any-return]  # one of the formats that it names
    return list(chain.from_iterable(Struct(f"{size}s").iter_unpack(keys)))


def _new(names: list[int | bytes], seen: set[int | bytes]) -> int:
    """How many of `names` come before the first that is there already."""
    fresh = set(names)
    if len(fresh) == len(names) and seen.isdisjoint(fresh):
        return len(names)
    known = set(seen)
    for place, name in enumerate(names):
        if name in known:
            return place
        known.add(name)
    return len(names)


def _last_present(shape: Shape, trail: bytes) -> bytes | None:
    """The last key of a walk that is still in the map; None: begin anew."""
    size = shape.key_size
    for at in range(len(trail) - size, -1, -size)[:_BACK]:
        key = trail[at : at + size]
        if lookup(shape, key) is not None:
            return key
    return None


def lookup(shape: Shape, key: bytes) -> bytes | None:
    """The value at `key`, or None; "" for a socket whose cookie does not fit."""
    where, value = bytearray(key), bytearray(shape.value_size)
    record = attr.MAP_ELEM.pack(
        map_fd=shape.fd,
        key=syscall.address(where),
        value=syscall.address(value),
        flags=shape.flags,
    )
    result = syscall.try_bpf(syscall.Cmd.MAP_LOOKUP_ELEM, record)
    if result == -errno.ENOENT:
        return None
    if result == -errno.ENOSPC:
        return b""
    if result < 0:
        raise refusal(-result, "MAP_LOOKUP_ELEM", shape)
    return bytes(value)
