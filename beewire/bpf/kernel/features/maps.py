"""Types of maps and their flags: the smallest map of each is created and closed."""

import errno
import struct

from beewire.bpf.btf import Builder, Int, Kind, Struct
from beewire.bpf.kernel import attr, privilege, syscall, versions
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.bpf.kernel.features.feature import (
    Feature,
    Outcome,
    ask,
    judge,
    no,
    unknown,
)
from beewire.bpf.kernel.features.listed import absent, missing_type, type_id, types
from beewire.bpf.kernel.versions import MapFlag
from beewire.bpf.object import MapKind

_NONE = 0xFFFF_FFFF

# Key size, value size, max_entries and flags where they are not 4, 4, 1 and 0.
_LAZY = MapFlag.NO_PREALLOC
_SHAPES = {
    MapKind.LPM_TRIE: (8, 4, 1, _LAZY),
    MapKind.STACK_TRACE: (4, 8, 1, 0),
    MapKind.QUEUE: (0, 4, 1, 0),
    MapKind.STACK: (0, 4, 1, 0),
    MapKind.BLOOM_FILTER: (0, 4, 1, 0),
    MapKind.RINGBUF: (0, 0, 65536, 0),
    MapKind.USER_RINGBUF: (0, 0, 65536, 0),
    MapKind.CGROUP_STORAGE: (8, 4, 0, 0),
    MapKind.PERCPU_CGROUP_STORAGE: (8, 4, 0, 0),
    MapKind.REUSEPORT_SOCKARRAY: (4, 8, 1, 0),
    MapKind.ARENA: (0, 0, 1, MapFlag.MMAPABLE),
    MapKind.SK_STORAGE: (4, 4, 0, _LAZY),
    MapKind.INODE_STORAGE: (4, 4, 0, _LAZY),
    MapKind.TASK_STORAGE: (4, 4, 0, _LAZY),
    MapKind.CGRP_STORAGE: (4, 4, 0, _LAZY),
    MapKind.INSN_ARRAY: (4, 16, 1, 0),
    MapKind.RHASH: (4, 4, 1, _LAZY),
}
_STORAGE = (
    MapKind.SK_STORAGE,
    MapKind.INODE_STORAGE,
    MapKind.TASK_STORAGE,
    MapKind.CGRP_STORAGE,
)
_OF_MAPS = (MapKind.ARRAY_OF_MAPS, MapKind.HASH_OF_MAPS)
# The map that a flag is first of all for, where it is not an array.
_FLAGGED = {
    MapFlag.NO_PREALLOC: MapKind.HASH,
    MapFlag.NO_COMMON_LRU: MapKind.LRU_HASH,
    MapFlag.NUMA_NODE: MapKind.HASH,
    MapFlag.STACK_BUILD_ID: MapKind.STACK_TRACE,
    MapFlag.ZERO_SEED: MapKind.HASH,
    MapFlag.CLONE: MapKind.SK_STORAGE,
    MapFlag.PRESERVE_ELEMS: MapKind.PERF_EVENT_ARRAY,
    MapFlag.LINK: MapKind.STRUCT_OPS,
    MapFlag.VTYPE_BTF_OBJ_FD: MapKind.STRUCT_OPS,
    MapFlag.SEGV_ON_FAULT: MapKind.ARENA,
    MapFlag.NO_USER_CONV: MapKind.ARENA,
    MapFlag.RB_OVERWRITE: MapKind.RINGBUF,
}
_BUILD_ID_SIZE = 32  # struct bpf_stack_build_id


def map_type(kind: MapKind) -> Feature:
    """Whether maps of this kind can be created."""
    since = versions.MAP_TYPES.get(kind, "")
    return ask("map type", kind.name, since, lambda: _try(kind))


def map_flag(flag: MapFlag, kind: MapKind | None = None) -> Feature:
    """Whether maps can be created with this flag: of `kind`, or that it is meant for."""
    since = versions.MAP_FLAGS.get(flag, "")
    target = kind or _FLAGGED.get(flag, MapKind.ARRAY)
    what = flag.name if kind is None else f"{flag.name} on {kind.name}"
    return ask("map flag", what, since, lambda: _try_flag(flag, target))


def map_flags(kind: MapKind) -> tuple[MapFlag, ...]:
    """The flags that maps of this kind can be created with, one at a time."""
    if not map_type(kind):
        return ()
    return tuple(flag for flag in MapFlag if map_flag(flag, kind))


