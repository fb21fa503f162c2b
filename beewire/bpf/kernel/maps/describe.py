"""The MapSpec of a map that somebody else created, as the kernel tells it."""

from beewire.bpf.btf import Type
from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.btf_objects import types_of
from beewire.bpf.object import MapKind, MapSpec
from beewire.errors import MapError


def describe(fd: int, name: str = "") -> MapSpec:
    """Kind, sizes, flags and (where it has BTF) types of the map behind `fd`.

    Raises:
        KernelError: `fd` is no map.
    """
    info = syscall.read_info(fd, attr.MAP_INFO)
    number = attr.MAP_INFO.integer
    key, value = _types(
        number(info, "btf_id"),
        number(info, "btf_key_type_id"),
        number(info, "btf_value_type_id"),
    )
    return MapSpec(
        attr.MAP_INFO.text(info, "name") or name,
        kind=kind_of(number(info, "type")),
        key_size=number(info, "key_size"),
        value_size=number(info, "value_size"),
        max_entries=number(info, "max_entries"),
        flags=number(info, "map_flags"),
        key=key,
        value=value,
        extra=number(info, "map_extra"),
    )


def kind_of(number: int) -> MapKind:
    """The kind of map with this number.

    Raises:
        MapError: it is newer than this version of Beewire.
    """
    try:
        return MapKind(number)
    except ValueError:
        raise MapError(
            f"maps of kind {number} are newer than this version of Beewire: it knows "
            f"those up to {max(MapKind)}"
        ) from None


def _types(btf_id: int, key: int, value: int) -> tuple[Type | None, Type | None]:
    # Without the capability to read them, sizes alone make a usable map.
    types = types_of(btf_id)
    if types is None:
        return None, None
    return types.type(key) if key else None, types.type(value) if value else None
