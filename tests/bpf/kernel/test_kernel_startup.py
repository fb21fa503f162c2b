import subprocess
import sys

import pytest

LOAD_AND_ATTACH = """
import sys
from beewire.bpf import isa
from beewire.bpf.kernel import attach_tracepoint, load
from beewire.bpf.object import ObjectSpec, ProgramKind, ProgramSpec
spec = ObjectSpec("test")
spec.programs["p"] = ProgramSpec("p", kind=ProgramKind.TRACEPOINT, section="tracepoint",
    insns=(isa.mov_imm(0, 0), isa.exit_insn()))
with load(spec) as loaded:
    attach_tracepoint(loaded.programs["p"], "sched", "sched_process_exec").close()
print("\\n".join(sys.modules))
"""


@pytest.fixture(scope="module")
def imported() -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", LOAD_AND_ATTACH],
        check=True,
        capture_output=True,
        text=True,
    )
    return set(done.stdout.split())


@pytest.mark.kernel
@pytest.mark.parametrize(
    "module",
    [
        "asyncio",
        "dataclasses",
        "inspect",
        "logging",
        "mmap",
        "pathlib",
        "resource",
        "select",
        "socket",
        "subprocess",
    ],
)
def test_loading_and_attaching_does_not_import(imported: set[str], module: str) -> None:
    assert module not in imported


@pytest.mark.kernel
def test_loading_and_attaching_imports_only_what_it_uses(imported: set[str]) -> None:
    room = "beewire.bpf.kernel."
    lazy = {
        "advice",
        "btf_cache",
        "core",
        "explain",
        "features",
        "links.cgroup",
        "links.xdp",
        "log",
        "maps.describe",
        "maps.walk",
        "privilege",
        "ring",
        "verdict",
        "versions",
    }

    assert {name.removeprefix(room) for name in imported} & lazy == set()
