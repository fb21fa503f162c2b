"""The ELF container: sections and symbols <-> the bytes of a relocatable BPF file.

64-bit, `ET_REL`, `EM_BPF`; written little-endian, read in either byte order. What the
sections mean is told in `writer` and `reader`.
"""

import struct
from enum import IntEnum, IntFlag
from typing import NamedTuple

from beewire.errors import EncodingError, ObjectError

# e_ident: magic, 64 bits, little-endian, version 1, System V
_IDENT = b"\x7fELF\2\1\1".ljust(16, b"\0")
_BIG_ENDIAN = 2  # ELFDATA2MSB
_REL = 1  # ET_REL
_BPF = 247  # EM_BPF
# Elf64_Ehdr: e_ident, e_type, e_machine, e_version, e_entry, e_phoff, e_shoff, e_flags,
# e_ehsize, e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx
_HEADER_FIELDS = "16sHHIQQQIHHHHHH"
_HEADER = struct.Struct("<" + _HEADER_FIELDS)
# Elf64_Shdr: sh_name, sh_type, sh_flags, sh_addr, sh_offset, sh_size, sh_link, sh_info,
# sh_addralign, sh_entsize
_SECTION_FIELDS = "IIQQQQIIQQ"
_SECTION = struct.Struct("<" + _SECTION_FIELDS)
# Elf64_Sym: st_name, st_info, st_other, st_shndx, st_value, st_size
_SYMBOL_FIELDS = "IBBHQQ"
_SYMBOL = struct.Struct("<" + _SYMBOL_FIELDS)
# Elf64_Rel: r_offset, r_info
_REL_ENTRY = struct.Struct("<QII")
# The halves of r_info change places with the byte order.
_REL_BIG_ENDIAN = struct.Struct(">QII")

# What all names together may take: in a file that means no harm few of them overlap.
_NAMES_ALLOWANCE, _NAMES_FACTOR = 1 << 20, 8

_HIDDEN, _INTERNAL = 2, 1  # STV_*

SYMTAB, STRTAB = ".symtab", ".strtab"
UNDEFINED = 0  # SHN_UNDEF
ABSOLUTE = 0xFFF1  # SHN_ABS


class SectionKind(IntEnum):
    """`SHT_*`, as far as BPF objects need it."""

    NULL = 0
    PROGBITS = 1
    SYMTAB = 2
    STRTAB = 3
    RELA = 4
    NOBITS = 8
    REL = 9


class SectionFlag(IntFlag):
    """`SHF_*`."""

    WRITE = 1
    ALLOC = 2
    EXECINSTR = 4
    INFO_LINK = 0x40


class SymbolKind(IntEnum):
    """`STT_*`."""

    NOTYPE = 0
    OBJECT = 1
    FUNC = 2
    SECTION = 3
    FILE = 4


class Binding(IntEnum):
    """`STB_*`."""

    LOCAL = 0
    GLOBAL = 1
    WEAK = 2


class RelocationType(IntEnum):
    """`R_BPF_*`: the two that instructions have, and the one of pointers in data."""

    BPF_64_64 = 1  # LD_IMM64
    BPF_64_ABS64 = 2
    BPF_64_32 = 10  # CALL


class Section(NamedTuple):
    """One section; `size` differs from the content's length for NOBITS only."""

    name: str
    kind: int
    content: bytes = b""
    flags: int = 0
    size: int = 0
    align: int = 1
    link: int = 0
    info: int = 0
    entry_size: int = 0


class Symbol(NamedTuple):
    """One symbol; `section` is an index into the sections, or UNDEFINED or ABSOLUTE."""

    name: str
    kind: int
    binding: int
    section: int
    value: int = 0
    size: int = 0
    hidden: bool = False


class Reference(NamedTuple):
    """One relocation: the bytes at `offset` refer to symbol number `symbol`."""

    offset: int
    type: int
    symbol: int


def encode_references(references: list[Reference]) -> bytes:
    """Return the content of a REL section."""
    return b"".join([_REL_ENTRY.pack(*reference) for reference in references])


def decode_references(content: bytes, *, big_endian: bool = False) -> list[Reference]:
    """Read the content of a REL section."""
    if len(content) % _REL_ENTRY.size:
        raise ObjectError("a relocation section ends in the middle of an entry")
    if big_endian:
        entries = _REL_BIG_ENDIAN.iter_unpack(content)
        return [Reference(offset, type_, symbol) for offset, symbol, type_ in entries]
    return [Reference(*entry) for entry in _REL_ENTRY.iter_unpack(content)]


def encode(sections: list[Section], symbols: list[Symbol]) -> bytes:
    """Return the ELF file; section 0 and symbol 0 are the empty ones.

    `.symtab` and `.strtab` are added behind the other sections, and the links that
    refer to `.symtab` (those of REL sections) are filled in.
    """
    names = bytearray(1)
    table = _symbol_table(symbols, names)
    symtab = len(sections)
    local = sum(symbol.binding == Binding.LOCAL for symbol in symbols)
    linked = [
        section._replace(link=symtab) if section.kind == SectionKind.REL else section
        for section in sections
    ]
    linked.append(
        Section(
            SYMTAB,
            SectionKind.SYMTAB,
            table,
            align=8,
            link=symtab + 1,
            info=local,
            entry_size=_SYMBOL.size,
        )
    )
    name_offsets = [_name(names, section.name) for section in linked]
    name_offsets.append(_name(names, STRTAB))
    linked.append(Section(STRTAB, SectionKind.STRTAB, bytes(names)))
    return _layout(linked, name_offsets)


