"""Where else the symbols of a stripped file are: beside it, under its build id, in it."""

import os
import zlib

from beewire.errors import ObjectError
from beewire.hints import Iterator
from beewire.symbols.elf import ElfFile, text

DEBUG_ROOT = "/usr/lib/debug"
# What mini debug information may grow to: of a 20 MB library it is 1 MB.
_MOST_UNPACKED = 1 << 28
_CHUNK = 1 << 20


def mini_debug_info(file: ElfFile) -> ElfFile | None:
    """The symbols that .gnu_debugdata holds, compressed by xz; None without it.

    Raises:
        ObjectError: it is damaged, or grows beyond 256 MB.
    """
    section = file.section(".gnu_debugdata")
    if section is None:
        return None
    import lzma  # noqa: PLC0415 - where there is any

    unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_UNPACKED)
    try:
        data = unpacker.decompress(file.content(section), _MOST_UNPACKED)
    except lzma.LZMAError as error:
        raise ObjectError(f".gnu_debugdata cannot be unpacked: {error}") from error
    if not unpacker.eof:
        raise ObjectError(".gnu_debugdata is cut short, or larger than 256 MB")
    return ElfFile.of(data)


def debug_paths(file: ElfFile, path: str) -> Iterator[tuple[str, int | None]]:
    """Where a file with the symbols of `file` may lie, and the CRC it has to have.

    Those under its build id have none: that is told by their own build id.
    """
    build_id = file.build_id.hex()
    if len(build_id) > 2:
        yield f"{DEBUG_ROOT}/.build-id/{build_id[:2]}/{build_id[2:]}.debug", None
    section = file.section(".gnu_debuglink")
    if section is None:
        return
    content = file.content(section)
    name = text(content, 0)
    at = len(name.encode()) + 4 & ~3
    if not name or "/" in name or len(content) < at + 4:
        return
    # The CRC is in the byte order of the file, which is ours on all that runs here.
    crc = int.from_bytes(content[at : at + 4], "little")
    directory = os.path.dirname(path)  # noqa: PTH120 - no pathlib here
    for place in (directory, f"{directory}/.debug", f"{DEBUG_ROOT}{directory}"):
        yield f"{place}/{name}", crc


def debug_file(file: ElfFile, path: str, root: str = "") -> int:
    """A descriptor of the file that has the symbols of `file`, or -1.

    `root` is put before paths: that of a container, such as /proc/PID/root.
    """
    for place, crc in debug_paths(file, path):
        for start in dict.fromkeys((root, "")):
            try:
                fd = os.open(start + place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError:
                continue
            if _belongs(fd, file, crc):
                return fd
            os.close(fd)
    return -1


def _belongs(fd: int, file: ElfFile, crc: int | None) -> bool:
    """Whether a file was made from the same build."""
    try:
        other = ElfFile.open(fd)
    except ObjectError:
        return False
    if file.build_id and other.build_id:
        return file.build_id == other.build_id
    if crc is None:
        return False
    total, at = 0, 0
    while chunk := os.pread(fd, _CHUNK, at):
        total, at = zlib.crc32(chunk, total), at + len(chunk)
    return total == crc
