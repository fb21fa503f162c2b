"""Per-CPU maps: a value is a list, one item for each possible CPU."""

from functools import cache

from beewire.bpf.kernel.maps.array import ArrayMap
from beewire.bpf.kernel.maps.base import Map
from beewire.bpf.kernel.maps.codec import K, V
from beewire.errors import EncodingError

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


class _PerCpu(Map[K, list[V]]):
    """The codec is that of one CPU's value; lists are split and joined here."""

    __slots__ = ()

    def _width(self) -> int:
        return _width(self.spec.value_size)

    def _encode(self, value: list[V]) -> bytes:
        count = possible_cpus()
        # A scalar is a likely slip here, and bytes have a length too.
        given: object = value
        if not isinstance(given, list | tuple) or len(given) != count:
            raise EncodingError(
                f"a value of per-CPU map {self.name!r} is a list of {count} items, one "
                "for each possible CPU"
            )
        encode, padding = self.codec.encode_value, bytes(-self.spec.value_size % 8)
        # One codec serves a map and its per-CPU twin, so it takes an item, not the list.
        return b"".join([encode(item) + padding for item in value])  # type: ignore[arg-type] # see above

    def _decode(self, data: bytes) -> list[V]:
        decode, size = self.codec.decode_value, self.spec.value_size
        step = size + 7 & ~7
        return [
            decode(data[at : at + size])  # type: ignore[misc] # as in _encode
            for at in range(0, len(data), step)
        ]


class PerCpuHash(_PerCpu[K, V]):
    """A hash (or LRU hash) with a value for each CPU."""

    __slots__ = ()


class PerCpuArray(_PerCpu[int, V], ArrayMap[list[V]]):
    """An array with a value for each CPU."""

    __slots__ = ()
