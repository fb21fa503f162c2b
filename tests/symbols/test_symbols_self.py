"""This very process, and programs in C: their addresses as functions."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from beewire.symbols import Frame, Symbolizer
from tests.symbols.conftest import Build, run

Addresses = tuple[int, int]


@pytest.fixture
def symbols() -> Iterator[Symbolizer]:
    with Symbolizer() as symbolizer:
        yield symbolizer


@contextmanager
def running(program: Path) -> Iterator[tuple[int, Addresses]]:
    """A process of `program`, and where its two functions are."""
    with subprocess.Popen(
        [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        first, second = process.stdout.readline().split()
        yield process.pid, (int(first, 16), int(second, 16))
        process.kill()


def names(symbols: Symbolizer, pid: int, addresses: Addresses) -> list[str]:
    return [symbols.user(pid, address + 1).label for address in addresses]


def test_a_function_of_the_c_library_is_found_in_this_process(
    symbols: Symbolizer,
) -> None:
    place = ctypes.cast(ctypes.CDLL(None).qsort, ctypes.c_void_p).value
    assert place is not None

    frame = symbols.user(os.getpid(), place + 2)

    assert (frame.name, frame.kind, frame.offset) == ("qsort", "user", 2)


def test_the_vdso_has_names(symbols: Symbolizer) -> None:
    process = symbols.process(os.getpid())
    [vdso] = [each for each in process.mappings if each.path == "[vdso]"]

    found = {
        symbols.user(os.getpid(), address).label
        for address in range(vdso.start, vdso.end, 16)
    }

    assert found & {"clock_gettime", "__kernel_clock_gettime", "__vdso_clock_gettime"}


def test_an_address_that_nothing_is_mapped_at_is_unknown(symbols: Symbolizer) -> None:
    assert symbols.user(os.getpid(), 0x10) == Frame("", "", "unknown")


@pytest.mark.parametrize("flag", ["-pie", "-no-pie", "-static"])
def test_functions_of_a_program_are_found_wherever_it_was_loaded(
    symbols: Symbolizer, build: Build, flag: str
) -> None:
    with running(build(flag)) as (pid, addresses):
        found = names(symbols, pid, addresses)

    assert found == ["hidden_step", "visible_step"]


@pytest.mark.usefixtures("tools")
def test_a_stripped_program_is_named_by_its_file(
    symbols: Symbolizer, build: Build
) -> None:
    program = build()
    run("strip", program)

    with running(program) as (pid, addresses):
        found = names(symbols, pid, addresses)

    assert found == ["[app]", "[app]"]
    assert "stripped" in symbols.images.without_symbols()[str(program)]


@pytest.mark.usefixtures("tools")
def test_a_stripped_program_keeps_what_it_exports(
    symbols: Symbolizer, build: Build
) -> None:
    program = build("-rdynamic")
    run("strip", program)

    with running(program) as (pid, addresses):
        found = names(symbols, pid, addresses)

    assert found[1] == "visible_step"


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize("folder", ["", ".debug"])
def test_symbols_are_found_beside_the_program_by_its_debug_link(
    symbols: Symbolizer, build: Build, folder: str
) -> None:
    program = build("-Wl,--build-id=none")
    debug = program.parent / folder / "app.debug"
    debug.parent.mkdir(exist_ok=True)
    run("objcopy", "--only-keep-debug", program, debug)
    run("strip", program)
    run("objcopy", f"--add-gnu-debuglink={debug}", program)

    with running(program) as (pid, addresses):
        found = names(symbols, pid, addresses)

    assert found == ["hidden_step", "visible_step"]


@pytest.mark.usefixtures("tools")
def test_symbols_of_another_build_are_not_believed(
    symbols: Symbolizer, build: Build
) -> None:
    program = build("-Wl,--build-id=none")
    debug = program.parent / "app.debug"
    run("objcopy", "--only-keep-debug", program, debug)
    run("strip", program)
    run("objcopy", f"--add-gnu-debuglink={debug}", program)
    debug.write_bytes(debug.read_bytes() + b"other")

    with running(program) as (pid, addresses):
        found = names(symbols, pid, addresses)

    assert found == ["[app]", "[app]"]


@pytest.mark.usefixtures("tools")
def test_mini_debug_information_is_unpacked(symbols: Symbolizer, build: Build) -> None:
    program = build()
    mini = program.parent / "mini"
    run("objcopy", "-S", "--keep-symbol=hidden_step", program, mini)
    run("xz", mini)
    run("strip", program)
    section = f".gnu_debugdata={mini}.xz"
    run("objcopy", f"--add-section={section}", program)

    with running(program) as (pid, addresses):
        found = names(symbols, pid, addresses)

    assert found[0] == "hidden_step"


def test_a_deleted_program_is_read_through_its_process(
    symbols: Symbolizer, build: Build
) -> None:
    program = build()

    with running(program) as (pid, addresses):
        program.unlink()
        found = names(symbols, pid, addresses)

    assert found == ["hidden_step", "visible_step"]


def test_a_program_that_was_replaced_is_not_taken_for_the_new_one(
    symbols: Symbolizer, build: Build
) -> None:
    program = build()
    other = build("-O0", name="other")

    with running(program) as (pid, addresses):
        process = symbols.process(pid)
        other.rename(program)
    found = [process.frame(address + 1).label for address in addresses]

    assert found == ["[app]", "[app]"]


def test_a_process_that_has_ended_keeps_the_names_that_were_held(
    symbols: Symbolizer, build: Build
) -> None:
    program = build()

    with running(program) as (pid, addresses):
        symbols.process(pid).hold()
    program.unlink()

    assert names(symbols, pid, addresses) == ["hidden_step", "visible_step"]
