"""Maps that hold sockets, programs or maps: written as descriptors, read as numbers."""

import errno
from collections.abc import Sequence
from typing import TYPE_CHECKING

from beewire.bpf.kernel.maps.base import Map
from beewire.bpf.kernel.maps.codec import K
from beewire.bpf.kernel.maps.owners import HasFileno, descriptor_of, while_open
from beewire.bpf.object import MapKind
from beewire.errors import MapError

if TYPE_CHECKING:
    from beewire.bpf.kernel.maps.rows import Decode
    from beewire.bpf.kernel.maps.shape import Shape

_SOCKETS = (MapKind.SOCKMAP, MapKind.SOCKHASH, MapKind.REUSEPORT_SOCKARRAY)
_CONNECTED = "sockets that are connected or listen, before TLS of the kernel is on them"
_TAKES = {
    MapKind.SOCKMAP: _CONNECTED,
    MapKind.SOCKHASH: _CONNECTED,
    MapKind.REUSEPORT_SOCKARRAY: "sockets that listen, with SO_REUSEPORT",
    MapKind.PROG_ARRAY: "programs, all of the same kind",
    MapKind.PERF_EVENT_ARRAY: "perf events",
    MapKind.CGROUP_ARRAY: "directories of cgroups",
    MapKind.XSKMAP: "AF_XDP sockets",
    MapKind.ARRAY_OF_MAPS: "maps of the kind, sizes and flags of its inner map",
    MapKind.HASH_OF_MAPS: "maps of the kind, sizes and flags of its inner map",
}
_COOKIE = 8  # bytes of a socket's cookie
_HASHES = (MapKind.SOCKHASH, MapKind.HASH_OF_MAPS)


class ReferenceMap(Map[K, "int | HasFileno"]):
    """Set an entry to a socket, program or map; read back its cookie or id.

    A cgroup may be named by its path. A socket map tells cookies only when its values are
    8 bytes wide.
    """

    __slots__ = ()

    def _store(self, key: K, value: "int | HasFileno", flags: int) -> bool:
        if self.spec.kind is not MapKind.CGROUP_ARRAY:
            return super()._store(key, value, flags)
        store = super()._store
        return while_open(value, lambda fd: store(key, fd, flags), "the cgroup")

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

    def _pack_values(self, values: "Sequence[int | HasFileno]") -> bytearray:
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
        if number == errno.EBADF and command == "MAP_UPDATE_ELEM":
            number = errno.EINVAL  # open, but of something else
        if number == errno.E2BIG and self.spec.kind not in _HASHES:
            last = self.spec.max_entries - 1
            return MapError(
                f"map {self.name!r} has the keys 0 to {last}; {key!r} is none of them"
            )
        return super()._refusal(number, command, verb, key)

    def _rule(self, command: str) -> str:
        if command == "MAP_UPDATE_ELEM" and self.spec.kind in _TAKES:
            return f"it takes {_TAKES[self.spec.kind]}"
        return super()._rule(command)
