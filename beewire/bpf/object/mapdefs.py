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

from beewire.bpf.btf import (
    Array,
    Enum,
    Enum64,
    Enumerator,
    FuncProto,
    Int,
    Member,
    Ptr,
    Struct,
    Type,
    Var,
    size_of,
    strip,
)
from beewire.bpf.object.kinds import MapKind
from beewire.bpf.object.spec import MapSpec
from beewire.errors import ObjectError, SpecError

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
_OF_MAPS = (MapKind.ARRAY_OF_MAPS, MapKind.HASH_OF_MAPS)
_PIN_NONE, _PIN_BY_NAME = 0, 1  # enum libbpf_pin_type
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
    if spec.numa_node:
        fields.append(("numa_node", _number(spec.numa_node)))
    if spec.pinned:
        fields.append(("pinning", _number(_PIN_BY_NAME)))
    if spec.extra:
        fields.append(("map_extra", _wide_number(spec.extra)))
    # libbpf wants it last and without a length: that is the symbol's (`map_size`).
    held = _held(spec)
    if held is not None:
        fields.append(("values", Array(Ptr(held), 0)))
    members, end = [], 0
    for name, node in fields:
        members.append(Member(name, node, end * 8))
        end += size_of(node)
    return Struct("", end, tuple(members))


def map_size(spec: MapSpec, struct: Struct) -> int:
    """How many bytes of `.maps` the map takes, its initial values included."""
    return struct.size + 8 * (max(spec.initial, default=-1) + 1)


def _held(spec: MapSpec) -> Type | None:
    """The type of what `values` are pointers to: other maps, or programs."""
    if spec.inner is not None:
        return map_struct(spec.inner)
    return FuncProto(None) if spec.initial else None


def _wide_number(value: int) -> Type:
    """A number of more than 32 bits, which an array cannot have for its length."""
    if value < 1 << 32:
        return _number(value)
    return Enum64("", 8, (Enumerator("map_extra_value", value),))


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
        ObjectError: the description is not one, or has parts that no MapSpec has.
    """
    struct = strip(variable.type)
    if not isinstance(struct, Struct):
        raise ObjectError(f"map {variable.name!r} is not described by a struct")
    return _map_spec(variable.name, struct)


def _map_spec(name: str, struct: Struct, *, is_inner: bool = False) -> MapSpec:
    spec = MapSpec(name, kind=MapKind.UNSPEC)
    for member in struct.members:
        try:
            _read_member(spec, member, is_inner=is_inner)
        except (SpecError, ValueError) as error:
            message = f"map {name!r}, {member.name!r}: {error}"
            raise ObjectError(message) from None
    if spec.kind is MapKind.UNSPEC:
        raise ObjectError(f"map {name!r} has no type")
    return spec


# Members that are a number, and what they are called in a MapSpec.
_NUMBERS = {
    "key_size": "key_size",
    "value_size": "value_size",
    "max_entries": "max_entries",
    "map_flags": "flags",
    "map_extra": "extra",
    "numa_node": "numa_node",
}


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
        case "pinning":
            spec.pinned = _is_pinned(_read_number(member), is_inner=is_inner)
        case "values":
            if is_inner:
                raise SpecError("an inner map has no inner map of its own")
            _read_values(spec, member)
        case name if name in _NUMBERS:
            setattr(spec, _NUMBERS[name], _read_number(member))
        case _:
            # To leave one out would change the map.
            raise SpecError("maps have no such property")


def _is_pinned(number: int, *, is_inner: bool) -> bool:
    if number not in (_PIN_NONE, _PIN_BY_NAME):
        raise SpecError(f"there is no way {number} to pin a map")
    if number and is_inner:
        raise SpecError("an inner map cannot be pinned")
    return number == _PIN_BY_NAME


def _read_number(member: Member) -> int:
    node = strip(member.type)
    # __ulong(map_extra, ...), since libbpf 1.5: an enum with that one value.
    if isinstance(node, Enum) and len(node.values) == 1:
        return node.values[0].value
    array = _target(member)
    if not isinstance(array, Array):
        raise SpecError("this is no number")
    return array.count


def _target(member: Member) -> Type | None:
    pointer = strip(member.type)
    if not isinstance(pointer, Ptr):
        raise SpecError("this is no pointer")
    return strip(pointer.to) if isinstance(strip(pointer.to), Array) else pointer.to


def _read_values(spec: MapSpec, member: Member) -> None:
    array = strip(member.type)
    pointer = strip(array.element) if isinstance(array, Array) else None
    target = strip(pointer.to) if isinstance(pointer, Ptr) else None
    spec.value_size = 4
    if isinstance(target, FuncProto) and spec.kind is MapKind.PROG_ARRAY:
        return
    if not isinstance(target, Struct) or spec.kind not in _OF_MAPS:
        raise SpecError("only maps of maps, and of programs, have initial values")
    spec.inner = _map_spec(f"{spec.name}.inner", target, is_inner=True)
