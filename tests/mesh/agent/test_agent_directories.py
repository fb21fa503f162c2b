"""The agent's directories and locks: whose they are, and who may write."""

import json
import os
import resource
import signal
from pathlib import Path

import pytest

from beewire.errors import MeshError
from beewire.mesh.agent import client, records
from beewire.mesh.agent.directories import (
    Directories,
    agent_pid,
    hold_agent_lock,
    locked,
    node_of,
    private_directory,
)
from beewire.mesh.agent.records import PodRecord


@pytest.fixture
def node(tmp_path: Path) -> Directories:
    made = Directories(tmp_path / "pins", tmp_path / "run")
    private_directory(made.run)
    private_directory(made.run / "pods")
    return made


def record(**changes: object) -> PodRecord:
    usual = PodRecord(
        id="7",
        name="default/shop",
        state="enrolled",
        netns="/x",
        netns_inode=1,
    )
    return usual.but(**changes)


def test_the_environment_names_other_directories() -> None:
    assert node_of({}) == Directories()
    found = node_of({"BEEWIRE_PINS": "/a", "BEEWIRE_RUN": "/b"})
    assert found == Directories(Path("/a"), Path("/b"))


def test_a_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        private_directory(tmp_path / "deep" / "run")
    finally:
        os.umask(before)

    assert (tmp_path / "deep" / "run").stat().st_mode & 0o777 == 0o700


def test_a_directory_that_others_can_reach_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    with pytest.raises(MeshError, match="mode 0755: others could reach"):
        private_directory(tmp_path)


def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("giving a directory away needs root")
    tmp_path.chmod(0o700)
    os.chown(tmp_path, 1337, 1337)

    with pytest.raises(MeshError, match="belongs to user 1337"):
        private_directory(tmp_path)


def test_a_link_to_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)

    with pytest.raises(MeshError, match="is not a directory"):
        private_directory(tmp_path / "link")


def test_one_process_changes_the_node_at_a_time(node: Directories) -> None:
    with (
        locked(node),
        pytest.raises(MeshError, match=f"process {os.getpid()} has held"),
        locked(node, timeout_s=0.01),
    ):
        pass


def test_the_lock_goes_with_the_block(node: Directories) -> None:
    with locked(node):
        pass
    with locked(node, timeout_s=0):
        pass


def test_a_second_agent_is_refused(node: Directories) -> None:
    fd = hold_agent_lock(node)
    try:
        assert agent_pid(node) == os.getpid()
        with pytest.raises(
            MeshError, match=f"process {os.getpid()} is this node's agent"
        ):
            hold_agent_lock(node)
    finally:
        os.close(fd)
    assert agent_pid(node) == 0


def test_without_an_agent_nobody_listens(node: Directories) -> None:
    with pytest.raises(client.NoAgent):
        client.connect(node)


def test_a_file_in_the_sockets_place_is_told(node: Directories) -> None:
    node.socket.touch()

    with pytest.raises(MeshError, match="is no socket: remove it"):
        client.connect(node)


def test_a_record_is_read_as_it_was_written(node: Directories) -> None:
    wanted = record(addresses=("10.0.0.1",), older=(5, 6), config="a: 1")

    records.write(node, wanted)

    assert records.read(node.record("7")) == wanted
    assert node.record("7").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (node.run / "pods").iterdir()] == ["7.json"]


@pytest.mark.parametrize("name", ["7", "default/shop", "shop", "abc", "u-1"])
def test_a_pod_is_found_by_any_of_its_names(node: Directories, name: str) -> None:
    records.write(node, record(sandbox="abc", uid="u-1"))

    assert records.get(node, name).id == "7"


def test_a_name_that_two_pods_have_is_told(node: Directories) -> None:
    records.write(node, record())
    records.write(node, record(id="8", name="other/shop"))

    with pytest.raises(MeshError, match=r"several pods are called 'shop'.*7, 8"):
        records.get(node, "shop")


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"id": 5, "unknown": 1}', '{"id": "7"}']
)
def test_what_is_no_record_is_told(node: Directories, text: str) -> None:
    node.record("7").write_text(text)

    with pytest.raises(MeshError, match=r"7\.json is no record of a pod"):
        records.read(node.record("7"))


def test_a_record_of_a_later_version_is_read(node: Directories) -> None:
    later = {**record().to_json(), "tier": "all"}
    node.record("7").write_text(json.dumps(later))

    assert records.read(node.record("7")) == record()


def test_a_record_that_does_not_fit_replaces_none(
    node: Directories, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.write(node, record())
    monkeypatch.setattr("json.dumps", lambda _: "x" * (1 << 20))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 12, hard))
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(OSError, match="too large"):
            records.write(node, record(name="other"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)

    assert records.read(node.record("7")) == record()


def test_a_broken_record_hides_no_other(node: Directories) -> None:
    records.write(node, record())
    node.record("8").write_text(json.dumps([1]))

    assert [each.id for each in records.every(node)] == ["7"]


@pytest.mark.parametrize("name", ["", "-x", "a b", "x" * 300, "a\n", "../x"])
def test_a_name_is_checked(name: str) -> None:
    with pytest.raises(MeshError, match="names no pod"):
        records.check_name(name)
