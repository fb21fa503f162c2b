"""Call stacks by number: addresses, or places in files.

    stacks = StackTrace(max_entries=1024)

In programs `stacks.stack_id(ctx)`; in user space `stacks[n]`, whose addresses
`beewire.symbols` gives names.
"""

from __future__ import annotations

from beewire.bpf.author.bound import OnMap
from beewire.bpf.lang.decl import MapDecl
from beewire.bpf.lang.structs import Struct
from beewire.bpf.lang.types import (
    U32,
    U64,
    ArrayType,
    ValueType,
    array,
    i32,
    u8,
    u64,
    value_type,
)
from beewire.bpf.object.kinds import MapKind
from beewire.hints import TYPE_CHECKING, ClassVar, Iterator
from beewire.rows import Row

if TYPE_CHECKING:
    from beewire.bpf.lang.contexts import Context

MAX_STACK = 127  # PERF_MAX_STACK_DEPTH, unless an administrator changed it
BY_BUILD_ID = 1 << 5  # BPF_F_STACK_BUILD_ID
_VALID, _ADDRESS = 1, 2  # BPF_STACK_BUILD_ID_VALID, .._IP


class _Stacks(OnMap, MapDecl):
    """What both kinds of stack maps share."""

    kind = MapKind.STACK_TRACE
    operations = frozenset({"stack_id"})
    lowering = "events"

    frame: ClassVar[ValueType] = U64

    def __init__(
        self,
        max_entries: int,
        *,
        depth: int = MAX_STACK,
        flags: int = 0,
        name: str = "",
    ) -> None:
        super().__init__(max_entries, flags=flags, name=name)
        self._frames = ArrayType(self.frame, depth)

    @property
    def stored(self) -> tuple[ValueType, ValueType]:
        """The frames of a stack by its number."""
        return U32, self._frames

    def stack_id(self, ctx: Context, *, user: bool = False, skip: int = 0) -> int:
        """In programs: note the kernel's stack, or the process's, and give its number.

        `skip` frames are left out. Negative: -EEXIST (-17) where another stack has the
        same place, -EFAULT (-14) where there is none.
        """
        del ctx, user, skip
        self.in_programs("stack_id")

    def __delitem__(self, number: int) -> None:
        del self.live[number]

    def __contains__(self, number: object) -> bool:
        return number in self.live

    def __iter__(self) -> Iterator[int]:
        return iter(self.live)

    def __len__(self) -> int:
        return len(self.live)


class StackTrace(_Stacks):
    """Call stacks by number: lists of addresses, innermost first (Linux 4.6).

    In programs `stacks.stack_id(ctx)` notes the present stack, at most `depth` frames of
    it, and gives its number.
    """

    def __getitem__(self, number: int) -> list[int]:
        """The addresses of a stack, innermost first.

        Raises:
            KeyError: There is no stack of that number.
        """
        found: list[int] = self.live[number]
        return [address for address in found if address]


class Place(Row):
    """Where code is: at `offset` of the file that was built as `build_id`.

    `build_id` is b"" where the file has none, or could not be read at that moment;
    `offset` is the address then.
    """

    build_id: bytes
    offset: int


class _Place(Struct):
    """`struct bpf_stack_build_id`."""

    status: i32
    build_id: bytes = array(u8, 20)
    offset: u64


class StackBuildIds(_Stacks):
    """Call stacks of processes as places in files, innermost first (Linux 4.17).

    They can be named when the process has ended, and on another machine. In programs
    `stacks.stack_id(ctx, user=True)`; of the kernel's stacks there are addresses only.
    """

    frame = value_type(_Place)

    def __init__(
        self,
        max_entries: int,
        *,
        depth: int = MAX_STACK,
        flags: int = 0,
        name: str = "",
    ) -> None:
        super().__init__(max_entries, depth=depth, flags=flags | BY_BUILD_ID, name=name)

    def __getitem__(self, number: int) -> list[Place]:
        """The places of a stack, innermost first.

        Raises:
            KeyError: There is no stack of that number.
        """
        found: list[_Place] = self.live[number]
        return [
            Place(bytes(each.build_id) if each.status == _VALID else b"", each.offset)
            for each in found
            if each.status in {_VALID, _ADDRESS}
        ]
