"""Static probes: what notes tell, arguments in programs, semaphores, libbpf's maps."""

import ctypes
import os
from pathlib import Path
from typing import Any

import pytest

from beewire.bpf import collect, kernel, load
from beewire.bpf.btf import Array, Int, Member, Struct
from beewire.bpf.kernel.links.usdt_maps import SPECS, attach_usdt_by_maps, encode_spec
from beewire.bpf.object import MapKind, MapSpec
from beewire.errors import AttachError, CompileError, SpecError
from beewire.symbols.elf import ElfFile
from beewire.symbols.stapsdt import parse_operands, static_probes
from tests.bpf.lang.test_lang_kernel import cell
from tests.static_probe import BASE, DATA, TEXT, Mapped, image, make, note

MACHINE = os.uname().machine
# What a function's two arguments are in, and what it is told besides.
FIRST = {
    "x86_64": "-4@%edi 8@%rsi -4@$-7 -2@4(%rsi) 1@%dil",
    "aarch64": "-4@x0 8@x1 -4@-7 -2@[x1, 4] 1@w0",
}[MACHINE]
SECOND = {
    "x86_64": "-4@%esi 8@%rdi -4@$9 -2@4(%rdi) 1@%sil",
    "aarch64": "-4@x1 8@x0 -4@9 -2@[x0, 4] 1@w1",
}[MACHINE]
HEAD = """
from beewire.bpf import *
class Told(Struct):
    number: i64
    address: u64
    constant: i64
    pointed: i64
    byte: u64
    cookie: u64
seen = HashMap[u32, Told](8)
count = Global(u32)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bw-probed"


@pytest.fixture
def probed(path: Path) -> Mapped:
    """A file with one probe in two places, whose arguments differ; with a semaphore."""
    return make(
        path,
        MACHINE,
        note("bw", "done", TEXT, DATA + 2, FIRST),
        note("bw", "done", TEXT + 16, DATA + 2, SECOND),
        note("bw", "plain", TEXT + 32, 0, ""),
        note("bw", "odd", TEXT + 48, 0, "8f@%xmm0 -4@%edi"),
    )


def test_notes_tell_where_probes_are() -> None:
    notes = note("a", "b", TEXT, DATA, "8@%rdi") + note("a", "c", TEXT + 4, 0, "")

    found = list(static_probes(ElfFile.of(image(notes, b"\x90"))))

    assert [
        (p.provider, p.name, p.address, p.semaphore, p.operands) for p in found
    ] == [
        ("a", "b", TEXT, DATA, "8@%rdi"),
        ("a", "c", TEXT + 4, 0, ""),
    ]


def test_a_file_that_was_moved_has_its_probes_moved() -> None:
    data = bytearray(image(note("a", "b", TEXT, DATA, ""), b"\x90"))
    at = data.index(BASE.to_bytes(8, "little"))
    data[at : at + 8] = (BASE - 0x100).to_bytes(8, "little")

    [found] = static_probes(ElfFile.of(bytes(data)))

    assert (found.address, found.semaphore) == (TEXT + 0x100, DATA + 0x100)


OPERANDS = {
    ("x86_64", "-4@%edi"): ("register", 4, True, 0, "edi", "", 1),
    ("x86_64", "8@$0x10"): ("constant", 8, False, 16, "", "", 1),
    ("x86_64", "-1@$-5"): ("constant", 1, True, -5, "", "", 1),
    ("x86_64", "8@(%rax)"): ("memory", 8, False, 0, "rax", "", 1),
    ("x86_64", "2@-1204(%rbp)"): ("memory", 2, False, -1204, "rbp", "", 1),
    ("x86_64", "4@-8(%rbp,%rax,4)"): ("memory", 4, False, -8, "rbp", "rax", 4),
    ("x86_64", "4@(%rdi,%rcx)"): ("memory", 4, False, 0, "rdi", "rcx", 1),
    ("x86_64", "8@8(,%rcx,8)"): ("memory", 8, False, 8, "", "rcx", 8),
    ("x86_64", "4@sym(%rip)"): ("", 4, False, 0, "", "", 1),
    ("x86_64", "8f@%xmm0"): ("", 8, False, 0, "", "", 1),
    ("aarch64", "-4@x0"): ("register", 4, True, 0, "x0", "", 1),
    ("aarch64", "4@w30"): ("register", 4, False, 0, "w30", "", 1),
    ("aarch64", "8@[sp]"): ("memory", 8, False, 0, "sp", "", 1),
    ("aarch64", "-4@[x29, 12]"): ("memory", 4, True, 12, "x29", "", 1),
    ("aarch64", "-4@[sp,-16]"): ("memory", 4, True, -16, "sp", "", 1),
    ("aarch64", "8@[x1, x2]"): ("memory", 8, False, 0, "x1", "x2", 1),
    ("aarch64", "-4@7"): ("constant", 4, True, 7, "", "", 1),
    ("aarch64", "8@xzr"): ("constant", 8, False, 0, "", "", 1),
    ("aarch64", "4f@s0"): ("", 4, False, 0, "", "", 1),
}


@pytest.mark.parametrize(("machine", "text"), OPERANDS)
def test_an_operand_is_read_as_assemblers_write_it(machine: str, text: str) -> None:
    [found] = parse_operands(text, machine)

    assert tuple(found)[:-1] == OPERANDS[machine, text]


def test_operands_with_spaces_in_them_are_told_apart() -> None:
    found = parse_operands("-4@[sp, 12] 8@x1 -4@5", "aarch64")

    assert [each.kind for each in found] == ["memory", "register", "constant"]


def values(told: Any) -> tuple[int, ...]:
    return told.number, told.address, told.constant, told.pointed, told.byte


def program(text: str) -> dict[str, Any]:
    return cell(HEAD + text)


ALL = """
    seen[0] = Told(
        number=ctx.arg(0), address=ctx.arg(1), constant=ctx.arg(2),
        pointed=ctx.arg(3), byte=ctx.arg(4),
    )
