import struct

import pytest

from beewire.bpf.btf import (
    Builder,
    Func,
    FuncProto,
    Index,
    Int,
    Member,
    Struct,
    ext,
    same,
)
from beewire.errors import EncodingError, ObjectError

FUNC = Func("on_exec", FuncProto(None))
TASK = Struct("task_struct", 4, (Member("tgid", Int("int", 4, signed=True), 0),))
LINE = (2, "prog.py", 7, 5, "    return 0")
SECTION = ext.SectionInfo(
    "tp/a", funcs=[(0, FUNC)], lines=[LINE], core_relos=[(3, TASK, "0:0", 0)]
)


def roundtrip(*sections: ext.SectionInfo) -> tuple[ext.SectionInfo, ...]:
    builder = Builder()
    section = ext.encode(builder, sections)
    return ext.decode(section, Index.build(builder.encode()))


def test_records_of_the_kernel_count_slots() -> None:
    builder = Builder()

    info = ext.encode_func_info(builder, [(3, FUNC)])

    assert struct.unpack("<2I", info) == (3, builder.id(FUNC))


def test_line_info_packs_line_and_column() -> None:
    builder = Builder()

    info = ext.encode_line_info(builder, [LINE])

    file, text = builder.string("prog.py"), builder.string("    return 0")
    assert struct.unpack("<4I", info) == (2, file, text, 7 << 10 | 5)


def test_a_column_beyond_1023_is_written_as_1023() -> None:
    info = ext.encode_line_info(Builder(), [(0, "f", 1, 5000, "")])

    assert struct.unpack("<4I", info)[3] == 1 << 10 | 1023


@pytest.mark.parametrize(
    "line", [(-1, "f", 1, 1, ""), (0, "f", -1, 1, ""), (0, "f", 1, -1, "")]
)
def test_a_position_below_zero_is_refused(line: ext.Line) -> None:
    with pytest.raises(EncodingError, match="below 0"):
        ext.encode_line_info(Builder(), [line])


@pytest.mark.parametrize(
    "relo", [(-1, TASK, "0", 0), (1 << 29, TASK, "0", 0), (0, TASK, "0", -1)]
)
def test_a_core_record_beyond_its_fields_is_refused(relo: ext.Core) -> None:
    with pytest.raises(EncodingError, match="beyond 32 bits"):
        ext.encode_core_relos(Builder(), [relo])


def test_core_records_count_bytes() -> None:
    builder = Builder()

    info = ext.encode_core_relos(builder, [(3, TASK, "0:0", 0)])

    root, access = builder.id(TASK), builder.string("0:0")
    assert struct.unpack("<4I", info) == (24, root, access, 0)


def test_a_section_comes_back() -> None:
    (section,) = roundtrip(SECTION)

    assert section.name == "tp/a"
    assert section.lines == [LINE]
    assert same(section.funcs[0][1], FUNC)
    assert same(section.core_relos[0][1], TASK)
    assert section.core_relos[0][2:] == ("0:0", 0)


def test_sections_keep_their_records_apart() -> None:
    other = ext.SectionInfo("xdp", lines=[(0, "x.py", 1, 1, "")])

    first, second = roundtrip(SECTION, other)

    assert (first.name, second.name) == ("tp/a", "xdp")
    assert not second.funcs


def test_no_records_make_a_header_only() -> None:
    assert roundtrip() == ()
    assert len(ext.encode(Builder(), [])) == 32


def test_records_longer_than_ours_are_read_as_far_as_we_know_them() -> None:
    builder = Builder()
    name, type_id = builder.string("xdp"), builder.add(FUNC)
    part = struct.pack("<IIIIII", 12, name, 1, 8, type_id, 0xFFFF)
    head = struct.pack("<HBBI6I", 0xEB9F, 1, 0, 32, 0, len(part), 0, 0, 0, 0)

    (section,) = ext.decode(head + part, Index.build(builder.encode()))

    assert section.funcs[0][0] == 1


def test_a_section_without_a_place_for_core_relos_is_read() -> None:
    builder = Builder()
    part = struct.pack("<IIIII", 8, builder.string("xdp"), 1, 0, builder.add(FUNC))
    head = struct.pack("<HBBI4I", 0xEB9F, 1, 0, 24, 0, len(part), 0, 0)

    (section,) = ext.decode(head + part, Index.build(builder.encode()))

    assert section.core_relos == []


@pytest.mark.parametrize("length", [1, 20, 40, 60])
def test_a_cut_section_is_refused(length: int) -> None:
    builder = Builder()
    section = ext.encode(builder, [SECTION])

    with pytest.raises(ObjectError):
        ext.decode(section[:length], Index.build(builder.encode()))


def test_records_beyond_their_part_are_refused() -> None:
    builder = Builder()
    section = bytearray(ext.encode(builder, [SECTION]))
    section[32 + 8] = 2  # num_info, where there is one func_info

    with pytest.raises(ObjectError, match="more records than its header says"):
        ext.decode(bytes(section), Index.build(builder.encode()))


def test_a_record_amid_an_instruction_is_refused() -> None:
    builder = Builder()
    section = bytearray(ext.encode(builder, [SECTION]))
    section[32 + 12] = 3  # insn_off of the only func_info

    with pytest.raises(ObjectError, match="amid"):
        ext.decode(bytes(section), Index.build(builder.encode()))
