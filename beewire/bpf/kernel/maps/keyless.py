"""Maps without keys, which are not read and written like a mapping."""

from beewire.bpf.kernel.maps.base import Map
from beewire.bpf.object import MapKind
from beewire.errors import MapError
from beewire.hints import Any, NoReturn

_INSTEAD = {
    MapKind.QUEUE: "use push(), pop() and peek()",
    MapKind.STACK: "use push(), pop() and peek()",
    MapKind.BLOOM_FILTER: "use add() and 'in'",
    MapKind.RINGBUF: "read its records with RingReader",
    MapKind.USER_RINGBUF: "write its records with UserRing",
    MapKind.STRUCT_OPS: "it is attached, not read",
    MapKind.ARENA: "it is memory, shared with programs",
}


class KeylessMap(Map[Any, Any]):
    """A map to own, share and pin; its content is reached in other ways."""

    __slots__ = ()

    def _refuse(self) -> NoReturn:
        raise MapError(
            f"map {self.name!r} ({self.spec.kind.name}) has no keys: "
            f"{_INSTEAD[self.spec.kind]}"
        )

    def lookup(self, key: object) -> NoReturn:  # noqa: ARG002 - refused for any key
        """Refused: there are no keys."""
        self._refuse()

    def _store(self, key: object, value: object, flags: int) -> NoReturn:  # noqa: ARG002 - as lookup
        self._refuse()

    def __delitem__(self, key: object) -> NoReturn:
        self._refuse()

    def take(self, key: object) -> NoReturn:  # noqa: ARG002 - as lookup
        """Refused: there are no keys."""
        self._refuse()

    def _shape(self) -> NoReturn:
        self._refuse()
