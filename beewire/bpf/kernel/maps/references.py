"""Maps that hold sockets, programs or maps: written as descriptors, read as numbers."""

import errno
from typing import TYPE_CHECKING, Protocol

from beewire.bpf.kernel.maps.base import Map
from beewire.bpf.kernel.maps.codec import K
from beewire.bpf.object import MapKind
from beewire.errors import EncodingError, MapError

if TYPE_CHECKING:
    from beewire.bpf.kernel.maps.rows import Decode
    from beewire.bpf.kernel.maps.shape import Shape

_FD_LIMIT = 1 << 31
_SOCKETS = (MapKind.SOCKMAP, MapKind.SOCKHASH, MapKind.REUSEPORT_SOCKARRAY)
_COOKIE = 8  # bytes of a socket's cookie
_HASHES = (MapKind.SOCKHASH, MapKind.HASH_OF_MAPS)


class HasFileno(Protocol):
    """A socket, a Map, a Program: anything with a descriptor."""

    def fileno(self) -> int:
        """The descriptor."""


def descriptor_of(handle: object, what: str) -> int:
    """The descriptor that an int or an object with `fileno()` stands for."""
    if isinstance(handle, int):
        if not -_FD_LIMIT <= handle < _FD_LIMIT:
            raise EncodingError(f"{what} is a descriptor; {handle} cannot be one")
        return handle
    fileno = getattr(handle, "fileno", None)
    if fileno is None:
        raise EncodingError(
            f"{what} is a descriptor or an object with fileno(), "
            f"not {type(handle).__name__}"
        )
    number: int = fileno()
    return number


class ReferenceMap(Map[K, "int | HasFileno"]):
    """Set an entry to a socket, program or map; read back its cookie or id.

    A socket map tells cookies only when its values are 8 bytes wide.
    """

    __slots__ = ()

    def _encode(self, value: "int | HasFileno") -> bytes:
        number = descriptor_of(value, f"a value of map {self.name!r}")
        return number.to_bytes(self.spec.value_size, "little", signed=True)

    def _decode(self, data: bytes) -> int:
        if not data:
            raise MapError(
                f"map {self.name!r} cannot be read: the kernel tells socket cookies only "
                "to maps with values of 8 bytes"
            )
        return int.from_bytes(data, "little")

    def _pack_values(self, values: "list[int | HasFileno]") -> bytearray:
        return bytearray().join(map(self._encode, values))

    def _read_values(self) -> "Decode":
        from beewire.bpf.kernel.maps import rows  # noqa: PLC0415 - not on the start-up path

        size = self.spec.value_size
        return rows.reader(None, self._decode, size, size)

    def _shape(self) -> "Shape":
        shape = super()._shape()
        # A batch ends at the first socket whose cookie does not fit.
        narrow = self.spec.kind in _SOCKETS and self.spec.value_size < _COOKIE
        return shape._replace(batched=shape.batched and not narrow)

    def __contains__(self, key: object) -> bool:
        # As in Map; true also where the cookie itself cannot be read.
        return self._read(key) is not None  # type: ignore[arg-type] # Mapping says object

    def _read(self, key: K) -> bytes | None:
        from beewire.bpf.kernel.maps.walk import lookup  # noqa: PLC0415 - not on the start-up path

        return lookup(self._shape(), self.codec.encode_key(key))

    def lookup(self, key: K) -> int | None:
        """The cookie (sockets) or id (programs, maps) at `key`, or None."""
        data = self._read(key)
        return None if data is None else self._decode(data)

    def _refusal(self, number: int, command: str, verb: str, key: object) -> Exception:
        # What the arrays among them say where nothing is.
        nothing = (errno.EINVAL, errno.E2BIG)
        if command == "MAP_DELETE_ELEM" and number in nothing:
            return KeyError(key)
        if number == errno.E2BIG and self.spec.kind not in _HASHES:
            last = self.spec.max_entries - 1
            return MapError(
                f"map {self.name!r} has the keys 0 to {last}; {key!r} is none of them"
            )
        return super()._refusal(number, command, verb, key)

    def _rule(self, command: str) -> str:
        if self.spec.kind in _SOCKETS and command == "MAP_UPDATE_ELEM":
            return "it takes sockets that are connected or listen"
        return super()._rule(command)
