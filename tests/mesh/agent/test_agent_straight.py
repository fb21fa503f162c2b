"""Ways past sidecars as the agent tends them: read, followed, told, closed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from beewire.mesh.agent import Directories, Mesh
from beewire.mesh.agent.explaining import explain_live
from beewire.mesh.lab import Lab, SidecarConfig, sidecar
from beewire.mesh.lab.messages import NETWORK, named
from beewire.mesh.lab.pushing import Resources
from beewire.mesh.lab.sidecar import Sidecar
from beewire.mesh.qualify import Role
from tests.mesh.agent.conftest import (
    CHECKOUT,
    AgentProcess,
    StartAgent,
    environment,
    eventually,
    target,
)
from tests.mesh.agent.test_agent_bypass import qualify

pytestmark = pytest.mark.mesh

RAW = 9000
TCP = SidecarConfig(tcp_ports=(RAW,))
HTTP = SidecarConfig(http_ports=(80, RAW))
YES = "bypass: {shortcut: true, splice: true}\n"


@dataclass
class Tended:
    """Two pods that say yes, with their sidecars and an agent."""

    lab: Lab
    mesh: Mesh
    agent: AgentProcess
    a: Sidecar
    b: Sidecar

    def straight(self, pod: str = "b") -> dict[str, Any]:
        """What is told of a pod's ways."""
        found: dict[str, Any] = self.mesh.status(f"lab/{pod}")["straight"]
        return found

    def has_way(self) -> bool:
        """Whether A's application reaches B's past both sidecars."""
        return any(
            (way["kind"], way["client"], way["address"], way["port"])
            == ("splice", "lab/a", self.lab.b.address, RAW)
            for way in self.straight()["ways"]
        )

    def dial(self) -> socket.socket:
        return self.lab.a.app.connect(self.lab.b.address, RAW)


def up(mesh: Mesh, lab: Lab) -> None:
    for pod in lab.pods:
        mesh.up(target(pod)._replace(config=YES))


@pytest.fixture
def tended(
    directories: Directories, mesh: Mesh, lab: Lab, start_agent: StartAgent
) -> Iterator[Tended]:
    qualify(directories, *Role)
    agent = start_agent()
    up(mesh, lab)
    with sidecar(lab.a, TCP) as a, sidecar(lab.b, TCP) as b:
        made = Tended(lab, mesh, agent, a, b)
        eventually(made.has_way)
        yield made
        for pod in lab.pods:
            mesh.down(f"lab/{pod.name}")


def caller(listener: socket.socket) -> str:
    """Who called, as the server sees it."""
    listener.settimeout(30)
    peer, (host, _) = listener.accept()
    peer.close()
    return str(host)


def policed(resources: Resources) -> None:
    """A policy comes: RBAC at every TCP port of the pod."""
    rules = {
        "policies": {
            "all": {"permissions": [{"any": True}], "principals": [{"any": True}]}
        }
    }
    rbac = named(
        "envoy.filters.network.rbac",
        f"{NETWORK}.rbac.v3.RBAC",
        stat_prefix="rbac",
        rules=rules,
    )
    for listener in resources.listeners:
        if listener.get("name") == "virtualInbound":
            chains = listener["filter_chains"]
            assert isinstance(chains, list)
            for chain in chains:
                if chain["name"] == f"0.0.0.0_{RAW}":
                    chain["filters"].insert(0, rbac)


def test_a_connection_goes_past_both_sidecars_and_is_counted(tended: Tended) -> None:
    with tended.lab.b.app.listen("0.0.0.0", RAW) as listener, tended.dial() as sock:
        sock.sendall(b"x" * 100)
        assert caller(listener) == tended.lab.a.address

    def told() -> dict[str, Any]:
        (found,) = tended.straight()["traffic"]
        return dict(found)

    eventually(lambda: told()["closed"] == 1)
    found = told()
    assert (found["client"], found["server"]) == ("lab/a", "lab/b")
    assert (found["kind"], found["port"], found["opened"]) == ("splice", RAW, 1)
    assert (found["open"], found["sent"]) == (0, 100)


