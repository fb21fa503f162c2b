"""The container: what other readers of ELF see, and what damage does."""

import io
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beewire.bpf.btf import decode
from beewire.bpf.object import ObjectSpec, read, write
from beewire.errors import ObjectError


@pytest.fixture
def elf(spec: ObjectSpec) -> Any:
    return ELFFile(io.BytesIO(write(spec)))


def test_the_header_says_bpf(elf: Any) -> None:
    header = elf.header

    assert (header.e_type, header.e_machine) == ("ET_REL", "EM_BPF")
    assert elf.little_endian
    assert elf.elfclass == 64


def test_sections_stand_in_the_order_of_the_documentation(elf: Any) -> None:
    assert [section.name for section in elf.iter_sections()] == [
        "",
        "tracepoint/sched/sched_process_exec",
        "cgroup/connect4",
        ".text",
        ".bss",
        ".rodata",
        ".maps",
        "license",
        ".BTF",
        ".BTF.ext",
        ".reltracepoint/sched/sched_process_exec",
        ".relcgroup/connect4",
        ".symtab",
        ".strtab",
    ]


def test_sections_are_aligned_and_do_not_overlap(elf: Any) -> None:
    end = 64
    for section in elf.iter_sections():
        if section.header.sh_type not in ("SHT_NULL", "SHT_NOBITS"):
            assert section.header.sh_offset >= end
            assert section.header.sh_offset % section.header.sh_addralign == 0
            end = section.header.sh_offset + section.header.sh_size

    assert elf.header.e_shoff >= end


def test_bss_takes_no_room_in_the_file(elf: Any) -> None:
    bss = elf.get_section_by_name(".bss")

    assert (bss.header.sh_type, bss.header.sh_size) == ("SHT_NOBITS", 16)


def test_local_symbols_come_first(elf: Any) -> None:
    table = elf.get_section_by_name(".symtab")
    assert isinstance(table, SymbolTableSection)

    binds = [symbol.entry.st_info.bind for symbol in table.iter_symbols()]

    first_global = binds.index("STB_GLOBAL")
    assert table.header.sh_info == first_global
    assert set(binds[first_global:]) == {"STB_GLOBAL"}


@pytest.mark.parametrize(
    ("name", "kind", "size"),
    [
        ("on_exec", "STT_FUNC", 29 * 8),
        ("identity", "STT_FUNC", 16),
        ("counts", "STT_OBJECT", 32),
        ("total", "STT_OBJECT", 8),
        ("sample", "STT_FILE", 0),
    ],
)
def test_symbols_have_kind_and_size(elf: Any, name: str, kind: str, size: int) -> None:
    (symbol,) = elf.get_section_by_name(".symtab").get_symbol_by_name(name)

    assert (symbol.entry.st_info.type, symbol.entry.st_size) == (kind, size)


def test_relocations_name_their_symbols(elf: Any) -> None:
    section = elf.get_section_by_name(".reltracepoint/sched/sched_process_exec")
    assert isinstance(section, RelocationSection)
    symbols = elf.get_section(section.header.sh_link)

    named = [
        (relo.entry.r_offset, symbols.get_symbol(relo.entry.r_info_sym).name)
        for relo in section.iter_relocations()
    ]

    assert named == [(24, "counts"), (72, "total"), (160, "events")]


def test_the_types_in_the_file_decode(elf: Any) -> None:
    assert len(decode(elf.get_section_by_name(".BTF").data())) > 10


def test_llvm_disassembles_the_programs(spec: ObjectSpec, tmp_path: Path) -> None:
    tool = shutil.which("llvm-objdump")
    if tool is None:
        pytest.skip("llvm-objdump is not installed")
    file = tmp_path / "sample.o"
    file.write_bytes(write(spec))

    command = [tool, "-d", "-r", "--mattr=+alu32", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert "<on_exec>:" in done.stdout
    assert "R_BPF_64_64\tcounts" in done.stdout
    assert "R_BPF_64_32\t.text" in done.stdout
    assert not done.stderr


def test_readelf_finds_nothing_to_warn_of(spec: ObjectSpec, tmp_path: Path) -> None:
    tool = shutil.which("readelf") or shutil.which("llvm-readelf")
    if tool is None:
        pytest.skip("readelf is not installed")
    file = tmp_path / "sample.o"
    file.write_bytes(write(spec))

    command = [tool, "--all", "--wide", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert not done.stderr
    assert ".BTF.ext" in done.stdout


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no ELF file"),
        (b"\0" * 64, "no ELF file"),
        (Path("/proc/self/exe").read_bytes()[:4096], "no relocatable BPF object"),
    ],
    ids=["empty", "zeros", "interpreter"],
)
def test_other_files_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(ObjectError, match=message):
        read(data)


