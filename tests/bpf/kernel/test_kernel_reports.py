"""Refusals in the author's words: variables by name, the way, the report of Linux 7.3."""

from pathlib import Path
from types import ModuleType

import pytest

from beewire.bpf.author import collect
from beewire.bpf.kernel import load
from beewire.bpf.kernel.log import in_words, read_log
from beewire.bpf.kernel.path import steps_of
from beewire.bpf.lang import exits
from beewire.errors import VerifierError

LOGS = Path(__file__).parent / "logs"

PROGRAM = """
from beewire.bpf import (
    HashMap, Kernel, Struct, XdpAction, XdpContext, array, current, i32, random_u32, u32,
    xdp,
)

class Words(Struct):
    words: list[u32] = array(u32, 8)

class task_struct(Kernel):
    no_such_field: i32

table = HashMap[u32, Words](max_entries=4)

@xdp
def off_by_one(ctx: XdpContext) -> XdpAction:
    if (value := table.lookup(1)) is not None:
        index = random_u32()
        if index <= 8:
            value.words[index] = 7
    return XdpAction.PASS

@xdp
def unknown_field(ctx: XdpContext) -> XdpAction:
    if current(task_struct).no_such_field > 3:
        return XdpAction.DROP
    return XdpAction.PASS
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    # The compiler would end the program there: it is the kernel that is to refuse it.
    monkeypatch.setattr(exits, "bound", lambda *_: None)
    found = ModuleType("refused")
    path = tmp_path / "prog.py"
    path.write_text(PROGRAM)
    exec(compile(PROGRAM, str(path), "exec"), vars(found))
    return found


def refusal(module: ModuleType, name: str) -> VerifierError:
    with pytest.raises(VerifierError) as caught, load(collect(getattr(module, name))):
        pass
    return caught.value


@pytest.mark.kernel
def test_variables_are_told_by_their_names(module: ModuleType) -> None:
    error = refusal(module, "off_by_one")
    if (
        "R1=ctx(" not in error.log or "ctx(id=0" in error.log
    ):  # older logs tell them where ways part
        pytest.skip("this kernel's log tells few registers")
    notes = named(error)

    assert (
        "index is a number from 0 to 8\nvalue is a value of map 'table' (32 bytes)"
        in notes
    )


def named(error: VerifierError) -> list[str]:
    """Its notes; before Linux 5.18 the log has no names of maps."""
    name = "map 'table'" if "map=table" in error.log else "a map"
    return [note.replace(name, "map 'table'") for note in error.__notes__]


@pytest.mark.kernel
def test_the_reach_of_a_pointer_is_told(module: ModuleType) -> None:
    notes = named(refusal(module, "off_by_one"))

    assert any("of map 'table' (32 bytes) at byte 0 to 32" in note for note in notes)


@pytest.mark.kernel
def test_the_way_to_the_refusal_is_told(module: ModuleType) -> None:
    error = refusal(module, "off_by_one")

    told = [n for n in error.__notes__ if n.startswith(("the way here", "line "))]
    assert len(told) == 1
    assert "20" in told[0]


@pytest.mark.kernel
def test_a_field_that_the_kernel_does_not_have_is_named(module: ModuleType) -> None:
    error = refusal(module, "unknown_field")

    assert "task_struct.no_such_field does not exist in this kernel" in str(error)


def test_what_was_seen_on_another_way_is_dropped() -> None:
    log = (
        "0: R1=ctx() R10=fp0\n0: (b7) r0 = 0 ; R0=0\n1: (15) if r1 == 0x0 goto pc+2\n"
        "2: (b7) r0 = 2 ; R0=2\n3: (95) exit\n\n"
        "from 1 to 4: R0=0 R1=0\n4: (79) r0 = *(u64 *)(r1 +0)\n"
        "R1 invalid mem access 'scalar'\n"
    )

    assert [step.slot for step in steps_of(log)] == [0, 1, 1, 4]


REPORTS = {
    "off_by_one": (
        12,
        "invalid access to map value, value_size=32 off=32 size=4",
        ("line 32: update: R0 changed from uninitialized value to integer scalar with"
         " unknown value"),
        4,
    ),
    "none_check": (
        6,
        "R0 invalid mem access 'map_value_or_null'",
        ("line 14: update: R0 changed from uninitialized value to nullable map value from"
         " hits at offset 0"),
        1,
    ),
    "leak": (
        4,
        "Unreleased reference id=2 alloc_insn=4",
        "line 13: acquired: owned resource (id=2)",
        1,
    ),
    "wrong_arg": (
        2,
        "R1 type=scalar expected=map_ptr",
        ("line 10: update: R1 changed from context pointer at offset 0 to integer scalar"
         " value 0"),
        1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_of_linux_7_3_is_read(name: str) -> None:
    insn, reason, first, count = REPORTS[name]

    reading = read_log((LOGS / f"linux-7.3-{name}.txt").read_text())

    assert (reading.insn, reading.reason) == (insn, reason)
    assert reading.causes[0] == first
    assert len(reading.causes) == count
    assert any(detail.startswith("suggestion: ") for detail in reading.details)


def test_a_log_without_a_report_has_no_causes() -> None:
    reading = read_log((LOGS / "linux-7.3-ctx_write.txt").read_text())

    assert reading.reason == "invalid bpf_context access off=0 size=4"
    assert reading.causes == ()


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("map_value(map=m,ks=4,vs=32)", "a value of map 'm' (32 bytes)"),
        ("map_value(map=m,vs=32,off=8)", "a value of map 'm' (32 bytes) at byte 8"),
        (
            "map_value(map=m,vs=32,off=8,smin=smin32=0,smax=umax=20)",
            "a value of map 'm' (32 bytes) at byte 8 + 0 to 20",
        ),
    ],
)
def test_a_place_in_a_map_value_is_told_in_words(state: str, words: str) -> None:
    assert in_words(state) == words