def test_bytes_of_an_open_connection_are_told_while_it_is_open(
    tended: Tended,
) -> None:
    with tended.lab.b.app.listen("0.0.0.0", RAW) as listener, tended.dial() as sock:
        peer, _ = listener.accept()
        with peer:
            sock.sendall(b"x" * 12345)
            assert peer.recv(12345, socket.MSG_WAITALL) == b"x" * 12345
            peer.sendall(b"y" * 54)
            assert sock.recv(54, socket.MSG_WAITALL) == b"y" * 54
            (found,) = tended.straight()["traffic"]
            told = tended.mesh.status("lab/a")["bypass"]["connections"]

    assert [(each["tier"], each["mode"]) for each in told] == [("splice", "tcp")]
    assert (found["opened"], found["open"], found["closed"]) == (1, 1, 0)
    assert (found["sent"], found["received"]) == (12345, 54)


def test_both_ends_tell_that_they_went_past_sidecars(
    tended: Tended, directories: Directories
) -> None:
    with tended.lab.b.app.listen("0.0.0.0", RAW) as listener, tended.dial() as sock:
        peer, _ = listener.accept()
        with peer:
            (client,) = explain_live(directories, "", f"{os.getpid()}/{sock.fileno()}")
            (server,) = explain_live(directories, "", f"{os.getpid()}/{peer.fileno()}")

    assert (client.action, client.rule) == ("PASS", "OUT_SPLICE")
    assert (server.action, server.rule) == ("PASS", "IN_SPLICE")


@pytest.mark.parametrize("who", ["a", "b"])
def test_when_a_sidecar_has_to_look_at_requests_it_gets_them(
    tended: Tended, who: str
) -> None:
    def spliced() -> int:
        found: dict[str, int] = tended.mesh.status("lab/a")["decisions"]
        return found.get("outbound_spliced", 0)

    with tended.lab.b.app.listen("0.0.0.0", RAW) as listener:
        with tended.dial():
            caller(listener)
        getattr(tended, who).push(HTTP)
        eventually(lambda: not tended.has_way())
        with tended.dial() as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")
            caller(listener)

    assert spliced() == 1
    refused = [each for each in tended.straight()["refused"] if each["port"] == RAW]
    assert {why["reason"] for each in refused for why in each["reasons"]} == {"http"}


def test_a_policy_ends_open_connections_past_its_sidecar(tended: Tended) -> None:
    with tended.lab.b.app.listen("0.0.0.0", RAW) as listener, tended.dial() as old:
        listener.settimeout(30)
        peer, _ = listener.accept()
        with peer:
            tended.b.push(TCP, policed)

            old.settimeout(30)
            with pytest.raises(ConnectionAbortedError):
                old.recv(1)
            peer.settimeout(30)
            with pytest.raises(ConnectionResetError):
                peer.recv(1)
        with tended.dial():
            assert caller(listener) == "127.0.0.6"


def test_ways_come_back_with_a_configuration_that_allows_them(tended: Tended) -> None:
    tended.b.push(HTTP)
    eventually(lambda: not tended.has_way())
    tended.b.push(replace(TCP, tcp_ports=(RAW, 9001)))

    eventually(tended.has_way)


def test_a_pod_that_says_no_keeps_its_open_connections(tended: Tended) -> None:
    with tended.lab.b.app.listen("0.0.0.0", RAW) as listener, tended.dial() as old:
        listener.settimeout(30)
        peer, _ = listener.accept()
        with peer:
            tended.mesh.update("lab/a", "bypass: {splice: false}\n")
            eventually(lambda: not tended.has_way())
            time.sleep(2)  # the agent has looked
            old.sendall(b"still here")
            assert peer.recv(100) == b"still here"

            tended.b.push(TCP, policed)
            old.settimeout(30)
            with pytest.raises(ConnectionAbortedError):
                old.recv(1)


