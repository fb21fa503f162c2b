"""Everything removed, and looked for; and the CNI configurations of a node."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from beewire.bpf.kernel import Map, ids
from beewire.errors import MeshError, UsageError
from beewire.mesh.agent import Directories, Mesh, cni_entries
from beewire.mesh.agent.cni_entries import CniPaths
from beewire.mesh.agent.uninstall import Uninstalled, uninstall
from beewire.mesh.lab import Lab
from tests.mesh.agent.conftest import (
    CHECKOUT,
    PATIENCE_S,
    StartAgent,
    environment,
    eventually,
    target,
)

PORT = 9000
BRIDGE = {"type": "bridge", "bridge": "cni0"}

Configured = Callable[..., Path]


@pytest.fixture
def cni(tmp_path: Path) -> CniPaths:
    paths = CniPaths(tmp_path / "net.d", tmp_path / "bin")
    paths.configurations.mkdir()
    return paths


@pytest.fixture
def configured(cni: CniPaths) -> Configured:
    def write(name: str, *plugins: dict[str, Any]) -> Path:
        path = cni.configurations / name
        content = {"cniVersion": "1.0.0", "name": "net", "plugins": list(plugins)}
        path.write_text(json.dumps(content))
        path.chmod(0o644)
        return path

    return write


@pytest.mark.mesh
def test_nothing_is_left(
    lab: Lab, mesh: Mesh, directories: Directories, cni: CniPaths
) -> None:
    rules = lab.b.app.run(["/sbin/ip", "rule"])
    mesh.up(target(lab.a))
    mesh.up(target(lab.b)._replace(config="inbound: {mode: TPROXY}\n"))
    assert "1337" in lab.b.app.run(["/sbin/ip", "rule"]).replace("0x539", "1337")
    mesh.close()

    done = uninstall(directories, cni)

    assert done.left == ()
    assert lab.b.app.run(["/sbin/ip", "rule"]) == rules
    assert (done.records, done.links > 10, done.maps > 10) == (2, True, True)
    assert not directories.pins.exists()
    assert not directories.run.exists()
    with lab.a.app.listen("0.0.0.0", PORT), lab.b.app.connect(lab.a.address, PORT):
        pass


@pytest.mark.mesh
def test_a_node_that_has_nothing_is_clean(
    directories: Directories, cni: CniPaths
) -> None:
    nothing = Uninstalled(0, 0, 0, 0, 0, 0, (), ())

    assert uninstall(directories, cni) == nothing
    assert not directories.run.exists()


@pytest.mark.mesh
def test_the_agent_is_stopped(
    lab: Lab,
    mesh: Mesh,
    directories: Directories,
    cni: CniPaths,
    start_agent: StartAgent,
) -> None:
    agent = start_agent()
    mesh.up(target(lab.a))

    done = uninstall(directories, cni)

    assert (done.left, done.sockets) == ((), 1)
    # Which systemd does not take for a failure.
    assert agent.process.wait(PATIENCE_S) == 0


@pytest.mark.mesh
def test_what_somebody_holds_is_told(
    lab: Lab,
    mesh: Mesh,
    directories: Directories,
    cni: CniPaths,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("beewire.mesh.agent.uninstall._GONE_TIMEOUT_S", 1.0)
    mesh.up(target(lab.a))
    mesh.close()
    with Map.from_pin(str(directories.set / "maps" / "pods")) as held:
        number = held.info.id
        done = uninstall(directories, cni)

    # Others may be on their way still: the kernel lets go of them after a grace period.
    (left,) = [each for each in done.left if "held by" in each]
    assert left.startswith(f"map {number}, held by process ")
    eventually(lambda: not is_there(number))


def is_there(number: int) -> bool:
    """Whether the kernel has a map of this id."""
    fd = ids.try_open(ids.MAP, number)
    if fd >= 0:
        os.close(fd)
    return fd >= 0


@pytest.mark.mesh
def test_the_command_tells_what_it_did(
    lab: Lab, mesh: Mesh, directories: Directories, cni: CniPaths
) -> None:
    mesh.up(target(lab.a))
    mesh.close()
    command = [sys.executable, "-m", "beewire", "mesh", "uninstall"]
    variables = {
        **environment(directories),
        "BEEWIRE_CNI_CONF": str(cni.configurations),
        "BEEWIRE_CNI_BIN": str(cni.plugins),
    }

    done = subprocess.run(
        command, env=variables, cwd=CHECKOUT, capture_output=True, text=True, check=True
    )

    assert "1 record" in done.stdout
    assert done.stdout.endswith("nothing of Beewire is left on this node\n")


def test_an_entry_is_added_behind_the_others(
    cni: CniPaths, configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cni_entries, "executable", lambda: Path(sys.executable))
    path = configured("10-net.conflist", BRIDGE)
    configured("20-other.conflist", BRIDGE)

    changed = cni_entries.add(cni)

    assert changed == (cni.plugins / "beewire-cni", path)
    plugins = json.loads(path.read_text())["plugins"]
    assert [each["type"] for each in plugins] == ["bridge", "beewire-cni"]
    assert path.stat().st_mode & 0o777 == 0o644
    assert cni_entries.add(cni) == ()
    assert sorted(cni_entries.entries(cni)) == sorted(changed)


def test_an_entry_is_taken_away(
    cni: CniPaths, configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cni_entries, "executable", lambda: Path(sys.executable))
    path = configured("10-net.conflist", BRIDGE)
    before = json.loads(path.read_text())
    cni_entries.add(cni)

    cni_entries.remove(cni)

    assert json.loads(path.read_text()) == before
    assert list(cni_entries.entries(cni)) == []
    assert [each.name for each in cni.configurations.iterdir()] == ["10-net.conflist"]


def test_a_file_of_somebody_elses_fault_is_left_alone(cni: CniPaths) -> None:
    (cni.configurations / "00-bad.conflist").write_text("{")

    assert list(cni_entries.entries(cni)) == []
    with pytest.raises(UsageError, match="is no JSON"):
        cni_entries.add(cni)


def test_without_a_configuration_there_is_nothing_to_add_to(cni: CniPaths) -> None:
    with pytest.raises(UsageError, match="no CNI configuration"):
        cni_entries.add(cni)


def test_a_plugin_that_is_not_installed_is_told(
    cni: CniPaths, configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured("10-net.conflist", BRIDGE)
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    monkeypatch.setenv("PATH", "/nonexistent")

    with pytest.raises(MeshError, match="beewire-cni is neither in"):
        cni_entries.add(cni)
