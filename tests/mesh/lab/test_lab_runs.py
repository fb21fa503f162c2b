"""Who owns what: labs beside each other, dead labs, killed labs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beewire.errors import MeshError
from beewire.mesh.lab import Lab, clean
from beewire.mesh.lab.cgroups import mount_point
from beewire.mesh.lab.namespaces import DIRECTORY as NAMESPACES
from beewire.mesh.lab.runs import STATE, _is_dead

pytestmark = [pytest.mark.mesh, pytest.mark.usefixtures("machine")]

PATIENCE_S = 60.0

# A process that owns a lab with something running in it, and says so.
OWNER = """
import time
from beewire.mesh.lab import Lab, unwinding
with unwinding(), Lab() as lab:
    child = lab.a.app.start(["/bin/sleep", "600"])
    print(lab.run.id, child.pid, flush=True)
    time.sleep(600)
"""


def wait_for(claim: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not claim():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.01)


def remains(run_id: str) -> list[Path]:
    """Everything on this machine that bears the id of a lab."""
    places = (
        *NAMESPACES.glob(f"bw-{run_id}*"),
        mount_point() / f"bw-{run_id}",
        Path("/sys/fs/bpf") / f"bw-{run_id}",
        STATE / run_id,
    )
    return [path for path in places if path.exists()]


def is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]
    except FileNotFoundError:
        return False


class Owner:
    """A child process that owns a lab."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        words = self.process.stdout.readline().split()
        self.run_id, self.child = words[0], int(words[1])

    def signal(self, signum: int) -> int:
        self.process.send_signal(signum)
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def owner() -> Iterator[Owner]:
    made = Owner()
    yield made
    made.close()
    clean()


def test_two_labs_at_once_share_no_name(lab: Lab) -> None:
    with Lab() as other:
        assert other.run.id != lab.run.id
        assert other.a.cgroup.path != lab.a.cgroup.path
        assert other.a.namespace.path != lab.a.namespace.path


def test_lab_that_ended_left_nothing() -> None:
    with Lab() as lab:
        child = lab.a.app.start(["/bin/sleep", "600"])

    assert remains(lab.run.id) == []
    assert child.wait(PATIENCE_S) == -signal.SIGKILL


def test_lab_that_failed_left_nothing() -> None:
    lab = Lab()
    with pytest.raises(ZeroDivisionError), lab:
        raise ZeroDivisionError

    assert remains(lab.run.id) == []


def test_process_of_a_killed_owner_dies_with_it(owner: Owner) -> None:
    owner.signal(signal.SIGKILL)

    wait_for(lambda: not is_running(owner.child))


def test_clean_removes_a_killed_lab(owner: Owner) -> None:
    owner.signal(signal.SIGKILL)

    assert owner.run_id in clean()
    assert remains(owner.run_id) == []


def test_clean_kills_what_a_dead_lab_still_runs(owner: Owner) -> None:
    # A grandchild asks for no death signal: only its cgroup finds it.
    procs = mount_point() / f"bw-{owner.run_id}" / "pod-b" / "app" / "cgroup.procs"
    orphan = subprocess.Popen(["/bin/sleep", "600"])
    procs.write_text(str(orphan.pid))
    owner.signal(signal.SIGKILL)

    clean()

    assert orphan.wait(PATIENCE_S) == -signal.SIGKILL


def test_clean_leaves_a_living_lab_alone(owner: Owner) -> None:
    before = remains(owner.run_id)

    assert owner.run_id not in clean()
    assert remains(owner.run_id) == before
    assert is_running(owner.child)


def test_lab_that_ends_while_we_clean_is_not_ours(tmp_path: Path) -> None:
    assert not _is_dead(tmp_path / "gone")


def test_only_root_may_clean(lab: Lab) -> None:
    with pytest.raises(MeshError, match="root"):
        lab.a.proxy.call(clean)


def test_lab_without_an_owner_is_dead() -> None:
    # Killed between making its directory and locking it.
    (STATE / "bad1d0").mkdir(parents=True)
    (mount_point() / "bw-bad1d0" / "pod-a").mkdir(parents=True)

    assert "bad1d0" in clean()
    assert remains("bad1d0") == []


def test_nohup_outlives_a_terminal_that_closes() -> None:
    code = """
import os, signal
from beewire.mesh.lab import unwinding
signal.signal(signal.SIGHUP, signal.SIG_IGN)
with unwinding():
    os.kill(os.getpid(), signal.SIGHUP)
    print("alive")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )

    assert done.stdout == "alive\n"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_unwinds_the_lab(owner: Owner, signum: int) -> None:
    owner.signal(signum)

    assert remains(owner.run_id) == []
    assert not is_running(owner.child)


def test_owner_file_names_the_owner(lab: Lab) -> None:
    assert (lab.run.state / "owner").read_text() == f"{os.getpid()}\n"


def test_state_of_another_user_s_umask_is_readable() -> None:
    before = os.umask(0o077)
    try:
        with Lab() as lab:
            mode = lab.run.state.stat().st_mode & 0o777
    finally:
        os.umask(before)

    assert mode == 0o755


def test_only_root_may_build_a_lab(lab: Lab) -> None:
    def build() -> None:
        with Lab():
            pass

    with pytest.raises(MeshError, match="root"):
        lab.a.proxy.call(build)


def test_taken_namespace_name_is_refused(lab: Lab) -> None:
    with pytest.raises(MeshError, match="File exists"):
        lab.a.namespace.create()
