"""Kernel functions whose last arguments newer kernels fill in by themselves."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from beewire.bpf import isa
from beewire.bpf.btf import Builder, Func, FuncProto, Int, Param, Ptr, Struct
from beewire.bpf.kernel import Target, attr, load
from beewire.bpf.kernel.syscall import Cmd
from beewire.bpf.object import (
    ObjectSpec,
    ProgramKind,
    ProgramSpec,
    Relocation,
    RelocationKind,
)
from beewire.errors import NotSupported
from tests.systems import Absent, memory, nothing, using

pytestmark = pytest.mark.host

INT = Int("int", 4, signed=True)
WORK = Param("work", Ptr(Struct("bpf_wq", 0)))
FLAGS = Param("flags", Int("unsigned int", 4))
AUX = Param("aux", Ptr(None))
FILLED = Param("aux", Ptr(Struct("bpf_prog_aux", 0)))


@pytest.fixture
def absent() -> Iterator[Absent]:
    with using(system := Absent()):
        yield system


def calls(name: str, *parameters: Param) -> ObjectSpec:
    """An object with a program that calls a kernel function of these parameters."""
    spec = ObjectSpec("test")
    spec.externs[name] = Func(name, FuncProto(INT, parameters))
    spec.programs["p"] = ProgramSpec(
        "p",
        kind=ProgramKind.XDP,
        section="xdp",
        insns=(isa.call_kfunc(-1), isa.exit_insn()),
        relocations=(Relocation(0, RelocationKind.KFUNC, name),),
    )
    return spec


def kernel(path: Path, **functions: tuple[Param, ...]) -> tuple[Target, dict[str, int]]:
    """A kernel with these functions, and their ids."""
    builder = Builder()
    numbers = {
        name: builder.add(Func(name, FuncProto(INT, parameters)))
        for name, parameters in functions.items()
    }
    path.write_bytes(builder.encode())
    return Target(str(path)), numbers


def called(absent: Absent) -> list[int]:
    """What instructions call, of programs that are loaded from now on."""
    found: list[int] = []

    def answer(record: memoryview) -> int:
        place = attr.PROG_LOAD.integer(bytearray(record), "insns")
        found.append(struct.unpack("=i", memory(place + 4, 4))[0])
        return nothing(record)

    absent.say(Cmd.PROG_LOAD, answer)
    return found


def test_the_name_without_impl_is_called_where_the_other_takes_more(
    absent: Absent, tmp_path: Path
) -> None:
    target, ids = kernel(
        tmp_path / "btf", later=(WORK, FLAGS), later_impl=(WORK, FLAGS, FILLED)
    )
    found = called(absent)

    load(calls("later_impl", WORK, FLAGS, AUX), target=target).close()

    assert found == [ids["later"]]


def test_older_kernels_are_passed_all(absent: Absent, tmp_path: Path) -> None:
    target, ids = kernel(tmp_path / "btf", later_impl=(WORK, FLAGS, AUX))
    found = called(absent)

    load(calls("later_impl", WORK, FLAGS, AUX), target=target).close()

    assert found == [ids["later_impl"]]


@pytest.mark.usefixtures("absent")
def test_a_function_of_other_arguments_is_none(tmp_path: Path) -> None:
    target, _ = kernel(tmp_path / "btf", later=(FLAGS, FLAGS))

    with pytest.raises(NotSupported, match="kernel function 'later_impl'"):
        load(calls("later_impl", WORK, FLAGS, AUX), target=target)
