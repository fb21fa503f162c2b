"""Unwind tables: what they say, compared with binutils; and stacks that are followed."""

import contextlib
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beewire.errors import ObjectError
from beewire.symbols import ElfFile, Images, Process
from beewire.symbols.cfi import Rule, UnwindTable, sleb, uleb
from beewire.symbols.unwind import Memory, Registers, Unwinder, evaluate, step
from tests.symbols.conftest import Build

ROW = re.compile(r"^([0-9a-f]{16}) (rsp|rbp)\+(\d+) (.*)$")
NAMES = {"rsp": 7, "rbp": 6}
SHARED = Path("/lib/x86_64-linux-gnu/libc.so.6")


def rows_of(program: Path) -> list[tuple[int, int, int, str, str]]:
    """Address, CFA's register and offset, where rbp and the caller are, by readelf."""
    if shutil.which("readelf") is None:
        pytest.skip("binutils or xz is not installed")
    told = subprocess.run(
        ["readelf", "--debug-dump=frames-interp", program],
        check=False,  # it minds things that are elsewhere
        capture_output=True,
        text=True,
    ).stdout
    found, columns = [], []
    inside = False
    for line in told.splitlines():
        if line[:1].isdigit() or line[:1] in "abcdef":
            inside = " FDE " in line if " CIE" in line or " FDE " in line else inside
        if line.strip().startswith("LOC"):
            columns = line.split()[2:]
        match = ROW.match(line)
        if match and inside:
            places = dict(zip(columns, match[4].split(), strict=False))
            row = (int(match[1], 16), NAMES[match[2]], int(match[3]))
            found.append((*row, places.get("rbp", "u"), places.get("ra", "u")))
    return found


def shown(place: int | bytes | None) -> str:
    if isinstance(place, bytes):
        return "exp"
    return "u" if place is None else f"c{place:+d}"


@pytest.mark.parametrize("flags", [("-O2",), ("-O2", "-fomit-frame-pointer"), ("-O0",)])
def test_rules_are_those_that_readelf_shows(
    build: Build, flags: tuple[str, ...]
) -> None:
    program = build(*flags)
    rows = rows_of(program)
    table = UnwindTable(ElfFile.of(program.read_bytes()))

    mine = []
    for address, *_ in rows:
        rule = table.find(address)
        assert rule is not None
        mine.append(
            (address, rule.register, rule.offset, shown(rule.frame), shown(rule.caller))
        )

    assert len(rows) > 3
    assert mine == rows


def test_rules_of_the_c_library_are_those_that_readelf_shows() -> None:
    if not SHARED.exists():
        pytest.skip("the C library is elsewhere")
    rows = rows_of(SHARED)[::37]
    table = UnwindTable(ElfFile.of(SHARED.read_bytes()))

    wrong = []
    for address, register, offset, frame, caller in rows:
        rule = table.find(address)
        if rule is None or (
            rule.register,
            rule.offset,
            shown(rule.frame),
            shown(rule.caller),
        ) != (
            register,
            offset,
            frame,
            caller,
        ):
            wrong.append(hex(address))

    assert len(rows) > 100
    assert wrong == []


def test_between_functions_there_is_no_rule(build: Build) -> None:
    table = UnwindTable(ElfFile.of(build().read_bytes()))

    assert table.find(0) is None
    assert table.find(1 << 40) is None


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_damaged_tables_are_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(Path("/bin/true").read_bytes())
    file = ElfFile.of(bytes(content))
    for name in (".eh_frame", ".eh_frame_hdr"):
        section = file.section(name)
        assert section is not None
        for _ in range(data.draw(st.integers(0, 8))):
            place = data.draw(st.integers(0, section.size - 1))
            content[section.offset + place] = data.draw(st.integers(0, 255))

    try:
        table = UnwindTable(ElfFile.of(bytes(content)))
    except ObjectError:
        return
    for address in range(0x2000, 0x5000, 97):
        with contextlib.suppress(ObjectError):
            table.find(address)


def test_a_file_without_a_table_says_so(build: Build) -> None:
    content = build().read_bytes().replace(b".eh_frame_hdr", b".eh_frame_xxx")

    with pytest.raises(ObjectError, match="no unwind table"):
        UnwindTable(ElfFile.of(content))


@pytest.mark.parametrize(
    ("data", "unsigned", "signed"),
    [
        (b"\x02", 2, 2),
        (b"\x7f", 127, -1),
        (b"\x80\x01", 128, 128),
        (b"\x80\x7f", 16256, -128),
    ],
)
def test_numbers_of_any_length_are_read(
    data: bytes, unsigned: int, signed: int
) -> None:
    assert uleb(data, 0) == (unsigned, len(data))
    assert sleb(data, 0) == (signed, len(data))


HERE = Registers(ip=0x401_00F, sp=0x1000, bp=0x1020)
STACK = Memory(struct.pack("<8Q", *range(100, 108)), 0x1000)


def test_a_caller_is_found_by_its_rule() -> None:
    rule = Rule(register=7, offset=16, expression=b"", caller=-8, frame=-16)

    assert step(rule, HERE, STACK) == Registers(ip=101, sp=0x1010, bp=100)


def test_without_a_rule_the_frame_pointer_is_followed() -> None:
    assert step(None, HERE, STACK) == Registers(ip=105, sp=0x1030, bp=104)


def test_the_rule_of_the_procedure_table_is_an_expression() -> None:
    # rsp + 8 + ((rip & 15) >= 11) * 8, as linkers write it for .plt.
    code = bytes([0x77, 8, 0x80, 0, 0x3F, 0x1A, 0x3B, 0x2A, 0x33, 0x24, 0x22])

    assert evaluate(code, HERE, STACK, []) == 0x1000 + 8 + 8
    early = HERE._replace(ip=0x401_000)
    assert evaluate(code, early, STACK, []) == 0x1000 + 8


def test_a_signal_returns_to_where_it_was_saved() -> None:
    # The caller is in memory 8 behind the CFA, as __restore_rt has it.
    saved = bytes([0x23, 8])
    rule = Rule(register=7, offset=0, expression=b"", caller=saved, frame=None)

    assert step(rule, HERE, STACK).ip == 101


@pytest.mark.parametrize("code", [b"", b"\x22", b"\x03", b"\x77", b"\x50\x06"])
def test_expressions_that_make_no_sense_are_refused(code: bytes) -> None:
    with pytest.raises(ValueError, match="expression"):
        evaluate(code, HERE, STACK, [])


def test_what_was_not_copied_ends_a_stack() -> None:
    with pytest.raises(ValueError, match="not copied"):
        STACK.word(0x1040)


def test_a_stack_without_any_memory_is_its_first_function() -> None:
    with Images() as images:
        process = Process(1 << 22, images)
        found = Unwinder().unwind(process, HERE, b"")

    assert found == ([HERE.ip], False)
