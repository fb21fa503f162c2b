"""The arena of an object, and the variables that it begins with (`.addr_space.1`)."""

import errno
import mmap

from beewire.bpf.kernel import syscall
from beewire.bpf.kernel.maps import AnyMap
from beewire.bpf.kernel.section import Section
from beewire.bpf.object import DataSection, MapKind
from beewire.errors import KernelError, SpecError
from beewire.hints import Mapping


class ArenaSection(Section):
    """The variables at the beginning of an arena."""

    __slots__ = ("_length", "_place")

    def __init__(self, arena: AnyMap, section: DataSection) -> None:
        super().__init__(arena, section.variables)
        self._length = arena.spec.max_entries * mmap.PAGESIZE
        if len(section.content) > self._length:
            raise SpecError(f"arena {arena.name!r} is too small for {section.name}")
        self._place, view = syscall.map_memory(arena.fd, self._length, arena.spec.extra)
        if view is None:
            number = -self._place
            name = errno.errorcode.get(number, str(number))
            message = f"the memory of arena {arena.name!r} cannot be mapped: {name}"
            raise KernelError(number, "mmap", message)
        self._memory = view

    def close(self) -> None:
        """Give the memory back; the arena stays."""
        if self._memory is not None:
            self._memory = None
            syscall.unmap_memory(self._place, self._length)


def map_arena(
    maps: Mapping[str, AnyMap], section: DataSection, content: bytes
) -> ArenaSection:
    """Map the one arena among `maps`, and put `content` at its beginning.

    The verifier wants an arena to have an address: that is where it is mapped first.

    Raises:
        SpecError: there is no arena, or it is too small.
        KernelError: the memory cannot be mapped.
    """
    arenas = [each for each in maps.values() if each.spec.kind is MapKind.ARENA]
    if not arenas:
        raise SpecError(f"the object has variables in {section.name}, but no arena")
    found = ArenaSection(arenas[0], section)
    found.fill(content)
    return found
