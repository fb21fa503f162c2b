"""A running Envoy as a pod's sidecar."""

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from beewire.errors import MeshError
from beewire.mesh.lab.description import SidecarConfig
from beewire.mesh.lab.envoy import bootstrap, resources
from beewire.mesh.lab.patience import PATIENCE
from beewire.mesh.lab.place import Place, how_it_ended, stopping
from beewire.mesh.lab.pods import Pod
from beewire.mesh.lab.pushing import Edit, Pushing, Resources, as_they_are
from beewire.mesh.lab.tools import require

START_TIMEOUT_S = 60.0 * PATIENCE
FLUSH_MS = 200  # how soon a logged request reaches the access log; Envoy's own is 10 s
LOG_LINES = 5


class Sidecar:
    """Envoy in a pod's `proxy` place, with one worker, as user 1337.

    A transparent one runs as root, of group 1337, as Istio's injector has it.
    """

    def __init__(
        self,
        pod: Pod,
        config: SidecarConfig,
        process: "subprocess.Popen[bytes]",
        pushing: Pushing,
    ) -> None:
        self.pod = pod
        self.config = config
        self.process = process
        self._pushing = pushing

    def push(self, config: SidecarConfig, edit: Edit = as_they_are) -> None:
        """Push other listeners and clusters to it, as istiod would.

        Those of `config`, after `edit` has changed them. Envoy takes them over soon;
        connections stay where their listener does.
        """
        self.config = _filled(self.pod, config, self.config.access_log)
        self._pushing.push(_edited(self.config, edit))

    def wait(self) -> None:
        """Wait until Envoy is ready.

        Raises:
            MeshError: it ends instead, or takes too long; the message ends with what it
                said last.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.pod.namespace.run(lambda: _is_live(self.config.admin_port)):
            if (ended := how_it_ended(self.process)) is not None:
                raise _gone(self.pod, ended)
            if time.monotonic() > deadline:
                raise _gone(self.pod, f"is not ready after {START_TIMEOUT_S:g} s")
            time.sleep(0.02)

    def connections(self) -> int:
        """How many connections to its listeners, its own pages left out, are open now.

        Raises:
            MeshError: Envoy does not answer.
        """
        path = "/stats?filter=^listener.*downstream_cx_active$"
        said = self.pod.namespace.run(lambda: _page(self.config.admin_port, path))
        lines = [line for line in said.splitlines() if line.startswith("listener.")]
        counts = dict(line.split(": ") for line in lines)
        # A worker's are among its listener's.
        return sum(
            int(count)
            for name, count in counts.items()
            if ".admin." not in name and ".worker_" not in name
        )

    def said(self) -> str:
        """What Envoy wrote so far."""
        return _said(self.pod).read_text(errors="replace")

    def check(self) -> None:
        """Check that Envoy still runs.

        Raises:
            MeshError: it has ended; the message ends with what it said last.
        """
        if (ended := how_it_ended(self.process)) is not None:
            raise _gone(self.pod, ended)

    def stop(self) -> None:
        """End Envoy at once, as a crash would."""
        self.process.kill()
        self.process.wait()

    def logged(self, trace: str, timeout_s: float = 30.0 * PATIENCE) -> dict[str, str]:
        """The access log's record of the request with `x-bw-trace: <trace>`.

        Only requests to `trace_port` are logged.

        Raises:
            MeshError: it does not come.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for line in self.config.access_log.read_text().splitlines():
                record: dict[str, str] = json.loads(line)
                if record["trace"] == trace:
                    return record
            time.sleep(0.05)
        raise MeshError(
            f"the sidecar of pod {self.pod.name} did not log the request {trace!r}"
        )


@contextlib.contextmanager
def sidecar(
    pod: Pod, config: SidecarConfig | None = None, edit: Edit = as_they_are
) -> Iterator[Sidecar]:
    """Run Envoy beside the pod's application until the end of the block.

    `pod`, `access_log` and `ipv6` of the configuration are filled in; `edit` changes the
    listeners and clusters that come of it. They are pushed to it, and may be again.

    Raises:
        MeshError: Envoy is missing, one of its ports is taken, or it does not start;
            the message ends with what it said last.
    """
    with starting(pod, config, edit) as started:
        started.wait()
        yield started


