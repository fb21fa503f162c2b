"""Objects that mean harm: refused as ObjectError, in little time and memory.

What the fuzzer found, and what could be thought of, each as a test; and a short run of
the fuzzer itself, the same at every time.
"""

import random
import struct
import time
import tracemalloc
from collections.abc import Iterator

import pytest

from beewire.bpf import isa
from beewire.bpf.btf import (
    Array,
    Builder,
    Index,
    Int,
    Member,
    Ptr,
    Struct,
    Type,
    Typedef,
    decode,
    size_of,
    strip,
)
from beewire.bpf.btf.compat import types_match
from beewire.bpf.btf.core import CoreKind, Resolver
from beewire.bpf.object import ObjectSpec, elf, read, write
from beewire.bpf.object.elf import (
    Binding,
    Section,
    SectionFlag,
    SectionKind,
    Symbol,
    SymbolKind,
)
from beewire.errors import EncodingError, ObjectError, SpecError
from tests.bpf.object import fuzzing

INT = Int("int", 4, signed=True)
NULL = Section("", SectionKind.NULL)
NOBODY = Symbol("", 0, 0, 0)
CODE = SectionFlag.ALLOC | SectionFlag.EXECINSTR
EXIT = isa.encode([isa.mov_imm(0, 0), isa.exit_insn()])

_MEGABYTE = 1 << 20


@pytest.fixture
def frugal() -> Iterator[None]:
    """The test may take five seconds of this process, and 64 MiB more than before."""
    tracemalloc.start()
    began = time.process_time()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.process_time() - began < 20  # tracing makes it several times slower
    assert peak < 64 * _MEGABYTE


def refused(data: bytes, message: str) -> None:
    with pytest.raises(ObjectError, match=message):
        read(data)


@pytest.mark.usefixtures("frugal")
def test_a_name_of_a_megabyte_to_which_all_symbols_point() -> None:
    blob = bytearray(elf.encode([NULL], [NOBODY, *[Symbol("", 1, 0, 0)] * 20_000]))
    name = b"\0" + b"x" * _MEGABYTE + b"\0"
    file = elf.decode(bytes(blob))
    assert file.sections[-1].name == elf.STRTAB
    header = struct.unpack_from("<Q", blob, 40)[0] + 64 * (len(file.sections) - 1)
    # The names of sections stand there too: behind the long one.
    (place, size) = struct.unpack_from("<QQ", blob, header + 24)
    names = bytes(blob[place : place + size])
    struct.pack_into("<QQ", blob, header + 24, len(blob), len(names) + len(name))
    blob += names + name
    symbols = bytes(blob).find(file.sections[-2].content)
    for number in range(1, 20_000):
        struct.pack_into("<I", blob, symbols + 24 * number, len(names) + number)

    refused(bytes(blob), "its names overlap")


@pytest.mark.usefixtures("frugal")
def test_functions_that_all_take_the_whole_section() -> None:
    code = EXIT * 20_000
    symbols = [
        Symbol(f"f{n}", SymbolKind.FUNC, Binding.GLOBAL, 1, n * 8, len(code) - n * 8)
        for n in range(10_000)
    ]
    sections = [NULL, Section("xdp", SectionKind.PROGBITS, code, CODE, align=8)]

    refused(elf.encode(sections, [NOBODY, *symbols]), "functions of 'xdp' overlap")


@pytest.mark.usefixtures("frugal")
def test_functions_that_all_have_one_name() -> None:
    symbols = [
        Symbol("f", SymbolKind.FUNC, Binding.LOCAL, 1, n * 16, 16) for n in range(5_000)
    ]
    sections = [
        NULL,
        Section(".text", SectionKind.PROGBITS, EXIT * 5_000, CODE, align=8),
    ]

    found = read(elf.encode(sections, [NOBODY, *symbols]))

    assert len(found.programs) == 5_000
    assert list(found.programs)[:2] == ["f", "f__2"]


@pytest.mark.usefixtures("frugal")
def test_sections_that_all_are_the_whole_file(spec: ObjectSpec) -> None:
    blob = bytearray(write(spec))
    table, count = struct.unpack_from("<Q", blob, 40)[0], blob[60]
    for number in range(1, count):
        struct.pack_into("<QQ", blob, table + 64 * number + 24, 0, len(blob))

    refused(bytes(blob), "sections overlap")


@pytest.mark.usefixtures("frugal")
def test_strings_of_types_that_overlap() -> None:
    builder = Builder()
    for number in range(5_000):
        builder.add(Typedef(f"t{number}", INT))
    blob = bytearray(builder.encode())
    _, length, place, size = struct.unpack_from("<4I", blob, 8)
    strings = b"\0" + b"x" * _MEGABYTE + b"\0"
    blob[24 + place : 24 + place + size] = strings
    struct.pack_into("<I", blob, 20, len(strings))
    for number in range(length // 12 - 2):
        struct.pack_into("<I", blob, 24 + 16 + 12 * number, 1 + number)

    with pytest.raises(ObjectError, match="more than is reasonable"):
        decode(bytes(blob))


def cycle(*words: int) -> bytes:
    """BTF with these words for types."""
    types = struct.pack(f"<{len(words)}I", *words)
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), 3)
    return header + types + b"\0x\0"


