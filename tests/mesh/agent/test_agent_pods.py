"""Pods that are enrolled, changed and withdrawn, with nobody between call and kernel."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from beewire.bpf import SockAddr, connect4
from beewire.errors import MeshError, UsageError
from beewire.mesh.agent import Directories, Mesh, Target, records
from beewire.mesh.agent.view import LISTEN, NetworkView
from beewire.mesh.config import write_file
from beewire.mesh.enrol import HOOKS, SIDECAR
from beewire.mesh.lab import Cgroup, Lab
from beewire.mesh.lab.place import Place, stopping
from beewire.mesh.netns import cookie
from tests.mesh.agent.conftest import eventually, target

pytestmark = pytest.mark.mesh

PORT, INBOUND = 9000, 15006
LISTENER = """
import socket, sys
sock = socket.socket()
sock.bind(("0.0.0.0", 15006))
sock.listen()
print("listening", flush=True)
kept = []
while True:
    kept.append(sock.accept())
"""


@contextmanager
def running(place: Place, code: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A Python process in a place, which has written its first line."""
    process = place.start([sys.executable, "-c", code], stdout=subprocess.PIPE)
    with stopping(process):
        assert process.stdout is not None
        process.stdout.readline()
        yield process


def test_a_pod_is_enrolled_and_withdrawn(
    lab: Lab, mesh: Mesh, directories: Directories
) -> None:
    record = mesh.up(target(lab.a))

    assert record.addresses == lab.a.addresses
    assert [each.id for each in mesh.pods()] == [record.id]
    pinned = sorted(path.name for path in directories.links(record.id).iterdir())
    assert pinned == sorted(hook.name for hook in HOOKS)
    with pytest.raises(ConnectionRefusedError):
        lab.b.app.connect(lab.a.address, PORT)

    mesh.down(record.name)

    assert mesh.pods() == []
    assert not directories.links(record.id).exists()
    with lab.a.app.listen("0.0.0.0", PORT), lab.b.app.connect(lab.a.address, PORT):
        pass


def test_enrolling_twice_changes_nothing(lab: Lab, mesh: Mesh) -> None:
    first = mesh.up(target(lab.a))

    assert mesh.up(target(lab.a)) == first


def test_another_mesh_finds_the_pods(
    lab: Lab, mesh: Mesh, directories: Directories
) -> None:
    mesh.up(target(lab.a))
    mesh.close()

    with Mesh(directories) as other:
        assert [each.name for each in other.pods()] == ["lab/a"]
        other.down("a")

        assert other.pods() == []


def test_an_update_reaches_the_next_connection(lab: Lab, mesh: Mesh) -> None:
    mesh.up(target(lab.a))
    with lab.a.app.listen("0.0.0.0", PORT):
        mesh.update("a", replace(SIDECAR, inbound_ports_exclude=(PORT,)))

        with lab.b.app.connect(lab.a.address, PORT):
            pass
        mesh.update("a", SIDECAR)
        with pytest.raises(ConnectionRefusedError):
            lab.b.app.connect(lab.a.address, PORT)


def test_an_update_to_another_port_finds_who_listens_there(
    lab: Lab, mesh: Mesh
) -> None:
    elsewhere = write_file(replace(SIDECAR, inbound_capture_port=16006))
    with running(lab.a.proxy, LISTENER):
        mesh.up(target(lab.a)._replace(sidecar_later=True, config=elsewhere))
        with pytest.raises(ConnectionRefusedError):
            lab.b.app.connect(lab.a.address, PORT)

        mesh.update("a", SIDECAR)

        with lab.b.app.connect(lab.a.address, PORT):
            pass


def test_a_wrong_configuration_changes_nothing(lab: Lab, mesh: Mesh) -> None:
    before = mesh.up(target(lab.a))

    with pytest.raises(UsageError, match="70000"):
        mesh.update("a", "inbound:\n  exclude_ports: [70000]\n")

    assert mesh.pods() == [before]


def test_a_sidecar_that_listens_already_gets_connections(lab: Lab, mesh: Mesh) -> None:
    with running(lab.a.proxy, LISTENER):
        mesh.up(target(lab.a))

        with lab.b.app.connect(lab.a.address, PORT):
            assert mesh.status("a")["decisions"] == {"inbound_captured": 1}


