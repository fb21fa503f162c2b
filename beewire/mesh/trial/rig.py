"""Two pods with sidecars, enrolled through an agent process that can be killed."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import beewire
from beewire.bpf.kernel import pins
from beewire.errors import MeshError
from beewire.mesh.agent import Directories, Mesh, Target, client
from beewire.mesh.lab import (
    Lab,
    NginxConfig,
    Pod,
    Sidecar,
    SidecarConfig,
    nginx,
    sidecar,
)
from beewire.mesh.lab.patience import PATIENCE
from beewire.mesh.lab.runs import BPFFS

CHECKOUT = Path(beewire.__file__).parent.parent
ANSWER_S = 90.0 * PATIENCE  # an upgrade compiles and loads everything anew


class Rig:
    """A node with a lab's two pods; everything is gone at the end of the block.

    The agent is `beewire agent` in a process of its own, on pins and a socket of its own.
    `mesh` asks it, or does itself what an agent would while there is none.
    """

    def __init__(
        self, config: SidecarConfig | None = None, server: NginxConfig | None = None
    ) -> None:
        self.lab = Lab()
        self.config = config or SidecarConfig(workers=1)
        self._server = server
        run = self.lab.run
        self.directories = Directories(BPFFS / run.name / "node", run.state / "agent")
        self.mesh = Mesh(self.directories)
        self.agent: subprocess.Popen[bytes] | None = None
        self.sidecars: dict[str, Sidecar] = {}
        self._stack = contextlib.ExitStack()
        self._running: dict[str, contextlib.ExitStack] = {}

    def __enter__(self) -> Self:
        try:
            self._stack.enter_context(self.lab)
            pins.ensure_bpffs(str(BPFFS))
            pins.ensure_directory(str(self.directories.pins.parent))
            self._stack.callback(self.stop_agent, signal.SIGKILL)
            self._stack.enter_context(self.mesh)
            self.start_agent()
            for pod in self.lab.pods:
                self.mesh.up(target(pod))
                self.start_sidecar(pod)
            self._stack.callback(self._stop_sidecars)
            self._stack.enter_context(nginx(self.lab.b, self._server))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def environment(self) -> dict[str, str]:
        """That of commands which are to work on this node."""
        return {
            **os.environ,
            "BEEWIRE_PINS": str(self.directories.pins),
            "BEEWIRE_RUN": str(self.directories.run),
        }

    def start_agent(self, checkout: Path = CHECKOUT) -> None:
        """Start an agent, which takes over what it finds; of the version in `checkout`.

        Raises:
            MeshError: it does not answer.
        """
        environment = {**self.environment, "PYTHONPATH": str(checkout)}
        said = self.lab.run.state / "agent.log"
        with said.open("ab") as log:
            self.agent = subprocess.Popen(
                # No battery beside what is tried.
                [sys.executable, "-m", "beewire", "agent", "--no-qualify"],
                env=environment,
                cwd=checkout,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + ANSWER_S
        while True:
            try:
                client.ask(self.directories, "hello")
            except client.NoAgent as error:
                if self.agent.poll() is None and time.monotonic() < deadline:
                    time.sleep(0.02)
                    continue
                error.add_note(said.read_text(errors="replace").strip())
                raise
            return

    def stop_agent(self, signum: int = signal.SIGTERM) -> None:
        """End the agent, if there is one."""
        agent, self.agent = self.agent, None
        if agent is not None:
            if agent.poll() is None:
                agent.send_signal(signum)
            agent.wait()

    def start_sidecar(self, pod: Pod) -> None:
        """Run Envoy in a pod; it is ready when this returns."""
        running = contextlib.ExitStack()
        self.sidecars[pod.name] = running.enter_context(sidecar(pod, self.config))
        self._running[pod.name] = running

    def stop_sidecar(self, pod: Pod) -> None:
        """Kill the Envoy of a pod."""
        self.sidecars.pop(pod.name).stop()
        self._running.pop(pod.name).close()

    def _stop_sidecars(self) -> None:
        for running in self._running.values():
            running.close()

    def links(self) -> list[Path]:
        """The pinned links of all pods."""
        return sorted((self.directories.pins / "pods").glob("*/*"))

    def check(self) -> None:
        """Make sure that both sidecars run.

        Raises:
            MeshError: one has ended by itself.
        """
        for each in self.sidecars.values():
            each.check()
        if self.agent is not None and self.agent.poll() is not None:
            raise MeshError("the agent has ended by itself")


def target(pod: Pod) -> Target:
    """How the agent is told of a pod of the lab; its sidecar may come later."""
    return Target(
        name=f"lab/{pod.name}",
        cgroup=str(pod.cgroup.path),
        netns=str(pod.namespace.path),
        proxy_cgroup=str(pod.proxy.cgroup.path),
        sidecar_later=True,
    )
