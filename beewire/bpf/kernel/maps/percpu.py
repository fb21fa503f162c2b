"""Per-CPU maps: a value is a list, one item for each possible CPU."""

from functools import cache

from beewire.bpf.kernel.maps import rows
from beewire.bpf.kernel.maps.array import ArrayMap
from beewire.bpf.kernel.maps.base import Map
from beewire.bpf.kernel.maps.codec import K, V
from beewire.errors import EncodingError, MapError
from beewire.hints import (
    TYPE_CHECKING,
    Any,
    Callable,
    Iterable,
    Self,
    Sequence,
    overload,
)

_POSSIBLE = "/sys/devices/system/cpu/possible"


@cache
def possible_cpus() -> int:
    """How many CPUs the kernel keeps room for, hot-pluggable ones included."""
    with open(_POSSIBLE, encoding="ascii") as file:  # noqa: PTH123 - no pathlib here
        text = file.read().strip()
    # "0-3" or "0,2-3"; the kernel sizes values by the number of CPUs in the mask.
    count = 0
    for part in text.split(","):
        first, _, last = part.partition("-")
        count += int(last or first) - int(first) + 1
    return count


def _width(value_size: int) -> int:
    # The kernel rounds each CPU's part up to 8 bytes.
    return (value_size + 7 & ~7) * possible_cpus()


class PerCpu(list[V]):
    """The values of one key, one for each possible CPU."""

    def sum(self) -> V:
        """All of them together: the sum of integers, and of each integer in structs.

        Raises:
            MapError: they hold something that has no sum, such as a text.
        """
        total: V = _total(self)
        return total

    def max(self, key: Callable[[V], Any] | None = None) -> V:
        """The greatest; of structs the one for which `key` is."""
        return max(self, key=self._by(key, "max"))

    def min(self, key: Callable[[V], Any] | None = None) -> V:
        """The least; of structs the one for which `key` is."""
        return min(self, key=self._by(key, "min"))

    def _by(self, key: Callable[[V], Any] | None, name: str) -> Callable[[V], Any]:
        if key is not None:
            return key
        if hasattr(self[0], "__layout__"):
            kind = type(self[0]).__name__
            raise MapError(
                f"structs have no order: write {name}(key=...), such as the field of "
                f"{kind} to compare"
            )
        return lambda value: value

    if TYPE_CHECKING:
        # In programs `counters[key] += n` adds to the value of the CPU that runs.
        @overload  # type: ignore[override,misc]  # wider than list's
        def __iadd__(self, other: Iterable[V], /) -> Self: ...
        @overload
        def __iadd__(self, other: V, /) -> Self: ...
        def __iadd__(self, other: Any, /) -> Self: ...  # type: ignore[misc]  # as above


def _total(values: Iterable[Any]) -> Any:
    first = next(iter(values))
    if isinstance(first, int):
        return sum(values)
    if isinstance(first, list):
        return [_total(each) for each in zip(*values, strict=True)]
    layout = getattr(type(first), "__layout__", None)
    if layout is None:
        raise MapError(f"{first!r} has no sum: it is a {type(first).__name__}")
    fields = {
        name: _total([getattr(each, name) for each in values]) for name in layout.fields
    }
    return type(first)(**fields)


class _PerCpu(Map[K, PerCpu[V]]):
    """The codec is that of one CPU's value; lists are split and joined here."""

    __slots__ = ()

    def _width(self) -> int:
        return _width(self.spec.value_size)

    def _encode(self, value: Sequence[V] | V) -> bytes:
        count = possible_cpus()
        # One codec serves a map and its per-CPU twin, so it takes an item, not the list.
        encode: Callable[[Any], bytes] = self.codec.encode_value
        padding = bytes(-self.spec.value_size % 8)
        if not isinstance(value, list | tuple):
            return (encode(value) + padding) * count
        if len(value) != count:
            raise EncodingError(
                f"a value of per-CPU map {self.name!r} is a list of {count} items, one "
                f"for each possible CPU, or one item for all of them: not {len(value)}"
            )
        return b"".join([encode(item) + padding for item in value])

    def _decode(self, data: bytes) -> PerCpu[V]:
        decode, size = self.codec.decode_value, self.spec.value_size
        step = size + 7 & ~7
        return PerCpu(
            [
                decode(data[at : at + size])  # type: ignore[misc] # as in _encode
                for at in range(0, len(data), step)
            ]
        )

    def _pack_values(self, values: Sequence[PerCpu[V]]) -> bytearray:
        return bytearray().join(map(self._encode, values))

    def _read_values(self) -> rows.Decode:
        size, count = self.spec.value_size, possible_cpus()
        decode = rows.reader(
            self.codec.values, self.codec.decode_value, size, size + 7 & ~7
        )
        return lambda view: map(PerCpu, zip(*[iter(decode(view))] * count, strict=True))


class PerCpuHash(_PerCpu[K, V]):
    """A hash (or LRU hash) with a value for each CPU."""

    __slots__ = ()


class PerCpuArray(_PerCpu[int, V], ArrayMap[PerCpu[V]]):
    """An array with a value for each CPU."""

    __slots__ = ()