def test_a_sidecar_that_cannot_be_read_closes_its_ways(tended: Tended) -> None:
    tended.b.stop()

    eventually(lambda: not tended.has_way())
    reasons = [
        why["reason"]
        for each in tended.straight()["refused"]
        for why in each["reasons"]
    ]
    assert set(reasons) == {"unreadable"}


def test_a_sidecar_that_hangs_closes_its_ways_until_it_goes_on(tended: Tended) -> None:
    tended.b.process.send_signal(signal.SIGSTOP)
    try:
        eventually(lambda: not tended.has_way())
    finally:
        tended.b.process.send_signal(signal.SIGCONT)

    eventually(tended.has_way)


def test_bypass_off_closes_ways_and_keeps_what_is_open(tended: Tended) -> None:
    with tended.lab.b.app.listen("0.0.0.0", RAW) as listener, tended.dial() as old:
        listener.settimeout(30)
        peer, _ = listener.accept()
        with peer:
            tended.mesh.bypass_off()
            eventually(lambda: not tended.has_way())
            with tended.dial():
                assert caller(listener) == "127.0.0.6"
            old.sendall(b"still here")
            assert peer.recv(100) == b"still here"

    tended.mesh.bypass_on()
    eventually(tended.has_way)


def test_without_an_agent_ways_end_with_their_lease(tended: Tended) -> None:
    tended.agent.end()

    eventually(lambda: not tended.straight()["holds"])
    with tended.lab.b.app.listen("0.0.0.0", RAW) as listener, tended.dial():
        assert caller(listener) == "127.0.0.6"


def test_another_agent_goes_on(tended: Tended, start_agent: StartAgent) -> None:
    tended.agent.end()
    agent = start_agent()

    eventually(lambda: tended.straight()["holds"] and tended.has_way())
    with tended.lab.b.app.listen("0.0.0.0", RAW) as listener, tended.dial():
        assert caller(listener) == tended.lab.a.address
    agent.end(signal.SIGKILL)


def test_status_tells_ways_and_refusals(
    directories: Directories, tended: Tended
) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "beewire", "mesh", "status", "lab/b", "-v"],
        env=environment(directories),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout

    assert "says yes to shortcut, splice" in told
    assert f"splice lab/a -> lab/b port {RAW} ({tended.lab.b.address}:{RAW}," in told
    assert "no splice lab/a -> lab/b port 80: virtualInbound, 0.0.0.0_80" in told
    json.dumps(tended.mesh.status())


def explained(directories: Directories, *words: str) -> Any:
    """What `beewire mesh explain` says."""
    command = [sys.executable, "-m", "beewire", "mesh", "explain", "--json", *words]
    told = subprocess.run(
        command,
        env=environment(directories),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (found,) = json.loads(told)
    return found


def test_explain_tells_the_way_past_and_why_there_is_none(
    directories: Directories, tended: Tended
) -> None:
    pod, b = ("--pod", "lab/a"), tended.lab.b.address

    past = explained(directories, *pod, f"{b}:{RAW}")
    own = explained(directories, *pod, f"{b}:{RAW}", "--proxy")
    through = explained(directories, *pod, f"{b}:80")

    assert past["rule"] == "OUT_SPLICE"
    assert own["rule"] == "OUT_SHORTCUT"
    assert through["rule"] == "OUT_ALL_RANGES"
    assert any(
        "no splice to lab/b: virtualInbound, 0.0.0.0_80: HTTP" in note
        for note in through["notes"]
    )


def test_explain_tells_of_a_live_connection_that_it_goes_past(
    directories: Directories, tended: Tended
) -> None:
    with tended.lab.b.app.listen("0.0.0.0", RAW), tended.dial() as sock:
        host, port = sock.getsockname()
        found = explained(directories, "--live", f"{host}:{port}")

    assert found["rule"] == "OUT_SPLICE"
    assert "splice" in found["origin"]
    assert "past both sidecars" in found["steps"][0]["did"]
