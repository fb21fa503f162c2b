"""Walks over maps whose last entry has a next one: storage of cgroups on some kernels."""

import errno

import pytest

from beewire.bpf.kernel import attr
from beewire.bpf.kernel.maps import walk
from beewire.bpf.kernel.maps.shape import Shape
from beewire.bpf.kernel.syscall import Cmd
from beewire.bpf.object import MapKind
from tests.systems import Absent, memory, using

HEAD = 0xDEAD
KINDS = (MapKind.CGROUP_STORAGE, MapKind.PERCPU_CGROUP_STORAGE)


class Ring(Absent):
    """A list of entries whose head is taken for one; `dies` goes when it was read."""

    __slots__ = ("dies", "entries")

    def __init__(self, entries: list[int], dies: int | None = None) -> None:
        super().__init__()
        self.entries = entries
        self.dies = dies
        self.say(Cmd.MAP_GET_NEXT_KEY, self._next)
        self.say(Cmd.MAP_LOOKUP_ELEM, self._lookup)

    def _next(self, record: memoryview) -> int:
        fields = attr.MAP_ELEM.unpack(bytes(record))
        following = self.entries[:1]
        if key := fields["key"]:
            found = int.from_bytes(memory(int(key), 8), "little")
            if found not in self.entries:
                return -errno.ENOENT
            following = [*self.entries, HEAD][self.entries.index(found) + 1 :][:1]
        if not following:
            return -errno.ENOENT
        memory(int(fields["value"]), 8)[:] = following[0].to_bytes(8, "little")
        if following[0] == self.dies:
            self.entries.remove(self.dies)
        return 0

    def _lookup(self, record: memoryview) -> int:
        fields = attr.MAP_ELEM.unpack(bytes(record))
        key = int.from_bytes(memory(int(fields["key"]), 8), "little")
        if key not in self.entries:
            return -errno.ENOENT
        memory(int(fields["value"]), 8)[:] = (key + 1).to_bytes(8, "little")
        return 0


def read(kind: MapKind) -> list[int]:
    keys: list[int] = []
    for found, _, _ in walk.chunks(Shape(1, "stores", kind, 8, 8, 0, batched=False)):
        keys += found.cast("Q").tolist()
    return keys


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("entries", [[], [5], [5, 7, 9]])
def test_a_walk_ends_where_the_list_does(kind: MapKind, entries: list[int]) -> None:
    with using(Ring(entries)):
        assert read(kind) == entries


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dies", [5, 7, 9])
def test_an_entry_that_goes_meanwhile_hides_no_other(kind: MapKind, dies: int) -> None:
    entries = [5, 7, 9]

    with using(Ring(entries, dies)):
        found = read(kind)

    assert found == entries
    assert dies not in entries
