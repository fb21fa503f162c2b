"""The MapSpec of a map that somebody else created, as the kernel tells it."""

from beewire.bpf.btf import Index, Type
from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.bpf.object import MapKind, MapSpec
from beewire.errors import KernelError


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
        kind=MapKind(number(info, "type")),
        key_size=number(info, "key_size"),
        value_size=number(info, "value_size"),
        max_entries=number(info, "max_entries"),
        flags=number(info, "map_flags"),
        key=key,
        value=value,
    )


def _types(btf_id: int, key: int, value: int) -> tuple[Type | None, Type | None]:
    if not btf_id:
        return None, None
    record = attr.GET_ID.pack(start_id=btf_id)
    try:
        fd = syscall.bpf(syscall.Cmd.BTF_GET_FD_BY_ID, record, "read the map's types")
    except KernelError:
        # Needs CAP_SYS_ADMIN; sizes alone make a usable map.
        return None, None
    with Descriptor(fd):
        types = Index.build(_read(fd))
    return types.type(key) if key else None, types.type(value) if value else None


def _read(fd: int) -> bytes:
    size = attr.BTF_INFO.integer(syscall.read_info(fd, attr.BTF_INFO), "btf_size")
    content = bytearray(size)
    info = attr.BTF_INFO.pack(btf=syscall.address(content), btf_size=size)
    arguments = attr.INFO.pack(
        bpf_fd=fd, info_len=len(info), info=syscall.address(info)
    )
    syscall.bpf(syscall.Cmd.OBJ_GET_INFO_BY_FD, arguments, "read the map's types")
    return bytes(content)
