"""Map: a map of the kernel as a mutable mapping."""

import errno
import struct

from beewire.bpf.btf import Struct
from beewire.bpf.kernel import attr
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.bpf.kernel.maps.codec import AnyCodec, K, MapCodec, V, default_codec
from beewire.bpf.kernel.syscall import Cmd, address, bpf, try_bpf
from beewire.bpf.object import MapKind, MapSpec
from beewire.hints import (
    TYPE_CHECKING,
    Any,
    ItemsView,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
    ValuesView,
)

if TYPE_CHECKING:
    from beewire.bpf.btf import Type
    from beewire.bpf.kernel.maps.info import MapInfo
    from beewire.bpf.kernel.maps.rows import Decode
    from beewire.bpf.kernel.maps.shape import Shape

_ELEM = struct.Struct("=IIQQQ")
_SIZE = attr.MAP_ELEM.size

ANY, NOEXIST, EXIST, F_LOCK = 0, 1, 2, 4

# Plain ints for the path of every single operation.
_LOOKUP = int(Cmd.MAP_LOOKUP_ELEM)
_UPDATE = int(Cmd.MAP_UPDATE_ELEM)
_DELETE = int(Cmd.MAP_DELETE_ELEM)
_TAKE = int(Cmd.MAP_LOOKUP_AND_DELETE_ELEM)

_PACKAGE = "beewire.bpf.kernel.maps"
_REFERENCES = ("references", "ReferenceMap")
_STORAGE = ("storage", "StorageMap")
_KEYLESS = ("keyless", "KeylessMap")
_QUEUE = ("queues", "QueueMap")
# Kinds that are more, or less, than Map: module and class.
_FAMILIES = {
    MapKind.ARRAY: ("array", "ArrayMap"),
    MapKind.PERCPU_ARRAY: ("percpu", "PerCpuArray"),
    MapKind.PERCPU_HASH: ("percpu", "PerCpuHash"),
    MapKind.LRU_PERCPU_HASH: ("percpu", "PerCpuHash"),
    MapKind.PERCPU_CGROUP_STORAGE: ("percpu", "PerCpuHash"),
    MapKind.SOCKMAP: _REFERENCES,
    MapKind.SOCKHASH: _REFERENCES,
    MapKind.REUSEPORT_SOCKARRAY: _REFERENCES,
    MapKind.PROG_ARRAY: _REFERENCES,
    MapKind.PERF_EVENT_ARRAY: _REFERENCES,
    MapKind.CGROUP_ARRAY: _REFERENCES,
    MapKind.XSKMAP: _REFERENCES,
    MapKind.ARRAY_OF_MAPS: _REFERENCES,
    MapKind.HASH_OF_MAPS: _REFERENCES,
    MapKind.SK_STORAGE: _STORAGE,
    MapKind.INODE_STORAGE: _STORAGE,
    MapKind.TASK_STORAGE: _STORAGE,
    MapKind.CGRP_STORAGE: _STORAGE,
    MapKind.QUEUE: _QUEUE,
    MapKind.STACK: _QUEUE,
    MapKind.BLOOM_FILTER: ("queues", "BloomMap"),
    MapKind.RINGBUF: _KEYLESS,
    MapKind.USER_RINGBUF: _KEYLESS,
    MapKind.STRUCT_OPS: _KEYLESS,
    MapKind.ARENA: _KEYLESS,
}


