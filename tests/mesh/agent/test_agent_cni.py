"""The CNI plugin, called as a runtime calls it: real namespaces, a real agent."""

import contextlib
import io
import json
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from beewire.mesh import gate
from beewire.mesh.agent import Directories, Mesh, Target, cni
from beewire.mesh.enrol import SIDECAR
from beewire.mesh.lab import Cgroup, Iptables, Lab
from beewire.mesh.lab.place import Place, stopping
from beewire.mesh.lab.pods import Pod as LabPod
from beewire.mesh.programs import gate as inside
from tests.mesh.agent.conftest import CHECKOUT, StartAgent, environment, eventually
from tests.mesh.agent.test_agent_pods import LISTENER
from tests.mesh.test_gate import as_filter

pytestmark = pytest.mark.mesh

PORT, INBOUND = 9000, 15006
PREVIOUS = {
    "cniVersion": "1.1.0",
    "interfaces": [{"name": "eth0", "sandbox": "/run/netns/x"}],
    "ips": [{"address": "10.77.1.2/24", "interface": 0}],
}
INJECTED = {cni.ANNOTATIONS: {cni.INJECTED: "{}"}}


class Answer(NamedTuple):
    code: int
    told: dict[str, Any]


class Plugin:
    """`beewire-cni` in a process of its own."""

    def __init__(self, directories: Directories, pod: LabPod, uid: str) -> None:
        self.environment = {
            **environment(directories),
            "CNI_CONTAINERID": "sandbox-1",
            "CNI_NETNS": str(pod.namespace.path),
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/opt/cni/bin",
            "CNI_ARGS": f"K8S_POD_NAMESPACE=default;K8S_POD_NAME=shop;K8S_POD_UID={uid}",
        }

    def __call__(
        self, command: str, configuration: object = None, **variables: str
    ) -> Answer:
        usual = {
            "cniVersion": "1.1.0",
            "name": "net",
            "type": "beewire-cni",
            "runtimeConfig": INJECTED,
            "prevResult": PREVIOUS,
        }
        code = "import sys; from beewire.mesh.agent.cni import main; sys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps(usual if configuration is None else configuration),
            env={**self.environment, "CNI_COMMAND": command, **variables},
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        return Answer(done.returncode, json.loads(done.stdout or "{}"))


class Started(NamedTuple):
    uid: str
    app: Place
    proxy: Place


@pytest.fixture
def started(lab: Lab) -> Iterator[Started]:
    """Cgroups as kubelet makes them for a pod in the namespace of pod A."""
    uid = str(uuid.uuid4())
    pod = Cgroup(lab.a.cgroup.path.parent / "kubepods" / f"pod{uid}")
    app = Place(lab.a.namespace, Cgroup(pod.path / "app"))
    proxy = Place(lab.a.namespace, Cgroup(pod.path / "proxy"), 1337)
    for each in (app, proxy):
        each.cgroup.create()
    yield Started(uid, app, proxy)
    pod.delete()


@pytest.fixture
def plugin(directories: Directories, lab: Lab, started: Started) -> Plugin:
    return Plugin(directories, lab.a, started.uid)


def is_open(lab: Lab) -> bool:
    with lab.a.app.listen("0.0.0.0", PORT), contextlib.suppress(OSError):
        lab.b.app.connect(lab.a.address, PORT, timeout_s=0.3).close()
        return True
    return False


def state_of(mesh: Mesh) -> list[tuple[str, str]]:
    return [(each.name, each.state) for each in mesh.pods()]


@pytest.mark.parametrize("version", cni.VERSIONS)
def test_a_new_pod_is_closed_and_its_network_handed_on(
    lab: Lab, plugin: Plugin, mesh: Mesh, start_agent: StartAgent, version: str
) -> None:
    start_agent()
    configuration = {
        "cniVersion": version,
        "name": "net",
        "type": "beewire-cni",
        "select": "all",
        "prevResult": PREVIOUS,
    }

    answer = plugin("ADD", configuration)

    assert answer == Answer(0, {**PREVIOUS, "cniVersion": version})
    assert state_of(mesh) == [("default/shop", "closed")]
    assert not is_open(lab)
    assert plugin("ADD", configuration).code == 0
    assert plugin("CHECK", configuration) == Answer(0, {})
    assert plugin("DEL", configuration) == Answer(0, {})
    assert plugin("DEL", configuration) == Answer(0, {})
    assert state_of(mesh) == []
    eventually(lambda: is_open(lab))


