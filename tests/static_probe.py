"""A program with static probes, made without a compiler, and mapped to be called."""

import ctypes
import mmap
import struct
from pathlib import Path

PAGE = 4096
TEXT, DATA = PAGE, 2 * PAGE
BASE = 0x9ABC
_CODE = {"x86_64": b"\x90\xc3", "aarch64": bytes.fromhex("1f2003d5c0035fd6")}


def note(provider: str, name: str, address: int, semaphore: int, args: str) -> bytes:
    """One entry of .note.stapsdt."""
    content = struct.pack("<QQQ", address, BASE, semaphore)
    content += b"".join(word.encode() + b"\0" for word in (provider, name, args))
    head = struct.pack("<III", 8, len(content), 3) + b"stapsdt\0"
    return head + content + bytes(-len(content) % 4)


def image(notes: bytes, code: bytes) -> bytes:
    """A program with these notes, whose code lies at TEXT and its data at DATA."""
    names = b"\0.note.stapsdt\0.stapsdt.base\0.shstrtab\0"
    notes_at = 3 * PAGE
    names_at = notes_at + len(notes)
    sections_at = names_at + len(names) + -len(names) % 8
    header = b"\x7fELF\2\1\1".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, sections_at, 0, 64, 56, 2, 64, 4, 3
    )
    segments = b"".join(
        struct.pack("<IIQQQQQQ", 1, flags, at, at, at, PAGE, PAGE, PAGE)
        for flags, at in ((5, TEXT), (6, DATA))
    )
    sections = bytes(64) + b"".join(
        struct.pack("<IIQQQQIIQQ", name, kind, 0, address, offset, size, 0, 0, 1, 0)
        for name, kind, address, offset, size in (
            (1, 7, 0, notes_at, len(notes)),
            (15, 1, BASE, names_at, 1),
            (29, 3, 0, names_at, len(names)),
        )
    )
    whole = bytearray(sections_at) + sections
    for at, part in (
        (0, header + segments),
        (TEXT, code),
        (notes_at, notes),
        (names_at, names),
    ):
        whole[at : at + len(part)] = part
    return bytes(whole)


class Mapped:
    """The file in memory: `call(number, a, b)` passes the place that far into its code.

    `semaphore(number)` is the 16-bit counter there.
    """

    def __init__(self, path: Path) -> None:
        self.code = self._map(path, TEXT, mmap.PROT_READ | mmap.PROT_EXEC)
        self.data = self._map(path, DATA, mmap.PROT_READ | mmap.PROT_WRITE)

    @staticmethod
    def _map(path: Path, offset: int, protection: int) -> int:
        function = ctypes.CDLL(None).mmap
        function.restype = ctypes.c_void_p
        function.argtypes = [
            *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int),
            *(ctypes.c_int, ctypes.c_long),
        ]
        with path.open("rb") as file:
            private = 2
            found = function(None, PAGE, protection, private, file.fileno(), offset)
        assert isinstance(found, int)
        return found

    def call(self, place: int, first: int, second: int) -> None:
        words = ctypes.c_uint64
        ctypes.CFUNCTYPE(ctypes.c_int, words, words)(self.code + place)(first, second)

    def semaphore(self, number: int) -> int:
        return ctypes.c_uint16.from_address(self.data + 2 * number).value


def make(path: Path, machine: str, *notes: bytes) -> Mapped:
    """Write the program to `path` and map it."""
    write(path, machine, *notes)
    return Mapped(path)


def write(path: Path, machine: str, *notes: bytes) -> None:
    """Write the program to `path`; its code does nothing at each 16 bytes."""
    code = _CODE[machine].ljust(16, _CODE[machine][:1])
    path.write_bytes(image(b"".join(notes), code * 8))
    path.chmod(0o755)
