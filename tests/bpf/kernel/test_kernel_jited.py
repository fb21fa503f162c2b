"""The machine code of loaded programs."""

import os
import sys
from collections.abc import Callable

import pytest

from beewire.bpf import isa
from beewire.bpf.kernel import Loaded, Program
from beewire.bpf.kernel.jited import (
    MachineFunction,
    disassembler,
    instructions,
    machine_code,
    machine_listing,
)
from beewire.bpf.object import LineInfo, ObjectSpec, ProgramSpec
from beewire.errors import UsageError

pytestmark = pytest.mark.kernel

KTIME = 5
LINES = (
    LineInfo(0, "prog.py", 3, 5, "    now = ktime_ns()"),
    LineInfo(1, "prog.py", 4, 5, "    return 2"),
)


@pytest.fixture
def program(
    make_program: Callable[..., ProgramSpec],
    make_object: Callable[..., ObjectSpec],
    load_now: Callable[..., Loaded],
) -> Program:
    insns = (isa.call_helper(KTIME), isa.mov_imm(0, 2), isa.exit_insn())
    spec = make_program(*insns, name="count", lines=LINES)
    return load_now(make_object(spec)).programs["count"]


def need_machine_code(program: Program) -> None:
    if not program.info().jited_size:
        pytest.skip("programs are interpreted here")


def test_the_code_of_each_function_is_told_with_its_lines(program: Program) -> None:
    need_machine_code(program)

    code = machine_code(program.info().id)

    (function,) = code.functions
    assert (code.name, code.kind, function.name) == ("count", "XDP", "count")
    assert len(function.code) == program.info().jited_size
    assert [line.line for _, line in function.lines] == [3, 4]
    assert all(0 <= at < len(function.code) for at, _ in function.lines)


def test_machine_code_stands_under_its_source(program: Program) -> None:
    need_machine_code(program)

    lines = machine_listing(program.info().id).split("\n")

    assert lines[0].startswith("program count (XDP): ")
    assert "  ; prog.py:3:5  now = ktime_ns()" in lines
    assert lines.index("  ; prog.py:4:5  return 2") > lines.index(
        "  ; prog.py:3:5  now = ktime_ns()"
    )


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="knows x86-64 by heart")
def test_instructions_are_told_in_words_and_calls_by_name(program: Program) -> None:
    need_machine_code(program)
    pytest.importorskip("capstone")

    (function,) = machine_code(program.info().id).functions
    insns = instructions(function)

    assert b"".join(insn.code for insn in insns) == function.code
    assert insns[0].offset == 0
    calls = [insn for insn in insns if insn.text.startswith("call ")]
    assert [insn.note for insn in calls] == ["bpf_ktime_get_ns"]


def test_without_a_disassembler_there_are_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "capstone", None)
    function = MachineFunction("f", 0x1000, bytes(40), ((0, LINES[0]), (20, LINES[1])))

    insns = instructions(function)

    assert disassembler() is None
    assert [(insn.offset, len(insn.code)) for insn in insns] == [
        (0, 16),
        (16, 4),
        (20, 16),
        (36, 4),
    ]
    assert {insn.text for insn in insns} == {""}


def test_a_program_that_does_not_exist_has_no_machine_code() -> None:
    with pytest.raises(UsageError, match=r"there is no program 4294967295"):
        machine_code(0xFFFF_FFFF)
