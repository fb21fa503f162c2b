"""Walk over the entries of a map in a bounded number of steps.

Whole buckets at a time where the kernel can (BPF_MAP_LOOKUP_BATCH, Linux 5.6: 0.5 ms for
1000 entries, where one key after the other takes 10 ms), else key by key.
"""

import errno
from collections.abc import Iterator
from typing import NamedTuple

from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.explain import ENOTSUPP

_CHUNK = 2048
_UNSUPPORTED = (-errno.EINVAL, -errno.ENOSYS, -errno.EOPNOTSUPP, -ENOTSUPP)


class Shape(NamedTuple):
    """What a walk needs to know of a map; sizes in bytes, values for all CPUs."""

    fd: int
    name: str
    key_size: int
    value_size: int
    max_entries: int
    # Batches begin anew when the key that one ended with is gone.
    restarts: bool = False


def entries(shape: Shape) -> Iterator[tuple[bytes, bytes]]:
    """Yield each (key, value) that stays in the map meanwhile, once.

    What is added or deleted during the walk may appear or not; what is deleted and put
    back may appear twice. It ends even when others write without pause.
    """
    chunk = _batch(shape, None)
    if chunk is None:
        yield from _by_key(shape)
    elif shape.restarts:
        yield from _once(_in_batches(shape, chunk), 2 * shape.max_entries + 2)
    else:
        yield from _in_batches(shape, chunk)


def _once(
    found: Iterator[tuple[bytes, bytes]], limit: int
) -> Iterator[tuple[bytes, bytes]]:
    """Each key the first time it comes, among `limit` steps."""
    seen: set[bytes] = set()
    for (key, value), _ in zip(found, range(limit), strict=False):
        if key not in seen:
            seen.add(key)
            yield key, value


def _in_batches(shape: Shape, first: "_Chunk | None") -> Iterator[tuple[bytes, bytes]]:
    chunk, size, width = first, shape.key_size, shape.value_size
    while chunk is not None:
        keys, values, count, cursor = chunk
        for i in range(count):
            key = keys[i * size : (i + 1) * size]
            yield key, values[i * width : (i + 1) * width]
        chunk = None if cursor is None else _batch(shape, cursor)


def count_entries(shape: Shape) -> int:
    """How many entries there are, as `entries` would yield them."""
    chunk = _batch(shape, None)
    if chunk is None or (shape.restarts and chunk[3] is not None):
        return sum(1 for _ in entries(shape))
    total = 0
    while chunk is not None:
        _, _, count, cursor = chunk
        total += count
        chunk = None if cursor is None else _batch(shape, cursor)
    return total


# Keys, values, how many, and where to go on (None: that was the end).
_Chunk = tuple[bytes, bytes, int, bytearray | None]


def _batch(shape: Shape, cursor: bytearray | None) -> _Chunk | None:
    """The entries after `cursor`; None where the kernel knows no batches of them."""
    count = min(_CHUNK, shape.max_entries)
    while True:
        # The cursor is a bucket number (u32) or a key.
        after = bytearray(max(shape.key_size, 4))
        keys = bytearray(shape.key_size * count)
        values = bytearray(shape.value_size * count)
        record = attr.MAP_BATCH.pack(
            in_batch=syscall.address(cursor) if cursor is not None else 0,
            out_batch=syscall.address(after),
            keys=syscall.address(keys),
            values=syscall.address(values),
            count=count,
            map_fd=shape.fd,
        )
        result = syscall.try_bpf(syscall.Cmd.MAP_LOOKUP_BATCH, record)
        # One bucket holds more than the buffer: only whole buckets are handed out.
        if result == -errno.ENOSPC and count < shape.max_entries:
            count = min(count * 4, shape.max_entries)
            continue
        if result in _UNSUPPORTED and cursor is None:
            return None
        if result < 0 and result != -errno.ENOENT:
            raise _refusal(-result, "MAP_LOOKUP_BATCH", shape)
        number = attr.MAP_BATCH.integer(record, "count")
        return bytes(keys), bytes(values), number, (after if result == 0 else None)


def _by_key(shape: Shape) -> Iterator[tuple[bytes, bytes]]:
    for key in _keys(shape):
        value = lookup(shape, key)
        if value is not None:
            yield key, value


def _keys(shape: Shape) -> Iterator[bytes]:
    """Keys by BPF_MAP_GET_NEXT_KEY, one fetched ahead.

    When the key it stands on is deleted the kernel starts again at the first, so keys
    seen already are passed over, and the number of steps is bounded.
    """
    seen: set[bytes] = set()
    key = next_key(shape, None)
    for _ in range(2 * shape.max_entries + 2):
        if key is None:
            return
        following = next_key(shape, key)
        if key not in seen:
            seen.add(key)
            yield key
        key = following


def next_key(shape: Shape, key: bytes | None) -> bytes | None:
    """The key after `key` (None: the first), or None at the end."""
    before = bytearray(key or b"")
    after = bytearray(shape.key_size)
    record = attr.MAP_ELEM.pack(
        map_fd=shape.fd, key=syscall.address(before), value=syscall.address(after)
    )
    result = syscall.try_bpf(syscall.Cmd.MAP_GET_NEXT_KEY, record)
    if result == -errno.ENOENT:
        return None
    if result < 0:
        raise _refusal(-result, "MAP_GET_NEXT_KEY", shape)
    return bytes(after)


def lookup(shape: Shape, key: bytes) -> bytes | None:
    """The value at `key`, or None.

    ENOSPC is a socket map with 4-byte values: the socket is there, its cookie does not
    fit; the value is then "".
    """
    where, value = bytearray(key), bytearray(shape.value_size)
    record = attr.MAP_ELEM.pack(
        map_fd=shape.fd, key=syscall.address(where), value=syscall.address(value)
    )
    result = syscall.try_bpf(syscall.Cmd.MAP_LOOKUP_ELEM, record)
    if result == -errno.ENOENT:
        return None
    if result == -errno.ENOSPC:
        return b""
    if result < 0:
        raise _refusal(-result, "MAP_LOOKUP_ELEM", shape)
    return bytes(value)


def _refusal(number: int, command: str, shape: Shape) -> Exception:
    from beewire.bpf.kernel import explain  # noqa: PLC0415 - errors only

    return explain.refusal(number, command, f"read map {shape.name!r}")
