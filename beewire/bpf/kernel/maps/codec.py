"""Python values <-> the bytes of a map's keys and values."""

import sys

from beewire.bpf.btf import types as btf
from beewire.bpf.object import MapKind, MapSpec
from beewire.errors import EncodingError
from beewire.hints import Any, Callable, Generic, Iterator, TypeVar
from beewire.rows import Row

K = TypeVar("K")
V = TypeVar("V")

# An array's key is its index, whether or not a type says so.
_INDEXED = frozenset({
    MapKind.ARRAY,
    MapKind.PERCPU_ARRAY,
    MapKind.SOCKMAP,
    MapKind.PROG_ARRAY,
    MapKind.ARRAY_OF_MAPS,
    MapKind.PERF_EVENT_ARRAY,
    MapKind.CGROUP_ARRAY,
    MapKind.REUSEPORT_SOCKARRAY,
    MapKind.STACK_TRACE,
    MapKind.DEVMAP,
    MapKind.DEVMAP_HASH,
    MapKind.CPUMAP,
    MapKind.XSKMAP,
})  # fmt: skip
_LETTERS = {1: "B", 2: "H", 4: "I", 8: "Q"}
_SIZES = tuple(_LETTERS)


class Rows(Row):
    """How many items are decoded at once: `format` is what `struct` calls one of them.

    `make` turns the tuples that are unpacked into Python values; without it the one
    number in each is the value. `order` is "=" or, in network order, ">".
    """

    format: str
    make: Callable[[Iterator[tuple[Any, ...]]], Iterator[Any]] | None = None
    order: str = "="


class MapCodec(Row, Generic[K, V]):
    """How one map's keys and values become bytes of exactly its sizes, and back.

    With `keys` and `values` many are converted at once; they say the same.
    """

    encode_key: Callable[[K], bytes]
    decode_key: Callable[[bytes], K]
    encode_value: Callable[[V], bytes]
    decode_value: Callable[[bytes], V]
    keys: Rows | None = None
    values: Rows | None = None


# The types of a map that is found by name or pin are known at run time only.
AnyCodec = MapCodec[Any, Any]


def default_codec(spec: MapSpec) -> AnyCodec:
    """Integers where BTF says integer (1, 2, 4 or 8 bytes), bytes elsewhere."""
    key_type = _strip(spec.key)
    if key_type is None and spec.kind in _INDEXED:
        key_type = btf.Int("unsigned int", 4)
    value_type = _strip(spec.value)
    key = _codec(key_type, spec.key_size, f"a key of map {spec.name!r}")
    value = _codec(value_type, spec.value_size, f"a value of map {spec.name!r}")
    return MapCodec(
        *key,
        *value,
        _rows(key_type, spec.key_size),
        _rows(value_type, spec.value_size),
    )


def _strip(found: btf.Type | None) -> btf.Type | None:
    while isinstance(found, btf.Typedef | btf.Const | btf.Volatile | btf.TypeTag):
        found = found.to
    return found


def _codec(
    found: btf.Type | None, size: int, what: str
) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    if isinstance(found, btf.Int) and found.size == size and size in _SIZES:
        return integer_codec(size, what, signed=found.signed)
    return bytes_codec(size, what)


def _rows(found: btf.Type | None, size: int) -> Rows | None:
    if isinstance(found, btf.Int) and found.size == size and size in _SIZES:
        letter = _LETTERS[size]
        return Rows(letter.lower() if found.signed else letter)
    return None


def integer_codec(
    size: int, what: str, *, signed: bool = False
) -> tuple[Callable[[int], bytes], Callable[[bytes], int]]:
    """Encode and decode an integer of `size` bytes in the machine's order."""
    order = sys.byteorder

    def encode(value: int) -> bytes:
        try:
            return value.to_bytes(size, order, signed=signed)
        except OverflowError:
            sign = "i" if signed else "u"
            raise EncodingError(
                f"{what} is {sign}{size * 8}; {value} does not fit"
            ) from None
        except (AttributeError, TypeError):  # a struct has a to_bytes() too
            index = getattr(value, "__index__", None)  # numpy's integers have one
            if index is not None:
                return encode(index())
            raise EncodingError(
                f"{what} is an integer, not {type(value).__name__}"
            ) from None

    def decode(data: bytes) -> int:
        return int.from_bytes(data, order, signed=signed)

    return encode, decode


def bytes_codec(
    size: int, what: str
) -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
    """Pass bytes through, having checked that there are `size` of them."""

    def encode(value: bytes) -> bytes:
        if not isinstance(value, bytes | bytearray | memoryview):
            raise EncodingError(f"{what} is {size} bytes, not {type(value).__name__}")
        data = bytes(value)
        if len(data) != size:
            raise EncodingError(f"{what} is {size} bytes long, not {len(data)}")
        return data

    return encode, bytes
