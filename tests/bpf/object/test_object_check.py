"""Specs that contradict themselves are refused before anything is written."""

from collections.abc import Callable

import pytest

from beewire.bpf import isa
from beewire.bpf.btf import Func, FuncProto, Int
from beewire.bpf.object import (
    AttachKind,
    CoreRelo,
    DataSection,
    LineInfo,
    MapKind,
    MapSpec,
    ObjectSpec,
    ProgramKind,
    Relocation,
    RelocationKind,
    Variable,
    write,
)
from beewire.errors import EncodingError, SpecError

U32 = Int("unsigned int", 4)


def program(**fields: object) -> Callable[[ObjectSpec], None]:
    """Changes fields of the program `on_exec`."""

    def change(spec: ObjectSpec) -> None:
        for name, value in fields.items():
            setattr(spec.programs["on_exec"], name, value)

    return change


def relocation(slot: int, kind: str, symbol: str, offset: int = 0) -> object:
    return program(relocations=(Relocation(slot, kind, symbol, offset),))


def section(name: str, content: bytes, *variables: Variable) -> object:
    def change(spec: ObjectSpec) -> None:
        spec.sections[name] = DataSection(name, bytearray(content), list(variables))

    return change


def wrong_value_size(spec: ObjectSpec) -> None:
    spec.maps["counts"].value_size = 16


def no_map_kind(spec: ObjectSpec) -> None:
    spec.maps["counts"].kind = MapKind.UNSPEC


def maps_of_maps_of_maps(spec: ObjectSpec) -> None:
    kind = MapKind.ARRAY_OF_MAPS
    middle = MapSpec("b", kind=kind, max_entries=1, inner=spec.maps["counts"])
    spec.maps["a"] = MapSpec("a", kind=kind, max_entries=1, inner=middle)


def renamed_section(spec: ObjectSpec) -> None:
    spec.sections[".data.x"] = spec.sections.pop(".bss")


def renamed_map(spec: ObjectSpec) -> None:
    spec.maps["counts"].name = "other_name"


def map_named_like_a_program(spec: ObjectSpec) -> None:
    spec.maps["accept"] = MapSpec("accept", kind=MapKind.RINGBUF, max_entries=4096)


REFUSED = {
    "is in 'tracepoint/sched": program(kind=ProgramKind.XDP),
    "of kind TRACEPOINT .*XDP": program(attach_kind=AttachKind.XDP),
    "does not say what program 'on_exec' attaches to": program(attach_to="elsewhere"),
    "or its flags": program(flags=1),
    "knows no section": program(section="nonsense"),
    "one license": program(license="GPL"),
    "no instructions": program(insns=(), relocations=()),
    "signature .* another name": program(signature=Func("x", FuncProto(None))),
    "refers to map 'nowhere'": relocation(3, RelocationKind.MAP, "nowhere"),
    "refers to global 'counts'": relocation(3, RelocationKind.GLOBAL, "counts"),
    "where no instruction can: slot 0": relocation(0, RelocationKind.MAP, "counts"),
    "where no instruction can: slot 4": relocation(4, RelocationKind.MAP, "counts"),
    "where no instruction can: slot 5": relocation(5, RelocationKind.MAP, "counts"),
    "amid": relocation(3, RelocationKind.MAP, "counts", 4),
    "refers to spaceship": relocation(3, "spaceship", "counts"),
    "two relocations at one slot": program(
        relocations=(Relocation(3, RelocationKind.MAP, "counts"),) * 2
    ),
    "value of 16 bytes, its type 8": wrong_value_size,
    "listed under the name 'counts'": renamed_map,
    "map 'counts' has no kind": no_map_kind,
    "map 'b' inside of 'a' has maps inside": maps_of_maps_of_maps,
    "'.bss' is listed under the name '.data.x'": renamed_section,
    "source lines of program 'on_exec' .* slot 29": program(
        lines=(LineInfo(0, "f", 1, 1, ""), LineInfo(29, "f", 2, 1, ""))
    ),
    "CO-RE records of program 'on_exec' .* slot -1": program(
        core_relos=(CoreRelo(-1, U32, "0", 0),)
    ),
    "total' at -2147483649": relocation(
        3, RelocationKind.GLOBAL, "total", -(1 << 31) - 1
    ),
    "two things named 'accept'": map_named_like_a_program,
    "no name of a data section": section("data", b"x"),
    "'.data' is empty": section(".data", b""),
    "more than zeros": section(".bss.x", b"x"),
    "'a' overlaps": section(".data", b"abc", Variable("a", 0, 4, U32)),
    "'b' overlaps": section(
        ".data", bytes(8), Variable("a", 0, 4, U32), Variable("b", 3, 4, U32)
    ),
    "two variables of one name": section(
        ".data", bytes(8), Variable("a", 0, 4, U32), Variable("a", 4, 4, U32)
    ),
    "no name for a symbol": section(".data", b"abcd", Variable("", 0, 4, U32)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_contradiction_is_refused(spec: ObjectSpec, message: str) -> None:
    change = REFUSED[message]
    assert callable(change)
    change(spec)

    with pytest.raises(SpecError, match=message):
        write(spec)


@pytest.mark.parametrize("text", ["GPL\0 not", "\ud800"])
def test_a_text_that_cannot_be_encoded_is_refused(text: str) -> None:
    for spec in (ObjectSpec(text), ObjectSpec("sample", license=text)):
        with pytest.raises(EncodingError, match="the text"):
            write(spec)


def test_an_instruction_that_cannot_be_encoded_is_refused(spec: ObjectSpec) -> None:
    insns = (isa.mov_imm(0, 1 << 40),)
    program(insns=insns, relocations=(), lines=(), core_relos=())(spec)

    with pytest.raises(EncodingError, match="imm"):
        write(spec)
