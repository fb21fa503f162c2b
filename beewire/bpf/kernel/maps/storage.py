"""Local storage: values that live in sockets, files, tasks or cgroups."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, TypeVar

from beewire.bpf.btf import Type
from beewire.bpf.kernel.maps.base import Map
from beewire.bpf.kernel.maps.codec import MapCodec, V
from beewire.bpf.kernel.maps.owners import HasFileno, descriptor_of, while_open
from beewire.bpf.object import MapKind, MapSpec
from beewire.errors import MapError

T = TypeVar("T")

# What owners are, and those of them that have a path.
_OWNERS = {
    MapKind.SK_STORAGE: "a socket",
    MapKind.TASK_STORAGE: "a pidfd (os.pidfd_open)",
    MapKind.INODE_STORAGE: "a file",
    MapKind.CGRP_STORAGE: "a cgroup's directory",
}
_WITH_PATHS = (MapKind.INODE_STORAGE, MapKind.CGRP_STORAGE)


class StorageMap(Map["Any", V]):
    """The key is the object: a socket, file, pidfd or cgroup directory (or its fd).

    Files and cgroups may be named by their path. The kernel keeps each value with its
    object, frees them together, and cannot list the objects that have one.
    """

    __slots__ = ()

    def __init__(
        self, fd: int, spec: MapSpec, codec: MapCodec[Any, V] | None = None
    ) -> None:
        super().__init__(fd, spec, codec)
        self._take_owners()

    def retype(self, key: "Type | None", value: "Type | None") -> None:
        """See values as this type from now on; keys stay objects."""
        super().retype(key, value)
        self._take_owners()

    def _take_owners(self) -> None:
        self.codec = self.codec._replace(encode_key=self._encode_key, keys=None)

    def _encode_key(self, key: "int | HasFileno") -> bytes:
        what = f"a key of map {self.name!r}, {_OWNERS[self.spec.kind]},"
        return descriptor_of(key, what).to_bytes(4, "little", signed=True)

    def _with(self, owner: Any, action: Callable[[Any], T]) -> T:
        """Run `action` on the descriptor of `owner`, which is opened if it is a path."""
        if self.spec.kind not in _WITH_PATHS:
            return action(owner)
        return while_open(owner, action, _OWNERS[self.spec.kind])

    def lookup(self, key: Any) -> V | None:
        """The value that the owner `key` holds, or None."""
        return self._with(key, super().lookup)

    def _store(self, key: Any, value: V, flags: int) -> bool:
        store = super()._store
        return self._with(key, lambda owner: store(owner, value, flags))

    def __delitem__(self, key: Any) -> None:
        self._with(key, super().__delitem__)

    def take(self, key: Any) -> NoReturn:  # noqa: ARG002 - refused for any key
        """Refused: the kernel has no such step for storage."""
        raise MapError(
            f"map {self.name!r} has no take(): read the value, then delete it"
        )

    def update(  # type: ignore[override]  # as Map's
        self, entries: Mapping[Any, V] | Iterable[tuple[Any, V]] = (), /
    ) -> None:
        """Set the values of many owners, one after the other."""
        for owner, value in dict(entries).items():
            self[owner] = value

    def _shape(self) -> NoReturn:
        self._unlisted()

    def _unlisted(self) -> NoReturn:
        raise MapError(
            f"map {self.name!r} cannot be listed: its values lie in the objects they "
            "belong to; ask for one by its descriptor"
        )
