"""cilium/ebpf, the library of Go, loads the objects that we write."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from beewire.bpf import collect
from beewire.bpf.kernel import kernel_index
from beewire.bpf.object import ObjectSpec, ProgramKind, read, write
from beewire.bpf.object.core import relocate_for
from tests.bpf.object.compilers import built

GO = Path(__file__).parent / "go"
# Where Debian's golang-github-cilium-ebpf-dev puts it.
LIBRARIES = Path("/usr/share/gocode")
VMLINUX = Path("/sys/kernel/btf/vmlinux")
EXAMPLES = Path(__file__).parents[3] / "examples"

pytestmark = pytest.mark.kernel

PROGRAMS = """
from beewire.bpf import (Global, HashMap, Kernel, Struct, Tracepoint, XdpAction, XdpContext,
                         current, i32, tracepoint, u32, u64, xdp)

class Count(Struct):
    packets: u64
    last: u32

class task_struct(Kernel):
    real_parent: "task_struct"
    tgid: i32

counts = HashMap[u32, Count](max_entries=8)
parents = HashMap[i32, u64](max_entries=8)
wanted = Global(u32, 3)

def verdict(packets: u64) -> u64:
    return packets * 2 + wanted.value

@xdp
def count(ctx: XdpContext) -> XdpAction:
    if (found := counts.lookup(1)) is not None:
        found.packets += 1
    if verdict(1) == 5:
        return XdpAction.PASS
    return XdpAction.DROP

@tracepoint("sched:sched_process_exit")
def on_exit(ctx: Tracepoint) -> None:
    parents[current(task_struct).real_parent.tgid] = 1
"""

Run = Callable[..., str]


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The loader in go/, built by the Go that is here."""
    if shutil.which("go") is None:
        pytest.skip("golang-go is not installed")
    if shutil.which("bpftool") is None or not VMLINUX.exists():
        pytest.skip("bpftool is not installed, or the kernel has no BTF")
    if not (LIBRARIES / "src/github.com/cilium/ebpf").exists():
        pytest.skip("golang-github-cilium-ebpf-dev is not installed")
    directory = tmp_path_factory.mktemp("go")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "GO111MODULE": "off",
        "GOPATH": f"{directory}:{LIBRARIES}",
        "GOCACHE": str(directory / "cache"),
    }
    target = directory / "load"
    command = ["go", "build", "-o", str(target), "."]
    subprocess.run(command, cwd=GO, env=environment, check=True)
    return target


@pytest.fixture
def run(loader: Path, tmp_path: Path) -> Run:
    def run(data: bytes, *programs: str) -> str:
        file = tmp_path / "object.o"
        file.write_bytes(data)
        # Debian's version of the library cannot read the types of a kernel since 6.0,
        # which have Enum64 among them: it is given those that the object asks for.
        types = tmp_path / "types"
        reduce = ["bpftool", "gen", "min_core_btf", str(VMLINUX), str(types), str(file)]
        subprocess.run(reduce, check=True, capture_output=True)
        command = [str(loader), str(file), str(types), *programs]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert not done.returncode, done.stderr
        return done.stdout

    return run


def compiled(path: Path) -> ObjectSpec:
    """The programs of a Python file."""
    name = f"bw_{path.stem}"
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None
    assert found.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
        return collect(module)
    finally:
        del sys.modules[name]


def test_programs_of_python_load_and_run(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "programs.py"
    source.write_text(PROGRAMS)

    said = run(write(compiled(source)), "count")

    assert "count returned 2" in said  # XDP_PASS
    assert {"map counts", "map parents", "program on_exit"} <= set(said.split("\n"))


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.glob("*.py")), ids=lambda each: each.stem
)
def test_every_example_loads(run: Run, path: Path) -> None:
    spec = compiled(path)
    if any(each.kind is ProgramKind.STRUCT_OPS for each in spec.programs.values()):
        pytest.skip("Debian's version of the library knows no struct_ops")

    said = run(write(spec))

    assert set(re.findall(r"^program (\w+)$", said, re.MULTILINE)) == {
        name for name, each in spec.programs.items() if each.section != ".text"
    }


def test_what_clang_wrote_and_we_rewrote_loads(run: Run) -> None:
    spec = read(built("clang-19")["core_kernel"])
    program = spec.programs["ask"]
    # Debian's version of the library is of before the section "syscall".
    program.section, program.kind = "socket", ProgramKind.SOCKET_FILTER
    program.flags = 0
    # And of before the newest question of CO-RE: it is answered here.
    relocate_for(spec, kernel_index())

    assert "program ask" in run(write(spec))
