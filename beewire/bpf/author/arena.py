"""Memory that programs and user space share, as large as it has to be (Linux 6.9).

    heap = Arena(pages=64)

Both name places by their offset: in programs `heap.at(offset, Node).key = 1`, in user
space `heap.at(offset, Node).key`.
"""

from __future__ import annotations

from beewire.bpf.author.bound import OnMap, home_of
from beewire.bpf.author.codec import encoder
from beewire.bpf.lang.decl import MapDecl
from beewire.bpf.lang.types import ValueType, unpack, value_type
from beewire.bpf.object.kinds import MapKind
from beewire.errors import MapError
from beewire.hints import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from mmap import mmap

    from beewire.bpf.lang.structs import Struct

S = TypeVar("S", bound="Struct")

MMAPABLE = 0x400  # BPF_F_MMAPABLE, which the kernel demands of arenas
SECTION = ".addr_space.1"


class Arena(OnMap, MapDecl):
    """Memory of `pages` pages, of which an object has one.

    The first page is there from the start, and nobody's until you use it. What is read
    where no page is, is zero. In programs atomic operations work as in a map's values.

    It lies at the same address in every process that maps it. The kernel does not tell
    the one that it chose: an arena that is pinned, to be opened by others, needs an
    `address` of its own, such as `1 << 44`.
    """

    kind = MapKind.ARENA
    operations = frozenset({"at", "alloc", "free"})
    lowering = "arena"

    implied_flags = MMAPABLE

    def __init__(
        self,
        pages: int,
        *,
        address: int = 0,
        flags: int = 0,
        name: str = "",
        pinned: bool = False,
    ) -> None:
        super().__init__(pages, flags=flags, name=name, pinned=pinned)
        self.extra = address

    @property
    def stored(self) -> tuple[ValueType | None, ValueType | None]:
        """Neither keys nor values."""
        return None, None

    @property
    def memory(self) -> mmap | memoryview:
        """All of it; writing where no page is makes one.

        Raises:
            MapError: It is not in the kernel.
        """
        live = self.live
        for part in home_of(self).parts:
            section = part.sections.get(SECTION)
            if section is not None and section.map is live:
                return section.memory
        raise MapError(
            f"{self.name} is not mapped here: of the arenas that others made, those with "
            "an address can be, as Arena(pages, address=1 << 44)"
        )

    def at(self, offset: int, type: type[S]) -> S:  # noqa: A002 - the word for it
        """The struct at `offset`: in programs a reference, in user space a copy."""
        kind = value_type(type)
        found: S = unpack(bytes(self.memory[offset : offset + kind.size]), kind)
        return found

    def put(self, offset: int, value: Struct) -> None:
        """In user space: write a struct at `offset`."""
        encode: Any = encoder(value.__layout__)
        raw = encode(value)
        self.memory[offset : offset + len(raw)] = raw

    def alloc(self, pages: int = 1) -> int:
        """In sleepable programs: the offset of new pages, or -ENOMEM (-12)."""
        del pages
        self.in_programs("alloc", "at() and put(): pages come by themselves")

    def free(self, offset: int, pages: int = 1) -> None:
        """In sleepable programs: give pages back."""
        del offset, pages
        self.in_programs("free")