def test_a_bss_of_absurd_size_is_refused(spec: ObjectSpec) -> None:
    blob = bytearray(write(spec))
    elf = ELFFile(io.BytesIO(blob))
    index = elf.get_section_index(".bss")
    assert index is not None
    header = elf.header.e_shoff + 64 * index
    struct.pack_into("<Q", blob, header + 32, 1 << 60)  # sh_size

    with pytest.raises(ObjectError, match="larger than any data"):
        read(bytes(blob))


def test_sections_that_share_their_bytes_are_refused(spec: ObjectSpec) -> None:
    blob = bytearray(write(spec))
    elf = ELFFile(io.BytesIO(blob))
    for index in range(1, 8):
        header = elf.header.e_shoff + 64 * index
        struct.pack_into("<IQQQQ", blob, header + 4, 1, 0, 0, 0, len(blob) // 2)

    with pytest.raises(ObjectError, match="sections overlap"):
        read(bytes(blob))


Damage = Callable[[bytearray, Any], None]


def symbol(name: str, offset: int, layout: str, value: int) -> Damage:
    """Overwrites a field of the symbol `name`."""

    def damage(blob: bytearray, elf: Any) -> None:
        table = elf.get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        names = [each.name for each in table.iter_symbols()]
        place = table.header.sh_offset + 24 * names.index(name)
        struct.pack_into(layout, blob, place + offset, value)

    return damage


def relocated(*places: int) -> Damage:
    """Moves the relocations of `on_exec`."""

    def damage(blob: bytearray, elf: Any) -> None:
        section = elf.get_section_by_name(".reltracepoint/sched/sched_process_exec")
        start = section.header.sh_offset
        for number, place in enumerate(places):
            struct.pack_into("<Q", blob, start + 16 * number, place)

    return damage


def last_line(blob: bytearray, elf: Any) -> None:
    """Puts the last source line of `on_exec` behind its end."""
    content = elf.get_section_by_name(".BTF.ext")
    (place,) = [
        at
        for at in range(0, content.header.sh_size - 12, 4)
        if struct.unpack_from("<I", content.data(), at)[0] == 15 * 8
        and struct.unpack_from("<I", content.data(), at + 12)[0] == 14 << 10 | 5
    ]
    struct.pack_into("<I", blob, content.header.sh_offset + place, 29 * 8)


NO_OBJECT: dict[str, Damage] = {
    "no instruction that a relocation fits": relocated(25),
    "no instruction that a relocation fits: byte 32": relocated(32),
    "no instruction that a relocation fits: byte 8000": relocated(8000),
    "two relocations at byte 72": relocated(72),
    "slot 1 of 'on_exec' has a relocation, but is no call": relocated(8),
    "instructions outside of functions: at byte 0": symbol("on_exec", 8, "<Q", 8),
    "instructions outside of functions: at byte 48": symbol("also", 8, "<Q", 1 << 40),
    "'counts' is declared nowhere": symbol("counts", 6, "<H", 0),
    "speaks of slot 29": last_line,
    "'total' lies beyond the end of .bss": symbol("total", 8, "<Q", 9),
}


@pytest.mark.parametrize("message", NO_OBJECT)
def test_what_would_be_read_amiss_is_refused(spec: ObjectSpec, message: str) -> None:
    blob = bytearray(write(spec))
    NO_OBJECT[message](blob, ELFFile(io.BytesIO(bytes(blob))))

    with pytest.raises(ObjectError, match=message):
        read(bytes(blob))


# The fixture is only read.
read_only = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@read_only
@given(length=st.integers(min_value=0))
def test_a_cut_object_is_refused(spec: ObjectSpec, length: int) -> None:
    blob = write(spec)

    with pytest.raises(ObjectError):
        read(blob[: length % len(blob)])


@read_only
@given(data=st.data())
def test_a_damaged_object_is_refused_or_read(
    spec: ObjectSpec, data: st.DataObject
) -> None:
    blob = bytearray(write(spec))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(blob) - 4))
        damage = data.draw(st.sampled_from([1, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]))
        struct.pack_into("<I", blob, place, damage)

    try:
        found = read(bytes(blob))
    except ObjectError:
        return

    assert isinstance(found, ObjectSpec)
