"""What the agent's tests share: directories of their own, pods, and an agent process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from beewire.bpf.kernel import pins as bpffs
from beewire.bpf.kernel import syscall
from beewire.mesh.agent import Directories, Mesh, Target, client
from beewire.mesh.lab import Lab
from beewire.mesh.lab.pods import Pod as LabPod

CHECKOUT = Path(__file__).parents[3]
PATIENCE_S = 90.0
# The battery of the short path would take the machine's time from what is tested.
AGENT = ("beewire", "agent", "--no-qualify")


@pytest.fixture
def directories(tmp_path: Path) -> Iterator[Directories]:
    """Pins and records of the test's own."""
    mount = tmp_path / "bpf"
    mount.mkdir()
    bpffs.ensure_bpffs(str(mount))
    yield Directories(mount / "bw", tmp_path / "run")
    assert syscall.unmount(str(mount)) == 0


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


@pytest.fixture
def mesh(directories: Directories) -> Iterator[Mesh]:
    with Mesh(directories) as made:
        yield made


def target(pod: LabPod) -> Target:
    """How `mesh.up` takes a pod of the lab."""
    return Target(
        name=f"lab/{pod.name}",
        cgroup=str(pod.cgroup.path),
        netns=str(pod.namespace.path),
        proxy_cgroup=str(pod.proxy.cgroup.path),
    )


def environment(directories: Directories) -> dict[str, str]:
    return {
        **os.environ,
        "NO_COLOR": "1",
        "BEEWIRE_PINS": str(directories.pins),
        "BEEWIRE_RUN": str(directories.run),
    }


def as_systemd_runs_it() -> list[str]:
    """The capabilities of the agent's unit, and no others."""
    unit = (CHECKOUT / "beewire" / "mesh" / "agent" / "beewire.service").read_text()
    (line,) = [each for each in unit.splitlines() if "CapabilityBoundingSet=" in each]
    names = line.partition("=")[2].split()
    kept = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in names)
    return ["setpriv", "--no-new-privs", f"--bounding-set=-all,{kept}"]


class AgentProcess:
    """`beewire agent` in a process of its own, with no more rights than its unit gives."""

    def __init__(
        self, directories: Directories, log: Path, tree: Path = CHECKOUT
    ) -> None:
        self.directories = directories
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*as_systemd_runs_it(), sys.executable, "-m", *AGENT, "-v"],
                env={**environment(directories), "PYTHONPATH": str(tree)},
                cwd=tree,
                stdout=output,
                stderr=output,
            )

    def wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                client.ask(self.directories, "hello")
            except client.NoAgent:
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.02)
            else:
                return

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


StartAgent = Callable[[], AgentProcess]


@pytest.fixture
def start_agent(directories: Directories, tmp_path: Path) -> Iterator[StartAgent]:
    """Start an agent and wait until it answers; ended after the test."""
    with ExitStack() as stack:

        def start() -> AgentProcess:
            agent = AgentProcess(directories, tmp_path / "agent.log")
            stack.callback(agent.end, signal.SIGKILL)
            agent.wait_until_it_answers()
            return agent

        yield start


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.02)
