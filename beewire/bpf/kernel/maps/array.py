"""Arrays: the keys are 0 to max_entries-1, and always there."""

import errno
from collections.abc import Iterator
from typing import NoReturn

from beewire.bpf.kernel.maps.base import Map
from beewire.bpf.kernel.maps.codec import V
from beewire.errors import MapError


class ArrayMap(Map[int, V]):
    """An array; an entry that nobody wrote is all zero."""

    __slots__ = ()

    def __len__(self) -> int:
        return self.spec.max_entries

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.spec.max_entries))

    def _refusal(self, number: int, command: str, verb: str, key: object) -> Exception:
        if number == errno.E2BIG:
            last = self.spec.max_entries - 1
            return MapError(
                f"array {self.name!r} has the keys 0 to {last}; {key!r} is none of them"
            )
        return super()._refusal(number, command, verb, key)

    def __delitem__(self, key: int) -> NoReturn:
        raise MapError(
            f"the keys of array {self.name!r} are fixed: set an entry to zero instead of "
            "deleting it"
        )

    def clear(self) -> NoReturn:
        """Refused, as every deletion from an array."""
        del self[0]

    def take(self, key: int) -> NoReturn:
        """Refused, as every deletion from an array."""
        del self[key]
