"""Local storage: values that live in sockets, files, tasks or cgroups."""

from typing import Any, NoReturn

from beewire.bpf.kernel.maps.base import Map
from beewire.bpf.kernel.maps.codec import MapCodec, V
from beewire.bpf.kernel.maps.references import HasFileno, descriptor_of
from beewire.bpf.object import MapSpec
from beewire.errors import MapError


class StorageMap(Map["int | HasFileno", V]):
    """The key is the object: a socket, file, pidfd or cgroup directory (or its fd).

    The kernel keeps each value with its object, frees them together, and cannot list
    the objects that have one.
    """

    __slots__ = ()

    def __init__(
        self, fd: int, spec: MapSpec, codec: MapCodec[Any, V] | None = None
    ) -> None:
        super().__init__(fd, spec, codec)
        self.codec = self.codec._replace(encode_key=self._encode_key)

    def _encode_key(self, key: "int | HasFileno") -> bytes:
        number = descriptor_of(key, f"a key of map {self.name!r}")
        return number.to_bytes(4, "little", signed=True)

    def _shape(self) -> NoReturn:
        self._unlisted()

    def _unlisted(self) -> NoReturn:
        raise MapError(
            f"map {self.name!r} cannot be listed: its values lie in the objects they "
            "belong to; ask for one by its descriptor"
        )
