"""Maps of maps, and arrays of programs.

    tenants = HashOfMaps[u32](HashMap[u32, u64](max_entries=64), max_entries=16)

In programs `if (table := tenants.lookup(tenant)) is not None: table[key] += 1`; in user
space `tenants[7] = tenants.create()`, `tenants[7][key]`.
"""

from __future__ import annotations

from beewire.bpf.author.bound import OnMap, bind
from beewire.bpf.author.maps import Listed
from beewire.bpf.lang.decl import MapDecl, ProgramDecl
from beewire.bpf.lang.types import U32, ValueType
from beewire.bpf.object.kinds import MapKind
from beewire.errors import KernelError, SpecError
from beewire.hints import TYPE_CHECKING, Any, Generic, Iterator, TypeVar

if TYPE_CHECKING:
    from beewire.bpf.kernel import AnyMap, Program
    from beewire.bpf.lang.contexts import Context

INNER_MAP = 0x1000  # BPF_F_INNER_MAP: arrays of any length may be put in

K = TypeVar("K")
M = TypeVar("M", bound=OnMap)


class _Maps(OnMap, MapDecl, Generic[M]):
    """Operations that arrays and hashes of maps share."""

    operations = frozenset({"lookup"})
    lowering = "nested"
    inner: M

    def __init__(
        self,
        inner: M,
        max_entries: int,
        *,
        flags: int = 0,
        name: str = "",
        pinned: bool = False,
    ) -> None:
        if inner.inner is not None:
            raise SpecError("a map inside a map holds no maps itself")
        super().__init__(max_entries, flags=flags, name=name, pinned=pinned)
        self.inner = inner

    @property
    def value(self) -> ValueType:
        """A descriptor when written, the map's id when read."""
        return U32

    def create(self) -> M:
        """A new map of the inner kind, to be put in; it lives as long as it is in use."""
        if not self.inner.name:
            self.inner.name = f"{self.name}.inner"
        return self.inner.load()

    def _each(self) -> Iterator[tuple[Any, M]]:
        for key in self.live:
            try:
                yield key, self._at(key)
            except (KeyError, KernelError):  # it went away meanwhile
                continue

    def _at(self, key: object) -> M:
        from beewire.bpf.author.alone import around  # noqa: PLC0415 - after attaching
        from beewire.bpf.kernel.maps import Map  # noqa: PLC0415 - as above

        live = Map.from_id(self.live[key], self.inner.name)
        what = f"the map at {key!r} in {self.name}"
        home = around(self.inner, live, what, any_size=self._any_size)
        return bind(self.inner, home)

    def _put(self, key: object, table: M | AnyMap) -> None:
        live = table.live if isinstance(table, OnMap) else table
        self._check(key, live)
        self.live[key] = live

    @property
    def _any_size(self) -> bool:
        """Whether maps of any `max_entries` may be put in: bpf_map_meta_equal()."""
        inner = self.inner
        return inner.kind is not MapKind.ARRAY or bool(inner.flags & INNER_MAP)

    def _check(self, key: object, live: AnyMap) -> None:
        from beewire.bpf.author.collection import map_spec  # noqa: PLC0415 - after attaching
        from beewire.bpf.kernel.fits import check_fits  # noqa: PLC0415 - as above

        wanted = map_spec(self.inner)
        if self._any_size:
            wanted.max_entries = 0
        check_fits(wanted, live.spec, f"the map given for {key!r} in {self.name}")

    def _take(self, key: object) -> None:
        del self.live[key]

    def __contains__(self, key: object) -> bool:
        return key in self.live

    def __len__(self) -> int:
        return len(self.live)


class ArrayOfMaps(_Maps[M]):
    """Maps of one kind by number, from 0 to `max_entries` - 1 (Linux 4.12)."""

    kind = MapKind.ARRAY_OF_MAPS

    @property
    def key(self) -> ValueType:
        """Always u32."""
        return U32

    def lookup(self, key: int) -> M | None:
        """In programs: the map at `key`, or None."""
        self.in_programs("lookup", f"{self.name or 'maps'}[{key!r}]")

    def __getitem__(self, key: int) -> M:
        return self._at(key)

    def __setitem__(self, key: int, table: M | AnyMap) -> None:
        self._put(key, table)

    def __delitem__(self, key: int) -> None:
        self._take(key)

    def __iter__(self) -> Iterator[int]:
        return iter(self.live)

    def items(self) -> Iterator[tuple[int, M]]:
        """Numbers and the maps there, each opened as it comes."""
        return self._each()


class HashOfMaps(_Maps[M], Generic[K, M]):
    """Maps of one kind by any key (Linux 4.12): `HashOfMaps[u32, Inner](Inner(...), 8)`."""

    kind = MapKind.HASH_OF_MAPS
    parameters = ("key",)

    def lookup(self, key: K) -> M | None:
        """In programs: the map at `key`, or None."""
        self.in_programs("lookup", f"{self.name or 'maps'}[{key!r}]")

    def __getitem__(self, key: K) -> M:
        return self._at(key)

    def __setitem__(self, key: K, table: M | AnyMap) -> None:
        self._put(key, table)

    def __delitem__(self, key: K) -> None:
        self._take(key)

    def __iter__(self) -> Iterator[K]:
        return iter(self.live)

    def items(self) -> Iterator[tuple[K, M]]:
        """Keys and the maps there, each opened as it comes."""
        return self._each()


class ProgArray(Listed[int, int], MapDecl):
    """Programs by number, for tail calls (Linux 4.2).

    In programs `steps.tail_call(ctx, n)` goes there, and comes back only where nothing
    is; in user space `steps[n] = program`, of the same kind as the caller.
    """

    kind = MapKind.PROG_ARRAY
    operations = frozenset({"tail_call"})
    lowering = "programs"

    @property
    def stored(self) -> tuple[ValueType, ValueType]:
        """A descriptor by number."""
        return U32, U32

    def tail_call(self, ctx: Context, index: int) -> None:
        """In programs: continue in the program at `index`, if there is one."""
        del ctx, index
        self.in_programs("tail_call")

    def __getitem__(self, index: int) -> int:
        """The id of the program at `index`."""
        found: int = self.live[index]
        return found

    def __setitem__(self, index: int, program: ProgramDecl | Program | int) -> None:
        live = getattr(program, "live", program)
        self.live[index] = live

    def __delitem__(self, index: int) -> None:
        del self.live[index]