def _try(kind: MapKind) -> Outcome:
    if (gone := absent("bpf_map_type", f"BPF_MAP_TYPE_{kind.name}")) is not None:
        return gone
    if kind is MapKind.STRUCT_OPS and table_type() is None:
        return no(missing_type(_TABLE))
    return judge(create(kind), privilege.map_needs(kind))


def _try_flag(flag: MapFlag, kind: MapKind) -> Outcome:
    if flag is MapFlag.PATH_FD:
        return _try_path_descriptor()
    if kind is MapKind.STRUCT_OPS and table_type() is None:
        return no(missing_type(_TABLE))
    # Both flags announce a descriptor, which is looked for where the flag is known.
    signs = (
        (errno.EBADF,) if flag in (MapFlag.TOKEN_FD, MapFlag.VTYPE_BTF_OBJ_FD) else ()
    )
    # A map that this process may not create says nothing of flags.
    if (plain := map_type(kind)).unknown:
        return unknown(plain.reason)
    return judge(create(kind, flag), privilege.map_needs(kind), signs)


def _try_path_descriptor() -> Outcome:
    """The flag of OBJ_GET: it takes a path from a directory's descriptor."""
    name = bytearray(b"none\0")
    record = attr.OBJ.pack(pathname=syscall.address(name), file_flags=MapFlag.PATH_FD)
    # path_fd follows file_flags.
    record += struct.pack("=Ixxxx", _NONE)
    return judge(syscall.try_bpf(syscall.Cmd.OBJ_GET, record), (), (errno.EBADF,))


def create(kind: MapKind, more: int = 0, value_size: int = 0) -> int:
    """BPF_MAP_CREATE of the smallest map, with `more` flags: a descriptor or -errno."""
    key, value, entries, flags = _SHAPES.get(kind, (4, 4, 1, 0))
    fields = {
        "map_type": int(kind),
        "key_size": key,
        "value_size": value_size or value,
        "max_entries": entries,
        "map_flags": flags | more,
    }
    if kind is MapKind.STACK_TRACE and more & MapFlag.STACK_BUILD_ID:
        fields["value_size"] = _BUILD_ID_SIZE
    companion = _companion(kind, fields)
    if companion is not None and companion < 0:
        return companion
    record = attr.MAP_CREATE.pack(**fields)[:_MAP_CREATE_SIZE]
    if more & (MapFlag.TOKEN_FD | MapFlag.VTYPE_BTF_OBJ_FD):
        # value_type_btf_obj_fd and map_token_fd follow map_extra (Linux 6.9).
        record += struct.pack("=II", _NONE, _NONE)
    try:
        return syscall.try_making(syscall.Cmd.MAP_CREATE, record)
    finally:
        if companion is not None:
            Descriptor(companion).close()


def _companion(kind: MapKind, fields: dict[str, int]) -> int | None:
    """The descriptor that a map of this kind is created with, put into `fields`."""
    if kind in _OF_MAPS:
        fields["inner_map_fd"] = companion = create(MapKind.ARRAY)
        return companion
    if kind not in (*_STORAGE, MapKind.STRUCT_OPS):
        return None
    builder = Builder()
    number = builder.add(Int("int", 4, signed=True))
    fields["btf_fd"] = companion = load_btf(builder)
    if kind is MapKind.STRUCT_OPS:
        table, size = table_type() or (0, 0)
        fields |= {"btf_vmlinux_value_type_id": table, "value_size": size}
    else:
        fields["btf_key_type_id"] = fields["btf_value_type_id"] = number
    return companion


_MAP_CREATE_SIZE = 72
_TABLE = "bpf_struct_ops_tcp_congestion_ops"


def table_type() -> tuple[int, int] | None:
    """Id and size of a table of operations that every kernel with struct_ops has."""
    index, number = types(), type_id(_TABLE, Kind.STRUCT)
    table = index.lookup(_TABLE, Struct) if index else None
    return None if table is None or number is None else (number, table.size)


def load_btf(builder: Builder) -> int:
    """BPF_BTF_LOAD: a descriptor or -errno."""
    blob = bytearray(builder.encode())
    record = attr.BTF_LOAD.pack(btf=syscall.address(blob), btf_size=len(blob))
    return syscall.try_bpf(syscall.Cmd.BTF_LOAD, record)
