"""Real pods: podman plays a manifest with an application and Envoy, CNI tells the agent."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from beewire.mesh.agent import Directories, Mesh
from beewire.mesh.lab import Namespace, SidecarConfig
from beewire.mesh.lab.envoy import bootstrap
from beewire.mesh.lab.tools import require
from tests.mesh.agent.conftest import (
    CHECKOUT,
    StartAgent,
    environment,
    eventually,
)

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(900)]

PLUGINS = Path("/usr/lib/cni")
NEEDED = ("podman", "runc", "conmon", "catatonit", "busybox")
APP, PORT = 8080, 9000
IMAGE = "localhost/bw-base:1"
CONTAINERS = """
[containers]
pids_limit=0
default_ulimits=[]
[engine]
cgroup_manager="cgroupfs"
events_logger="file"
runtime="runc"
[network]
network_backend="cni"
cni_plugin_dirs=["{bin}", "/usr/lib/cni"]
network_config_dir="{configurations}"
default_network="bwnet"
"""
MANIFEST = """
apiVersion: v1
kind: Pod
metadata:
  name: shop
spec:
  volumes:
  - {{name: usr, hostPath: {{path: /usr}}}}
  - {{name: www, hostPath: {{path: "{www}"}}}}
  - {{name: envoy, hostPath: {{path: "{envoy}"}}}}
  - {{name: config, hostPath: {{path: "{config}"}}}}
  containers:
  - name: app
    image: {image}
    command: ["/usr/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]
    volumeMounts:
    - {{name: usr, mountPath: /usr, readOnly: true}}
    - {{name: www, mountPath: /www, readOnly: true}}
  - name: istio-proxy
    image: {image}
    command: ["/envoy/envoy", "--config-path", "/config/envoy.json",
              "--concurrency", "1", "--base-id", "{base}", "--log-level", "error"]
    securityContext: {{runAsUser: 1337, runAsGroup: 1337}}
    volumeMounts:
    - {{name: usr, mountPath: /usr, readOnly: true}}
    - {{name: envoy, mountPath: /envoy, readOnly: true}}
    - {{name: config, mountPath: /config, readOnly: true}}
"""


class Podman:
    """podman with storage, network and CNI configuration of its own."""

    def __init__(self, place: Path, directories: Directories) -> None:
        self.place = place
        self.namespace = Namespace(f"bw-podman-{os.getpid()}")
        self.directories = directories
        self.runroot = Path("/run", f"bw-podman-{os.getpid()}")
        self.log = place / "cni.log"
        for name in ("bin", "net.d", "www", "config", "rootfs"):
            (place / name).mkdir()
        place.joinpath("www", "index.html").write_text("hello from the app\n")
        self._configure()

    def _configure(self) -> None:
        place = self.place
        (place / "containers.conf").write_text(
            CONTAINERS.format(bin=place / "bin", configurations=place / "net.d")
        )
        bridge = {
            "type": "bridge",
            "bridge": "bw-cni0",
            "isGateway": True,
            "ipam": {
                "type": "host-local",
                "dataDir": str(place / "ipam"),
                "ranges": [[{"subnet": "10.88.77.0/24"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
        ours = {"type": "beewire-cni", "select": "all"}
        network = {"cniVersion": "0.4.0", "name": "bwnet", "plugins": [bridge, ours]}
        (place / "net.d" / "bwnet.conflist").write_text(json.dumps(network))
        variables = environment(self.directories)
        plugin = place / "bin" / "beewire-cni"
        plugin.write_text(
            "#!/bin/sh\n"
            f"export PYTHONPATH={CHECKOUT} BEEWIRE_PINS={variables['BEEWIRE_PINS']}"
            f" BEEWIRE_RUN={variables['BEEWIRE_RUN']}\n"
            f'echo "$CNI_COMMAND" >> {self.log}\n'
            f"exec {sys.executable} -c 'import sys;"
            " from beewire.mesh.agent.cni import main; sys.exit(main())'\n"
        )
        plugin.chmod(0o755)

    def run(self, *arguments: str, text: bytes = b"") -> str:
        """The output of one command of podman."""
        done = subprocess.run(
            [
                "nsenter",
                f"--net={self.namespace.path}",
                "podman",
                f"--root={self.place}/storage",
                f"--runroot={self.runroot}",  # of 50 characters at most
                "--storage-driver=vfs",
                *arguments,
            ],
            input=text,
            env={**os.environ, "CONTAINERS_CONF": str(self.place / "containers.conf")},
            capture_output=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def import_image(self) -> None:
        """An image that is nothing but links into /usr, which the host lends."""
        root = self.place / "rootfs"
        for name in ("usr", "etc", "proc", "sys", "dev", "tmp", "run", "var"):
            (root / name).mkdir()
        for name in ("bin", "sbin", "lib", "lib64"):
            (root / name).symlink_to(f"usr/{name}")
        packed = subprocess.run(
            ["tar", "-C", str(root), "-c", "."], check=True, capture_output=True
        )
        self.run("import", "-", IMAGE, text=packed.stdout)

    def manifest(self) -> str:
        """The pod's manifest, with Envoy as the lab has it."""
        config = json.dumps(bootstrap(SidecarConfig(workers=1)))
        (self.place / "config" / "envoy.json").write_text(config)
        path = self.place / "pod.yaml"
        path.write_text(
            MANIFEST.format(
                www=self.place / "www",
                config=self.place / "config",
                envoy=Path(require("envoy")).parent,
                image=IMAGE,
                base=os.getpid() % 60000,
            )
        )
        return str(path)


def check_podman() -> None:
    absent = [name for name in NEEDED if shutil.which(name) is None]
    if absent or not (PLUGINS / "bridge").exists():
        what = ", ".join(absent) or "CNI's plugins"
        pytest.skip(f"needs {what}: scripts/bootstrap installs them")


@pytest.fixture
def podman(tmp_path: Path, directories: Directories) -> Iterator[Podman]:
    check_podman()
    place = tmp_path / "podman"
    place.mkdir(mode=0o755)
    made = Podman(place, directories)
    made.namespace.create()
    try:
        backend = made.run("info", "--format", "{{.Host.NetworkBackend}}").strip()
        if backend != "cni":
            pytest.skip("this podman has no CNI")
        made.import_image()
        yield made
        made.run("pod", "rm", "--force", "--all")
    finally:
        subprocess.run(
            ["umount", "--recursive", f"{place}/storage/vfs"],
            check=False,
            capture_output=True,
        )
        made.namespace.delete()
        shutil.rmtree(made.runroot, ignore_errors=True)
        for parent in Path("/sys/fs/cgroup").glob("*/libpod_parent"):
            # Deepest first, and only what is empty: somebody else may have pods there.
            for folder in (*sorted(parent.rglob("*/"), reverse=True), parent):
                with contextlib.suppress(OSError):
                    folder.rmdir()


def test_a_pod_of_podman_is_closed_then_served_and_forgotten(
    podman: Podman, mesh: Mesh, start_agent: StartAgent
) -> None:
    agent = start_agent()
    manifest = podman.manifest()

    podman.run("kube", "play", "--network", "bwnet", manifest)

    eventually(lambda: [each.state for each in mesh.pods()] == ["enrolled"])
    (record,) = mesh.pods()
    eventually(lambda: mesh.status(record.name)["listener"] is True)
    address = record.addresses[0]
    url = f"http://{address}:{APP}/"
    assert podman.namespace.run(lambda: fetch(url)) == "hello from the app\n"
    assert mesh.status(record.name)["decisions"]["inbound_captured"] >= 1

    # A container that is started anew has another cgroup; until it listens: closed.
    podman.run("kill", "shop-istio-proxy")
    eventually(lambda: mesh.status(record.name)["listener"] is False)
    with pytest.raises(OSError, match="refused"):
        podman.namespace.run(lambda: fetch(url, patience_s=0))
    podman.run("start", "shop-istio-proxy")
    eventually(lambda: mesh.pods()[0].proxy_cgroup_id != record.proxy_cgroup_id)
    assert podman.namespace.run(lambda: fetch(url)) == "hello from the app\n"

    log = agent.log.read_text()
    assert log.index("closed until its cgroups are known") < log.index("enrolled")
    assert "libpod_parent" in record.cgroup

    podman.run("kube", "down", manifest)

    assert mesh.pods() == []
    assert "DEL" in podman.log.read_text()


def test_without_an_agent_no_pod_starts(podman: Podman, mesh: Mesh) -> None:
    manifest = podman.manifest()

    with pytest.raises(AssertionError, match="the Beewire agent does not run"):
        podman.run("kube", "play", "--network", "bwnet", manifest)

    assert mesh.pods() == []


def fetch(url: str, patience_s: float = 90) -> str:
    """The body of an answer, once there is one."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                return str(response.read().decode())
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
