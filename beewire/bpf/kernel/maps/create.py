"""MapSpec -> a new map in the kernel."""

import errno
import os

from beewire.bpf.btf import (
    Array,
    DataSec,
    DeclTag,
    Int,
    SectionEntry,
    Struct,
    Type,
    Var,
)
from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.bpf.kernel.names import kernel_name
from beewire.bpf.object import DataSection, MapKind, MapSpec
from beewire.errors import KernelError, NotPermitted
from beewire.hints import Mapping

NO_PREALLOC, MMAPABLE, RDONLY_PROG = 0x1, 0x400, 0x80

_UNTYPED: Mapping[str, int] = {}

_STORAGE = frozenset({
    MapKind.SK_STORAGE,
    MapKind.INODE_STORAGE,
    MapKind.TASK_STORAGE,
    MapKind.CGRP_STORAGE,
})  # fmt: skip
# The families whose keys and values the kernel describes by BTF; others refuse ids.
_TYPED = _STORAGE | {
    MapKind.HASH,
    MapKind.ARRAY,
    MapKind.PERCPU_HASH,
    MapKind.PERCPU_ARRAY,
    MapKind.LRU_HASH,
    MapKind.LRU_PERCPU_HASH,
    MapKind.LPM_TRIE,
    MapKind.RHASH,
    MapKind.CGROUP_STORAGE,
    MapKind.PERCPU_CGROUP_STORAGE,
}
_ARRAYS = frozenset({MapKind.ARRAY, MapKind.PERCPU_ARRAY})
# The kernel allocates these entry by entry and insists on being told so.
_LAZY = _STORAGE | {MapKind.LPM_TRIE, MapKind.RHASH}


def map_types(spec: MapSpec) -> tuple[Type, Type] | None:
    """The types to describe the map with, or None where none are needed or taken."""
    if spec.kind not in _TYPED:
        return None
    key, value = spec.key, spec.value
    if key is None and (spec.kind in _ARRAYS or spec.kind in _STORAGE):
        key = Int("int", 4, signed=True)
    if value is None and spec.kind in _STORAGE:
        value = Array(Int("unsigned char", 1), spec.value_size)
    if key is None or value is None:
        return None
    # trie_check_btf: the key is a struct that begins with the prefix length.
    if spec.kind is MapKind.LPM_TRIE and not isinstance(key, Struct):
        return None
    return key, value


def section_type(section: DataSection) -> tuple[DataSec, list[DeclTag]] | None:
    """The DATASEC of the section's variables and their tags; None when it names none."""
    if not section.variables:
        return None
    entries, tags = [], []
    for each in section.variables:
        variable = Var(each.name, each.type)
        entries.append(SectionEntry(variable, each.offset, each.size))
        tags += [DeclTag(tag, variable) for tag in each.tags]
    return DataSec(section.name, len(section.content), tuple(entries)), tags


def create_map(spec: MapSpec, types: Mapping[str, int] = _UNTYPED) -> int:
    """Create the map and return its descriptor, which the caller closes.

    `types` are the fields that describe it by BTF.

    Raises:
        NotPermitted: CAP_BPF is missing.
        KernelError: the kernel refuses; a note says what it asks of such a map.
    """
    if spec.inner is not None:
        # The kernel copies the shape of the inner map; the template itself may go. Its
        # types, which are those of every map in it, are described under its name.
        with Descriptor(create_map(spec.inner, types)) as template:
            return _create(spec, inner_map_fd=template.fd)
    return _create(spec, **types)


def size_of(spec: MapSpec) -> int:
    """The `max_entries` that the map is created with."""
    if spec.kind is MapKind.PERF_EVENT_ARRAY and spec.max_entries == 0:
        from beewire.bpf.kernel.maps.percpu import possible_cpus  # noqa: PLC0415 - rare

        return possible_cpus()
    if spec.kind in (MapKind.RINGBUF, MapKind.USER_RINGBUF):
        return _ring_size(spec.max_entries)
    return spec.max_entries


def flags_of(spec: MapSpec) -> int:
    """The flags that the map is created with."""
    return spec.flags | (NO_PREALLOC if spec.kind in _LAZY else 0)


def _create(spec: MapSpec, **extra: int) -> int:
    record = attr.MAP_CREATE.pack(
        map_type=spec.kind,
        key_size=spec.key_size,
        value_size=spec.value_size,
        max_entries=size_of(spec),
        map_flags=flags_of(spec),
        map_name=kernel_name(spec.name),
        map_extra=spec.extra,
        numa_node=spec.numa_node,
        **extra,
    )
    about = f"create map {spec.name!r}"
    try:
        return syscall.bpf(syscall.Cmd.MAP_CREATE, record, about)
    except NotPermitted:
        from beewire.bpf.kernel import explain, privilege  # noqa: PLC0415 - errors only

        need = privilege.map_needs(spec.kind)
        raise explain.refusal(errno.EPERM, "MAP_CREATE", about, need) from None
    except KernelError as error:
        from beewire.bpf.kernel.maps.refused import explain_refusal  # noqa: PLC0415 - errors only

        explain_refusal(spec, error)
        raise


def _ring_size(size: int) -> int:
    """`size` as libbpf rounds it: objects do not know the page size of the machine."""
    if size <= 0:
        return size
    page = os.sysconf("SC_PAGE_SIZE")
    pages = -(-size // page)
    rounded = page << (pages - 1).bit_length()
    return rounded if rounded < 1 << 32 else size


def is_constant(section: str) -> bool:
    """Whether the section's variables do not change once they are loaded."""
    return section == ".kconfig" or section.startswith(".rodata")


def section_spec(object_name: str, section: DataSection) -> MapSpec:
    """The array map for a data section, named as libbpf names it."""
    flags = MMAPABLE
    if is_constant(section.name):
        flags |= RDONLY_PROG
    return MapSpec(
        object_name[:8] + section.name,
        kind=MapKind.ARRAY,
        key_size=4,
        value_size=len(section.content),
        max_entries=1,
        flags=flags,
    )