def test_the_pod_is_enrolled_when_its_sidecar_runs(
    lab: Lab, plugin: Plugin, mesh: Mesh, started: Started, start_agent: StartAgent
) -> None:
    start_agent()
    assert plugin("ADD").code == 0
    app = started.app.start(["/bin/sleep", "600"])
    with stopping(app):
        proxy = started.proxy.start(
            [sys.executable, "-c", LISTENER], stdout=subprocess.PIPE
        )
        with stopping(proxy):
            eventually(lambda: state_of(mesh) == [("default/shop", "enrolled")])
            eventually(lambda: mesh.status("shop")["listener"] is True)

            with lab.b.app.connect(lab.a.address, PORT):
                assert mesh.status("shop")["decisions"] == {"inbound_captured": 1}
            assert plugin("CHECK") == Answer(0, {})
            assert plugin("ADD").code == 0
    (record,) = mesh.pods()
    assert Path(record.cgroup).name == f"pod{started.uid}"
    assert Path(record.proxy_cgroup).name == "proxy"
    assert plugin("DEL").code == 0
    assert mesh.pods() == []


def test_before_linux_6_4_filters_keep_a_pod_closed(
    lab: Lab,
    mesh: Mesh,
    directories: Directories,
    started: Started,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There are no links for that, and nobody's process holds them."""
    filters = (inside.frames_out, inside.frames_pass)
    monkeypatch.setattr(gate, "programs", lambda: filters)
    monkeypatch.setattr(gate, "_first", as_filter)
    pod = {
        "netns": str(lab.a.namespace.path),
        "sandbox": "sandbox-1",
        "interface": "eth0",
    }
    mesh.do("add", {**pod, "network": "net", "name": "shop", "uid": started.uid})
    mesh.close()

    assert not is_open(lab)
    with Mesh(directories) as another:
        another.do("adopt")
        assert state_of(another) == [("shop", "closed")]
        assert not is_open(lab)
        with contextlib.ExitStack() as stack:
            sleep = ["/bin/sleep", "600"]
            for place in (started.app, started.proxy):
                stack.enter_context(stopping(place.start(sleep)))
            another.up(
                Target(
                    pod="shop",
                    cgroup=str(started.app.cgroup.path.parent),
                    proxy_cgroup=str(started.proxy.cgroup.path),
                    sidecar_later=True,
                )
            )
            with (
                started.proxy.listen("0.0.0.0", INBOUND),
                lab.b.app.connect(lab.a.address, PORT),
            ):
                assert state_of(another) == [("shop", "enrolled")]
    assert lab.a.app.run(["/sbin/tc", "filter", "show", "dev", "eth0", "egress"]) == ""


# As Istio's container of this name: it listens where a sidecar does, dials a port that
# nobody has, and wants to hear itself, and that port, before its time is up.
VALIDATION = f"""
import socket, struct, sys, time
server = socket.create_server(("127.0.0.1", {INBOUND}))
server.settimeout(5)
deadline = time.monotonic() + 90
while time.monotonic() < deadline:
    try:
        with socket.create_connection(("127.0.0.6", 15002), 1), server.accept()[0] as it:
            told = it.getsockopt(socket.SOL_IP, 80, 16)
            sys.exit(struct.unpack_from("!H", told, 2)[0] != 15002)
    except OSError:
        time.sleep(0.05)
sys.exit(2)
"""


def test_istio_validation_passes_before_the_sidecar_runs(
    lab: Lab, plugin: Plugin, mesh: Mesh, started: Started, start_agent: StartAgent
) -> None:
    start_agent()
    assert plugin("ADD").code == 0
    first = Place(
        lab.a.namespace, Cgroup(started.app.cgroup.path.parent / "validation"), 1337
    )
    first.cgroup.create()
    validation = first.start([sys.executable, "-c", VALIDATION])
    with stopping(validation):
        assert validation.wait(120) == 0
    first.cgroup.delete()

    assert not is_open(lab)
    proxy = started.proxy.start(["/bin/sleep", "600"])
    with stopping(proxy):
        wanted = str(started.proxy.cgroup.path)
        eventually(lambda: mesh.pods()[0].proxy_cgroup == wanted)
        with (
            started.proxy.listen("0.0.0.0", INBOUND),
            lab.b.app.connect(lab.a.address, PORT),
        ):
            assert mesh.status("shop")["decisions"]["inbound_captured"] == 1
    assert plugin("DEL").code == 0


def test_where_istios_rules_act_the_pod_is_in_shadow_mode(
    lab: Lab, plugin: Plugin, mesh: Mesh, started: Started, start_agent: StartAgent
) -> None:
    start_agent()
    assert plugin("ADD").code == 0
    with Iptables(SIDECAR).install(lab.a), contextlib.ExitStack() as stack:
        for place in (started.app, started.proxy):
            stack.enter_context(stopping(place.start(["/bin/sleep", "600"])))
        eventually(lambda: state_of(mesh) == [("default/shop", "enrolled")])

        told = mesh.compared("shop")

    assert (told["mode"], told["rules_act"]) == ("shadow", True)


def test_a_pod_without_a_sidecar_is_left_alone(
    lab: Lab, plugin: Plugin, mesh: Mesh, start_agent: StartAgent
) -> None:
    start_agent()
    configuration = {
        "cniVersion": "1.0.0",
        "runtimeConfig": {cni.ANNOTATIONS: {"app": "shop"}},
        "prevResult": PREVIOUS,
    }

    assert plugin("ADD", configuration).code == 0
    assert plugin("CHECK", configuration).code == 0

    assert mesh.pods() == []
    eventually(lambda: is_open(lab))


def test_annotations_configure_the_pod(
    plugin: Plugin, mesh: Mesh, start_agent: StartAgent
) -> None:
    start_agent()
    said = {"traffic.sidecar.istio.io/includeInboundPorts": "8080"}
    configuration = {
        "cniVersion": "1.1.0",
        "runtimeConfig": {cni.ANNOTATIONS: {**said, cni.INJECTED: "{}"}},
        "prevResult": PREVIOUS,
    }

    assert plugin("ADD", configuration).code == 0

    assert "8080" in mesh.pods()[0].config


def test_a_wrong_annotation_is_told(plugin: Plugin, start_agent: StartAgent) -> None:
    start_agent()
    said = {"traffic.sidecar.istio.io/includeInboundPorts": "70000"}
    configuration = {
        "cniVersion": "1.1.0",
        "runtimeConfig": {cni.ANNOTATIONS: {**said, cni.INJECTED: "{}"}},
        "prevResult": PREVIOUS,
    }

    answer = plugin("ADD", configuration)

    assert answer.code == 1
    assert answer.told["code"] == cni.BAD_CONFIGURATION
    assert "traffic.sidecar.istio.io/includeInboundPorts" in answer.told["msg"]


def test_without_an_agent_a_pod_does_not_start(
    lab: Lab, plugin: Plugin, mesh: Mesh
) -> None:
    answer = plugin("ADD")

    assert (answer.code, answer.told["code"]) == (1, cni.TRY_LATER)
    assert set(answer.told) == {"cniVersion", "code", "msg", "details"}
    assert plugin("STATUS").told["code"] == cni.NOT_AVAILABLE
    assert mesh.pods() == []
    eventually(lambda: is_open(lab))


def test_without_an_agent_a_pod_is_deleted(
    lab: Lab, plugin: Plugin, mesh: Mesh, start_agent: StartAgent
) -> None:
    agent = start_agent()
    assert plugin("ADD").code == 0
    assert plugin("STATUS") == Answer(0, {})
    agent.end()

    assert plugin("DEL") == Answer(0, {})

    assert mesh.pods() == []
    eventually(lambda: is_open(lab))


def test_a_pod_stays_closed_without_its_agent(
    lab: Lab, plugin: Plugin, start_agent: StartAgent
) -> None:
    agent = start_agent()
    assert plugin("ADD").code == 0
    agent.end(9)

    assert not is_open(lab)
    start_agent()
    assert not is_open(lab)
    assert plugin("DEL").code == 0
    eventually(lambda: is_open(lab))


def test_a_pod_whose_record_is_lost_stays_closed(
    lab: Lab,
    plugin: Plugin,
    mesh: Mesh,
    directories: Directories,
    start_agent: StartAgent,
) -> None:
    agent = start_agent()
    assert plugin("ADD").code == 0
    (record,) = mesh.pods()
    agent.end(9)
    directories.record(record.id).unlink()

    start_agent()

    assert state_of(mesh) == [(f"pod-{record.id}", "closed")]
    assert not is_open(lab)
    lab.a.namespace.delete()
    eventually(lambda: mesh.pods() == [])
    assert list((directories.pins / "gates").iterdir()) == []


def test_garbage_is_what_the_runtime_does_not_name(
    plugin: Plugin, mesh: Mesh, start_agent: StartAgent
) -> None:
    start_agent()
    assert plugin("ADD").code == 0
    kept = [{"containerID": "sandbox-1", "ifname": "eth0"}]
    base = {"cniVersion": "1.1.0", "name": "net"}

    assert plugin("GC", {**base, "cni.dev/valid-attachments": kept}).code == 0
    assert len(mesh.pods()) == 1
    other = {**base, "name": "other", "cni.dev/valid-attachments": []}
    assert plugin("GC", other).code == 0
    assert len(mesh.pods()) == 1
    assert plugin("GC", {**base, "cni.dev/valid-attachments": []}).code == 0
    assert mesh.pods() == []


def test_a_pod_that_is_not_known_is_told(
    plugin: Plugin, start_agent: StartAgent
) -> None:
    start_agent()

    assert plugin("CHECK").told["code"] == cni.UNKNOWN_CONTAINER


def call(command: str, text: str, **variables: str) -> Answer:
    """A call that needs no agent, in this process."""
    out = io.StringIO()
    given = {"CNI_COMMAND": command, "BEEWIRE_RUN": "/nonexistent", **variables}
    code = cni.run(given, io.StringIO(text), out)
    return Answer(code, json.loads(out.getvalue()))


def test_versions_are_told() -> None:
    assert call("VERSION", '{"cniVersion": "0.4.0"}').told["supportedVersions"] == [
        *cni.VERSIONS
    ]


@pytest.mark.parametrize(
    ("command", "text", "code", "said"),
    [
        ("", "{}", cni.BAD_ENVIRONMENT, "CNI_COMMAND is missing"),
        ("STOP", "{}", cni.BAD_ENVIRONMENT, "CNI_COMMAND is 'STOP'"),
        ("ADD", "{", cni.BAD_JSON, "no JSON"),
        ("ADD", "[]", cni.BAD_JSON, "no object"),
        ("ADD", "[" * 100_000, cni.BAD_JSON, "no JSON"),
        ("ADD", '{"cniVersion": "0.2.0"}', cni.INCOMPATIBLE, "version 0.2.0"),
        ("ADD", '{"cniVersion": "2.0.0"}', cni.INCOMPATIBLE, "version 2.0.0"),
        ("ADD", "{}", cni.BAD_CONFIGURATION, "no prevResult"),
        ("ADD", '{"prevResult": {}}', cni.BAD_ENVIRONMENT, "CNI_NETNS is missing"),
        ("CHECK", "{}", cni.BAD_CONFIGURATION, "no prevResult"),
        ("DEL", "{}", cni.BAD_ENVIRONMENT, "CNI_CONTAINERID is missing"),
        ("GC", "{}", cni.BAD_CONFIGURATION, "valid-attachments"),
        (
            "GC",
            '{"cni.dev/valid-attachments": [5]}',
            cni.BAD_CONFIGURATION,
            "no containerID",
        ),
    ],
)
def test_an_error_has_the_specifications_form(
    command: str, text: str, code: int, said: str
) -> None:
    answer = call(command, text)

    assert (answer.code, answer.told["code"]) == (1, code)
    assert said in answer.told["msg"]
    assert answer.told["cniVersion"] in cni.VERSIONS


@pytest.mark.parametrize(
    ("configuration", "said"),
    [
        ({"select": "some"}, "select is 'some'"),
        ({}, "hands on no annotations"),
        ({"select": "all", "config": 5}, "config is the text"),
    ],
)
def test_a_wrong_configuration_is_told(
    configuration: dict[str, Any], said: str
) -> None:
    text = json.dumps({"prevResult": {}, **configuration})
    names = {"CNI_NETNS": "/x", "CNI_CONTAINERID": "a", "CNI_IFNAME": "eth0"}

    answer = call("ADD", text, **names)

    assert answer.told["code"] == cni.BAD_CONFIGURATION
    assert said in answer.told["msg"]


def test_what_was_dialled_behind_the_gate_is_ended(
    lab: Lab, plugin: Plugin, mesh: Mesh, start_agent: StartAgent, started: Started
) -> None:
    """It would be tried again, past the sidecar, as soon as the gate is open."""

    def dial() -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex((lab.b.address, PORT))
        sock.settimeout(30)
        return sock

    def ask() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect((lab.b.address, 53))
        return sock

    start_agent()
    assert plugin("ADD").code == 0
    app = started.app.start(["/bin/sleep", "600"])
    with (
        stopping(app),
        lab.b.app.listen("0.0.0.0", PORT),
        started.app.call(dial) as stream,
        started.app.call(ask) as datagrams,
        stopping(started.proxy.start([sys.executable, "-c", LISTENER])),
    ):
        eventually(lambda: state_of(mesh) == [("default/shop", "enrolled")])
        with pytest.raises(ConnectionAbortedError):
            stream.recv(1)
        with pytest.raises(ConnectionAbortedError):
            datagrams.recv(1)
    assert plugin("DEL").code == 0
