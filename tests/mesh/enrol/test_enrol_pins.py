"""Pods whose enrolment is pinned: they outlive who enrolled them, and are found again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from beewire.bpf.kernel import pins as bpffs
from beewire.bpf.kernel import syscall
from beewire.errors import MeshError
from beewire.mesh import netns
from beewire.mesh.enrol import HOOKS, Node
from beewire.mesh.lab import Lab
from beewire.mesh.programs import state
from tests.mesh.enrolling import target

pytestmark = pytest.mark.mesh

PORT, INBOUND = 9000, 15006


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


@pytest.fixture
def pins(tmp_path: Path) -> Iterator[Path]:
    """A directory on a BPF file system of the test's own."""
    mount = tmp_path / "bpf"
    mount.mkdir()
    bpffs.ensure_bpffs(str(mount))
    (mount / "bw").mkdir()
    yield mount / "bw"
    assert syscall.unmount(str(mount)) == 0


def test_a_pod_is_served_after_its_enroller_closed_everything(
    lab: Lab, pins: Path
) -> None:
    with Node.load(pins / "set") as node:
        node.enrol(target(lab.a), pins=pins / "pod").keep()

    with lab.a.proxy.listen("0.0.0.0", INBOUND), lab.b.app.connect(lab.a.address, PORT):
        pass
    assert sorted(path.name for path in (pins / "pod").iterdir()) == sorted(
        hook.name for hook in HOOKS
    )


def test_another_process_finds_and_withdraws_it(lab: Lab, pins: Path) -> None:
    cookie = netns.cookie(lab.a.namespace.path)
    with Node.load(pins / "set") as node:
        node.enrol(target(lab.a), pins=pins / "pod").keep()

    with Node.load(pins / "set") as again:
        again.find(target(lab.a), cookie, pins / "pod").close()

        assert again.cookies() == []
        assert len(again.loaded[state.addresses]) == 0
        assert len(again.loaded[state.configs]) == 0
    assert not (pins / "pod").exists()
    with lab.a.app.listen("0.0.0.0", PORT), lab.b.app.connect(lab.a.address, PORT):
        pass


def test_a_listener_that_is_there_already_gets_the_first_connection(
    lab: Lab, pins: Path
) -> None:
    with (
        lab.a.proxy.listen("0.0.0.0", INBOUND) as listener,
        Node.load(pins / "set") as node,
        node.enrol(
            target(lab.a),
            pins=pins / "pod",
            listeners=[(listener.family, listener.fileno())],
        ),
        lab.b.app.connect(lab.a.address, PORT) as client,
    ):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockname() == client.getpeername()


def test_a_pod_that_cannot_be_attached_leaves_nothing(lab: Lab, pins: Path) -> None:
    (pins / "pod").mkdir()
    pod = target(lab.a)
    with Node.load(pins / "set") as node:
        with pytest.raises(MeshError, match="cannot be made"):
            node.enrol(pod, pins=pins / "pod")

        assert node.cookies() == []
        assert len(node.loaded[state.owners]) == 0
        assert list((pins / "pod").iterdir()) == []


def test_what_has_no_pins_cannot_be_kept(lab: Lab) -> None:
    with (
        Node.load() as node,
        node.enrol(target(lab.a)) as pod,
        pytest.raises(MeshError, match="without pins"),
    ):
        pod.keep()
