"""One record of the type section -> its BTF type, references left for later."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from beewire.bpf.btf import types as btf
from beewire.errors import ObjectError

_KIND = btf.Kind

# A record has LENGTH words, and PER_PART more for each of its vlen parts. Indexed by
# kind, as lists: a scan over 100 000 types asks for each.
LENGTH = [3] * len(_KIND)
LENGTH[_KIND.INT] = LENGTH[_KIND.VAR] = LENGTH[_KIND.DECL_TAG] = 4
LENGTH[_KIND.ARRAY] = 6
PER_PART = [0] * len(_KIND)
PER_PART[_KIND.ENUM] = PER_PART[_KIND.FUNC_PROTO] = 2
for _kind in (_KIND.STRUCT, _KIND.UNION, _KIND.DATASEC, _KIND.ENUM64):
    PER_PART[_kind] = 3


class Source(NamedTuple):
    """The words of a type section, and what its ids and string offsets mean."""

    words: Sequence[int]
    type: Callable[[int], btf.Type | None]
    string: Callable[[int], str]


class _Record(NamedTuple):
    """One `struct btf_type`, and where the words behind it begin."""

    source: Source
    name: str
    vlen: int
    flag: bool
    size_or_type: int
    rest: int

    def refer(self) -> btf.Type | None:
        return self.source.type(self.size_or_type)

    def rows(self, width: int) -> list[Sequence[int]]:
        words, start = self.source.words, self.rest
        end = start + width * self.vlen
        return [words[at : at + width] for at in range(start, end, width)]


def decode_type(source: Source, at: int) -> btf.Type:
    """Return the type at word `at`; what it refers to is read when it is asked for.

    Raises:
        ObjectError: no BTF of ours has such a kind.
    """
    words = source.words
    if at + 3 > len(words):
        raise ObjectError("BTF ends before a type that it should have")
    name, info, size_or_type = words[at : at + 3]
    kind = info >> 24 & 0x1F
    vlen = info & 0xFFFF
    if kind < len(LENGTH) and at + LENGTH[kind] + PER_PART[kind] * vlen > len(words):
        raise ObjectError("BTF ends in the middle of a type")
    record = _Record(
        source,
        source.string(name),
        vlen,
        bool(info >> 31),
        size_or_type,
        at + 3,
    )
    reader = _READERS.get(kind)
    if reader is None:
        raise ObjectError(f"BTF has no kind {kind}")
    return reader(record)


def _int(record: _Record) -> btf.Type:
    word = record.source.words[record.rest]
    return btf.Int(
        record.name,
        record.size_or_type,
        signed=bool(word & 1 << 24),
        char=bool(word & 1 << 25),
        bool=bool(word & 1 << 26),
        bits=word & 0xFF,
        offset_bits=word >> 16 & 0xFF,
    )


def _float(record: _Record) -> btf.Type:
    return btf.Float(record.name, record.size_or_type)


def _fwd(record: _Record) -> btf.Type:
    return btf.Fwd(record.name, union=record.flag)


def _enum(record: _Record) -> btf.Type:
    sign = record.flag << 31
    values = [
        btf.Enumerator(record.source.string(name), (value ^ sign) - sign)
        for name, value in record.rows(2)
    ]
    return btf.Enum(record.name, record.size_or_type, tuple(values), signed=record.flag)


def _enum64(record: _Record) -> btf.Type:
    sign = record.flag << 63
    values = [
        btf.Enumerator(record.source.string(name), ((high << 32 | low) ^ sign) - sign)
        for name, low, high in record.rows(3)
    ]
    return btf.Enum64(
        record.name, record.size_or_type, tuple(values), signed=record.flag
    )


# The others refer to types. The slots for these are emptied again, and filled when one
# of them is first read (btf.Type.__getattr__).
def _reference(node: btf.Reference, record: _Record) -> btf.Type:
    def fill() -> None:
        node.to = record.refer()

    del node.to
    node._pending = fill
    return node


def _ptr(record: _Record) -> btf.Type:
    return _reference(btf.Ptr(None), record)


def _const(record: _Record) -> btf.Type:
    return _reference(btf.Const(None), record)


def _volatile(record: _Record) -> btf.Type:
    return _reference(btf.Volatile(None), record)


def _restrict(record: _Record) -> btf.Type:
    return _reference(btf.Restrict(None), record)


def _typedef(record: _Record) -> btf.Type:
    return _reference(btf.Typedef(record.name, None), record)


def _type_tag(record: _Record) -> btf.Type:
    return _reference(btf.TypeTag(record.name, None, attribute=record.flag), record)


def _decl_tag(record: _Record) -> btf.Type:
    word = record.source.words[record.rest]
    component = word - (word >> 31 << 32)
    return _reference(
        btf.DeclTag(record.name, None, component, attribute=record.flag), record
    )


def _array(record: _Record) -> btf.Type:
    words, rest = record.source.words, record.rest
    node = btf.Array(None, words[rest + 2])

    def fill() -> None:
        node.element = record.source.type(words[rest])
        node.index = record.source.type(words[rest + 1])

    del node.element, node.index
    node._pending = fill
    return node


def _composite(node: btf.Composite, record: _Record) -> btf.Type:
    _, type_of, string_of = record.source
    # With the flag, an offset is split into 8 bits of bit-field width and 24 of offset.
    low = 0xFFFFFF if record.flag else 0xFFFFFFFF

    def fill() -> None:
        members = [
            btf.Member(
                string_of(name), type_of(type_id), place & low, (place & ~low) >> 24
            )
            for name, type_id, place in record.rows(3)
        ]
        node.members = tuple(members)

    del node.members
    node._pending = fill
    return node


def _struct(record: _Record) -> btf.Type:
    return _composite(btf.Struct(record.name, record.size_or_type), record)


def _union(record: _Record) -> btf.Type:
    return _composite(btf.Union(record.name, record.size_or_type), record)


def _func_proto(record: _Record) -> btf.Type:
    node = btf.FuncProto(None)
    _, type_of, string_of = record.source

    def fill() -> None:
        params = [
            btf.Param(string_of(name), type_of(type_id))
            for name, type_id in record.rows(2)
        ]
        node.params = tuple(params)
        node.returns = record.refer()

    del node.params, node.returns
    node._pending = fill
    return node


def _func(record: _Record) -> btf.Type:
    node = btf.Func(record.name, _NO_PROTO, _linkage(record, record.vlen))

    def fill() -> None:
        proto = record.refer()
        if not isinstance(proto, btf.FuncProto):
            raise ObjectError(f"the function {record.name!r} has no prototype")
        node.proto = proto

    del node.proto
    node._pending = fill
    return node


def _var(record: _Record) -> btf.Type:
    linkage = _linkage(record, record.source.words[record.rest])
    node = btf.Var(record.name, None, linkage)

    def fill() -> None:
        node.type = record.refer()

    del node.type
    node._pending = fill
    return node


def _data_sec(record: _Record) -> btf.Type:
    node = btf.DataSec(record.name, record.size_or_type)

    def fill() -> None:
        entries = []
        for type_id, offset, size in record.rows(3):
            variable = record.source.type(type_id)
            if not isinstance(variable, btf.Var | btf.Func):
                raise ObjectError(f"{record.name!r} holds {variable!r}, no variable")
            entries.append(btf.SectionEntry(variable, offset, size))
        node.entries = tuple(entries)

    del node.entries
    node._pending = fill
    return node


def _linkage(record: _Record, number: int) -> btf.Linkage:
    try:
        return btf.Linkage(number)
    except ValueError:
        raise ObjectError(f"{record.name!r} has the linkage {number}") from None


_NO_PROTO = btf.FuncProto(None)
_READERS: dict[int, Callable[[_Record], btf.Type]] = {
    _KIND.INT: _int,
    _KIND.PTR: _ptr,
    _KIND.ARRAY: _array,
    _KIND.STRUCT: _struct,
    _KIND.UNION: _union,
    _KIND.ENUM: _enum,
    _KIND.FWD: _fwd,
    _KIND.TYPEDEF: _typedef,
    _KIND.VOLATILE: _volatile,
    _KIND.CONST: _const,
    _KIND.RESTRICT: _restrict,
    _KIND.FUNC: _func,
    _KIND.FUNC_PROTO: _func_proto,
    _KIND.VAR: _var,
    _KIND.DATASEC: _data_sec,
    _KIND.FLOAT: _float,
    _KIND.DECL_TAG: _decl_tag,
    _KIND.TYPE_TAG: _type_tag,
    _KIND.ENUM64: _enum64,
}
