"""How the values that a program declares look in user space: bytes <-> Python."""

from __future__ import annotations

from beewire.bpf.lang import MapDecl
from beewire.bpf.lang.structs import Composite, StructType
from beewire.bpf.lang.types import IntType, ValueType, pack, unpack
from beewire.bpf.object.kinds import MapKind
from beewire.errors import EncodingError
from beewire.hints import TYPE_CHECKING, Any, Callable, Iterator

if TYPE_CHECKING:
    from beewire.bpf.kernel import AnyCodec, AnyMap
    from beewire.bpf.kernel.maps import Rows


def codec(decl: MapDecl, live: AnyMap) -> AnyCodec:
    """The codec of `live`, by the types that `decl` declares.

    Plain integers keep the kernel room's codec, which is the faster one.
    """
    found = live.codec
    key, value = decl.stored
    if key is not None and not _is_plain(key):
        found = found._replace(
            encode_key=encoder(key), decode_key=decoder(key), keys=rows(key)
        )
    if value is not None and not _is_plain(value):
        found = found._replace(
            encode_value=encoder(value), decode_value=decoder(value), values=rows(value)
        )
    if decl.kind is MapKind.LPM_TRIE:
        from beewire.bpf.author.prefixes import accepting_prefixes  # noqa: PLC0415 - tries only

        encode = accepting_prefixes(found.encode_key, live.spec.key_size)
        found = found._replace(encode_key=encode)
    return found


def rows(type_: ValueType) -> Rows:
    """How many values of a `type_` are decoded at once."""
    from beewire.bpf.kernel.maps import Rows  # noqa: PLC0415 - loads the kernel room

    if isinstance(type_, IntType) and type_.enum is None:
        return Rows(type_.format, None, ">" if type_.is_big_endian else "=")

    made: list[Any] = []

    def make(raws: Iterator[tuple[Any, ...]]) -> Iterator[Any]:
        # Programs that never read all of a map do without the functions for it.
        from beewire.bpf.author.records import decoding  # noqa: PLC0415 - see above

        if not made:
            made.append(decoding(type_))
        found: Iterator[Any] = made[0].records(raws)
        return found

    return Rows(type_.format, make)


def decoder(type_: ValueType) -> Callable[[bytes], Any]:
    """What makes a Python value of the bytes of a `type_`."""
    if isinstance(type_, StructType):
        return type_.python.from_bytes
    return lambda data: unpack(data, type_)


def encoder(type_: ValueType) -> Callable[[Any], bytes]:
    """What makes the bytes of a `type_`.

    Raises (when called):
        EncodingError: The value is of another type, or does not fit.
    """
    if isinstance(type_, StructType):
        return lambda value: _encode_struct(type_.python, value)
    return lambda value: pack(value, type_)


def _is_plain(type_: ValueType) -> bool:
    if not isinstance(type_, IntType):
        return False
    return type_.enum is None and not (type_.is_bool or type_.is_big_endian)


def _encode_struct(cls: type[Composite], value: object) -> bytes:
    if not isinstance(value, cls):
        raise EncodingError(f"{value!r} is no {cls.__name__}")
    return value.to_bytes()
