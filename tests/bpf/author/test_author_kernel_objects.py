"""libbpf loads what is written of typed hooks, kernel functions and tables."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from beewire.bpf import collect
from beewire.bpf.object import write
from tests.bpf.lang.test_lang_kernel import cell

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not shutil.which("bpftool"), reason="bpftool is not installed"),
]

PROGRAMS = """
from beewire.bpf import *
class task_struct(Kernel):
    real_parent: "task_struct"
    pid: i32
    comm: str = chars(16)
    in_execve: u32 = bits(1)
class sock(Kernel):
    sk_mark: u32
class Text(Struct):
    value: str = chars(16)
counts = HashMap[i32, u64](16)
@kfunc
def bpf_task_from_pid(pid: i32) -> task_struct | None: ...
@kfunc
def bpf_task_release(p: task_struct) -> None: ...
@kfunc
def bpf_never_was(p: u32) -> u32: ...

@tp_btf("sched_switch")
def on_switch(preempt: bool, prev: task_struct, next: task_struct) -> None:
    counts[next.real_parent.pid] += 1
    if exists(next.in_execve):
        counts[1] += next.in_execve
    if exists(bpf_never_was):
        counts[2] += bpf_never_was(1)
    with bpf_task_from_pid(1) as task:
        if task is not None:
            counts[3] += 1

@iter("task")
def tasks(meta: bpf_iter_meta, task: task_struct | None) -> None:
    if task is not None:
        seq_printf(meta.seq, f"{task.pid} {task.comm}\\n")

@xdp
def texts(ctx: XdpContext) -> None:
    out = Text()
    if helpers.strncmp(out, 3, "abc") == 0:
        counts[4] += 1
"""

TABLE = """
from beewire.bpf import *
class sock(Kernel):
    sk_mark: u32
class Libbpf(StructOps, kernel="tcp_congestion_ops", link=False):
    name: str = chars(16, default="bw_libbpf")
    @staticmethod
    def ssthresh(sk: sock) -> u32:
        return 2
    @staticmethod
    def undo_cwnd(sk: sock) -> u32:
        return 2
    @staticmethod
    def cong_avoid(sk: sock, ack: u32, acked: u32) -> None:
        pass
"""


def bpftool(*words: str) -> str:
    """Run bpftool, which must succeed; what it says."""
    told = subprocess.run(
        ["bpftool", *words], capture_output=True, text=True, check=False
    )
    if "not found in kernel or module BTFs" in told.stderr:
        pytest.skip("this kernel has not all kernel functions that the object calls")
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout + told.stderr


@pytest.fixture
def pins() -> Iterator[Path]:
    """A directory on a bpffs that is gone afterwards."""
    place = Path(f"/sys/fs/bpf/bw-kernel-objects-{os.getpid()}")
    if not place.parent.is_mount():
        pytest.skip("no bpffs at /sys/fs/bpf")
    yield place
    for pin in place.glob("*"):
        pin.unlink()
    if place.exists():
        place.rmdir()


def test_programs_load(tmp_path: Path, pins: Path) -> None:
    names = cell(PROGRAMS)
    programs = [names[name] for name in ("on_switch", "tasks", "texts")]
    (tmp_path / "prog.bpf.o").write_bytes(write(collect(programs)))

    bpftool("prog", "loadall", str(tmp_path / "prog.bpf.o"), str(pins))

    assert {"on_switch", "tasks", "texts"} <= {pin.name for pin in pins.iterdir()}


def test_a_table_is_registered(tmp_path: Path) -> None:
    (tmp_path / "ops.bpf.o").write_bytes(write(collect(cell(TABLE)["Libbpf"])))

    told = bpftool("struct_ops", "register", str(tmp_path / "ops.bpf.o"))
    bpftool("struct_ops", "unregister", "name", "Libbpf")

    assert "Registered tcp_congestion_ops Libbpf" in told
