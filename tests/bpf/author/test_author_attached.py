"""Storage of the cgroups that programs are attached to; objects that libbpf loads."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from beewire.bpf import (
    AttachedStorage,
    PerCpuAttachedStorage,
    SockAddr,
    collect,
    connect4,
    load,
    u64,
)
from beewire.bpf.kernel import cgroup2_mount, ensure_bpffs
from beewire.bpf.object import write
from tests.bpf.author import test_author_callbacks, test_author_objects
from tests.cgroups import remove

pytestmark = pytest.mark.kernel

calls = AttachedStorage[u64]()
per_cpu = PerCpuAttachedStorage[u64]()


@connect4
def count(_ctx: SockAddr) -> int:
    calls.here().value += 1
    per_cpu.here().value += 2
    return 1


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A cgroup of our own that this process is in."""
    path = Path(cgroup2_mount(), f"bw-attached-{os.getpid()}")
    path.mkdir()
    before = Path("/proc/self/cgroup").read_text().split("0::")[1].split("\n")[0]
    (path / "cgroup.procs").write_text("0")
    yield path
    Path(cgroup2_mount(), before.strip("/"), "cgroup.procs").write_text("0")
    remove(path)


def test_a_cgroup_has_a_value_while_a_program_is_attached(cgroup: Path) -> None:
    with load([count]) as loaded, loaded[count].attach(cgroup=str(cgroup)):
        with socket.socket() as client, suppress(OSError):
            client.connect(("127.0.0.1", 1))

        number = cgroup.stat().st_ino
        assert list(loaded[calls]) == [number]
        assert loaded[calls][number] == 1
        assert sum(loaded[per_cpu][number]) == 2


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("module", "programs"),
    [
        (test_author_objects, ["locks", "lists", "pointers", "atomics"]),
        (test_author_callbacks, ["trees_in_order", "later"]),
    ],
    ids=["objects", "callbacks"],
)
def test_libbpf_loads_objects_with_locks_lists_and_timers(
    module: object, programs: list[str], tmp_path: Path
) -> None:
    bpftool = shutil.which("bpftool") or "/usr/sbin/bpftool"
    if not Path(bpftool).exists():
        pytest.skip("bpftool is not installed")
    spec = collect([getattr(module, name) for name in programs])
    file = tmp_path / "object.bpf.o"
    file.write_bytes(write(spec))
    pins = Path(ensure_bpffs(), f"bw-libbpf-{os.getpid()}")

    done = subprocess.run(
        [bpftool, "prog", "loadall", str(file), str(pins)],
        capture_output=True,
        text=True,
        check=False,
    )
    shutil.rmtree(pins, ignore_errors=True)

    missing = ("not found in kernel or module BTFs", "incompatible with kernel")
    if any(words in done.stderr for words in missing):
        pytest.skip("this kernel has not all kernel functions that the object calls")
    assert done.returncode == 0, done.stderr[-2000:]
