"""BTF for kernels that do not know all kinds of types yet.

The kinds that came after Linux 5.2 are said by older ones of the same length, so that
every type keeps its id; what is lost tells programs nothing that such a kernel could use.
"""

import struct

from beewire.bpf.btf.types import Kind
from beewire.hints import Iterator

# struct btf_header: magic, version, flags, hdr_len, then where types and strings are.
_HEADER = struct.Struct("<HBBIIIII")
# struct btf_type: name_off, info, size or type. Behind it: struct btf_member is alike.
_TYPE = struct.Struct("<III")
_BITS = struct.Struct("<I")
_SIGNED = 1 << 31  # of `info` of an enum

# Bytes behind struct btf_type: always, and for each of its parts (vlen).
_TAIL = {Kind.INT: 4, Kind.ARRAY: 12, Kind.VAR: 4, Kind.DECL_TAG: 4}
_PART = {
    Kind.STRUCT: 12,
    Kind.UNION: 12,
    Kind.ENUM: 8,
    Kind.FUNC_PROTO: 8,
    Kind.DATASEC: 12,
    Kind.ENUM64: 12,
}


def without(blob: bytes, kinds: frozenset[Kind], *, signed_enums: bool) -> bytes:
    """Return the BTF in `blob` without types of `kinds`; ids stay as they are.

    FLOAT becomes a STRUCT without members, DECL_TAG an INT of one byte, TYPE_TAG a
    CONST, ENUM64 a UNION whose members are its values; unless `signed_enums`, an ENUM
    loses its sign. Other kinds stay.
    """
    header = list(_HEADER.unpack_from(blob))
    start = header[3] + header[4]
    strings = blob[header[3] + header[6] :]
    records = list(_records(blob[start : start + header[5]]))
    # ENUM64's members need a type: one behind all others, which keep their ids.
    number = len(records) + 1
    types = b"".join(
        _older(record, number) if kind in kinds else _enum(record, signed=signed_enums)
        for kind, record in records
    )
    if Kind.ENUM64 in kinds and any(kind is Kind.ENUM64 for kind, _ in records):
        types += _int(0, 8)
    header[5], header[6] = len(types), header[4] + len(types)
    return _HEADER.pack(*header) + types + strings


def _records(types: bytes) -> Iterator[tuple[Kind, bytes]]:
    at = 0
    while at < len(types):
        _, info, _ = _TYPE.unpack_from(types, at)
        kind = Kind(info >> 24 & 0x1F)
        length = _TYPE.size + _TAIL.get(kind, 0) + _PART.get(kind, 0) * (info & 0xFFFF)
        yield kind, types[at : at + length]
        at += length


def _enum(record: bytes, *, signed: bool) -> bytes:
    name, info, size = _TYPE.unpack_from(record)
    if signed or info >> 24 & 0x1F != Kind.ENUM:
        return record
    return _TYPE.pack(name, info & ~_SIGNED, size) + record[_TYPE.size :]


def _older(record: bytes, number: int) -> bytes:
    name, info, size = _TYPE.unpack_from(record)
    match info >> 24 & 0x1F:
        case Kind.FLOAT:
            return _TYPE.pack(0, Kind.STRUCT << 24, size)
        case Kind.DECL_TAG:
            return _int(name, 1)
        case Kind.TYPE_TAG:
            return _TYPE.pack(0, Kind.CONST << 24, size)
        case Kind.ENUM64:
            values = _TYPE.iter_unpack(record[_TYPE.size :])
            members = b"".join(_TYPE.pack(value[0], number, 0) for value in values)
            return _TYPE.pack(name, Kind.UNION << 24 | info & 0xFFFF, size) + members
        case _:
            return record


def _int(name: int, size: int) -> bytes:
    return _TYPE.pack(name, Kind.INT << 24, size) + _BITS.pack(8 * size)
