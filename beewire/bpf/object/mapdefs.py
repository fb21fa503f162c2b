"""MapSpec <-> the struct that stands for a map in the BTF of an object file.

libbpf reads a map from the type of a variable in `.maps`: a number N is a pointer to an
array of N ints, a type T is a pointer to T.

    struct {
        int (*type)[1];
        u32 *key;
        u64 *value;
        int (*max_entries)[64];
    } counts;
"""

from beewire.bpf.btf import Array, Int, Member, Ptr, Struct, Type, Var, size_of, strip
from beewire.bpf.object.kinds import MapKind
from beewire.bpf.object.spec import MapSpec
from beewire.errors import DecodingError, SpecError

_POINTER_BITS = 64
_INT = Int("int", 4, signed=True)
_BYTE = Int("unsigned char", 1)

_STORAGE = frozenset({
    MapKind.SK_STORAGE,
    MapKind.INODE_STORAGE,
    MapKind.TASK_STORAGE,
    MapKind.CGRP_STORAGE,
})  # fmt: skip
# The kernel allocates these entry by entry, and insists on being told so.
_ONE_BY_ONE = _STORAGE | {MapKind.LPM_TRIE}
_NO_PREALLOC = 1  # BPF_F_NO_PREALLOC


def map_struct(spec: MapSpec) -> Struct:
    """Return the struct that describes the map.

    Raises:
        SpecError: the types of key or value contradict their sizes.
    """
    flags = spec.flags | (_NO_PREALLOC if spec.kind in _ONE_BY_ONE else 0)
    fields = [("type", _number(spec.kind))]
    fields += _side(spec, "key", spec.key_size, _key(spec))
    if spec.inner is None:
        fields += _side(spec, "value", spec.value_size, _value(spec))
    if spec.max_entries:
        fields.append(("max_entries", _number(spec.max_entries)))
    if flags:
        fields.append(("map_flags", _number(flags)))
    if spec.inner is not None:  # libbpf wants it last
        fields.append(("values", Array(Ptr(map_struct(spec.inner)), 0)))
    members = [
        Member(name, node, number * _POINTER_BITS)
        for number, (name, node) in enumerate(fields)
    ]
    # An array of no elements has no size of its own.
    pointers = len(fields) - (spec.inner is not None)
    return Struct("", pointers * 8, tuple(members))


# Storage must have types (bpf_local_storage_map_check_btf): these where none are known.
def _key(spec: MapSpec) -> Type | None:
    return _INT if spec.key is None and spec.kind in _STORAGE else spec.key


def _value(spec: MapSpec) -> Type | None:
    if spec.value is None and spec.kind in _STORAGE:
        return Array(_BYTE, spec.value_size)
    return spec.value


def _side(
    spec: MapSpec, name: str, size: int, node: Type | None
) -> list[tuple[str, Type]]:
    if node is None:
        return [(f"{name}_size", _number(size))] if size else []
    if size not in (0, size_of(node)):
        raise SpecError(
            f"map {spec.name!r} has a {name} of {size} bytes, its type {size_of(node)}"
        )
    # A ring buffer has records, but no values in the kernel's sense.
    return [(name, Ptr(node))] if size else []


def _number(value: int) -> Type:
    return Ptr(Array(_INT, value))


def map_spec(variable: Var) -> MapSpec:
    """Return the map that a variable of `.maps` describes.

    Raises:
        DecodingError: the description is not one, or has parts that no MapSpec has.
    """
    struct = strip(variable.type)
    if not isinstance(struct, Struct):
        raise DecodingError(f"map {variable.name!r} is not described by a struct")
    return _map_spec(variable.name, struct)


def _map_spec(name: str, struct: Struct, *, is_inner: bool = False) -> MapSpec:
    spec = MapSpec(name, kind=MapKind.UNSPEC)
    for member in struct.members:
        try:
            _read_member(spec, member, is_inner=is_inner)
        except (SpecError, ValueError) as error:
            message = f"map {name!r}, {member.name!r}: {error}"
            raise DecodingError(message) from None
    if spec.kind is MapKind.UNSPEC:
        raise DecodingError(f"map {name!r} has no type")
    return spec


def _read_member(spec: MapSpec, member: Member, *, is_inner: bool) -> None:
    match member.name:
        case "type":
            spec.kind = MapKind(_read_number(member))
        case "key":
            spec.key = _target(member)
            spec.key_size = size_of(spec.key)
        case "value":
            spec.value = _target(member)
            spec.value_size = size_of(spec.value)
        case "key_size":
            spec.key_size = _read_number(member)
        case "value_size":
            spec.value_size = _read_number(member)
        case "max_entries":
            spec.max_entries = _read_number(member)
        case "map_flags":
            spec.flags = _read_number(member)
        case "values":
            if is_inner:
                raise SpecError("an inner map has no inner map of its own")
            spec.inner = _inner(spec, member)
            spec.value_size = 4
        case _:
            # pinning, numa_node, map_extra: to leave one out would change the map.
            raise SpecError("such a part is not supported")


def _read_number(member: Member) -> int:
    array = _target(member)
    if not isinstance(array, Array):
        raise SpecError("this is no number")
    return array.count


def _target(member: Member) -> Type | None:
    pointer = strip(member.type)
    if not isinstance(pointer, Ptr):
        raise SpecError("this is no pointer")
    return strip(pointer.to) if isinstance(strip(pointer.to), Array) else pointer.to


def _inner(spec: MapSpec, member: Member) -> MapSpec:
    array = strip(member.type)
    pointer = strip(array.element) if isinstance(array, Array) else None
    struct = strip(pointer.to) if isinstance(pointer, Ptr) else None
    if not isinstance(struct, Struct):
        raise SpecError("only the initial maps of a map of maps are supported")
    return _map_spec(f"{spec.name}.inner", struct, is_inner=True)