@pytest.mark.parametrize(
    "words",
    [
        (1, 8 << 24, 1),  # typedef x x
        (1, 8 << 24, 2, 0, 10 << 24, 1),  # typedef const x
        (0, 3 << 24, 0, 1, 1, 4),  # an array of itself
        (1, 14 << 24, 1, 0),  # a variable of itself
    ],
)
def test_types_that_refer_to_themselves(words: tuple[int, ...]) -> None:
    with pytest.raises(ObjectError, match="refers to itself without a pointer"):
        decode(cycle(*words))


@pytest.mark.parametrize("words", [(1, 8 << 24, 1), (1, 8 << 24, 2, 0, 10 << 24, 1)])
def test_types_without_end_that_nobody_checked(words: tuple[int, ...]) -> None:
    node = Index.build(cycle(*words)).type(1)

    with pytest.raises(ObjectError, match="refers to itself"):
        strip(node)
    with pytest.raises(EncodingError, match="refers to itself"):
        Builder().add(node)


def test_an_array_of_itself_has_no_size() -> None:
    endless = Array(None, 4)
    endless.element = endless

    with pytest.raises(SpecError, match="an array of itself"):
        size_of(endless)


def endless_struct(name: str, members: int) -> Struct:
    """A struct with itself inside, several times and without a name."""
    node = Struct(name, 8)
    node.members = tuple([Member("", node, 0)] * members)
    return node


def answer(root: Type, access: str, kind: CoreKind, kernel: Type) -> int | None:
    builder = Builder()
    builder.add(kernel)
    index = Index.build(builder.encode())
    return Resolver(index, builder.add).answer(root, access, kind).value


@pytest.mark.usefixtures("frugal")
def test_a_field_of_a_struct_that_contains_itself() -> None:
    local = Struct("s", 4, (Member("x", INT, 0),))

    with pytest.raises(SpecError, match="nested too deeply"):
        answer(local, "0:0", CoreKind.FIELD_EXISTS, endless_struct("s", 4))


@pytest.mark.usefixtures("frugal")
def test_structs_that_contain_themselves_do_not_match() -> None:
    assert not types_match(endless_struct("s", 6), endless_struct("s", 6))


def test_a_struct_in_a_struct_without_end_is_no_size() -> None:
    node = endless_struct("s", 2)

    assert answer(node, "0", CoreKind.TYPE_SIZE, node) == 8


@pytest.mark.parametrize(
    "access", ["", ":", "0:", "-1", "0:-1", "x", ":".join("0" * 99)]
)
def test_paths_that_are_none(access: str) -> None:
    node = Struct("s", 4, (Member("x", INT, 0),))

    with pytest.raises(SpecError, match="is no path"):
        answer(node, access, CoreKind.FIELD_EXISTS, node)


def test_a_kept_index_that_points_beyond_its_types() -> None:
    builder = Builder()
    builder.add(Ptr(INT))
    types = builder.encode()
    dump = bytearray(Index.build(types).dump())
    start = len(dump) - 2 * 2 * 4
    struct.pack_into("<I", dump, start, 0x7FFFFFFF)

    fuzzing.read_kept(len(types).to_bytes(4, "little") + types + bytes(dump))


def test_a_kept_index_that_says_it_has_all_types() -> None:
    builder = Builder()
    builder.add(INT)
    types = builder.encode()
    dump = bytearray(Index.build(types).dump())
    struct.pack_into("<I", dump, 20, 0x7FFFFFFF)

    with pytest.raises(ObjectError):
        Index.load(bytes(dump), types)


@pytest.mark.usefixtures("frugal")
def test_more_records_than_there_is_file() -> None:
    builder = Builder()
    builder.add(INT)
    name = builder.string("xdp")
    body = struct.pack("<III", 8, name, 0xFFFFFFFF)
    header = struct.pack("<HBBI6I", 0xEB9F, 1, 0, 32, 0, len(body), 0, 0, 0, 0)
    sections = [
        NULL,
        Section(".BTF", SectionKind.PROGBITS, builder.encode()),
        Section(".BTF.ext", SectionKind.PROGBITS, header + body),
    ]

    refused(elf.encode(sections, [NOBODY]), "more records than its header says")


@pytest.fixture
def seeds(spec: ObjectSpec) -> list[bytes]:
    big = bytearray(write(spec))
    big[5] = 2  # says that it is big-endian, and is not
    return [write(spec), bytes(big)]


@pytest.mark.parametrize("target", fuzzing.TARGETS)
def test_a_short_run_of_the_fuzzer_finds_nothing(
    target: str, seeds: list[bytes]
) -> None:
    types = fuzzing.types_of(seeds[:1])
    inputs = {
        "object": seeds,
        "types": types,
        "kept": [fuzzing.kept(each) for each in types],
    }

    found = list(fuzzing.fuzz(target, inputs[target], seed=1, rounds=150))

    assert found == []


def test_the_fuzzer_finds_what_is_planted(seeds: list[bytes]) -> None:
    def planted(data: bytes) -> None:
        found = elf.decode(data) if data[:4] == b"\x7fELF" else None
        if (
            found is not None
            and found.sections[1].name != "tracepoint/sched/sched_process_exec"
        ):
            raise IndexError("planted")

    fuzzing.TARGETS["planted"] = planted
    try:
        found = list(fuzzing.fuzz("planted", seeds[:1], seed=3, rounds=600))
    finally:
        del fuzzing.TARGETS["planted"]

    assert any("planted" in each.error for each in found)


def test_the_fuzzer_repeats_itself(seeds: list[bytes]) -> None:
    first, second = (
        [fuzzing.mutate(random.Random(7), seeds[0], seeds) for _ in range(3)]
        for _ in range(2)
    )

    assert first == second
