"""What the kernel tells of a map (`struct bpf_map_info`, /proc/self/fdinfo)."""

from beewire.bpf.kernel import attr, privilege, syscall
from beewire.bpf.kernel.maps.describe import kind_of
from beewire.bpf.object import MapKind
from beewire.rows import Row


class MapInfo(Row):
    """A map as the kernel knows it; sizes in bytes.

    `memory` is what it takes in the kernel, as far as that tells: exact since Linux 6.3,
    before that an estimate made when it was created; -1 where /proc does not say.
    """

    id: int
    name: str
    kind: MapKind
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    extra: int
    btf_id: int
    memory: int
    frozen: bool


def map_info(fd: int) -> MapInfo:
    """What the kernel tells of the map behind `fd`.

    Raises:
        KernelError: `fd` is no map.
    """
    info = syscall.read_info(fd, attr.MAP_INFO)
    number = attr.MAP_INFO.integer
    lines = privilege.read_text(f"/proc/self/fdinfo/{fd}").splitlines()
    told = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return MapInfo(
        number(info, "id"),
        attr.MAP_INFO.text(info, "name"),
        kind_of(number(info, "type")),
        number(info, "key_size"),
        number(info, "value_size"),
        number(info, "max_entries"),
        number(info, "map_flags"),
        number(info, "map_extra"),
        number(info, "btf_id"),
        int(told.get("memlock", "-1")),
        told.get("frozen", "0").strip() == "1",
    )