def test_a_sidecar_that_does_not_listen_is_refused(
    lab: Lab, mesh: Mesh, directories: Directories
) -> None:
    with running(lab.a.proxy, "import time; print(1, flush=True); time.sleep(600)"):
        with pytest.raises(MeshError, match="does not listen on port 15006"):
            mesh.up(target(lab.a))

        assert mesh.pods() == []
        assert list((directories.pins / "pods").iterdir()) == []
        with lab.a.app.listen("0.0.0.0", PORT), lab.b.app.connect(lab.a.address, PORT):
            pass
        mesh.up(target(lab.a)._replace(sidecar_later=True))


def test_older_connections_are_told_and_closed(lab: Lab, mesh: Mesh) -> None:
    with (
        lab.a.app.listen("0.0.0.0", PORT) as listener,
        lab.b.app.connect(lab.a.address, PORT) as client,
    ):
        accepted, _ = listener.accept()
        record = mesh.up(target(lab.a))
        assert len(record.older) == 1
        told = mesh.status("a")["uncaptured"]
        assert [each["kind"] for each in told] == ["older connection"]
        assert f":{PORT} -> " in told[0]["what"]

        record = mesh.up(target(lab.a)._replace(close_existing=True))

        assert (record.older, record.closed) == ((), 1)
        with accepted, pytest.raises(OSError, match=r"abort|reset"):
            accepted.recv(1)
        client.settimeout(30)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        assert mesh.status("a")["uncaptured"] == []


def test_a_socket_of_the_kernel_is_told(lab: Lab, mesh: Mesh) -> None:
    device = ["ip", "link", "add", "vx0", "type", "vxlan", "id", "1", "dstport", "4789"]
    made = subprocess.run(
        ["nsenter", f"--net={lab.a.namespace.path}", *device, "dev", "lo"],
        check=False,
        capture_output=True,
        text=True,
    )
    if made.returncode != 0:
        pytest.skip(f"no tunnels in this kernel: {made.stderr.strip()}")
    up = ["ip", "link", "set", "vx0", "up"]
    subprocess.run(["nsenter", f"--net={lab.a.namespace.path}", *up], check=True)

    mesh.up(target(lab.a))

    kinds = {each["kind"] for each in mesh.status("a")["uncaptured"]}
    assert kinds == {"kernel socket"}


@pytest.mark.parametrize(
    ("config", "told"),
    [("interfaces: {exclude: [net1]}\n", True), ("ipv6: true\n", False)],
)
def test_routing_rules_are_told_where_interfaces_are_told_apart_by_routes(
    lab: Lab, mesh: Mesh, config: str, *, told: bool
) -> None:
    for rule in ("from 10.99.0.0/16 lookup 100", "fwmark 9 lookup 101"):
        lab.a.app.run(["/sbin/ip", "rule", "add", *rule.split()])

    mesh.up(target(lab.a)._replace(config=config))

    found = [(each["kind"], each["what"]) for each in mesh.status("a")["uncaptured"]]
    rule = "32765: from 10.99.0.0/16 lookup 100"
    assert found == ([("routing rule", rule)] if told else [])


CHURN = f"""
import socket
with socket.create_server(("127.0.0.1", {PORT + 1}), backlog=50) as server:
    print("ready", flush=True)
    while True:
        calls = [socket.create_connection(server.getsockname()) for _ in range(20)]
        calls += [server.accept()[0] for _ in calls]
        for each in calls:
            each.close()
"""


def test_sockets_that_come_and_go_are_none_of_the_kernels(lab: Lab, mesh: Mesh) -> None:
    mesh.up(target(lab.a))
    namespace = f"--net={lab.a.namespace.path}"
    command = ["nsenter", namespace, sys.executable, "-c", CHURN]

    with subprocess.Popen(command, stdout=subprocess.PIPE) as busy:
        try:
            assert busy.stdout is not None
            busy.stdout.readline()
            told = [each for _ in range(5) for each in mesh.status("a")["uncaptured"]]
        finally:
            busy.kill()

    assert told == []


def test_a_process_of_the_pod_on_the_hosts_network_is_told(
    lab: Lab, mesh: Mesh
) -> None:
    mesh.up(target(lab.a))
    stray = subprocess.Popen(["sleep", "600"])
    with stopping(stray):
        (lab.a.app.cgroup.path / "cgroup.procs").write_text(str(stray.pid))

        told = mesh.status("a")["uncaptured"]

    assert [each["what"] for each in told] == [f"pid {stray.pid} on the host's network"]


