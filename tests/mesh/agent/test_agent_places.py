"""Where a pod's cgroup is, by what container runtimes call it."""

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from beewire.errors import MeshError
from beewire.mesh.agent import containers, places
from beewire.mesh.config import InterceptionMode, PodConfig
from tests.cgroups import remove

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
    remove(path)
    remove(base)


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


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "is_found"),
    [
        (InterceptionMode.REDIRECT, 1337, 1337, True),
        (InterceptionMode.REDIRECT, 0, 1337, False),
        (InterceptionMode.TPROXY, 0, 1337, True),  # as Istio's injector has it
        (InterceptionMode.TPROXY, 0, 0, False),
    ],
)
def test_the_sidecar_is_who_runs_as_its_user_or_under_tproxy_as_its_group(
    pod: Path, mode: InterceptionMode, uid: int, gid: int, *, is_found: bool
) -> None:
    config = PodConfig(inbound_interception_mode=mode)
    with running_in(pod / "container", uid, gid) as container:
        found = places.proxy_in(pod, config)

    assert found == (container if is_found else None)


SOME = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("cgroup", "annotation"),
    [
        (SOME, "io.kubernetes.cri.container-name"),
        (f"cri-containerd-{SOME}.scope", "io.kubernetes.cri.container-name"),
        (f"crio-{SOME}.scope", "io.kubernetes.container.name"),
    ],
)
@pytest.mark.parametrize("bundle", containers.BUNDLES)
def test_a_runtime_tells_what_a_container_is_called(
    tmp_path: Path, cgroup: str, annotation: str, bundle: str
) -> None:
    path = tmp_path / bundle.format(SOME)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"annotations": {annotation: "shop"}}))

    assert containers.name_of(Path("/pod", cgroup), tmp_path) == "shop"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"annotations": 7}', "\0"])
def test_what_is_no_container_s_configuration_tells_no_name(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / containers.BUNDLES[0].format(SOME)
    path.parent.mkdir(parents=True)
    path.write_text(text)

    assert containers.name_of(Path("/pod", SOME), tmp_path) == ""
    assert containers.name_of(Path("/pod/proxy"), tmp_path) == ""


@pytest.mark.parametrize(
    ("name", "is_found"),
    [("shop", False), ("istio-proxy", True), ("istio-validation", True), ("", True)],
)
def test_a_container_of_another_name_is_not_the_sidecar_whoever_runs_there(
    pod: Path, monkeypatch: pytest.MonkeyPatch, name: str, *, is_found: bool
) -> None:
    monkeypatch.setattr(containers, "name_of", lambda _: name)
    with running_in(pod / "container", 1337, 1337) as container:
        found = places.proxy_in(pod, PodConfig())

    assert found == (container if is_found else None)


@contextmanager
def running_in(container: Path, uid: int, gid: int) -> Iterator[Path]:
    """A cgroup in which a process of this user and group runs."""
    container.mkdir()
    command = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as it:
        try:
            assert it.stdin is not None
            assert it.stdout is not None
            it.stdin.write(b"?")
            it.stdin.flush()
            it.stdout.read(1)  # by now it runs as told
            (container / "cgroup.procs").write_text(str(it.pid))
            yield container
        finally:
            it.kill()
            it.wait()
            remove(container)
