"""The agent as a process: who may ask it, what it survives, how it ends."""

import os
import shlex
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from beewire.errors import MeshError, UsageError
from beewire.mesh.agent import Directories, Mesh, client, protocol
from beewire.mesh.agent.directories import agent_pid
from beewire.mesh.lab import Lab
from beewire.mesh.netns import interfaces
from tests.mesh.agent.conftest import (
    CHECKOUT,
    PATIENCE_S,
    AgentProcess,
    StartAgent,
    environment,
    eventually,
    target,
)

pytestmark = pytest.mark.mesh

PORT, INBOUND = 9000, 15006


def test_the_socket_is_its_owners(
    directories: Directories, start_agent: StartAgent
) -> None:
    start_agent()

    found = directories.socket.stat()
    assert stat.S_ISSOCK(found.st_mode)
    assert (found.st_mode & 0o777, found.st_uid) == (0o600, os.geteuid())
    assert directories.run.stat().st_mode & 0o777 == 0o700
    assert directories.pins.stat().st_mode & 0o777 == 0o700


def test_pods_are_enrolled_through_it(
    lab: Lab, mesh: Mesh, start_agent: StartAgent
) -> None:
    agent = start_agent()

    mesh.up(target(lab.a))

    assert mesh.do("hello")["pid"] == agent.process.pid
    with lab.a.proxy.listen("0.0.0.0", INBOUND), lab.b.app.connect(lab.a.address, PORT):
        assert mesh.status("a")["decisions"] == {"inbound_captured": 1}
    mesh.down("a")
    assert mesh.pods() == []


def test_who_asks_while_it_begins_waits_for_it(
    directories: Directories, lab: Lab, mesh: Mesh, tmp_path: Path
) -> None:
    agent = AgentProcess(directories, tmp_path / "agent.log")
    try:
        eventually(lambda: agent_pid(directories) == agent.process.pid)

        mesh.up(target(lab.a))

        assert mesh.do("hello")["pid"] == agent.process.pid
        mesh.down("a")
    finally:
        agent.end()


def test_errors_arrive_as_sentences(
    lab: Lab, mesh: Mesh, start_agent: StartAgent
) -> None:
    start_agent()

    with pytest.raises(MeshError, match="there is no cgroup /nonexistent"):
        mesh.up(target(lab.a)._replace(cgroup="/nonexistent"))
    with pytest.raises(UsageError, match="70000"):
        mesh.up(target(lab.a)._replace(config="inbound:\n  exclude_ports: [70000]\n"))