def test_the_hosts_network_is_refused(lab: Lab, mesh: Mesh) -> None:
    pod = target(lab.a)._replace(netns="/proc/self/ns/net")

    with pytest.raises(MeshError, match="the host's own network"):
        mesh.up(pod)


def test_an_address_that_another_pod_has_is_served(lab: Lab, mesh: Mesh) -> None:
    mesh.up(target(lab.a))
    record = mesh.up(target(lab.b)._replace(addresses=(lab.a.address,)))

    assert record.addresses == (lab.a.address, *lab.b.addresses)
    assert set(mesh.status("b")["links"].values()) == {"attached"}


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("netns", "/nonexistent", "namespace /nonexistent cannot be opened"),
        ("cgroup", "/nonexistent", "there is no cgroup /nonexistent"),
        ("cgroup", "/tmp", "is not a cgroup2 directory"),
        ("name", "a b", "names no pod"),
    ],
)
def test_what_is_not_there_is_told(
    lab: Lab, mesh: Mesh, field: str, value: str, said: str
) -> None:
    with pytest.raises(MeshError, match=said):
        mesh.up(Target(**{**target(lab.a)._asdict(), field: value}))


def test_a_sidecar_outside_the_pod_is_refused(lab: Lab, mesh: Mesh) -> None:
    pod = target(lab.a)._replace(proxy_cgroup=str(lab.b.proxy.cgroup.path))

    with pytest.raises(MeshError, match="is not below the pod's"):
        mesh.up(pod)


def test_a_pod_is_told_what_it_lacks(lab: Lab, mesh: Mesh) -> None:
    mesh.up(target(lab.a))

    assert mesh.status()["problems"] == [
        "lab/a: the sidecar does not listen: every inbound connection is refused"
    ]
    with lab.a.proxy.listen("0.0.0.0", INBOUND):
        assert mesh.status()["problems"] == []


def test_a_sidecar_that_moved_is_followed(lab: Lab, mesh: Mesh) -> None:
    mesh.up(target(lab.a))
    moved = Place(lab.a.namespace, Cgroup(lab.a.cgroup.path / "proxy2"), 1337)
    moved.cgroup.create()
    with running(moved, LISTENER):
        where = str(moved.cgroup.path)

        record = mesh.up(target(lab.a)._replace(proxy_cgroup=where))

        assert record.proxy_cgroup == where
        with lab.b.app.connect(lab.a.address, PORT):
            assert mesh.status("a")["decisions"] == {"inbound_captured": 1}
        assert set(mesh.status("a")["links"].values()) == {"attached"}


@connect4
def neighbour(ctx: SockAddr) -> int:
    return int(ctx.user_port >= 0)


def test_programs_of_others_are_told(lab: Lab, mesh: Mesh) -> None:
    with neighbour.attach(lab.a.cgroup.path) as link:
        number = link.info.program_id
        mesh.up(target(lab.a))

        found = mesh.status("a")

    (beside,) = found["beside"]
    assert (beside["program"], beside["comes_first"]) == (number, True)
    assert any("runs before outbound4" in each for each in found["problems"])


def test_a_pod_that_vanished_is_withdrawn(mesh: Mesh, directories: Directories) -> None:
    with Lab() as lab:
        mesh.up(target(lab.a))

    mesh.do("adopt")

    assert mesh.pods() == []
    assert list((directories.pins / "pods").iterdir()) == []


def test_a_pod_whose_record_is_lost_is_taken_over(
    lab: Lab, mesh: Mesh, directories: Directories
) -> None:
    before = mesh.up(target(lab.a))
    directories.record(before.id).unlink()

    mesh.do("adopt")

    (found,) = mesh.pods()
    assert found.cgroup == before.cgroup
    assert found.proxy_cgroup == before.proxy_cgroup
    assert found.netns_inode == before.netns_inode
    mesh.down(found.id)
    with lab.a.app.listen("0.0.0.0", PORT), lab.b.app.connect(lab.a.address, PORT):
        pass


def test_a_link_that_is_lost_is_attached_again(
    lab: Lab, mesh: Mesh, directories: Directories
) -> None:
    record = mesh.up(target(lab.a))
    (directories.links(record.id) / "outbound4").unlink()
    eventually(lambda: mesh.status("a")["links"]["outbound4"] == "missing")

    found = mesh.do("adopt")

    assert found["mended"] == ["lab/a: outbound4"] or found["mended"] == (
        "lab/a: outbound4",
    )
    assert mesh.status("a")["links"]["outbound4"] == "attached"


