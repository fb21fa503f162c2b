import os
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from beewire.errors import ObjectError
from beewire.symbols import ElfFile, Image, SymbolTable
from beewire.symbols.debug import debug_paths, mini_debug_info
from tests.symbols.conftest import Build, run

IDENT = {
    (2, "<"): b"\x7fELF\2\1\1",
    (2, ">"): b"\x7fELF\2\2\1",
    (1, "<"): b"\x7fELF\1\1\1",
    (1, ">"): b"\x7fELF\1\2\1",
}


def small(bits: int, order: str) -> bytes:
    """An ELF file with one segment of code and two functions, of any kind there is."""
    names = b"\0first\0second\0"
    word = "Q" if bits == 2 else "I"
    header = struct.calcsize(f"{order}16sHHI3{word}I6H")
    segment = {
        2: struct.pack(order + "IIQQQQQQ", 1, 5, 0, 0x400000, 0, 4096, 4096, 1),
        1: struct.pack(order + "IIIIIIII", 1, 0, 0x400000, 0, 4096, 4096, 5, 1),
    }[bits]

    def symbol(name: int, address: int, size: int) -> bytes:
        if bits == 2:
            return struct.pack(order + "IBBHQQ", name, 0x12, 0, 1, address, size)
        return struct.pack(order + "IIIBBH", name, address, size, 0x12, 0, 1)

    table = symbol(1, 0x400100, 0x20) + symbol(7, 0x400140, 0)
    at = header + len(segment)
    form = order + ("IIQQQQIIQQ" if bits == 2 else "IIIIIIIIII")
    sections = b"".join(
        struct.pack(form, *row)
        for row in (
            (0,) * 10,
            (0, 2, 0, 0, at, len(table), 2, 0, 8, 0),
            (0, 3, 0, 0, at + len(table), len(names), 0, 0, 1, 0),
        )
    )
    ends = at + len(table) + len(names)
    size = {2: (56, 64), 1: (32, 40)}[bits]
    start = struct.pack(
        f"{order}16sHHI3{word}I6H",
        IDENT[bits, order],
        *(3, 62, 1, 0, header, ends, 0, header, size[0], 1, size[1], 3, 0),
    )
    return start + segment + table + names + sections


@pytest.mark.parametrize(("bits", "order"), list(IDENT))
def test_files_of_every_class_and_byte_order_are_read(bits: int, order: str) -> None:
    file = ElfFile.of(small(bits, order))

    table = SymbolTable([file])

    names = [
        found and found.name
        for found in map(table.find, (0x4000FF, 0x400100, 0x40011F, 0x400120, 0x400150))
    ]
    assert names == [None, "first", "first", None, "second"]
    assert file.address_at(0x100) == 0x400100
    assert file.offset_at(0x400100) == 0x100


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no ELF file"),
        (b"#!/bin/sh\n", "no ELF file"),
        (b"\x7fELF\3\1\1".ljust(64, b"\0"), "class or byte order"),
        (b"\x7fELF\2\1\1".ljust(30, b"\0"), "its header"),
        (small(2, "<")[:200], "beyond the end"),
    ],
)
def test_what_is_no_whole_elf_file_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ObjectError, match=message):
        SymbolTable([ElfFile.of(data)])


def read_all(data: bytes) -> None:
    """Everything that is read of a file, or an ObjectError."""
    try:
        file = ElfFile.of(data)
        table = SymbolTable([file])
        list(table)
        table.find(0x400100)
        list(debug_paths(file, "/usr/bin/app"))
        mini_debug_info(file)
    except ObjectError:
        pass


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(IDENT)),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=12),
    st.integers(0, 500),
)
@example((2, "<"), [(60, 255), (61, 255)], 500)
def test_damaged_files_are_read_or_refused(
    kind: tuple[int, str], damage: list[tuple[int, int]], length: int
) -> None:
    data = bytearray(small(*kind))
    for place, value in damage:
        data[place % len(data)] = value

    read_all(bytes(data[:length]))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_programs_are_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(Path("/bin/true").read_bytes())
    ends = (0, 64, len(content) - 2048, len(content))
    for _ in range(data.draw(st.integers(1, 20))):
        area = data.draw(st.sampled_from([(ends[0], ends[1]), (ends[2], ends[3])]))
        content[data.draw(st.integers(area[0], area[1] - 1))] = data.draw(
            st.integers(0, 255)
        )

    read_all(bytes(content))


def test_counts_in_a_header_cannot_ask_for_more_than_the_file_has() -> None:
    content = bytearray(small(2, "<"))
    content[60:62] = b"\xff\xff"  # e_shnum

    with pytest.raises(ObjectError, match="beyond the end"):
        ElfFile.of(bytes(content))


@pytest.mark.usefixtures("tools")
def test_all_functions_are_those_that_nm_lists(build: Build) -> None:
    program = build()
    told = subprocess.run(
        ["nm", "--defined-only", program], check=True, capture_output=True, text=True
    ).stdout
    listed = {
        (int(address, 16), name)
        for address, kind, name in (line.split() for line in told.splitlines())
        if kind in "tT"
    }

    with program.open("rb") as file:
        table = SymbolTable([ElfFile.open(file.fileno())])

    found = {(symbol.address, symbol.name) for symbol in table}
    assert listed <= found
    wrong = [
        name
        for address, name in listed
        if (hit := table.find(address)) is None or hit.address != address
    ]
    assert wrong == []


def test_a_function_is_found_by_its_name(build: Build) -> None:
    with build().open("rb") as file:
        elf = ElfFile.open(file.fileno())
        [symbol] = SymbolTable([elf]).named("visible_step")

    assert elf.offset_at(symbol.address) is not None
    assert symbol.size > 0


@pytest.mark.usefixtures("tools")
def test_a_build_id_names_the_file_with_the_symbols(build: Build) -> None:
    program = build()
    told = subprocess.run(
        ["readelf", "-n", program], check=True, capture_output=True, text=True
    ).stdout

    with program.open("rb") as file:
        elf = ElfFile.open(file.fileno())
        paths = [path for path, _ in debug_paths(elf, str(program))]
        name = elf.build_id.hex()

    assert f"Build ID: {name}" in told
    assert paths == [f"/usr/lib/debug/.build-id/{name[:2]}/{name[2:]}.debug"]


def test_the_symbols_of_an_installed_debug_file_are_found_by_build_id(
    build: Build, tmp_path: Path, tools: None
) -> None:
    del tools
    program = build()
    with program.open("rb") as file:
        name = ElfFile.open(file.fileno()).build_id.hex()
    root = tmp_path / "root"
    place = root / f"usr/lib/debug/.build-id/{name[:2]}"
    place.mkdir(parents=True)
    run("objcopy", "--only-keep-debug", program, place / f"{name[2:]}.debug")
    run("strip", program)

    fd = os.open(program, os.O_RDONLY)
    image = Image(str(program), fd=fd, root=str(root))

    assert {symbol.name for symbol in image.table} >= {"hidden_step", "visible_step"}


def test_mini_debug_information_that_is_no_xz_is_an_error(
    build: Build, tmp_path: Path, tools: None
) -> None:
    del tools
    program, garbage = build(), tmp_path / "garbage"
    garbage.write_bytes(b"\xfd7zXZ\0garbage")
    run("objcopy", f"--add-section=.gnu_debugdata={garbage}", program)

    with program.open("rb") as file:
        elf = ElfFile.open(file.fileno())
        with pytest.raises(ObjectError, match="gnu_debugdata"):
            mini_debug_info(elf)
