"""Arrays: the keys are 0 to max_entries-1, and always there."""

import errno

from beewire.bpf.kernel import syscall
from beewire.bpf.kernel.maps.base import Map
from beewire.bpf.kernel.maps.codec import MapCodec, V
from beewire.bpf.object import MapSpec
from beewire.errors import KernelError, MapError
from beewire.hints import TYPE_CHECKING, Any, Iterator, NoReturn

if TYPE_CHECKING:
    from mmap import mmap

MMAPABLE = 0x400  # BPF_F_MMAPABLE


class ArrayMap(Map[int, V]):
    """An array; an entry that nobody wrote is all zero."""

    __slots__ = ("_memory",)

    def __init__(
        self, fd: int, spec: MapSpec, codec: MapCodec[int, V] | None = None
    ) -> None:
        super().__init__(fd, spec, codec)
        self._memory: mmap | None = None

    @property
    def memory(self) -> "mmap":
        """The values, each at a multiple of 8 bytes, as programs see them (Linux 5.5).

        They are read-only where user space may not write (`freeze`).

        Raises:
            MapError: the map was not made to be mapped.
        """
        if self._memory is None:
            self._memory = self._mapped()
        return self._memory

    def _mapped(self) -> "mmap":
        from mmap import PROT_READ, PROT_WRITE  # noqa: PLC0415 - few are

        if not self.spec.flags & MMAPABLE:
            raise MapError(
                f"array {self.name!r} cannot be mapped: make it with BPF_F_MMAPABLE, "
                "as Array[...](..., mmap=True) does"
            )
        length = (self.spec.value_size + 7 & ~7) * self.spec.max_entries
        try:
            return syscall.map_file(self.fd, length, PROT_READ | PROT_WRITE)
        except KernelError as error:
            if error.errno not in (errno.EPERM, errno.EACCES):
                raise
            return syscall.map_file(self.fd, length, PROT_READ)

    def to_numpy(self, *, copy: bool = True) -> Any:
        """All values as a numpy array; without `copy`, the memory that programs see."""
        if copy:
            return super().to_numpy()
        from beewire.bpf.kernel.maps import arrays  # noqa: PLC0415 - not on the start-up path

        return arrays.columns(self.spec, self.memory, self.spec.value_size + 7 & ~7)

    def freeze(self) -> None:
        """Forbid writing from user space, for good; `memory` is read-only then.

        Raises:
            MapError: somebody has mapped it for writing.
        """
        self._memory = None  # not closed: an array may lie over it
        super().freeze()

    def close(self) -> None:
        """Give the descriptor back. An array over its memory stays what it is."""
        self._memory = None
        super().close()

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
        mapped = number == errno.EBUSY and command == "MAP_FREEZE"
        if mapped and not self.info.frozen:
            return MapError(
                f"array {self.name!r} is mapped for writing, so it cannot be frozen: let "
                "go of the numpy arrays over its memory first"
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

    def drain(self) -> NoReturn:
        """Refused, as every deletion from an array."""
        del self[0]

    def take(self, key: int) -> NoReturn:
        """Refused, as every deletion from an array."""
        del self[key]