def test_a_second_one_is_refused(
    directories: Directories, start_agent: StartAgent
) -> None:
    first = start_agent()

    second = subprocess.run(
        [sys.executable, "-m", "beewire", "agent"],
        env=environment(directories),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert second.returncode == 1
    assert f"process {first.process.pid} is this node's agent" in second.stderr
    assert client.ask(directories, "hello")["pid"] == first.process.pid


@pytest.mark.parametrize(
    "sent",
    [
        b"\0\0\0\5hello",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff" * 64,
        b"\0\0\0\0",
        b"\0\0\0\x09[[[[[[[[[",
        protocol.frame({"version": 1, "do": "up", "with": {"cgroup": 5}}),
        protocol.frame({"version": 1, "do": "__class__"}),
        protocol.frame({"version": 9, "do": "hello"}),
    ],
)
def test_what_is_no_request_is_answered(
    directories: Directories, start_agent: StartAgent, sent: bytes
) -> None:
    start_agent()

    with client.connect(directories) as sock:
        sock.sendall(sent)
        with pytest.raises(MeshError):
            protocol.result_of(protocol.receive(sock))
    assert client.ask(directories, "hello")["agent"] is True


def test_a_peer_that_goes_away_is_no_trouble(
    directories: Directories, start_agent: StartAgent
) -> None:
    start_agent()
    with client.connect(directories) as sock:
        sock.sendall(b"\0\0\1\0{")
    with client.connect(directories) as sock:
        sock.sendall(protocol.frame({"version": 1, "do": "list"}) * 50)

    assert client.ask(directories, "list") == []


def test_one_connection_may_ask_often(
    directories: Directories, start_agent: StartAgent
) -> None:
    start_agent()

    with client.connect(directories) as sock:
        for _ in range(3):
            sock.sendall(protocol.frame({"version": 1, "do": "list"}))
            assert protocol.result_of(protocol.receive(sock)) == []


def test_another_user_is_refused(
    directories: Directories, start_agent: StartAgent
) -> None:
    # Even where the directories let it through: the kernel says who it is.
    agent = start_agent()
    opened = [directories.run, *directories.run.parents]
    modes = {path: path.stat().st_mode for path in opened if path != Path("/")}
    for path, mode in modes.items():
        path.chmod(stat.S_IMODE(mode) | 0o011)
    directories.socket.chmod(0o666)
    code = """
import os, socket, sys
os.setresgid(1337, 1337, 1337); os.setresuid(1337, 1337, 1337)
sock = socket.socket(socket.AF_UNIX); sock.connect(sys.argv[1])
print(sock.recv(1000).decode(errors="replace"))
"""
    asked = subprocess.run(
        [sys.executable, "-c", code, str(directories.socket)],
        capture_output=True,
        text=True,
        check=True,
    )
    for path, mode in modes.items():
        path.chmod(stat.S_IMODE(mode))

    assert "user 1337 may not ask the agent" in asked.stdout
    assert "user 1337 asked, and was refused" in agent.log.read_text()


def test_a_socket_that_others_may_write_to_is_not_trusted(
    directories: Directories, start_agent: StartAgent
) -> None:
    start_agent()
    directories.socket.chmod(0o666)

    with pytest.raises(MeshError, match="mode 0666"):
        client.ask(directories, "hello")


def test_pods_outlive_an_agent_that_is_killed(
    lab: Lab, mesh: Mesh, start_agent: StartAgent
) -> None:
    agent = start_agent()
    mesh.up(target(lab.a))
    agent.end(signal.SIGKILL)
    with lab.a.proxy.listen("0.0.0.0", INBOUND), lab.b.app.connect(lab.a.address, PORT):
        pass

    start_agent()

    assert mesh.status("a")["decisions"] == {"inbound_captured": 1}
    mesh.down("a")
    with lab.a.app.listen("0.0.0.0", PORT), lab.b.app.connect(lab.a.address, PORT):
        pass


def test_it_ends_politely_and_pods_stay(
    lab: Lab, mesh: Mesh, directories: Directories, start_agent: StartAgent
) -> None:
    agent = start_agent()
    mesh.up(target(lab.a))

    assert agent.end() == 0

    assert not directories.socket.exists()
    assert [each.name for each in mesh.pods()] == ["lab/a"]
    assert "pods stay enrolled" in agent.log.read_text()


def test_it_ends_when_asked(directories: Directories, start_agent: StartAgent) -> None:
    agent = start_agent()

    with client.connect(directories):  # somebody who says nothing holds nothing up
        client.ask(directories, "stop")

        assert agent.process.wait(PATIENCE_S) == 0
    assert agent.log.read_text().endswith("stopped; pods stay enrolled\n")


def test_a_pod_that_vanishes_is_withdrawn(
    mesh: Mesh, directories: Directories, start_agent: StartAgent
) -> None:
    agent = start_agent()
    with Lab() as lab:
        mesh.up(target(lab.a))
        mesh.up(target(lab.b))

    eventually(lambda: mesh.pods() == [])
    assert list((directories.pins / "pods").iterdir()) == []
    assert "lab/a: gone" in agent.log.read_text()


def test_a_pod_outlives_the_process_that_its_namespace_was_known_by(
    lab: Lab, mesh: Mesh, start_agent: StartAgent
) -> None:
    start_agent()
    cgroup = lab.a.cgroup.path
    with ended(sleeping(cgroup, "unshare", "--net")) as second:
        inside = f"--net=/proc/{second.pid}/ns/net"
        with ended(sleeping(cgroup, "nsenter", inside)) as first:
            known = f"/proc/{first.pid}/ns/net"
            pod = target(lab.a)._replace(netns=known, addresses=("10.9.9.9",))
            record = mesh.up(pod)

        eventually(lambda: known not in {each.netns for each in mesh.pods()})

        (found,) = mesh.pods()
        assert found == record.but(netns=f"/proc/{second.pid}/ns/net")
        assert mesh.status("a")["links"]["inbound"] == "attached"
    eventually(lambda: mesh.pods() == [])


def sleeping(cgroup: Path, *command: str) -> "subprocess.Popen[bytes]":
    """A process of a cgroup, which is in its namespace when this returns."""
    enter = f"echo $$ > {cgroup}/cgroup.procs && exec "
    within = [*command, "sh", "-c", "echo; exec sleep 600"]
    process = subprocess.Popen(
        ["sh", "-c", enter + shlex.join(within)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


@contextmanager
def ended(
    process: "subprocess.Popen[bytes]",
) -> Iterator["subprocess.Popen[bytes]"]:
    """Kill a process at the end of the block."""
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_an_address_that_comes_later_is_the_pods_own(
    lab: Lab, mesh: Mesh, start_agent: StartAgent
) -> None:
    start_agent()
    mesh.up(target(lab.a))
    added = ["ip", "addr", "add", "10.77.1.77/24", "dev", interface(lab)]
    subprocess.run(["nsenter", f"--net={lab.a.namespace.path}", *added], check=True)

    eventually(lambda: "10.77.1.77" in mesh.pods()[0].addresses)

    with (
        lab.a.proxy.listen("0.0.0.0", INBOUND),
        lab.b.app.connect("10.77.1.77", PORT),
    ):
        assert mesh.status("a")["decisions"] == {"inbound_captured": 1}


def interface(lab: Lab) -> str:
    return lab.a.namespace.run(lambda: interfaces()[0].name)


def test_systemd_is_told(
    directories: Directories, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(place))
        systemd.settimeout(PATIENCE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(place))
        with subprocess.Popen(
            [sys.executable, "-m", "beewire", "agent"],
            env=environment(directories),
            cwd=CHECKOUT,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                assert systemd.recv(100) == b"READY=1"
            finally:
                process.terminate()
            assert systemd.recv(100) == b"STOPPING=1"


def test_once_puts_the_node_in_order(
    lab: Lab, mesh: Mesh, directories: Directories
) -> None:
    mesh.up(target(lab.a))
    with Lab() as gone:
        other = target(gone.b)._replace(name="gone")
        mesh.up(other)

    done = subprocess.run(
        [sys.executable, "-m", "beewire", "agent", "--once"],
        env=environment(directories),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == "1 pod is served, 1 was removed\n  gone\n"
    assert done.returncode == 0
