"""What BTF says of single instructions: func_info, line_info and CO-RE records.

Two forms of each: an array for BPF_PROG_LOAD, and the `.BTF.ext` section of an object
file, where the records of each program section stand under its name.
"""

import struct

from beewire.bpf.btf.builder import MAGIC, VERSION, Builder
from beewire.bpf.btf.types import Type
from beewire.errors import EncodingError, ObjectError
from beewire.hints import TYPE_CHECKING, Callable, Iterable, Sequence
from beewire.rows import Row

if TYPE_CHECKING:
    from beewire.bpf.btf.index import Index

# struct bpf_func_info: insn_off, type_id
FUNC_INFO = struct.Struct("<II")
# struct bpf_line_info: insn_off, file_name_off, line_off, line_col
LINE_INFO = struct.Struct("<IIII")
# struct bpf_core_relo: insn_off, type_id, access_str_off, kind
CORE_RELO = struct.Struct("<IIII")

# struct btf_ext_header: magic, version, flags, hdr_len, then offset and length of
# func_info, line_info and core_relo
_HEADER = struct.Struct("<HBBI6I")
_HEADER_START = struct.Struct("<HBBI")
# struct btf_ext_info_sec: sec_name_off, num_info
_SECTION = struct.Struct("<II")
_RECORD_SIZE = struct.Struct("<I")

# line_col: 22 bits of line, 10 of column
_MAX_LINE = (1 << 22) - 1
_MAX_COLUMN = (1 << 10) - 1

# A slot is 8 bytes: .BTF.ext and CO-RE count bytes, func_info and line_info of
# BPF_PROG_LOAD count slots.
_SLOT = 8

# Plain tuples, so that the records of an ObjectSpec serve as they are.
Func = tuple[int, Type]  # slot, btf.Func
Line = tuple[int, str, int, int, str]  # slot, file, line, column, text
Core = tuple[int, Type, str, int]  # slot, root type, access, kind


def encode_func_info(builder: Builder, funcs: Iterable[Func]) -> bytes:
    """Return `struct bpf_func_info[]` for BPF_PROG_LOAD; adds types to `builder`.

    Raises:
        EncodingError: a number that does not fit its field, as in the two below.
    """
    return _func_info(builder, funcs, 1)


def encode_line_info(builder: Builder, lines: Iterable[Line]) -> bytes:
    """Return `struct bpf_line_info[]` for BPF_PROG_LOAD; adds strings to `builder`.

    A line beyond 4194303 or a column beyond 1023 is written as that.
    """
    return _line_info(builder, lines, 1)


def encode_core_relos(builder: Builder, relos: Iterable[Core]) -> bytes:
    """Return `struct bpf_core_relo[]`, the same for BPF_PROG_LOAD and `.BTF.ext`."""
    return b"".join(
        [
            _pack(
                CORE_RELO,
                slot * _SLOT,
                builder.add(root),
                builder.string(access),
                kind,
            )
            for slot, root, access, kind in relos
        ]
    )


def _func_info(builder: Builder, funcs: Iterable[Func], unit: int) -> bytes:
    return b"".join(
        [_pack(FUNC_INFO, slot * unit, builder.add(func)) for slot, func in funcs]
    )


def _line_info(builder: Builder, lines: Iterable[Line], unit: int) -> bytes:
    string = builder.string
    return b"".join(
        [
            _pack(
                LINE_INFO,
                slot * unit,
                string(file),
                string(text),
                min(line, _MAX_LINE) << 10 | min(column, _MAX_COLUMN),
            )
            for slot, file, line, column, text in lines
        ]
    )


def _pack(layout: struct.Struct, *numbers: int) -> bytes:
    try:
        return layout.pack(*numbers)
    except struct.error:
        message = f"a slot, line, column or kind below 0 or beyond 32 bits: {numbers}"
        raise EncodingError(message) from None


class SectionInfo(Row):
    """The records of one program section; slots count from the section's start."""

    name: str
    funcs: Sequence[Func] = ()
    lines: Sequence[Line] = ()
    core_relos: Sequence[Core] = ()


