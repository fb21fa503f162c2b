"""Queues, stacks and Bloom filters: values without keys."""

import errno

from beewire.bpf.kernel.maps.base import _LOOKUP, _TAKE, _UPDATE
from beewire.bpf.kernel.maps.keyless import KeylessMap
from beewire.hints import Any

BPF_EXIST = 2


class QueueMap(KeylessMap):
    """A queue (first in, first out) or a stack (last in, first out), Linux 4.20."""

    __slots__ = ()

    def push(self, value: Any, *, replace: bool = False) -> bool:
        """Add a value; False when the map is full.

        With `replace` a full map forgets its oldest value instead.
        """
        flags = BPF_EXIST if replace else 0
        result, _, _ = self._element(_UPDATE, b"", self._encode(value), flags)
        if result == -errno.E2BIG:
            return False
        if result < 0:
            raise self._refusal(-result, "MAP_UPDATE_ELEM", "write", "its end")
        return True

    def pop(self) -> Any:  # type: ignore[override]  # of a mapping: there are no keys
        """Take the next value out, or None when there is none."""
        return self._next(_TAKE, "MAP_LOOKUP_AND_DELETE_ELEM")

    def peek(self) -> Any:
        """The next value, which stays; None when there is none."""
        return self._next(_LOOKUP, "MAP_LOOKUP_ELEM")

    def _next(self, command: int, name: str) -> Any:
        result, buffer, at = self._element(command, b"")
        if result == -errno.ENOENT:
            return None
        if result < 0:
            raise self._refusal(-result, name, "read", "its end")
        return self._decode(bytes(buffer[at:]))


class BloomMap(KeylessMap):
    """A Bloom filter: what was added is found, and seldom something else (Linux 5.16)."""

    __slots__ = ()

    def add(self, value: Any) -> None:
        """Add a value, for good."""
        result, _, _ = self._element(_UPDATE, b"", self._encode(value))
        if result < 0:
            raise self._refusal(-result, "MAP_UPDATE_ELEM", "write", value)

    def __contains__(self, value: object) -> bool:
        encoded = self._encode(value)
        result, _, _ = self._element(_LOOKUP, b"", encoded)
        if result < 0 and result != -errno.ENOENT:
            raise self._refusal(-result, "MAP_LOOKUP_ELEM", "read", value)
        return result == 0
