"""Walk over the entries of a map in a bounded number of steps.

Whole batches where the kernel has them (`batch`), else key by key: BPF_MAP_GET_NEXT_KEY
and BPF_MAP_LOOKUP_ELEM for each entry. A key that is deleted while a walk stands on it
has no next one, and the kernel begins anew: then keys come again that were seen. The
walk goes back to where it was. It may also be led astray, for a hash uses the memory of a
deleted entry for another at once; so a map that changed meanwhile is walked again.
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
    paced,
    supported,
)
from beewire.bpf.kernel.maps.shape import Chunk, Shape, refusal
from beewire.bpf.kernel.syscall import Cmd
from beewire.bpf.object import MapKind
from beewire.errors import MapError

_CHUNK = 1024
# How many keys a walk goes back to find one that is still there.
_BACK = 64
# How many times the entries that a map can have are read before a walk gives up.
_PATIENCE = 6
# Of these, some kernels (6.18 among them) have a key after the last one that is none:
# they take the head of their list for an entry.
_ENDLESS = (MapKind.CGROUP_STORAGE, MapKind.PERCPU_CGROUP_STORAGE)
_INTEGERS = {1: "B", 2: "H", 4: "I", 8: "Q"}


def chunks(shape: Shape) -> Iterator[Chunk]:
    """Yield the entries, many at a time; a chunk is valid until the next.

    Each that stays in the map meanwhile comes once. What is added or deleted during the
    walk may appear or not. It ends even when others write without pause.

    Raises:
        MapError: others change the map faster than it can be walked.
        KernelError: the kernel refuses.
    """
    reader: KeyReader | BatchReader = KeyReader(shape)
    straight = shape.kind in INDEXED
    if supported(shape, Cmd.MAP_LOOKUP_BATCH):
        reader = BatchReader(shape)
        straight = straight or shape.kind in BUCKETS
    if not straight:
        yield from _once(shape, reader)
        return
    while (chunk := reader.read()) is not None:
        yield chunk
        if reader.stuck:
            reader = KeyReader(shape, reader.cursor)


def count_entries(shape: Shape) -> int:
    """How many entries there are, as `chunks` would yield them."""
    return sum(count for _, _, count in chunks(shape))


class KeyReader:
    """Reads a map key by key, some at a time."""

    def __init__(self, shape: Shape, after: bytes | None = None) -> None:
        self.shape = shape
        self.stuck = False
        # Keys that came before, once the walk was led back to some: where one follows a
        # new key, it is led back again, and what is read from there on is wasted.
        self.known: set[int | bytes] = set()
        self._forward = False
        self._is_endless = shape.kind in _ENDLESS
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
        self._most = self._count = max(1, min(_CHUNK, BYTES // size))
        self.seek(after)

    @property
    def cursor(self) -> bytes | None:
        """The key after which the next chunk begins; None at the beginning and end."""
        return bytes(self._key) if self._started and not self._ended else None

    def seek(self, key: bytes | None) -> None:
        """Go on after `key`, or begin anew."""
        self._ended, self._started = False, key is not None
        self._forward = False
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
        before = b""
        for _ in range(self._count):
            if self._is_endless:
                before = bytes(key)
            if step() < 0:
                self._end()
                break
            step = self._following
            if self.known and self._turned():
                break
            if lookup() >= 0 or self._is_there():
                keys += key
                values += value
            elif self._is_endless and next_key(self.shape, before) == bytes(key):
                self._ended = True
                break
            elif self.shape.kind not in INDEXED:
                break  # it is gone, and has no next one
        self._started = True
        return memoryview(keys), memoryview(values), len(keys) // self.shape.key_size

    def pace(self, *, steady: bool) -> None:
        """Read more at a time, or less: what comes after a key that is lost is wasted."""
        self._count = paced(self._count, self._most, steady=steady)

    def _turned(self) -> bool:
        """Whether the key that came now is an old one, and the one before was new."""
        was_forward = self._forward
        self._forward = _name(self.shape, self._key) not in self.known
        return was_forward and not self._forward

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
    """What `reader` reads, each key the first time it comes."""
    seen: set[int | bytes] = set()
    trail, restless = b"", False
    left = _PATIENCE * (shape.max_entries + _CHUNK)
    while left > 0 and (chunk := reader.read()) is not None:
        found = chunk[2]
        left -= found + 1
        keys, values, count = _unseen(shape, chunk, seen)
        trail = (trail + bytes(keys))[-_BACK * shape.key_size :]
        yield keys, values, count
        if reader.stuck:
            reader = KeyReader(shape, reader.cursor)
        led_back = count < found or (found == 0 and reader.cursor is not None)
        steady = not led_back and not _is_lost(shape, reader)
        reader.pace(steady=steady)
        if not steady:
            restless = True
            left -= _find_back(shape, reader, trail, seen)
            reader.known = seen
    if left <= 0:
        raise MapError(
            f"map {shape.name!r} changes faster than it can be read: after {_PATIENCE} "
            f"times its {shape.max_entries} entries there was no end"
        )
    if restless:
        yield from _again(shape, reader, seen)


def _again(
    shape: Shape, reader: "KeyReader | BatchReader", seen: set[int | bytes]
) -> Iterator[Chunk]:
    """What a second walk finds that was not seen; it may end early."""
    trail = b""
    left = 2 * (shape.max_entries + _CHUNK)
    reader.known = set()
    reader.seek(None)
    while left > 0 and (chunk := reader.read()) is not None:
        left -= chunk[2] + 1
        trail = (trail + bytes(chunk[0]))[-_BACK * shape.key_size :]
        yield _unseen(shape, chunk, seen)
        steady = not _is_lost(shape, reader)
        reader.pace(steady=steady)
        if not steady:
            there = (
                key
                for key in _backwards(shape, trail)
                if lookup(shape, key) is not None
            )
            reader.seek(next(there, None))


def _unseen(shape: Shape, chunk: Chunk, seen: set[int | bytes]) -> Chunk:
    """The part of a chunk that was not seen before, which is from now on."""
    keys, values, count = chunk
    size, width = shape.key_size, shape.value_size
    names = _names(keys, size)
    fresh = set(names)
    if len(fresh) == count and seen.isdisjoint(fresh):
        seen |= fresh
        return chunk
    new_keys, new_values = bytearray(), bytearray()
    for place, name in enumerate(names):
        if name not in seen:
            seen.add(name)
            new_keys += keys[place * size : (place + 1) * size]
            new_values += values[place * width : (place + 1) * width]
    return memoryview(new_keys), memoryview(new_values), len(new_keys) // size


def _names(keys: memoryview, size: int) -> list[int | bytes]:
    """The keys as something to tell them apart by."""
    if size in _INTEGERS:
        return keys.cast(_INTEGERS[size]).tolist()  # type: ignore[call-overload,no-any-return]  # one of the formats that it names
    return list(chain.from_iterable(Struct(f"{size}s").iter_unpack(keys)))


def _is_lost(shape: Shape, reader: "KeyReader | BatchReader") -> bool:
    """Whether the key that a walk stands on is gone."""
    key = reader.cursor
    return key is not None and lookup(shape, key) is None


def _find_back(
    shape: Shape,
    reader: "KeyReader | BatchReader",
    trail: bytes,
    seen: set[int | bytes],
) -> int:
    """Let the walk go on after the last of its keys that leads to something new.

    If there is none, it goes on where it is, past what it has seen. Returns how many keys
    were tried.
    """
    if _is_lost(shape, reader):
        reader.seek(None)
    tried = 0
    for key in _backwards(shape, trail):
        tried += 1
        if lookup(shape, key) is None:
            continue
        following = next_key(shape, key)
        if following is None or _name(shape, following) not in seen:
            reader.seek(key)
            break
    return tried


def _backwards(shape: Shape, trail: bytes) -> Iterator[bytes]:
    """The keys of a trail, the last one first."""
    size = shape.key_size
    for at in range(len(trail) - size, -1, -size):
        yield trail[at : at + size]


def _name(shape: Shape, key: bytes | bytearray) -> int | bytes:
    return _names(memoryview(key), shape.key_size)[0]


def next_key(shape: Shape, key: bytes) -> bytes | None:
    """The key after `key`; None at the end."""
    where, after = bytearray(key), bytearray(shape.key_size)
    record = attr.MAP_ELEM.pack(
        map_fd=shape.fd, key=syscall.address(where), value=syscall.address(after)
    )
    result = syscall.try_bpf(Cmd.MAP_GET_NEXT_KEY, record)
    if result == -errno.ENOENT:
        return None
    if result < 0:
        raise refusal(-result, "MAP_GET_NEXT_KEY", shape)
    return bytes(after)


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