def encode(builder: Builder, sections: Iterable[SectionInfo]) -> bytes:
    """Return a `.BTF.ext` section; adds types and strings to `builder`."""
    funcs, lines, relos = bytearray(), bytearray(), bytearray()
    for section in sections:
        name = builder.string(section.name)
        if section.funcs:
            funcs += _SECTION.pack(name, len(section.funcs))
            funcs += _func_info(builder, section.funcs, _SLOT)
        if section.lines:
            lines += _SECTION.pack(name, len(section.lines))
            lines += _line_info(builder, section.lines, _SLOT)
        if section.core_relos:
            relos += _SECTION.pack(name, len(section.core_relos))
            relos += encode_core_relos(builder, section.core_relos)
    # A part begins with the size of its records; libbpf refuses one with no records.
    places, content = [], b""
    for layout, part in ((FUNC_INFO, funcs), (LINE_INFO, lines), (CORE_RELO, relos)):
        length = _RECORD_SIZE.size + len(part) if part else 0
        places += [len(content), length]
        if part:
            content += _RECORD_SIZE.pack(layout.size) + part
    return _HEADER.pack(MAGIC, VERSION, 0, _HEADER.size, *places) + content


def decode(data: bytes, index: "Index") -> tuple[SectionInfo, ...]:
    """Read a `.BTF.ext` section; `index` is the `.BTF` that it belongs to.

    Records may be longer than we know them: what is behind is not read.

    Raises:
        ObjectError: the section contradicts itself, or refers to nothing.
    """
    try:
        return _decode(data, index)
    except struct.error:
        raise ObjectError(".BTF.ext ends in the middle of a record") from None


def _decode(data: bytes, index: "Index") -> tuple[SectionInfo, ...]:
    order = ">" if data[:1] == bytes([MAGIC >> 8]) else "<"
    start = struct.Struct(order + _HEADER_START.format[1:])
    magic, version, _, header_length = start.unpack_from(data)
    if magic != MAGIC or version != VERSION:
        raise ObjectError(".BTF.ext does not begin with a BTF header")
    # Before CO-RE (clang 9) the header had no place for it.
    header = data[:header_length].ljust(_HEADER.size, b"\0")
    places = struct.Struct(order + _HEADER.format[1:]).unpack_from(header)[4:]
    # Lines of one file share its name.
    string = _cached(index.string)
    funcs, lines, relos = (
        _part(data, (header_length + places[i], places[i + 1]), layout, order, string)
        for i, layout in ((0, FUNC_INFO), (2, LINE_INFO), (4, CORE_RELO))
    )
    return tuple(
        [
            SectionInfo(
                name,
                [
                    (_slot(at), _present(index.type(type_id)))
                    for at, type_id in funcs.get(name, ())
                ],
                [
                    (
                        _slot(at),
                        string(file),
                        line >> 10,
                        line & _MAX_COLUMN,
                        string(text),
                    )
                    for at, file, text, line in lines.get(name, ())
                ],
                [
                    (_slot(at), _present(index.type(type_id)), string(access), kind)
                    for at, type_id, access, kind in relos.get(name, ())
                ],
            )
            for name in {**funcs, **lines, **relos}
        ]
    )


def _cached(string: Callable[[int], str]) -> Callable[[int], str]:
    known: dict[int, str] = {}

    def at(offset: int) -> str:
        text = known.get(offset)
        if text is None:
            text = known[offset] = string(offset)
        return text

    return at


def _part(
    data: bytes,
    place: tuple[int, int],
    layout: struct.Struct,
    order: str,
    string: Callable[[int], str],
) -> dict[str, list[tuple[int, ...]]]:
    start, length = place
    sections: dict[str, list[tuple[int, ...]]] = {}
    if not length:
        return sections
    (size,) = struct.unpack_from(order + "I", data, start)
    if size < layout.size:
        raise ObjectError(f".BTF.ext has records of {size} bytes, not {layout.size}")
    position, end = start + _RECORD_SIZE.size, start + length
    record, head = struct.Struct(order + layout.format[1:]), order + "II"
    while position < end:
        name, count = struct.unpack_from(head, data, position)
        position += _SECTION.size
        if position + size * count > end:
            raise ObjectError(".BTF.ext has more records than its header says")
        records = sections.setdefault(string(name), [])
        for at in range(position, position + size * count, size):
            records.append(record.unpack_from(data, at))
        position += size * count
    if position != end:
        raise ObjectError(".BTF.ext ends in the middle of a record")
    return sections


def _slot(offset: int) -> int:
    if offset % _SLOT:
        raise ObjectError(f".BTF.ext speaks of byte {offset}, amid an instruction")
    return offset // _SLOT


def _present(node: Type | None) -> Type:
    if node is None:
        raise ObjectError(".BTF.ext has a record with void for a type")
    return node