def test_a_pod_whose_pins_are_lost_is_enrolled_anew(
    lab: Lab, mesh: Mesh, directories: Directories
) -> None:
    with running(lab.a.proxy, LISTENER):
        mesh.up(target(lab.a))
        mesh.close()
        for path in sorted(directories.pins.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()

        found = mesh.do("adopt")

        assert list(found["mended"]) == ["lab/a: all of it"]
        with lab.b.app.connect(lab.a.address, PORT):
            assert mesh.status("a")["decisions"] == {"inbound_captured": 1}
        assert set(mesh.status("a")["links"].values()) == {"attached"}


def test_a_pod_that_was_killed_half_way_is_completed(
    lab: Lab, mesh: Mesh, directories: Directories
) -> None:
    # As kill -9 leaves it between two links: no record, and some hooks only.
    record = mesh.up(target(lab.a))
    directories.record(record.id).unlink()
    for name in ("outbound4", "outbound6", "ask4"):
        (directories.links(record.id) / name).unlink()

    mesh.do("adopt")

    (found,) = mesh.pods()
    assert set(mesh.status(found.id)["links"].values()) == {"attached"}
    # Whoever asked for it asks again: it has the name, and what was asked for.
    narrow = "inbound:\n  exclude_ports: [9000]\n"
    mesh.up(target(lab.a)._replace(config=narrow))
    assert [each.name for each in mesh.pods()] == ["lab/a"]
    with lab.a.app.listen("0.0.0.0", PORT), lab.b.app.connect(lab.a.address, PORT):
        pass


def test_a_pod_that_was_half_withdrawn_is_completed(
    lab: Lab, mesh: Mesh, directories: Directories
) -> None:
    # As kill -9 leaves it when the last link went.
    record = mesh.up(target(lab.a))
    folder = directories.links(record.id)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()

    found = mesh.do("adopt")

    assert list(found["failed"]) == []
    assert set(mesh.status("a")["links"].values()) == {"attached"}


def test_what_a_lost_record_said_is_not_taken_for_known(
    lab: Lab, mesh: Mesh, directories: Directories
) -> None:
    narrow = "inbound:\n  exclude_ports: [9000]\n"
    before = mesh.up(target(lab.a)._replace(config=narrow))
    directories.record(before.id).unlink()
    mesh.do("adopt")

    mesh.up(target(lab.a))

    with (
        lab.a.app.listen("0.0.0.0", PORT),
        lab.a.proxy.listen("0.0.0.0", INBOUND),
        lab.b.app.connect(lab.a.address, PORT),
    ):
        assert mesh.status("a")["decisions"] == {"inbound_captured": 1}


def test_a_record_of_before_a_restart_of_the_machine_is_removed(
    lab: Lab, mesh: Mesh, directories: Directories
) -> None:
    """Inode numbers begin anew then, and so may be another pod's; cookies are not."""
    before = mesh.up(target(lab.a))
    mesh.down("a")
    gone = before.but(id="999999999")
    records.write(directories, gone)

    found = mesh.do("adopt")

    assert list(found["removed"]) == ["lab/a"]
    assert mesh.pods() == []
    with lab.a.app.listen("0.0.0.0", PORT), lab.b.app.connect(lab.a.address, PORT):
        pass


def test_a_pod_that_cannot_be_put_in_order_keeps_no_other_from_it(
    lab: Lab, mesh: Mesh, directories: Directories
) -> None:
    first, second = mesh.up(target(lab.a)), mesh.up(target(lab.b))
    records.write(directories, first.but(config="inbound: 5\n"))
    for record in (first, second):
        (directories.links(record.id) / "outbound4").unlink()

    found = mesh.do("adopt")

    assert list(found["mended"]) == ["lab/b: outbound4"]
    (told,) = found["failed"]
    assert told.startswith("lab/a: ")
    records.write(directories, first)


def test_sockets_stay_in_the_namespace_they_were_made_in(lab: Lab) -> None:
    with (
        NetworkView(lab.a.namespace.path) as view,
        lab.a.app.listen("0.0.0.0", PORT),
    ):
        listening = [each for each in view.sockets() if each.state == LISTEN]

        assert view.cookie == cookie(lab.a.namespace.path)
        assert [each.local_port for each in listening] == [PORT]
        assert listening[0].family == socket.AF_INET