def _symbol_table(symbols: list[Symbol], names: bytearray) -> bytes:
    return b"".join(
        [
            _SYMBOL.pack(
                _name(names, symbol.name),
                symbol.binding << 4 | symbol.kind,
                _HIDDEN if symbol.hidden else 0,
                symbol.section,
                symbol.value,
                symbol.size,
            )
            for symbol in symbols
        ]
    )


def _name(names: bytearray, name: str) -> int:
    if not name:
        return 0
    offset = len(names)
    names += encode_text(name)
    return offset


def encode_text(text: str) -> bytes:
    """Return `text` as it stands in a file, with the NUL that ends it.

    Raises:
        EncodingError: it contains a NUL, or half a surrogate pair.
    """
    try:
        encoded = text.encode(errors="surrogateescape")
    except UnicodeEncodeError as error:
        raise EncodingError(f"the text {text!r}: {error.reason}") from None
    if b"\0" in encoded:
        raise EncodingError(f"a NUL in the text {text!r}")
    return encoded + b"\0"


def _layout(sections: list[Section], name_offsets: list[int]) -> bytes:
    body, headers = bytearray(_HEADER.size), []
    for section, name in zip(sections, name_offsets, strict=True):
        body += bytes(-len(body) % section.align)
        offset = len(body) if section.kind != SectionKind.NULL else 0
        headers.append(
            _SECTION.pack(
                name,
                section.kind,
                section.flags,
                0,
                offset,
                section.size or len(section.content),
                section.link,
                section.info,
                section.align if section.kind != SectionKind.NULL else 0,
                section.entry_size,
            )
        )
        body += section.content
    body += bytes(-len(body) % 8)
    places = (0, 0, len(body), 0, _HEADER.size, 0, 0, _SECTION.size, len(sections))
    body[: _HEADER.size] = _HEADER.pack(
        _IDENT, _REL, _BPF, 1, *places, len(sections) - 1
    )
    return bytes(body) + b"".join(headers)


class File(NamedTuple):
    """A decoded ELF file."""

    sections: list[Section]
    symbols: list[Symbol]
    big_endian: bool = False


def decode(data: bytes) -> File:
    """Read an ELF file.

    Raises:
        ObjectError: this is no relocatable BPF object, or damaged.
    """
    try:
        return _decode(data)
    except (struct.error, IndexError, OverflowError):
        raise ObjectError("the ELF file is damaged: a part of it is missing") from None


def _decode(data: bytes) -> File:
    if data[:4] != _IDENT[:4]:
        raise ObjectError("this is no ELF file")
    big_endian = data[5] == _BIG_ENDIAN
    order = ">" if big_endian else "<"
    header = struct.Struct(order + _HEADER_FIELDS)
    _, kind, machine, *_, count, names_at = header.unpack_from(data)
    table = struct.unpack_from(order + "Q", data, 40)[0]
    known = data[4] == _IDENT[4] and (big_endian or data[5] == _IDENT[5])
    if not known or kind != _REL or machine != _BPF:
        raise ObjectError("this ELF file is no relocatable BPF object")
    layout = struct.Struct(order + _SECTION_FIELDS)
    raw = [layout.unpack_from(data, table + 64 * number) for number in range(count)]
    # Each is copied: without this, a small file could make us fill all memory.
    if sum([_length(each) for each in raw]) > len(data):
        raise ObjectError("the ELF file is damaged: its sections overlap")
    section_name = _Names(_content(data, raw[names_at])).at
    sections = [
        Section(
            section_name(each[0]),
            each[1],
            _content(data, each),
            each[2],
            size=each[5],
            align=each[8],
            link=each[6],
            info=each[7],
            entry_size=each[9],
        )
        for each in raw
    ]
    return File(sections, _symbols(sections, order), big_endian)


def _length(header: tuple[int, ...]) -> int:
    """How many bytes of the file are the section's."""
    return 0 if header[1] in (SectionKind.NULL, SectionKind.NOBITS) else header[5]


def _content(data: bytes, header: tuple[int, ...]) -> bytes:
    offset, size = header[4], _length(header)
    if not size:
        return b""
    if offset + size > len(data):
        raise ObjectError("the ELF file is damaged: a section lies beyond its end")
    return data[offset : offset + size]


def _symbols(sections: list[Section], order: str) -> list[Symbol]:
    table = next((s for s in sections if s.kind == SectionKind.SYMTAB), None)
    if table is None:
        return []
    if len(table.content) % _SYMBOL.size:
        raise ObjectError("the ELF symbol table ends in the middle of a symbol")
    symbol_name = _Names(sections[table.link].content).at
    hidden = _HIDDEN, _INTERNAL
    layout = struct.Struct(order + _SYMBOL_FIELDS)
    return [
        Symbol(
            symbol_name(name),
            info & 15,
            info >> 4,
            section,
            value,
            size,
            other & 3 in hidden,
        )
        for name, info, other, section, value, size in layout.iter_unpack(table.content)
    ]


class _Names:
    """A string table, whose names together take no more memory than is reasonable.

    A name of a megabyte, to whose every byte another symbol points, would fill it all.
    """

    __slots__ = ("_known", "_left", "_strings")

    def __init__(self, strings: bytes) -> None:
        self._strings = strings
        self._known: dict[int, str] = {}
        self._left = _NAMES_ALLOWANCE + _NAMES_FACTOR * len(strings)

    def at(self, offset: int) -> str:
        name = self._known.get(offset)
        if name is None:
            end = self._strings.find(b"\0", offset)
            if end < 0:
                raise ObjectError("the ELF file is damaged: a name has no end")
            self._left -= end - offset
            if self._left < 0:
                raise ObjectError("the ELF file is damaged: its names overlap")
            name = self._strings[offset:end].decode(errors="surrogateescape")
            self._known[offset] = name
        return name