class Map(Descriptor, MutableMapping[K, V]):
    """A map in the kernel; every operation is one system call.

    Reading while programs write is safe, each entry by itself. Iteration goes by
    batches where the kernel has them, and always ends. The class for a kind is chosen by
    `Map.wrap`; `spec` describes the map, `codec` how Python sees it. Values that have a
    `bpf_spin_lock` are read and written under it. With `batched` off entries are read
    and written one by one, as by kernels that have no batches.
    """

    __slots__ = ("_lock", "batched", "codec", "spec")

    def __init__(
        self, fd: int, spec: MapSpec, codec: MapCodec[K, V] | None = None
    ) -> None:
        super().__init__(fd)
        self.spec = spec
        self.codec: MapCodec[K, V] = codec or default_codec(spec)
        self.batched = True
        self._lock = _lock_flag(spec)

    def retype(self, key: "Type | None", value: "Type | None") -> None:
        """See keys and values as these types from now on."""
        self.spec.key, self.spec.value = key, value
        self.codec = default_codec(self.spec)

    @staticmethod
    def wrap(fd: int, spec: MapSpec, codec: AnyCodec | None = None) -> "AnyMap":
        """The Map of the right family around `fd`, which it owns from now on."""
        return _family(spec.kind)(fd, spec, codec)

    @staticmethod
    def from_pin(
        path: str, codec: AnyCodec | None = None, *, read_only: bool = False
    ) -> "AnyMap":
        """Open the map pinned at `path`; its spec comes from the kernel.

        With `read_only` it cannot be written by this handle, and no right to write the
        pin is needed.

        Raises:
            KernelError: nothing is pinned there, or it is no map.
        """
        from beewire.bpf.kernel import pins  # noqa: PLC0415 - not on the start-up path
        from beewire.bpf.kernel.maps.describe import describe  # noqa: PLC0415 - not on the start-up path

        fd = pins.open_pin(path, "map", read_only=read_only)
        handle = Descriptor(fd)
        with handle:
            spec = describe(fd, path)
            return Map.wrap(handle.release(), spec, codec)

    @staticmethod
    def from_id(number: int, name: str = "", codec: AnyCodec | None = None) -> "AnyMap":
        """Open the map with this id, as a map of maps tells it.

        Raises:
            KernelError: there is none, or CAP_SYS_ADMIN is missing.
        """
        from beewire.bpf.kernel.maps.describe import describe  # noqa: PLC0415 - not on the start-up path

        record = attr.GET_ID.pack(start_id=number)
        with Descriptor(bpf(Cmd.MAP_GET_FD_BY_ID, record, "open a map")) as handle:
            spec = describe(handle.fd, name)
            return Map.wrap(handle.release(), spec, codec)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.spec.name!r} ({self.spec.kind.name})>"

    @property
    def name(self) -> str:
        """The name in the object; the kernel may know it cut to 15 characters."""
        return self.spec.name

    @property
    def info(self) -> "MapInfo":
        """What the kernel knows of it: id, sizes, flags, memory, whether it is frozen."""
        from beewire.bpf.kernel.maps.info import map_info  # noqa: PLC0415 - not on the start-up path

        return map_info(self.fd)

    # What families change: the value as the kernel copies it.

    def _width(self) -> int:
        """Bytes of one value in a system call."""
        return self.spec.value_size

    def _encode(self, value: V) -> bytes:
        return self.codec.encode_value(value)

    def _decode(self, data: bytes) -> V:
        return self.codec.decode_value(data)

    # One entry.

    def _element(
        self, cmd: int, key: bytes, value: bytes = b"", flags: int = 0
    ) -> tuple[int, bytearray, int]:
        """Result of one element command, its buffer, and where the value lies in it."""
        fd = self._fd if self._fd >= 0 else self.fileno()
        at = _SIZE + (len(key) + 7 & ~7)
        buffer = bytearray(at + self._width())
        base = address(buffer)
        # A deletion with anything in the value's place is refused (CHECK_ATTR).
        place = 0 if cmd == _DELETE else base + at
        # So is a key where the map has none.
        _ELEM.pack_into(buffer, 0, fd, 0, base + _SIZE if key else 0, place, flags)
        buffer[_SIZE : _SIZE + len(key)] = key
        if value:
            buffer[at:] = value
        return try_bpf(cmd, buffer, _SIZE), buffer, at

    def lookup(self, key: K) -> V | None:
        """The value at `key`, or None when the map has no such key."""
        encoded = self.codec.encode_key(key)
        result, buffer, at = self._element(_LOOKUP, encoded, flags=self._lock)
        if result == -errno.ENOENT:
            return None
        if result < 0:
            raise self._refusal(-result, "MAP_LOOKUP_ELEM", "read", key)
        return self._decode(bytes(buffer[at:]))

    def __getitem__(self, key: K) -> V:
        value = self.lookup(key)
        if value is None:
            raise KeyError(key)
        return value

    def __contains__(self, key: object) -> bool:
        # A key of the wrong type raises, as in a program it would not compile.
        return self.lookup(key) is not None  # type: ignore[arg-type] # Mapping says object

    def __setitem__(self, key: K, value: V) -> None:
        self._store(key, value, ANY)

    def insert(self, key: K, value: V) -> bool:
        """Store a new entry; False, and nothing changes, when the key is there."""
        return self._store(key, value, NOEXIST)

    def replace(self, key: K, value: V) -> bool:
        """Store over an entry; False, and nothing changes, when there is none."""
        return self._store(key, value, EXIST)

    def _store(self, key: K, value: V, flags: int) -> bool:
        result, _, _ = self._element(
            _UPDATE,
            self.codec.encode_key(key),
            self._encode(value),
            flags | self._lock,
        )
        if result in (-errno.EEXIST, -errno.ENOENT) and flags:
            return False
        if result < 0:
            raise self._refusal(-result, "MAP_UPDATE_ELEM", "write", key)
        return True

    def __delitem__(self, key: K) -> None:
        encoded = self.codec.encode_key(key)
        result, _, _ = self._element(_DELETE, encoded)
        if result == -errno.ENOENT:
            raise KeyError(key)
        if result < 0:
            raise self._refusal(-result, "MAP_DELETE_ELEM", "delete from", key)

    def take(self, key: K) -> V | None:
        """Remove the entry at `key` in one step and return its value, or None.

        No update by a program between reading and deleting gets lost (hash families,
        Linux 5.14).
        """
        encoded = self.codec.encode_key(key)
        result, buffer, at = self._element(_TAKE, encoded, flags=self._lock)
        if result == -errno.ENOENT:
            return None
        if result < 0:
            raise self._refusal(-result, "MAP_LOOKUP_AND_DELETE_ELEM", "take from", key)
        return self._decode(bytes(buffer[at:]))

    # All entries.

    def _shape(self) -> "Shape":
        from beewire.bpf.kernel.maps.shape import Shape  # noqa: PLC0415 - not on the start-up path

        spec = self.spec
        return Shape(
            self.fd,
            spec.name,
            spec.kind,
            spec.key_size,
            self._width(),
            spec.max_entries,
            self._lock,
            self.batched,
        )

    def _read_keys(self) -> "Decode":
        """What decodes the keys of a whole chunk."""
        from beewire.bpf.kernel.maps import rows  # noqa: PLC0415 - not on the start-up path

        size = self.spec.key_size
        return rows.reader(self.codec.keys, self.codec.decode_key, size, size)

    def _read_values(self) -> "Decode":
        """What decodes the values of a whole chunk."""
        from beewire.bpf.kernel.maps import rows  # noqa: PLC0415 - not on the start-up path

        size = self.spec.value_size
        return rows.reader(self.codec.values, self._decode, size, size)

    def _entries(self) -> Iterator[tuple[K, V]]:
        from beewire.bpf.kernel.maps import many  # noqa: PLC0415 - not on the start-up path

        return many.read(self._shape(), self._read_keys(), self._read_values())

    def __iter__(self) -> Iterator[K]:
        from beewire.bpf.kernel.maps.walk import chunks  # noqa: PLC0415 - not on the start-up path

        decode = self._read_keys()
        for keys, _, _ in chunks(self._shape()):
            yield from decode(keys)

    def __len__(self) -> int:
        from beewire.bpf.kernel.maps.walk import count_entries  # noqa: PLC0415 - not on the start-up path

        return count_entries(self._shape())

    def __bool__(self) -> bool:
        """A map is true, empty or not: `if map` asks whether there is one."""
        return True

    def items(self) -> ItemsView[K, V]:
        """Keys and values, read in batches; the view may be iterated again."""
        return _Items(self)

    def values(self) -> ValuesView[V]:
        """The values, read in batches; the view may be iterated again."""
        return _Values(self)

    def to_dict(self) -> dict[K, V]:
        """All entries as a dict of their own, read in batches."""
        from beewire.bpf.kernel.maps import many  # noqa: PLC0415 - not on the start-up path

        return many.as_dict(self._shape(), self._read_keys(), self._read_values())

    def to_numpy(self) -> Any:
        """All keys and all values, as two numpy arrays of one length.

        Structs become structured arrays, with the fields' names; bit-fields are left out.

        Raises:
            MapError: numpy is not installed.
        """
        from beewire.bpf.kernel.maps import arrays  # noqa: PLC0415 - not on the start-up path

        return arrays.entries(self._shape(), self.spec)

    def update(  # type: ignore[override]  # keywords are no keys of a BPF map
        self, entries: "Mapping[K, V] | Iterable[tuple[K, V]]" = (), /
    ) -> None:
        """Set all of a mapping, or of (key, value) pairs, in batches.

        Raises:
            MapError: one is refused; those before it are stored.
        """
        from beewire.bpf.kernel.maps import many  # noqa: PLC0415 - not on the start-up path

        pairs = entries.items() if hasattr(entries, "items") else entries
        result, key = many.store(
            self._shape(), self._pack_keys, self._pack_values, pairs
        )
        if result < 0:
            raise self._refusal(-result, "MAP_UPDATE_ELEM", "write", key)

    def _pack_keys(self, keys: Sequence[K]) -> bytearray:
        from beewire.bpf.kernel.maps import rows  # noqa: PLC0415 - not on the start-up path

        return rows.packed(self.codec.keys, self.codec.encode_key, keys)

    def _pack_values(self, values: Sequence[V]) -> bytearray:
        from beewire.bpf.kernel.maps import rows  # noqa: PLC0415 - not on the start-up path

        return rows.packed(self.codec.values, self._encode, values)

    def clear(self) -> None:
        """Delete every entry, in batches; what programs add meanwhile may stay."""
        from beewire.bpf.kernel.maps import many  # noqa: PLC0415 - not on the start-up path

        result = many.clear(self._shape())
        if result < 0:
            raise self._refusal(-result, "MAP_DELETE_ELEM", "clear", "any key")

    def drain(self) -> dict[K, V]:
        """Remove all entries and return them; no update by a program gets lost.

        Each is read and deleted in one step (hash families, in batches since Linux 5.6).
        """
        from beewire.bpf.kernel.maps import many  # noqa: PLC0415 - not on the start-up path

        found = many.drain(self._shape(), self._read_keys(), self._read_values())
        if found is not None:
            return found
        taken = {key: self.take(key) for key in list(self)}
        return {key: value for key, value in taken.items() if value is not None}

    # The map as a whole.

    def freeze(self) -> None:
        """Forbid writing from user space, for good; programs may write on (Linux 5.2)."""
        record = attr.MAP_ELEM.pack(map_fd=self.fd)[:4]
        result = try_bpf(Cmd.MAP_FREEZE, record)
        if result < 0:
            raise self._refusal(-result, "MAP_FREEZE", "freeze", "any key")

    def pin(self, path: str) -> None:
        """Keep the map alive under `path` on a BPF file system."""
        from beewire.bpf.kernel import pins  # noqa: PLC0415 - not on the start-up path

        pins.pin(self.fd, path)

    def _refusal(self, number: int, command: str, verb: str, key: object) -> Exception:
        from beewire.bpf.kernel.maps import refused  # noqa: PLC0415 - errors only

        # Freezing twice: EBUSY before Linux 5.17.
        if number == errno.EBUSY and command == "MAP_FREEZE" and self.info.frozen:
            number = errno.EPERM
        rule = self._rule(command)
        return refused.operation(self.spec, number, command, (verb, key, rule))

    def _rule(self, command: str) -> str:
        """What the kernel's EINVAL means here."""
        if self.spec.kind is MapKind.LPM_TRIE and command == "MAP_UPDATE_ELEM":
            bits = 8 * (self.spec.key_size - 4)
            return f"a prefix is at most {bits} bits long here"
        return f"a {self.spec.kind.name} map does not allow it"


