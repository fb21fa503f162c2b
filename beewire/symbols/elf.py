"""Programs and libraries as ELF files: where their code lies, and what it is called.

Any class and byte order is read. Nothing is believed: counts and offsets are compared
with the size of the file, and whatever the bytes are, reading them ends with an
ObjectError or without one, in memory of a few times the file's size.
"""

import os
import struct
import sys
from array import array

from beewire.errors import ObjectError
from beewire.hints import Callable, Self
from beewire.rows import Row

EXECUTABLE = 1  # PF_X
_LOAD, _NOTE = 1, 4  # PT_*
_SYMTAB, _NOTES, _NOBITS, _DYNSYM = 2, 7, 8, 11  # SHT_*
_BUILD_ID = 3  # NT_GNU_BUILD_ID
_EXTENDED = 0xFFFF  # PN_XNUM
# Larger tables are no program's: Chromium with all its symbols has 800 MB of them.
_MOST = 1 << 30

ReadAt = Callable[[int, int], bytes]

# Ehdr behind e_version; Phdr; Shdr; Sym, by class. Of the two classes Phdr and Sym have
# their fields in different order.
_HEADER = {1: "IIIIHHHHHH", 2: "QQQIHHHHHH"}
_SEGMENT = {1: "IIIIIIII", 2: "IIQQQQQQ"}
_SECTION = {1: "IIIIIIIIII", 2: "IIQQQQIIQQ"}
_SYMBOL = {1: "IIIBBH", 2: "IBBHQQ"}

RawRow = tuple[int, ...]


class Segment(Row):
    """What is mapped (PT_LOAD): `size` bytes at `offset` of the file, to `address`."""

    offset: int
    address: int
    size: int
    flags: int


class Symbols(Row):
    """One symbol table, column by column.

    `facts` are the first word of `Elf64_Sym`, little-endian: st_name, st_info << 32,
    st_shndx << 48.
    """

    addresses: "array[int]"
    sizes: "array[int]"
    facts: "array[int]"


class Section(Row):
    """One section header."""

    name: str
    kind: int
    address: int
    offset: int
    size: int
    link: int


