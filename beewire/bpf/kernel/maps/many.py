"""Many entries at once: what `items`, `update`, `clear` and their kin are made of."""

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.maps.batch import BUCKETS, BatchReader, supported, write
from beewire.bpf.kernel.maps.rows import Decode
from beewire.bpf.kernel.maps.shape import Shape
from beewire.bpf.kernel.maps.walk import chunks
from beewire.bpf.kernel.syscall import Cmd
from beewire.errors import KernelError

Entries = Iterable[tuple[Any, Any]]
Pack = Callable[[Sequence[Any]], bytearray]

# Entries that are packed and stored at once.
_PART = 1 << 14


def read(shape: Shape, keys: Decode, values: Decode) -> Iterator[tuple[Any, Any]]:
    """Yield every entry, as `chunks` does."""
    for packed_keys, packed_values, _ in chunks(shape):
        yield from zip(keys(packed_keys), values(packed_values), strict=True)


def as_dict(shape: Shape, keys: Decode, values: Decode) -> dict[Any, Any]:
    """Every entry."""
    found: dict[Any, Any] = {}
    for packed_keys, packed_values, _ in chunks(shape):
        found.update(zip(keys(packed_keys), values(packed_values), strict=True))
    return found


def store(shape: Shape, keys: Pack, values: Pack, entries: Entries) -> tuple[int, Any]:
    """Set every entry: (0, None), or -errno and the key that was refused.

    What comes before that key is stored.
    """
    batched = supported(shape, Cmd.MAP_UPDATE_BATCH)
    rest = iter(entries)
    while part := list(islice(rest, _PART)):
        named = [key for key, _ in part]
        packed = keys(named), values([value for _, value in part])
        if batched and len(part) > 1:
            result = write(shape, Cmd.MAP_UPDATE_BATCH, *packed)
        else:
            result = _store_each(shape, *packed)
        if result < 0:
            return result, named[-(len(packed[0]) // shape.key_size)]
    return 0, None


def _store_each(shape: Shape, keys: bytearray, values: bytearray) -> int:
    size, width = shape.key_size, shape.value_size
    while keys:
        key, value = bytearray(keys[:size]), bytearray(values[:width])
        result = _element(shape, Cmd.MAP_UPDATE_ELEM, key, value)
        if result < 0:
            return result
        del keys[:size], values[:width]
    return 0


def clear(shape: Shape) -> int:
    """Delete every entry: 0 or -errno. What others add meanwhile may stay."""
    if _takes(shape):
        reader = BatchReader(shape, Cmd.MAP_LOOKUP_AND_DELETE_BATCH)
        try:
            while reader.read() is not None:
                pass
        except KernelError as error:
            return -(error.errno or 0)
        return 0
    # Not while walking: a walk that stands on a deleted key begins anew.
    keys = bytearray().join([bytes(keys) for keys, _, _ in chunks(shape)])
    return delete(shape, keys)


def delete(shape: Shape, keys: bytearray) -> int:
    """Delete the entries at `keys`, those that are there: 0 or -errno."""
    batched = supported(shape, Cmd.MAP_DELETE_BATCH)
    size = shape.key_size
    while keys:
        if batched:
            result = write(shape, Cmd.MAP_DELETE_BATCH, keys, bytearray())
        else:
            result = _element(shape, Cmd.MAP_DELETE_ELEM, keys[:size])
        # ENOENT, and EINVAL of a SOCKMAP: somebody else was faster.
        if result < 0 and result not in (-errno.ENOENT, -errno.EINVAL):
            return result
        del keys[:size]
    return 0


def drain(shape: Shape, keys: Decode, values: Decode) -> dict[Any, Any] | None:
    """Every entry, deleted in the step that reads it; None where it takes many steps."""
    if not _takes(shape):
        return None
    found: dict[Any, Any] = {}
    reader = BatchReader(shape, Cmd.MAP_LOOKUP_AND_DELETE_BATCH)
    while (chunk := reader.read()) is not None:
        found.update(zip(keys(chunk[0]), values(chunk[1]), strict=True))
    return found


def _takes(shape: Shape) -> bool:
    return shape.kind in BUCKETS and supported(shape, Cmd.MAP_LOOKUP_AND_DELETE_BATCH)


def _element(
    shape: Shape, command: Cmd, key: bytearray, value: bytearray | None = None
) -> int:
    flags = 0 if value is None else shape.flags
    record = attr.MAP_ELEM.pack(
        map_fd=shape.fd,
        key=syscall.address(key),
        value=0 if value is None else syscall.address(value),
        flags=flags,
    )
    return syscall.try_bpf(command, record)