"""


@pytest.mark.kernel
@pytest.mark.parametrize("way", ["", "ioctl", "tracefs"])
def test_arguments_are_read_at_each_place(path: Path, probed: Mapped, way: str) -> None:
    names = program(f'@usdt("{path}:bw:done")\ndef program(ctx: Usdt) -> None:\n' + ALL)
    memory = (ctypes.c_int16 * 4)(0, 0, -3, 0)
    address = ctypes.addressof(memory)

    with (
        load([names["program"]]) as loaded,
        loaded[names["program"]].attach(pid=os.getpid(), way=way) as link,
    ):
        raised = probed.semaphore(1)
        probed.call(0, -5 & 0xFFFF_FFFF, address)
        first = loaded[names["seen"]][0]
        probed.call(16, address, 300)
        second = loaded[names["seen"]][0]

    assert (raised, probed.semaphore(1)) == (2, 0)  # one for each place
    assert values(first) == (-5, address, -7, -3, 251)
    assert values(second) == (300, address, 9, -3, 300 & 0xFF)
    assert link.kind == way or (not way and link.kind in ("perf_event", "ioctl"))


@pytest.mark.kernel
def test_arguments_are_parameters(path: Path, probed: Mapped) -> None:
    names = program(
        f"""
@usdt("{path}:bw:done")
def program(number: i32, address: u64, constant: u8) -> None:
    seen[1] = Told(number=number, address=address, constant=constant)
"""
    )

    with load([names["program"]]) as loaded:
        with loaded[names["program"]].attach(pid=os.getpid()):
            probed.call(16, 4096, -8 & 0xFFFF_FFFF)
        told = loaded[names["seen"]][1]

    assert (told.number, told.address, told.constant) == (-8, 4096, 9)


@pytest.mark.kernel
def test_a_probe_without_arguments_runs_a_program_of_registers(
    path: Path, probed: Mapped
) -> None:
    names = program(
        f"""
@usdt("{path}:bw:plain")
def program(ctx: PtRegs) -> None:
    count.value += 1
