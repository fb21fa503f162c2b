"""Probes of system calls by their own names, whatever the kernel calls its functions."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from beewire.bpf import load
from beewire.bpf.kernel import attach, attach_ksyscall
from beewire.bpf.object import ProgramKind
from beewire.errors import AttachError, CompileError, SpecError
from tests.bpf.lang.test_lang_kernel import cell

if TYPE_CHECKING:
    from tests.bpf.kernel.conftest import Counter

HEAD = """
from beewire.bpf import *
class Call(Struct):
    pid: i32
    directory: i32
    flags: i32
    name: str = chars(64)
calls = HashMap[u32, Call](8)
told = Global(i64)
mine = Global(u32)
"""
OPENING = """
@ksyscall("openat")
def program(directory: i32, name: u64, flags: i32) -> None:
    if current_tgid() == mine.value:
        call = Call(directory=directory, flags=flags)
        call.name = user_str(name)
        calls[0] = call
"""
SPLICING = """
@ksyscall("splice")
def program(a: i32, b: u64, c: i32, d: u64, size: u64, flags: u32) -> None:
    if current_tgid() == mine.value:
        calls[0] = Call(pid=a, directory=c, flags=i32(flags))
        told.value = i64(size)
"""
RETURNING = """
@kretsyscall("openat")
def program(result: i64) -> None:
    if current_tgid() == mine.value:
        told.value = result
"""


@pytest.fixture
def attached() -> Iterator[Callable[[str], tuple[Any, dict[str, Any]]]]:
    """Load a program, tell it who asks, and attach it: (loaded, its names)."""
    opened: list[Any] = []

    def make(text: str) -> tuple[Any, dict[str, Any]]:
        names = cell(HEAD + text)
        loaded = load([names["program"]])
        opened.append(loaded)
        loaded[names["mine"]].value = os.getpid()
        opened.append(loaded[names["program"]].attach())
        return loaded, names

    yield make
    for each in reversed(opened):
        each.close()


@pytest.mark.kernel
@pytest.mark.usefixtures("kprobes")
def test_arguments_are_those_that_the_caller_passed(
    attached: Callable[[str], tuple[Any, dict[str, Any]]], tmp_path: Path
) -> None:
    loaded, names = attached(OPENING)

    with pytest.raises(FileNotFoundError):
        os.open(tmp_path / "none", os.O_RDONLY | os.O_NOFOLLOW)
    call = loaded[names["calls"]][0]

    assert call.directory == -100  # AT_FDCWD
    assert call.flags & os.O_NOFOLLOW
    assert call.name == str(tmp_path / "none")[:63]


@pytest.mark.kernel
@pytest.mark.usefixtures("kprobes")
def test_a_call_has_six_arguments(
    attached: Callable[[str], tuple[Any, dict[str, Any]]],
) -> None:
    loaded, names = attached(SPLICING)

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.splice(9001, 9002, 4711, flags=os.SPLICE_F_MORE)
    call = loaded[names["calls"]][0]

    assert (call.pid, call.directory, call.flags) == (9001, 9002, os.SPLICE_F_MORE)
    assert loaded[names["told"]].value == 4711


@pytest.mark.kernel
@pytest.mark.usefixtures("kprobes")
def test_its_result_is_what_the_caller_gets(
    attached: Callable[[str], tuple[Any, dict[str, Any]]], tmp_path: Path
) -> None:
    loaded, names = attached(RETURNING)

    with pytest.raises(FileNotFoundError):
        os.open(tmp_path / "none", os.O_RDONLY)
    failed = loaded[names["told"]].value
    os.close(fd := os.open("/dev/null", os.O_RDONLY))

    assert failed == -2  # ENOENT
    assert loaded[names["told"]].value == fd


@pytest.mark.kernel
@pytest.mark.usefixtures("kprobes")
def test_a_section_says_it_as_well(counter: Callable[..., "Counter"]) -> None:
    count = counter(ProgramKind.KPROBE)
    count.program.spec.section = "ksyscall/getppid"

    with attach(count.program):
        os.getppid()

        assert count.hits >= 1


@pytest.mark.kernel
def test_an_unknown_call_is_told_with_what_is_near(
    counter: Callable[..., "Counter"],
) -> None:
    count = counter(ProgramKind.KPROBE)

    with pytest.raises(
        AttachError, match=r"no system call 'openatt'; did you mean 'openat'"
    ):
        attach_ksyscall(count.program, "openatt")


WRONG = {
    "a seventh argument": (
        "a: u64, b: u64, c: u64, d: u64, e: u64, f: u64, g: u64",
        "passes no argument number 7 here",
    ),
    "a struct of the kernel": ("a: File", "'a' cannot be File: system calls take integers"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", WRONG)
def test_what_calls_do_not_take_is_refused(mistake: str) -> None:
    parameters, message = WRONG[mistake]
    text = f"""
class File(Kernel):
    f_mode: u32
@ksyscall("openat")
def program({parameters}) -> None:
    told.value = 1
"""
    names = cell(HEAD + text)

    with pytest.raises(CompileError, match=message):
        load([names["program"]])


def test_a_call_has_a_name() -> None:
    with pytest.raises(
        SpecError, match=r'@ksyscall takes a name, as in @ksyscall\("op'
    ):
        cell(HEAD + '@ksyscall("tcp:connect")\ndef f(a: u64) -> None: ...\n')
