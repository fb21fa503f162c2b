"""A pod that is enrolled by its manifest: what it says decides, and is named."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beewire.mesh.agent import Directories
from beewire.mesh.lab import Lab

pytestmark = pytest.mark.mesh

Command = Callable[..., "subprocess.CompletedProcess[str]"]
EXCLUDE = "traffic.sidecar.istio.io/excludeOutboundPorts"
MANIFEST = f"""\
kind: Pod
metadata:
  name: web
  namespace: shop
  annotations:
    {EXCLUDE}: "443, 3306"
spec:
  containers:
  - name: istio-proxy
"""


@pytest.fixture
def command(directories: Directories, beewire: Command) -> Iterator[Command]:
    """`beewire mesh ...` on a node of the test's own."""
    where = {
        "BEEWIRE_PINS": str(directories.pins),
        "BEEWIRE_RUN": str(directories.run),
    }

    def mesh(*words: str) -> "subprocess.CompletedProcess[str]":
        return beewire("mesh", *words, **where)

    yield mesh
    mesh("down", "shop/web")


@pytest.fixture
def up(lab: Lab, command: Command, tmp_path: Path) -> Command:
    """`beewire mesh up --pod MANIFEST` for pod A of the lab; more words may follow."""
    manifest = tmp_path / "pod.yaml"
    manifest.write_text(MANIFEST)
    words = ["--pod", str(manifest), "--cgroup", str(lab.a.cgroup.path)]
    words += ["--netns", str(lab.a.namespace.path)]
    words += ["--proxy-cgroup", str(lab.a.proxy.cgroup.path)]

    return lambda *more: command("up", *words, *more)


def test_the_annotation_that_decided_is_named_with_its_line(
    up: Command, command: Command, tmp_path: Path
) -> None:
    enrolled = up()
    told = command("explain", "--pod", "shop/web", "--json", "10.96.0.10:3306")

    assert enrolled.returncode == told.returncode == 0, enrolled.stderr + told.stderr
    (explained,) = json.loads(told.stdout)
    assert explained["rule"] == "OUT_EXCLUDED_PORT"
    assert explained["origin"] == (
        f'annotation {EXCLUDE}: "443, 3306" ({tmp_path / "pod.yaml"}:6)'
    )


def test_an_update_names_its_own_source(up: Command, command: Command) -> None:
    up()

    updated = command("update", "shop/web", "--istio-flags=-i * -o 8080")
    told = command("explain", "--pod", "shop/web", "--json", "10.96.0.10:8080")

    assert updated.returncode == 0, updated.stderr
    (explained,) = json.loads(told.stdout)
    assert explained["origin"] == "flag -o 8080"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("--annotation", "istio.io/reroute-virtual-interfaces=eth1"),
            "istio.io/reroute-virtual-interfaces: cannot be honoured",
        ),
        (
            ("--istio-env", "ISTIO_OUTBOUND_OWNER_GROUPS=java"),
            "ISTIO_OUTBOUND_OWNER_GROUPS: group 'java' has no number",
        ),
        (("--annotation", f"{EXCLUDE}=70000"), f"{EXCLUDE}: '70000' is not a port"),
    ],
)
def test_what_cannot_be_honoured_is_refused_and_changes_nothing(
    up: Command, command: Command, words: tuple[str, ...], told: str
) -> None:
    refused = up(*words)

    assert refused.returncode == 2
    assert told in refused.stderr
    assert json.loads(command("list", "--json").stdout) == {"pods": []}


def test_a_manifest_without_uid_needs_a_cgroup(
    command: Command, tmp_path: Path
) -> None:
    manifest = tmp_path / "pod.yaml"
    manifest.write_text(MANIFEST)

    told = command("up", "--pod", str(manifest))

    assert told.returncode == 1
    assert "give --cgroup" in told.stderr
