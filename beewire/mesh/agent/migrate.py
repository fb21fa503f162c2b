"""Entries of a map, carried over into one of another layout: field by field, by name.

A field that the new layout does not have is dropped, one that the old did not have is
zero, an integer of another width keeps its value, an array its first elements.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from beewire.bpf.btf import types as btf
from beewire.bpf.kernel import AnyMap, Map, default_codec
from beewire.bpf.object import MapKind, MapSpec
from beewire.errors import MapError, MeshError

Convert = Callable[[bytes], bytes]

# What holds nothing that would be missed: records on their way to a reader.
_STREAMS = (MapKind.RINGBUF, MapKind.USER_RINGBUF, MapKind.PERF_EVENT_ARRAY)
SOCKETS = (MapKind.SOCKMAP, MapKind.SOCKHASH)
_PER_CPU = (MapKind.PERCPU_ARRAY, MapKind.PERCPU_HASH, MapKind.LRU_PERCPU_HASH)
_BY_INDEX = (MapKind.ARRAY, MapKind.PERCPU_ARRAY)


def carry_over(old: AnyMap, new: AnyMap) -> int:
    """Copy every entry of `old` into `new`; how many there were.

    Maps of sockets and storage in sockets cannot be listed: see `carry_over_sockets`.

    Raises:
        MeshError: they are different kinds of map, or the new one is too small.
    """
    if old.spec.kind in _STREAMS:
        return 0
    if old.spec.kind is not new.spec.kind:
        raise MeshError(
            f"the map {new.name!r} was a {old.spec.kind.name}, and is a"
            f" {new.spec.kind.name}: what is in it cannot be carried over"
        )
    key = _key_converter(old.spec, new.spec)
    value = converter(old.spec.value, new.spec.value, new.spec.value_size)
    with _raw(old) as source, _raw(new) as target:
        made = dict(_converted(source, old.spec.kind, key, value))
        try:
            target.update(made)
        except MapError as error:
            raise MeshError(
                f"the map {new.name!r} has no room for what is in the present one: {error}"
            ) from error
    return len(made)


def _converted(
    source: AnyMap, kind: MapKind, key: Convert, value: Convert
) -> Iterator[tuple[Any, Any]]:
    by_index, per_cpu = kind in _BY_INDEX, kind in _PER_CPU
    nothing = bytes(source.spec.value_size)
    for known, content in source.items():
        # The new array has zeros, too: of thousands of places few are in use.
        if by_index and (content == nothing or content == [nothing] * len(content)):
            continue
        made = [value(each) for each in content] if per_cpu else value(content)
        yield known if by_index else key(known), made


def carry_over_sockets(old: AnyMap, new: AnyMap, sockets: Iterable[int]) -> int:
    """Copy what `old` stores in each of these sockets (descriptors) into `new`."""
    value = converter(old.spec.value, new.spec.value, new.spec.value_size)
    number = 0
    with _raw(old) as source, _raw(new) as target:
        for sock in sockets:
            content = source.lookup(sock)
            if content is not None:
                target[sock] = value(content)
                number += 1
    return number


def converter(old: btf.Type | None, new: btf.Type | None, size: int) -> Convert:
    """What makes a value of `new`, `size` bytes long, from one of `old`.

    Without types it is the same bytes, cut or with zeros behind.
    """
    old, new = _plain(old), _plain(new)
    if isinstance(old, btf.Composite) and isinstance(new, btf.Composite):
        return _struct(old, new, size)
    if isinstance(old, btf.Array) and isinstance(new, btf.Array):
        return _array(old, new, size)
    if isinstance(old, btf.Int) and isinstance(new, btf.Int):
        return _integer(old, new)
    return lambda data: data[:size].ljust(size, b"\0")


def _struct(old: btf.Composite, new: btf.Composite, size: int) -> Convert:
    known = {member.name: member for member in old.members}
    moves: list[tuple[int, int, int, Convert]] = []
    for member in new.members:
        before = known.get(member.name)
        if before is None:
            continue
        if member.bitfield_bits or before.bitfield_bits:
            raise MeshError(
                f"the field {member.name!r} of {new.name!r} is a bit-field: it cannot be"
                " carried over"
            )
        was, width = _size(before.type), _size(member.type)
        convert = converter(before.type, member.type, width)
        moves.append((before.offset_bits // 8, was, member.offset_bits // 8, convert))

    def make(data: bytes) -> bytes:
        made = bytearray(size)
        for start, was, at, convert in moves:
            part = convert(data[start : start + was])
            made[at : at + len(part)] = part
        return bytes(made)

    return make


def _array(old: btf.Array, new: btf.Array, size: int) -> Convert:
    was, width = _size(old.element), _size(new.element)
    convert = converter(old.element, new.element, width)
    count = min(old.count, new.count)

    def make(data: bytes) -> bytes:
        parts = [convert(data[at * was : (at + 1) * was]) for at in range(count)]
        return b"".join(parts).ljust(size, b"\0")

    return make


def _integer(old: btf.Int, new: btf.Int) -> Convert:
    def make(data: bytes) -> bytes:
        value = int.from_bytes(data, sys.byteorder, signed=old.signed)
        wrapped = value & ((1 << (8 * new.size)) - 1)
        return wrapped.to_bytes(new.size, sys.byteorder)

    return make


def _key_converter(old: MapSpec, new: MapSpec) -> Convert:
    convert = converter(old.key, new.key, new.key_size)
    if old.kind is not MapKind.LPM_TRIE or old.key_size == new.key_size:
        return convert
    raise MeshError(
        f"the keys of {new.name!r} were {old.key_size} bytes, and are {new.key_size}: the"
        " lengths of its prefixes have another meaning"
    )


def _raw(live: AnyMap) -> AnyMap:
    """The same map by another descriptor, with keys and values as bytes."""
    spec = MapSpec(
        live.spec.name,
        kind=live.spec.kind,
        key_size=live.spec.key_size,
        value_size=live.spec.value_size,
        max_entries=live.spec.max_entries,
        flags=live.spec.flags,
    )
    return Map.wrap(os.dup(live.fd), spec, default_codec(spec))


def _plain(found: btf.Type | None) -> btf.Type | None:
    while isinstance(found, btf.Typedef | btf.Const | btf.Volatile | btf.TypeTag):
        found = found.to
    return found


def _size(found: btf.Type | None) -> int:
    found = _plain(found)
    if isinstance(found, btf.Array):
        return found.count * _size(found.element)
    return int(getattr(found, "size", 0))
