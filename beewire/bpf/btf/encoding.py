"""One BTF type -> its record in the type section."""

import struct

from beewire.bpf.btf import types as btf
from beewire.errors import EncodingError
from beewire.hints import Callable, Sequence
from beewire.rows import Row

# BTF_MAX_VLEN
_MAX_VLEN = 0xFFFF

_IdOf = Callable[[btf.Type | None], int]
_StringOf = Callable[[str], int]


class _Body(Row):
    """What follows a type's name; `rest` are the words after `struct btf_type`."""

    size_or_type: int
    rest: tuple[int, ...] = ()
    vlen: int = 0
    flag: bool = False


def record(
    node: btf.Type,
    id_of: _IdOf,
    string_of: _StringOf,
) -> bytes:
    """Return `struct btf_type` and what belongs to it, little-endian.

    Raises:
        EncodingError: a value that does not fit its field.
    """
    body = _body(node, id_of, string_of)
    if body.vlen > _MAX_VLEN:
        raise EncodingError(f"{node!r} has more than {_MAX_VLEN} parts")
    info = body.flag << 31 | node.kind << 24 | body.vlen
    words = (string_of(node.name), info, body.size_or_type, *body.rest)
    try:
        return struct.pack(f"<{len(words)}I", *words)
    except struct.error:
        raise EncodingError(f"a number in {node!r} does not fit 32 bits") from None


def _body(  # noqa: C901, PLR0911, PLR0912 - one case a kind
    node: btf.Type,
    id_of: _IdOf,
    string_of: _StringOf,
) -> _Body:
    match node:
        case btf.Int():
            return _Body(node.size, (_int_word(node),))
        case btf.Float():
            return _Body(node.size)
        case btf.Array():
            ids = id_of(node.element), id_of(node.index)
            return _Body(0, (*ids, node.count))
        case btf.Composite():
            return _composite(node, id_of, string_of)
        case btf.Enum():
            return _enum(node, string_of)
        case btf.Fwd():
            return _Body(0, flag=node.union)
        case btf.FuncProto():
            params = [(string_of(p.name), id_of(p.type)) for p in node.params]
            return _Body(id_of(node.returns), _flat(params), len(params))
        case btf.Func():
            return _Body(id_of(node.proto), vlen=node.linkage)
        case btf.Var():
            return _Body(id_of(node.type), (node.linkage,))
        case btf.DataSec():
            entries = [(id_of(e.type), e.offset, e.size) for e in node.entries]
            return _Body(node.size, _flat(entries), len(entries))
        case btf.DeclTag():
            component = node.component  # -1: the type itself
            component += (component < 0) << 32
            return _Body(id_of(node.to), (component,), flag=node.attribute)
        case btf.TypeTag():
            return _Body(id_of(node.to), flag=node.attribute)
        case btf.Reference():
            return _Body(id_of(node.to))
        case _:
            raise EncodingError(f"BTF has no {node!r}")


def _flat(rows: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple([word for row in rows for word in row])


def _int_word(node: btf.Int) -> int:
    if not (0 <= node.bits <= 0xFF and 0 <= node.offset_bits <= 0xFF):
        raise EncodingError(f"{node!r} has more bits than BTF can write")
    encoding = node.signed | node.char << 1 | node.bool << 2
    return encoding << 24 | node.offset_bits << 16 | node.bits


def _composite(composite: btf.Composite, id_of: _IdOf, string_of: _StringOf) -> _Body:
    # With a bit-field among them, the offsets of all members are split into
    # 8 bits of width and 24 of offset.
    split = any(member.bitfield_bits for member in composite.members)
    limit = 1 << 24 if split else 1 << 32
    members = []
    for name, member, offset_bits, bitfield_bits in composite.members:
        if not (0 <= offset_bits < limit and 0 <= bitfield_bits <= 0xFF):
            raise EncodingError(f"{composite!r} has {name!r} beyond what BTF can say")
        place = bitfield_bits << 24 | offset_bits
        members.append((string_of(name), id_of(member), place))
    return _Body(composite.size, _flat(members), len(members), split)


def _enum(enum: btf.Enum, string_of: _StringOf) -> _Body:
    wide = isinstance(enum, btf.Enum64)
    bits = 64 if wide else 32
    low, high = (-(1 << bits - 1), 1 << bits - 1) if enum.signed else (0, 1 << bits)
    values = []
    for name, value in enum.values:
        if not low <= value < high:
            raise EncodingError(
                f"{enum!r} has {name} = {value}, beyond its {bits} bits"
            )
        halves = (value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF)
        values.append((string_of(name), *halves[: 2 if wide else 1]))
    return _Body(enum.size, _flat(values), len(values), enum.signed)
