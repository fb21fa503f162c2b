"""The index of the kernel's own BTF, kept between processes.

Scanning 126 000 types takes 60 ms, loading the kept index 2 ms. The file is named
by the kernel's build id, lies in a directory that only this user may enter, and is
rebuilt when anything about it is wrong: a cache never makes loading fail.
"""

import mmap
import os
import struct

from beewire.bpf.btf import Index
from beewire.bpf.kernel.names import VMLINUX
from beewire.errors import NotSupported, ObjectError

_NOTES = "/sys/kernel/notes"
# Elf32_Nhdr and Elf64_Nhdr alike: n_namesz, n_descsz, n_type
_NOTE = struct.Struct("=III")
_NT_GNU_BUILD_ID = 3

_known: dict[str, Index] = {}


def kernel_index(path: str = VMLINUX) -> Index:
    """The types of the running kernel; the same object at every call.

    Raises:
        NotSupported: there is no `path`: the kernel is built without BTF.
    """
    index = _known.get(path)
    if index is None:
        index = _known[path] = open_index(path, cache_directory())
    return index


def open_index(path: str, directory: str, notes: str = _NOTES) -> Index:
    """The Index over the BTF at `path`, through the cache in `directory`.

    Raises:
        NotSupported: there is no `path`: the kernel is built without BTF.
    """
    data = _read_btf(path)
    identity = build_id(notes)
    if not identity or not is_private(directory):
        return Index.build(data)
    place = f"{directory}/btf-{identity}"
    # An index is shorter than what it is of: it has 8 bytes for each 12 or more there.
    dump = read_own(place, len(data))
    if dump is not None:
        try:
            return Index.load(dump, data)
        except ObjectError:
            # Damaged, or of another format or BTF: made anew below.
            pass
    index = Index.build(data)
    replace(place, index.dump())
    return index


def cache_directory() -> str:
    """Where this user's cache is: `$XDG_CACHE_HOME/beewire` or `~/.cache/beewire`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path there is to be ignored.
    if not base.startswith("/"):
        base = os.path.expanduser("~/.cache")  # noqa: PTH111 - no pathlib here
    return f"{base}/beewire"


def build_id(notes: str = _NOTES) -> str:
    """The kernel's GNU build id in hex, or "" where it has none."""
    try:
        with open(notes, "rb") as file:  # noqa: PTH123 - no pathlib here
            data = file.read()
    except OSError:
        return ""
    at = 0
    while at + _NOTE.size <= len(data):
        name_size, size, kind = _NOTE.unpack_from(data, at)
        name = at + _NOTE.size
        content = name + (name_size + 3 & ~3)
        if kind == _NT_GNU_BUILD_ID and data[name : name + name_size] == b"GNU\0":
            return data[content : content + size].hex()
        at = content + (size + 3 & ~3)
    return ""


def _read_btf(path: str) -> "bytes | mmap.mmap":
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - as above
            # Since Linux 6.16 the kernel lets its BTF be mapped, which takes 0.1 ms where
            # reading 5 MB takes 5 ms.
            try:
                return mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ)
            except (OSError, ValueError):
                return file.readall()
    except OSError as error:
        raise NotSupported(
            error.errno or 0,
            f"reading its own types: {path} is missing (CONFIG_DEBUG_INFO_BTF is off)",
        ) from error


def is_private(directory: str) -> bool:
    """Whether only this user can have put files there; creates it when missing."""
    # A user without a home has "~/.cache", which is no place below the current one.
    if not directory.startswith("/"):
        return False
    try:
        os.makedirs(os.path.dirname(directory), exist_ok=True)  # noqa: PTH103, PTH120
        os.mkdir(directory, 0o700)  # noqa: PTH102
    except FileExistsError:
        pass
    except OSError:
        return False
    try:
        found = os.lstat(directory)
    except OSError:  # the parent is no directory
        return False
    is_directory = found.st_mode & 0o170000 == 0o040000
    return is_directory and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def read_own(path: str, limit: int) -> bytes | None:
    """The content of a file of this user's that nobody else may write, or None.

    Nor is it read when it has more than `limit` bytes, or is no regular file.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        # A fifo would have us wait for its writer.
        fd = os.open(path, flags | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        found = os.fstat(fd)
        is_file = found.st_mode & 0o170000 == 0o100000
        is_own = found.st_uid == os.geteuid() and not found.st_mode & 0o022
        if not is_file or not is_own or found.st_size > limit:
            return None
        return os.read(fd, found.st_size)
    except OSError:
        return None
    finally:
        os.close(fd)


def replace(path: str, content: bytes) -> None:
    """Put `content` at `path` in one step, so that no reader sees a half."""
    temporary = f"{path}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(content)
        os.replace(temporary, path)  # noqa: PTH105
    except OSError:
        # A full or read-only disk costs the cache, nothing else.
        try:
            os.unlink(temporary)  # noqa: PTH108
        except OSError:
            return
