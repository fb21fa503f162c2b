"""How the kernel's objects in values are described: by names, sizes and tags."""

from beewire.bpf.btf import types as btf
from beewire.bpf.lang.btf_types import to_btf
from beewire.bpf.lang.decl import MapDecl
from beewire.bpf.lang.objects import KptrType, RootType
from beewire.bpf.lang.structs import StructType
from beewire.bpf.lang.types import ObjectType
from beewire.bpf.object.kinds import MapKind
from beewire.errors import SpecError
from beewire.hints import Iterable


def object_type(type_: ObjectType) -> btf.Type:
    """The BTF type of an object."""
    if not isinstance(type_, KptrType):
        # The kernel goes by name and size.
        return btf.Struct(type_.name, type_.size)
    layout = getattr(type_.to, "__layout__", None)
    to = to_btf(layout) if layout else btf.Struct(type_.to.__name__, 0)
    return btf.Ptr(btf.TypeTag("kptr", to))


def describe(
    maps: Iterable[MapDecl],
) -> tuple[tuple[btf.DeclTag, ...], tuple[btf.Type, ...]]:
    """What lists and trees in the maps' values are of: tags, and types they name.

    Raises:
        SpecError: A value has an object that the kernel does not let its map have.
    """
    tags: list[btf.DeclTag] = []
    nodes: list[btf.Type] = []
    for each in maps:
        _, value = each.stored
        if not isinstance(value, StructType):
            continue
        for index, field in enumerate(value.fields.values()):
            if isinstance(field.type, ObjectType):
                _check(each, field.type)
            if isinstance(field.type, RootType):
                root = field.type
                text = f"contains:{root.node.name}:{root.link.name}"
                tags.append(btf.DeclTag(text, to_btf(value), index))
                nodes.append(to_btf(root.node))
    return tuple(tags), tuple(nodes)


# Which maps' values may have what (map_check_btf in kernel/bpf/syscall.c).
_STORAGE = {
    MapKind.SK_STORAGE,
    MapKind.INODE_STORAGE,
    MapKind.TASK_STORAGE,
    MapKind.CGRP_STORAGE,
}
_ROOTS = {MapKind.HASH, MapKind.LRU_HASH, MapKind.ARRAY}
_MAPS = {
    "bpf_spin_lock": {MapKind.HASH, MapKind.ARRAY, *_STORAGE},
    "bpf_timer": _ROOTS,
    "bpf_wq": _ROOTS,
    "bpf_list_head": _ROOTS,
    "bpf_rb_root": _ROOTS,
}
_KPTRS = {
    *_ROOTS,
    *_STORAGE,
    MapKind.PERCPU_HASH,
    MapKind.PERCPU_ARRAY,
    MapKind.LRU_PERCPU_HASH,
}


def _check(declared: MapDecl, type_: ObjectType) -> None:
    allowed = _KPTRS if isinstance(type_, KptrType) else _MAPS.get(type_.name, set())
    if declared.kind in allowed:
        return
    kind = type(declared).__name__
    raise SpecError(
        f"{declared.name}: values of {kind} cannot have {type_.noun}; the kernel allows it "
        f"in {', '.join(sorted(each.name for each in allowed)) or 'no map'}"
    )
