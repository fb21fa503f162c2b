"""The types that somebody handed to the kernel together with a map or a program."""

from beewire.bpf.btf import Index
from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.errors import KernelError


def types_of(btf_id: int) -> Index | None:
    """The types of the BTF object `btf_id`; None for 0, and without CAP_SYS_ADMIN."""
    if not btf_id:
        return None
    record = attr.GET_ID.pack(start_id=btf_id)
    try:
        fd = syscall.bpf(syscall.Cmd.BTF_GET_FD_BY_ID, record, "read its types")
    except KernelError:
        return None
    with Descriptor(fd):
        return Index.build(_read(fd))


def _read(fd: int) -> bytes:
    size = attr.BTF_INFO.integer(syscall.read_info(fd, attr.BTF_INFO), "btf_size")
    content = bytearray(size)
    info = attr.BTF_INFO.pack(btf=syscall.address(content), btf_size=size)
    arguments = attr.INFO.pack(
        bpf_fd=fd, info_len=len(info), info=syscall.address(info)
    )
    syscall.bpf(syscall.Cmd.OBJ_GET_INFO_BY_FD, arguments, "read its types")
    return bytes(content)
