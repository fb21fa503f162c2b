"""Where a pod's cgroup is, by what container runtimes call it."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from beewire.errors import MeshError
from beewire.mesh.agent import places

UID = "6a2d7c1e-0f5b-4c9e-9a51-3a2f1c7d9b10"
LIBPOD = "84e6b28ca3e4" * 5 + "b88b"


@pytest.mark.parametrize(
    ("parent", "name", "uid"),
    [
        ("besteffort", f"pod{UID}", UID),
        ("kubepods", f"pod{UID.upper()}", UID),
        (
            "kubepods-burstable.slice",
            f"kubepods-burstable-pod{UID.replace('-', '_')}.slice",
            UID,
        ),
        ("kubepods.slice", f"kubepods-pod{UID.replace('-', '_')}.slice", UID),
        ("libpod_parent", LIBPOD, LIBPOD),
        ("machine.slice", f"machine-libpod_pod_{LIBPOD}.slice", LIBPOD),
        ("machine", f"libpod_pod_{LIBPOD}", LIBPOD),
        ("docker", LIBPOD, None),
        ("besteffort", "podman", None),
        ("system.slice", "cron.service", None),
        ("libpod_parent", f"libpod-{LIBPOD}", None),
    ],
)
def test_runtimes_names_are_known(parent: str, name: str, uid: str | None) -> None:
    assert places.uid_in(name, parent) == uid


@pytest.fixture
def pod() -> Iterator[Path]:
    """A pod's cgroup, as kubelet would make it."""
    if os.geteuid() != 0:
        pytest.skip("making a cgroup needs root")
    base = places.mount() / f"bw-places-{os.getpid()}"
    path = base / f"pod{uuid.uuid4()}"
    path.mkdir(parents=True)
    yield path
    path.rmdir()
    base.rmdir()


def test_a_pod_is_found_by_its_uid_or_the_beginning_of_it(pod: Path) -> None:
    uid = pod.name.removeprefix("pod")

    assert places.find_pod(uid).cgroup == pod
    assert places.find_pod(uid[:13]).cgroup == pod
    assert places.cgroup_of_pod(uid, 0) == pod


def test_a_pod_that_is_nowhere_is_told() -> None:
    with pytest.raises(MeshError, match="no cgroup below"):
        places.find_pod(str(uuid.uuid4()))


def test_an_empty_pod_does_not_tell_its_namespace(pod: Path) -> None:
    with pytest.raises(MeshError, match="nothing runs in"):
        places.netns_of(pod)
