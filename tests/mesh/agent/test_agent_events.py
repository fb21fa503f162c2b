"""`beewire mesh events`: what is refused in the pods of a node, as a user sees it."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from beewire.mesh.agent import Directories, Mesh, notices
from beewire.mesh.lab import Lab
from beewire.mesh.qualify import Role
from tests.mesh.agent.conftest import CHECKOUT, environment, target
from tests.mesh.agent.test_agent_bypass import qualify

pytestmark = pytest.mark.mesh

PORT = 9000


def command(
    directories: Directories, *words: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "beewire", "mesh", "events", *words],
        env=environment(directories),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )


@contextlib.contextmanager
def ended(process: "subprocess.Popen[str]") -> Iterator[None]:
    with process:
        try:
            yield
        finally:
            process.kill()


def refused(lab: Lab) -> None:
    """Nothing listens for the sidecar: a connection from outside is refused."""
    with pytest.raises(ConnectionRefusedError):
        lab.b.app.connect(lab.a.address, PORT)


def test_what_was_refused_is_shown(
    lab: Lab, mesh: Mesh, directories: Directories
) -> None:
    mesh.up(target(lab.a)._replace(sidecar_later=True))
    refused(lab)
    told = command(directories, "--seconds", "1")

    assert told.returncode == 0
    assert told.stdout.startswith(f"lab/a: refused tcp {lab.b.address}:")
    assert f" -> {lab.a.address}:{PORT}: the sidecar does not listen" in told.stdout
    assert "[IN_ALL_PORTS]" in told.stdout


def test_events_are_objects_for_programs(
    lab: Lab, mesh: Mesh, directories: Directories
) -> None:
    mesh.up(target(lab.a)._replace(sidecar_later=True))
    refused(lab)
    told = command(directories, "lab/a", "--seconds", "1", "--json")

    event = json.loads(told.stdout)
    assert event["name"] == "lab/a"
    assert event["reason"] == "NO_LISTENER"
    assert event["rule"] == "IN_ALL_PORTS"
    assert event["target"] == f"{lab.a.address}:{PORT}"
    assert event["inbound"] is True


def test_events_are_counted(lab: Lab, mesh: Mesh, directories: Directories) -> None:
    mesh.up(target(lab.a)._replace(sidecar_later=True))
    before = command(directories, "--count").stdout
    for _ in range(3):
        refused(lab)
    told = command(directories, "--count", "--json")

    assert before == "nothing was refused, and nothing was unusual\n"
    assert json.loads(told.stdout)["events"] == [
        {"name": "lab/a", "reason": "NO_LISTENER", "count": 3}
    ]
    assert "NO_LISTENER" in command(directories, "lab/a", "--count").stdout


def test_where_nothing_is_loaded_there_are_no_events(directories: Directories) -> None:
    told = command(directories)

    assert told.returncode == 1
    assert "no pod is enrolled" in told.stderr


def test_a_pod_that_is_not_there_is_named(
    lab: Lab, mesh: Mesh, directories: Directories
) -> None:
    mesh.up(target(lab.a)._replace(sidecar_later=True))
    told = command(directories, "nobody")

    assert told.returncode == 1
    assert "no pod is called 'nobody'" in told.stderr


def test_a_tier_that_changes_is_told_with_the_reason(
    lab: Lab, mesh: Mesh, directories: Directories
) -> None:
    qualify(directories, *Role)
    mesh.up(target(lab.a))
    process = subprocess.Popen(
        [sys.executable, "-m", "beewire", "mesh", "events", "-v"],
        env=environment(directories),
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with ended(process):
        assert process.stderr is not None
        assert process.stdout is not None
        assert "waiting for events" in process.stderr.readline()

        mesh.bypass_off()

        assert process.stdout.readline() == (
            "lab/a: short path: off; switched off on this node: `beewire mesh bypass on`\n"
        )
    mesh.down("lab/a")


def test_what_is_told_begins_anew_when_it_is_full(tmp_path: Path) -> None:
    directories = Directories(tmp_path / "pins", tmp_path)
    notices.add(directories, "shop", "before")
    heard = notices.Notices(directories)
    for _ in range(3):
        notices.add(directories, "shop", "x" * 100_000)
    notices.add(directories, "shop", "after")

    assert [each["says"] for each in heard.new()][-1] == "after"
    assert heard.new() == []
    assert (tmp_path / notices.FILE).stat().st_size < notices.MOST