"""
    )

    with load([names["program"]]) as loaded:
        with loaded[names["program"]].attach(pid=os.getpid()):
            probed.call(32, 0, 0)
            probed.call(32, 0, 0)

        assert loaded[names["count"]].value == 2


@pytest.mark.kernel
def test_another_file_with_the_same_arguments_will_do(
    path: Path, probed: Mapped, tmp_path: Path
) -> None:
    del probed
    names = program(
        f'@usdt("{path}:bw:done")\ndef program(number: i32) -> None:\n    count.value = 1\n'
    )
    other = make(tmp_path / "other", MACHINE, note("bw", "done", TEXT, 0, FIRST))
    make(tmp_path / "third", MACHINE, note("bw", "done", TEXT, 0, "8@%rdi"))

    with load([names["program"]]) as loaded:
        bound = loaded[names["program"]]
        with bound.attach(f"{tmp_path}/other:bw:done", pid=os.getpid()):
            other.call(0, 1, 1)
        assert loaded[names["count"]].value == 1
        with pytest.raises(
            AttachError, match="passes its arguments as '8@%rdi', and the"
        ):
            bound.attach(f"{tmp_path}/third:bw:done")


WRONG = {
    "no such argument": ("done", "x = ctx.arg(5)", "passes 5 arguments: there is no num"),
    "floating point": ("odd", "x = ctx.arg(0)", "in '8f@%xmm0', which programs cannot"),
    "a variable number": (
        "done", "for i in range(2):\n        x = ctx.arg(i + count.value)",
        "has to be known here",
    ),
    "a text as a type": ("done", "x = ctx.arg(0, chars(4))", "is an integer"),
    "a misspelt probe": ("dome", "x = ctx.arg(0)", "no static probe bw:dome; did you mea"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_told_where_it_is(
    path: Path, probed: Mapped, mistake: str
) -> None:
    del probed
    name, body, message = WRONG[mistake]
    names = program(
        f'@usdt("{path}:bw:{name}")\ndef program(ctx: Usdt) -> None:\n    {body}\n'
        "    count.value = 1\n"
    )

    with pytest.raises(CompileError, match=message):
        collect([names["program"]])


def test_a_place_of_another_form_is_refused() -> None:
    with pytest.raises(SpecError, match="@usdt takes path, provider and name"):
        program('@usdt("/bin/sh")\ndef program(ctx: Usdt) -> None:\n    pass\n')


# Programs of libbpf: `struct __bpf_usdt_spec` as usdt.bpf.h lays it out.

U64, S32 = Int("unsigned long long", 8), Int("int", 4, signed=True)
S16, S8 = Int("short", 2, signed=True), Int("char", 1, signed=True)
BOOL = Int("bool", 1, bool=True)
ARG = Struct(
    "__bpf_usdt_arg_spec",
    16,
    (
        Member("val_off", U64, 0),
        Member("arg_type", S32, 64),
        Member("reg_off", S16, 96),
        Member("arg_signed", BOOL, 112),
        Member("arg_bitshift", S8, 120),
    ),
)
SPEC = Struct(
    "__bpf_usdt_spec",
    208,
    (
        Member("args", Array(ARG, 12), 0),
        Member("usdt_cookie", U64, 1536),
        Member("arg_cnt", S16, 1600),
    ),
)


@pytest.mark.skipif(MACHINE != "x86_64", reason="registers of x86-64")
def test_a_spec_is_laid_out_as_the_object_has_it() -> None:
    found = encode_spec(SPEC, "-4@%edi 8@-16(%rsp) 2@$7", 99)

    words = [found[at : at + 16] for at in range(0, 48, 16)]
    assert words[0] == bytes(8) + bytes([1, 0, 0, 0, 112, 0, 1, 32])
    assert words[1] == (-16).to_bytes(8, "little", signed=True) + bytes(
        [2, 0, 0, 0, 152, 0, 0, 0]
    )
    assert words[2] == (7).to_bytes(8, "little") + bytes([0, 0, 0, 0, 0, 0, 0, 48])
    assert found[192:] == (99).to_bytes(8, "little") + (3).to_bytes(8, "little")


@pytest.mark.skipif(MACHINE != "x86_64", reason="registers of x86-64")
def test_a_spec_without_room_for_an_operand_is_refused() -> None:
    with pytest.raises(AttachError, match="'8@8\\(%rax,%rcx,4\\)', which programs of"):
        encode_spec(SPEC, "8@8(%rax,%rcx,4)", 0)
    with pytest.raises(AttachError, match="has 13 arguments"):
        encode_spec(SPEC, " ".join(["8@%rax"] * 13), 0)


@pytest.mark.kernel
@pytest.mark.usefixtures("cookies_of_events")
def test_a_foreign_program_finds_its_arguments_by_its_cookie(
    path: Path, probed: Mapped
) -> None:
    names = program(
        """
@uprobe()
def program(ctx: PtRegs) -> None:
    seen[0] = Told(cookie=helpers.get_attach_cookie(ctx))
"""
    )
    spec = collect([names["program"]])
    spec.programs["program"].section = f"usdt/{path}:bw:done"
    spec.maps[SPECS] = MapSpec(
        SPECS,
        kind=MapKind.ARRAY,
        key_size=4,
        value_size=208,
        max_entries=4,
        key=S32,
        value=SPEC,
    )
    with kernel.load(spec) as loaded:
        live, table = loaded.programs["program"], loaded.maps[SPECS]
        with kernel.attach(live, pid=os.getpid(), cookie=7):
            probed.call(16, 0, 0)
            number = int.from_bytes(loaded.maps["seen"][0][40:48], "little")
            told = bytes(table[number])
        after = bytes(table[number])

        assert told == encode_spec(SPEC, SECOND, 7)
        assert number == 2
        assert not any(after)
        with pytest.raises(AttachError, match="has no map '__bpf_usdt_specs'"):
            attach_usdt_by_maps(live, {}, f"{path}:bw:done")
