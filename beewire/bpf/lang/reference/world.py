"""What a program finds and what it leaves behind: maps, globals, rings, the kernel."""

from collections.abc import Callable, Mapping
from typing import Any

from beewire.bpf.lang.decl import GlobalDecl, MapDecl, PerCpuDecl
from beewire.bpf.lang.types import ValueType, pack, unpack
from beewire.bpf.object.kinds import MapKind
from beewire.errors import BeewireError

ENOENT, E2BIG, EEXIST = -2, -7, -17
NOEXIST, EXIST = 1, 2  # BPF_NOEXIST, BPF_EXIST
_ARRAYS = frozenset({MapKind.ARRAY, MapKind.PERCPU_ARRAY})
_HASHES = frozenset(
    {
        MapKind.HASH,
        MapKind.PERCPU_HASH,
        MapKind.LRU_HASH,
        MapKind.LRU_PERCPU_HASH,
    }
)

Answer = Callable[..., int]


class Entries:
    """A map from keys to values, as bytes. A per-CPU map has the values of one CPU."""

    def __init__(self, declared: MapDecl) -> None:
        if declared.kind not in _ARRAYS | _HASHES:
            raise BeewireError(f"evaluate() knows no map of kind {declared.kind.name}")
        assert declared.key is not None
        assert declared.value is not None
        self.key: ValueType = declared.key
        self.value: ValueType = declared.value
        self.is_array = declared.kind in _ARRAYS
        self.room = declared.max_entries
        self.values: dict[bytes, bytearray] = {}
        if self.is_array:
            for index in range(self.room):
                key = index.to_bytes(4, "little")
                self.values[key] = bytearray(self.value.size)

    def lookup(self, key: bytes) -> bytearray | None:
        """The value's memory, or None."""
        return self.values.get(key)

    def update(self, key: bytes, value: bytes, flags: int = 0) -> int:
        """What `bpf_map_update_elem` returns."""
        known = self.values.get(key)
        if self.is_array:
            if known is None:
                return E2BIG
            if flags == NOEXIST:
                return EEXIST
            known[:] = value
            return 0
        if known is not None and flags == NOEXIST:
            return EEXIST
        if known is None and flags == EXIST:
            return ENOENT
        if known is None and len(self.values) >= self.room:
            return E2BIG
        # A hash replaces the entry: who holds a reference keeps the old one.
        self.values[key] = bytearray(value)
        return 0

    def delete(self, key: bytes) -> int:
        """What `bpf_map_delete_elem` returns."""
        return ENOENT if self.values.pop(key, None) is None else 0


class World:
    """All that is outside of the program.

    `answers` says what helpers return: a number, or a function of the arguments.
    `kernel` is the current task as nested dicts of the fields that are read. Maps and
    globals come into being, zero or as declared, when a program first uses them.
    """

    def __init__(
        self,
        answers: Mapping[str, int | Answer] | None = None,
        kernel: Mapping[str, Any] | None = None,
    ) -> None:
        self.answers = dict(answers or {})
        self.kernel = dict(kernel or {})
        # How often programs have gone to others since the first one began.
        self.tail_calls = 0
        self._maps: dict[int, Entries] = {}
        self._globals: dict[int, bytearray] = {}
        self._rings: dict[int, list[bytearray]] = {}
        self._waiting: dict[int, list[bytes]] = {}
        # Reserved records that were sent, or dropped, by the id() of their memory.
        self.settled: dict[int, bytearray] = {}
        # Keeps the declarations alive, whose id() is the key above.
        self._known: list[object] = []

    def map(self, declared: MapDecl) -> Entries:
        """The entries of a map."""
        found = self._maps.get(id(declared))
        if found is None:
            found = self._maps[id(declared)] = Entries(declared)
            self._known.append(declared)
        return found

    def variable(self, declared: GlobalDecl) -> bytearray:
        """The bytes of a global."""
        found = self._globals.get(id(declared))
        if found is None:
            kind = declared.type
            initial = declared.initial
            raw = pack(kind.zero() if initial is None else initial, kind)
            found = self._globals[id(declared)] = bytearray(raw)
            self._known.append(declared)
        return found

    def own_variable(self, declared: PerCpuDecl) -> bytearray:
        """The bytes of a per-CPU global, of the one CPU that there is."""
        found = self._globals.get(id(declared))
        if found is None:
            found = self._globals[id(declared)] = bytearray(declared.item.size)
            self._known.append(declared)
        return found

    def records(self, declared: MapDecl) -> list[bytearray]:
        """What was sent by a ring buffer, in order."""
        found = self._rings.get(id(declared))
        if found is None:
            found = self._rings[id(declared)] = []
            self._known.append(declared)
        return found

    def waiting(self, declared: MapDecl) -> list[bytes]:
        """What a queue, a stack or a Bloom filter holds, the oldest first."""
        found = self._waiting.get(id(declared))
        if found is None:
            found = self._waiting[id(declared)] = []
            self._known.append(declared)
        return found

    def queued(self, declared: MapDecl) -> list[Any]:
        """What a queue or a stack holds as Python sees it, the oldest first."""
        assert declared.value is not None
        return [unpack(raw, declared.value) for raw in self.waiting(declared)]

    def sent(self, declared: MapDecl) -> list[Any]:
        """What was sent by a ring buffer, as Python sees it."""
        assert declared.value is not None
        return [unpack(bytes(raw), declared.value) for raw in self.records(declared)]

    def entries(self, declared: MapDecl) -> dict[Any, Any]:
        """A map as Python sees it."""
        held = self.map(declared)
        return {
            unpack(key, held.key): unpack(bytes(value), held.value)
            for key, value in held.values.items()
        }

    def value(self, declared: object) -> Any:
        """A global as Python sees it."""
        if isinstance(declared, PerCpuDecl):
            return unpack(bytes(self.own_variable(declared)), declared.item)
        assert isinstance(declared, GlobalDecl)
        return unpack(bytes(self.variable(declared)), declared.type)