@contextlib.contextmanager
def starting(
    pod: Pod,
    config: SidecarConfig | None = None,
    edit: Edit = as_they_are,
    *,
    fixed: bool = False,
) -> Iterator[Sidecar]:
    """As `sidecar`, but for `Sidecar.wait`: many may start at once.

    A `fixed` one cannot be pushed to, and watches no files: a user may have no more than
    128 instances of inotify.

    Raises:
        MeshError: Envoy is missing, or one of its ports is taken.
    """
    log_path = pod.state / f"access-{pod.name}.log"
    config = _filled(pod, config or SidecarConfig(), log_path)
    binary = require("envoy")
    ports = (config.outbound_port, config.inbound_port, config.admin_port)
    check_ports_free(pod, ports)
    path = pod.state / f"envoy-{pod.name}.json"
    pushing = Pushing(pod.state / f"envoy-{pod.name}")
    pushing.push(_edited(config, edit))
    pushed = None if fixed else pushing.bootstrap()
    path.write_text(json.dumps(bootstrap(config, pushed)))
    path.chmod(0o644)  # Envoy reads it as its own user, whatever our umask is
    config.access_log.touch()
    os.chown(config.access_log, pod.proxy.uid, pod.proxy.uid)
    said = _said(pod)
    command = [
        *(binary, "--config-path", str(path), "--concurrency", str(config.workers)),
        *("--disable-hot-restart", "--log-level", _level(config)),
        *("--file-flush-interval-msec", str(FLUSH_MS)),
    ]
    with said.open("wb") as log:
        process = _place(pod, config).start(command, stdout=log, stderr=log)
    with stopping(process):
        yield Sidecar(pod, config, process, pushing)


def _filled(pod: Pod, config: SidecarConfig, access_log: Path) -> SidecarConfig:
    return replace(config, pod=pod.name, access_log=access_log, ipv6=pod.ipv6)


def _edited(config: SidecarConfig, edit: Edit) -> Resources:
    found = resources(config)
    edit(found)
    return found


def _place(pod: Pod, config: SidecarConfig) -> Place:
    if not config.transparent:
        return pod.proxy
    return Place(pod.namespace, pod.proxy.cgroup, 0, pod.proxy.gid)


def check_ports_free(pod: Pod, ports: tuple[int, ...]) -> None:
    """Check that nothing listens on `ports` in the pod.

    Raises:
        MeshError: one of them is taken.
    """

    def first_taken() -> int | None:
        for port in ports:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("0.0.0.0", port))
                    probe.listen(1)
                except OSError:
                    return port
        return None

    taken = pod.namespace.run(first_taken)
    if taken is not None:
        raise MeshError(f"port {taken} is already taken in pod {pod.name}")


def _level(config: SidecarConfig) -> str:
    # That it does without the sockets it was to use, Envoy says below an error.
    return "info" if config.socket_map else "error"


def _said(pod: Pod) -> Path:
    return pod.state / f"envoy-{pod.name}.log"


def _gone(pod: Pod, what: str) -> MeshError:
    error = MeshError(f"Envoy in pod {pod.name} {what}")
    for line in _said(pod).read_text(errors="replace").splitlines()[-LOG_LINES:]:
        error.add_note(line)
    return error


def _is_live(port: int) -> bool:
    try:
        return "LIVE" in _page(port, "/ready")
    except MeshError:
        return False


def _page(port: int, path: str) -> str:
    # A page of Envoy's administration, as the calling thread's namespace reaches it.
    asked = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as admin:
            admin.sendall(asked.encode())
            return b"".join(iter(lambda: admin.recv(1 << 16), b"")).decode()
    except OSError as error:
        raise MeshError(f"Envoy's page {path} cannot be read: {error}") from error