# The types of a map that is found by name or pin are known at run time only.
AnyMap = Map[Any, Any]


def _lock_flag(spec: MapSpec) -> int:
    """BPF_F_LOCK where values have a lock: nobody then sees half of an update."""
    value = spec.value
    if isinstance(value, Struct):
        for member in value.members:
            if getattr(member.type, "name", "") == "bpf_spin_lock":
                return F_LOCK
    return 0


def _family(kind: MapKind) -> type[AnyMap]:
    """The class for a kind of map; its module is imported when first needed.

    By name, as the families build on Map.
    """
    if kind not in _FAMILIES:
        return Map
    module, name = _FAMILIES[kind]
    # Not by importlib, whose own import takes 0.4 ms.
    home = __import__(f"{_PACKAGE}.{module}", fromlist=(name,))
    family: type[AnyMap] = getattr(home, name)
    return family


class _Items(ItemsView[K, V]):
    __slots__ = ("_map",)

    def __init__(self, source: Map[K, V]) -> None:
        super().__init__(source)
        self._map = source

    def __iter__(self) -> Iterator[tuple[K, V]]:
        return self._map._entries()


class _Values(ValuesView[V]):
    __slots__ = ("_map",)

    def __init__(self, source: Map[Any, V]) -> None:
        super().__init__(source)
        self._map = source

    def __iter__(self) -> Iterator[V]:
        for _, value in self._map._entries():
            yield value
