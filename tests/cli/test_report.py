"""Errors as they read on a terminal."""

import pytest

from beewire.cli.report import sentences
from beewire.errors import BeewireError, CompileError, Diagnostic, KernelError


def test_an_error_of_ours_is_its_sentence_and_its_notes() -> None:
    error = BeewireError("no such cgroup")
    error.add_note("make it with mkdir")

    assert sentences(error) == ["beewire: no such cgroup", "  make it with mkdir"]


def test_a_kernel_error_does_not_show_its_number() -> None:
    error = KernelError(1, "MAP_CREATE", "the kernel refuses the map")

    assert sentences(error) == ["beewire: the kernel refuses the map"]


def test_a_missing_file_is_named_without_a_number() -> None:
    with pytest.raises(OSError, match="absent") as caught:
        open("/absent/file")  # noqa: PTH123, SIM115

    assert sentences(caught.value) == [
        "beewire: /absent/file: No such file or directory"
    ]


def test_a_compile_error_shows_file_line_caret_and_hint() -> None:
    error = CompileError(
        (
            Diagnostic(
                "BW103",
                "programs have no floats",
                filename="prog.py",
                line=7,
                column=12,
                end_column=15,
                text="    return 1.5",
                hint="count in thousandths instead",
            ),
        )
    )

    assert sentences(error) == [
        '  File "prog.py", line 7',
        "    return 1.5",
        "           ^^^",
        "beewire: programs have no floats [BW103]",
        "count in thousandths instead",
    ]


def test_each_fault_of_a_source_is_shown() -> None:
    faults = tuple(
        Diagnostic("BW101", f"fault {line}", filename="prog.py", line=line, column=1)
        for line in (1, 2)
    )

    told = "\n".join(sentences(CompileError(faults)))

    assert "fault 1" in told
    assert "fault 2" in told


def test_a_fault_of_beewire_itself_says_so_and_how_to_see_more() -> None:
    told = sentences(ZeroDivisionError("division by zero"))

    assert told[0].startswith("beewire: a fault of Beewire itself: ZeroDivisionError")
    assert "BEEWIRE_TRACEBACK=1" in told[1]
