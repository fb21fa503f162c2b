"""The table of docs/coverage.md: each row is a program here, and each program a row.

The programs are the public ones of this directory's modules. All are compiled and loaded;
those that answer (`-> int`, `-> XdpAction`) are run, where the kernel can run their kind
by itself, and answer 1 or PASS if the feature did what it should.
"""

import ctypes
import inspect
import re
import struct
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from beewire.bpf import Program, StructOps, XdpAction, collect, load
from beewire.bpf.author.trace_programs import IteratorProgram
from beewire.bpf.kernel import features
from beewire.bpf.object import AttachKind, ProgramKind
from beewire.errors import NotPermitted, NotSupported, VerifierError
from tests.coverage import (
    cgroups,
    control,
    data,
    functions,
    kernel,
    maps,
    network,
    tracing,
    values,
)
from tests.coverage.packets import FRAME

Subject = Program[Any] | type[StructOps]

PAGE = Path(__file__).parents[2] / "docs" / "coverage.md"
SOURCES = Path.home().glob(
    ".cache/beewire/selftests/linux-source-*/tools/testing/selftests/bpf/progs"
)
MODULES = (cgroups, control, data, functions, kernel, maps, network, tracing, values)
ROW = re.compile(
    r"^\| (.+) \| `([\w.]+\.c)`(.*) \| (.+) \| (.*) \| (.*) \|$", re.MULTILINE
)
RIGHT = {ProgramKind.XDP: XdpAction.PASS, ProgramKind.FLOW_DISSECTOR: 0}
TEXT = ctypes.create_string_buffer(b"beewire")
CONTEXTS = {
    # The raw tracepoint's arguments: the second is an address of this process.
    ProgramKind.RAW_TRACEPOINT: struct.pack("2Q", 0, ctypes.addressof(TEXT)),
    ProgramKind.SYSCALL: bytes(8),
    # struct bpf_sk_lookup: no socket yet, AF_INET, TCP; ports 1 and 2, no addresses.
    ProgramKind.SK_LOOKUP: struct.pack("QII20xH22xII", 0, 2, 6, 1, 2, 0),
}


class Row(NamedTuple):
    """One row: `program` is "" where the feature cannot be said yet."""

    feature: str
    selftest: str
    kernel: str  # the version that has it, where it is newer than the one measured
    code: str
    program: str

    @property
    def said(self) -> bool:
        """Whether it is said in Python."""
        return not self.code.startswith("not yet")


ROWS = [
    Row(feature, selftest, version, code.replace("\\|", "|"), program.strip("`"))
    for feature, selftest, version, code, program, _ in ROW.findall(PAGE.read_text())
]


def subjects(module: ModuleType) -> dict[str, Subject]:
    """The public programs of a module, and its tables of callbacks."""
    return {
        name: each
        for name, each in vars(module).items()
        if not name.startswith("_")
        and (
            isinstance(each, Program)
            or (
                isinstance(each, type)
                and issubclass(each, StructOps)
                and each is not StructOps
            )
        )
    }


SUBJECTS = {name: it for module in MODULES for name, it in subjects(module).items()}
HOMES = {name: module for module in MODULES for name in subjects(module)}


def test_each_row_is_a_program_and_each_program_a_row() -> None:
    assert sorted(row.program for row in ROWS if row.said) == sorted(SUBJECTS)
    assert [row.feature for row in ROWS if not row.said and row.program] == []


def test_a_selftest_stands_for_one_feature() -> None:
    assert len({row.selftest for row in ROWS}) == len(ROWS)


def test_the_page_counts_its_rows() -> None:
    said = sum(row.said for row in ROWS)

    assert f"**{said} of {len(ROWS)}**" in PAGE.read_text()
    assert len(ROWS) >= 100


@pytest.mark.parametrize("row", [row for row in ROWS if row.said], ids=lambda r: r[-1])
def test_what_a_row_shows_is_in_its_program(row: Row) -> None:
    source = "".join(inspect.getsource(HOMES[row.program]).split())
    shown = [piece for code in row.code.split("`")[1::2] for piece in code.split("...")]

    assert shown
    assert [piece for piece in shown if "".join(piece.split()) not in source] == []


def test_the_selftests_exist() -> None:
    if (progs := next(SOURCES, None)) is None:
        pytest.skip("scripts/selftests.py has not fetched the kernel's selftests")

    named = {row.selftest for row in ROWS if not row.kernel}
    assert {name for name in named if not (progs / name).exists()} == set()


@pytest.mark.kernel
@pytest.mark.parametrize("name", SUBJECTS)
def test_it_loads_and_does_what_it_says(name: str) -> None:
    subject = SUBJECTS[name]
    target = control.TARGETS.get(name)
    source = collect(subject, target=target) if target else subject

    try:
        with load(source) as loaded:
            if isinstance(subject, Program) and answers(subject):
                check(loaded[subject])
    except NotPermitted as error:
        pytest.skip(f"compiled; {error}")
    except VerifierError as error:
        if "failed to find the address for kernel symbol" not in str(error):
            raise
        pytest.skip("compiled; this kernel keeps no addresses of variables")
    except OSError as error:
        if available(subject):
            raise
        pytest.skip(f"compiled; {error}")


def available(subject: Subject) -> bool:
    """Whether the kernel has programs of that kind at all."""
    kind = subject.kind if isinstance(subject, Program) else ProgramKind.STRUCT_OPS
    return features.program_type(ProgramKind(kind)).available


def answers(program: Program[Any]) -> bool:
    """Whether the kernel can run it by itself, and it says whether it did well."""
    if program.attach_kind in (AttachKind.XDP_DEVMAP, AttachKind.XDP_CPUMAP):
        return False  # only on packets that are on their way
    if isinstance(program, IteratorProgram):
        return True
    if program.kind in (ProgramKind.TRACING, ProgramKind.LWT_XMIT):
        # The first runs functions of the kernel's own, whatever it is told; of the other
        # 6.18.15 dies: it follows the route of a packet that has none.
        return False
    return inspect.signature(program.function).return_annotation is not None


def check(program: Program[Any]) -> None:
    """Run it once: an iterator over what there is, others on a packet or arguments."""
    if isinstance(program, IteratorProgram):
        program.read()
        return
    context = CONTEXTS.get(program.kind, b"")
    try:
        told = program.live.test_run(b"" if context else FRAME, context)
    except NotSupported:
        return  # tracepoints, most hooks of cgroups, sockets
    assert told.retval == RIGHT.get(program.kind, 1)