class ElfFile:
    """A program, a library, or a file with its symbols.

    `read` gives so many bytes at an offset, fewer at the end; `size` is that of all.
    """

    __slots__ = ("_bits", "_order", "_read", "sections", "segments", "size")

    def __init__(self, read: ReadAt, size: int) -> None:
        """Read the headers.

        Raises:
            ObjectError: it is no ELF file, or a damaged one.
        """
        self._read, self.size = read, size
        ident = read(0, 24)
        if ident[:4] != b"\x7fELF":
            raise ObjectError("this is no ELF file")
        if len(ident) < 24 or ident[4] not in _HEADER or ident[5] not in {1, 2}:
            raise ObjectError("the ELF file is of no class or byte order that there is")
        self._bits, self._order = ident[4], "<" if ident[5] == 1 else ">"
        form = struct.Struct(self._order + _HEADER[self._bits])
        header = form.unpack(self._bytes(24, form.size, "its header"))
        _, segments, sections, _, _, p_size, p_count, s_size, s_count, names = header
        raw = self._section_headers(sections, s_size, s_count)
        if p_count == _EXTENDED and raw:
            p_count = raw[0][7]
        self.segments = self._segments(segments, p_size, p_count)
        self.sections = self._named(raw, raw[0][6] if names == _EXTENDED else names)

    @classmethod
    def of(cls, data: bytes) -> Self:
        """The ELF file that these bytes are.

        Raises:
            ObjectError: they are none.
        """
        return cls(lambda offset, size: data[offset : offset + size], len(data))

    @classmethod
    def open(cls, fd: int) -> Self:
        """The ELF file behind a descriptor, which has to stay open meanwhile.

        Raises:
            ObjectError: it is none, or cannot be read.
        """

        def read(offset: int, size: int) -> bytes:
            try:
                return os.pread(fd, size, offset)
            except OSError as error:
                raise ObjectError(f"cannot be read: {error.strerror}") from error

        return cls(read, os.fstat(fd).st_size)

    def section(self, name: str) -> Section | None:
        """The section of that name, if there is one."""
        return next((each for each in self.sections if each.name == name), None)

    def content(self, section: Section) -> bytes:
        """The bytes of a section; none where the file does not hold them.

        Raises:
            ObjectError: they are beyond the end of the file.
        """
        if section.kind == _NOBITS:
            return b""
        return self._bytes(section.offset, section.size, f"section {section.name}")

    def address_at(self, offset: int) -> int | None:
        """The address that the file's byte at `offset` is made for, if any."""
        for each in self.segments:
            if each.offset <= offset < each.offset + each.size:
                return offset - each.offset + each.address
        return None

    def offset_at(self, address: int) -> int | None:
        """Where in the file the byte for `address` is, if it is in it."""
        for each in self.segments:
            if each.address <= address < each.address + each.size:
                return address - each.address + each.offset
        return None

    @property
    def build_id(self) -> bytes:
        """What the linker called this build, or b""."""
        for section in self.sections:
            if section.kind == _NOTES:
                found = self._note(self.content(section), _BUILD_ID)
                if found:
                    return found
        return b""

    def symbols(self) -> list[tuple[Symbols, bytes]]:
        """The symbol tables with their texts: .symtab first.

        Raises:
            ObjectError: they are damaged.
        """
        found = []
        for kind in (_SYMTAB, _DYNSYM):
            for section in self.sections:
                if section.kind == kind and section.link < len(self.sections):
                    names = self.content(self.sections[section.link])
                    found.append((self._symbols(self.content(section)), names))
        return found

    # Reading.

    def _bytes(self, offset: int, size: int, what: str) -> bytes:
        if size > _MOST or offset + size > self.size:
            raise ObjectError(f"{what} lies beyond the end of the ELF file")
        found = self._read(offset, size)
        if len(found) != size:
            raise ObjectError(f"the ELF file ends within {what}")
        return found

    def _table(self, form: str, offset: int, entry: int, count: int) -> list[RawRow]:
        """`count` rows at `offset`, each `entry` bytes."""
        layout = struct.Struct(self._order + form)
        if not count or not offset:
            return []
        if entry < layout.size:
            raise ObjectError(f"headers of {entry} bytes are no ELF file's")
        data = self._bytes(offset, entry * count, "a table of headers")
        return [layout.unpack_from(data, at) for at in range(0, len(data), entry)]

    def _section_headers(self, offset: int, entry: int, count: int) -> list[RawRow]:
        form = _SECTION[self._bits]
        if offset and not count:
            # More than 65279: the first one says how many.
            first = self._table(form, offset, entry, 1)
            count = first[0][5]
        return self._table(form, offset, entry, count)

    def _segments(self, offset: int, entry: int, count: int) -> list[Segment]:
        found = []
        for row in self._table(_SEGMENT[self._bits], offset, entry, count):
            if row[0] != _LOAD:
                continue
            if self._bits == 2:
                found.append(Segment(row[2], row[3], row[5], row[1]))
            else:
                found.append(Segment(row[1], row[2], row[4], row[6]))
        return found

    def _named(self, raw: list[RawRow], names: int) -> list[Section]:
        unnamed = [Section("", r[1], r[3], r[4], r[5], r[6]) for r in raw]
        if not 0 < names < len(raw):
            return unnamed
        texts = self.content(unnamed[names])
        # A name may be the end of another, but many of them do not overlap.
        return [
            each._replace(name=text(texts, row[0])[:256])
            for each, row in zip(unnamed, raw, strict=True)
        ]

    def _note(self, notes: bytes, wanted: int) -> bytes:
        header = struct.Struct(self._order + "III")
        at = 0
        while at + header.size <= len(notes):
            name_size, size, kind = header.unpack_from(notes, at)
            name = at + header.size
            start = name + (name_size + 3 & ~3)
            if kind == wanted and notes[name : name + 4] == b"GNU\0":
                return notes[start : start + size]
            at = start + (size + 3 & ~3)
        return b""

    def _symbols(self, table: bytes) -> Symbols:
        layout = struct.Struct(self._order + _SYMBOL[self._bits])
        whole = memoryview(table)[: len(table) // layout.size * layout.size]
        if self._bits == 2 and self._order == "<" and sys.byteorder == "little":
            # Three words a symbol, which slices take apart without a loop.
            words = array("Q")
            words.frombytes(whole)
            return Symbols(words[1::3], words[2::3], words[0::3])
        found = Symbols(array("Q"), array("Q"), array("Q"))
        for row in layout.iter_unpack(whole):
            if self._bits == 2:
                name, info, _, section, value, size = row
            else:
                name, value, size, info, _, section = row
            found.addresses.append(value)
            found.sizes.append(size)
            found.facts.append(name | info << 32 | section << 48)
        return found


def text(data: bytes, offset: int) -> str:
    """The text that ends with NUL at `offset`; "" beyond the end."""
    end = data.find(b"\0", offset) if offset < len(data) else -1
    return data[offset:end].decode(errors="replace") if end >= 0 else ""
