"""Types of kernel modules: functions and variables that are not in vmlinux.

Each module has BTF of its own, which goes on where the kernel's ends. bpf(2) wants it as
a descriptor, found by going through all BTF that the kernel has.
"""

import os

from beewire.bpf.btf import Index, Kind
from beewire.bpf.kernel import attr, ids, syscall
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.errors import NotPermitted, ObjectError
from beewire.hints import Iterator

DIRECTORY = "/sys/kernel/btf"
_NAME_SIZE = 64


class Module(Descriptor):
    """The types of one module, and its descriptor."""

    __slots__ = ("index", "name")

    def __init__(self, fd: int, name: str, index: Index) -> None:
        super().__init__(fd)
        self.name = name
        self.index = index


def find_in_modules(base: Index, name: str, kind: Kind) -> tuple[Module, int] | None:
    """The module that has a function or variable of this name, and its id there.

    The caller closes the module.
    """
    for module, index in indexes_with(base, b"\0%b\0" % name.encode()):
        found = index.find(name, kind)
        if found is not None and found >= len(base):
            fd = _descriptor(module)
            if fd is not None:
                return Module(fd, module, index), found
    return None


def index_of(base: Index, module: str) -> Index | None:
    """The types of one module, or None where it does not tell them."""
    try:
        with open(f"{DIRECTORY}/{module}", "rb") as file:  # noqa: PTH123 - no pathlib here
            return Index.build(file.read(), base)
    except (OSError, ObjectError):
        return None


def indexes_with(base: Index, text: bytes) -> Iterator[tuple[str, Index]]:
    """The names and types of those modules among whose types these bytes occur."""
    for module in names():
        try:
            with open(f"{DIRECTORY}/{module}", "rb") as file:  # noqa: PTH123 - no pathlib here
                data = file.read()
            # Reading a hundred modules takes less time than scanning one.
            if text in data:
                yield module, Index.build(data, base)
        except (OSError, ObjectError):
            continue


def names() -> list[str]:
    """The modules that are loaded and tell their types."""
    try:
        return sorted(set(os.listdir(DIRECTORY)) - {"vmlinux"})  # noqa: PTH208 - no pathlib here
    except OSError:
        return []


def _descriptor(name: str) -> int | None:
    """A descriptor of the module's BTF, which needs CAP_SYS_ADMIN."""
    try:
        for _, handle in ids.descriptors(ids.BTF):
            if module_of(handle.fd) == name:
                return handle.release()
    except NotPermitted:
        return None
    return None


def module_of(fd: int) -> str:
    """The module whose types the BTF object `fd` is, or "vmlinux"; "" for others."""
    text = bytearray(_NAME_SIZE)
    info = attr.BTF_INFO.pack(name=syscall.address(text), name_len=len(text))
    request = attr.INFO.pack(bpf_fd=fd, info_len=len(info), info=syscall.address(info))
    result = syscall.try_bpf(syscall.Cmd.OBJ_GET_INFO_BY_FD, request)
    if result < 0 or not attr.BTF_INFO.integer(info, "kernel_btf"):
        return ""
    return text.split(b"\0")[0].decode()
