"""Live connections explained by what their sockets hold; what went past a sidecar."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from beewire.errors import MeshError, UsageError
from beewire.mesh.agent import Directories, Mesh
from beewire.mesh.agent.explaining import (
    explain_live,
    explain_question,
    opened,
    why_not,
)
from beewire.mesh.enrol import SIDECAR
from beewire.mesh.explain import parse
from beewire.mesh.lab import Lab
from beewire.mesh.lab.dns import query, resolver
from beewire.mesh.programs import state
from tests.mesh.agent.conftest import target

pytestmark = pytest.mark.mesh

OUTBOUND, INBOUND, PLAIN = 15001, 15006, 9000
EXCLUDING = replace(SIDECAR, outbound_ports_exclude=(PLAIN,))


@pytest.fixture
def sidecar(lab: Lab, mesh: Mesh) -> Iterator[socket.socket]:
    """What listens on 15001 for the sidecar of pod A, which is enrolled."""
    mesh.up(target(lab.a)._replace(sidecar_later=True))
    with (
        lab.a.proxy.listen("::", OUTBOUND) as listener,
        lab.a.proxy.listen("::", INBOUND),
    ):
        yield listener
    mesh.down("a")


@pytest.fixture
def inbound(lab: Lab, mesh: Mesh) -> Iterator[socket.socket]:
    """What listens on 15006 for the sidecar of pod A, which is enrolled."""
    mesh.up(target(lab.a)._replace(sidecar_later=True))
    with lab.a.proxy.listen("::", INBOUND) as listener:
        yield listener
    mesh.down("a")


@pytest.fixture
def pod(lab: Lab, sidecar: socket.socket) -> Lab:
    """The lab with pod A enrolled; the tests listen for its sidecar."""
    del sidecar
    return lab


def ends(sock: socket.socket) -> str:
    (host, port), (peer, peer_port) = sock.getsockname(), sock.getpeername()
    return f"{host}:{port} -> {peer}:{peer_port}"


def test_a_captured_connection_tells_what_was_dialled(
    pod: Lab, directories: Directories
) -> None:
    with pod.a.app.connect("10.96.0.10", 80) as sock:
        (by_fd,) = explain_live(directories, "", f"{os.getpid()}/{sock.fileno()}")
        (by_ends,) = explain_live(directories, "a", ends(sock))

    assert by_fd == by_ends
    assert by_fd.live
    assert (by_fd.action, by_fd.rule) == ("TO_OUTBOUND", "OUT_ALL_RANGES")
    assert by_fd.steps[0].before == "10.96.0.10:80"
    assert by_fd.steps[0].after.startswith("127.65.")
    assert by_fd.steps[0].after.endswith(":15001")
    assert by_fd.counts == {"OUT_ALL_RANGES in this pod": 1}


def test_all_connections_of_a_process_are_explained(
    pod: Lab, directories: Directories
) -> None:
    with (
        pod.a.app.connect("10.96.0.10", 80),
        pod.a.app.connect("10.96.0.11", 443),
    ):
        found = explain_live(directories, "a", str(os.getpid()))

    dialled = {each.steps[0].before for each in found if each.steps}
    assert {"10.96.0.10:80", "10.96.0.11:443"} <= dialled


def test_what_was_decided_stays_when_the_configuration_changes(
    pod: Lab, mesh: Mesh, directories: Directories
) -> None:
    """It is read, not decided again."""
    with pod.a.app.connect(pod.b.address, PLAIN) as sock:
        mesh.update("a", EXCLUDING)
        (told,) = explain_live(directories, "", f"{os.getpid()}/{sock.fileno()}")
        anew = explain_question(directories, "a", parse([ends(sock)]))

    assert (told.action, told.rule) == ("TO_OUTBOUND", "OUT_ALL_RANGES")
    assert "an earlier configuration" in told.origin
    assert (anew.action, anew.rule) == ("PASS", "OUT_EXCLUDED_PORT")
    assert True


def test_the_sidecars_end_tells_what_it_was_handed(
    pod: Lab, directories: Directories, sidecar: socket.socket
) -> None:
    with pod.a.app.connect("fd99::7", 80), sidecar.accept()[0] as accepted:
        (told,) = explain_live(directories, "", f"{os.getpid()}/{accepted.fileno()}")

    assert told.action == "ACCEPTED"
    assert told.because == "the socket that dialled handed over [fd99::7]:80"


@pytest.mark.parametrize("family", ["address", "address6"])
def test_a_connection_from_outside_tells_what_was_decided(
    lab: Lab, inbound: socket.socket, directories: Directories, family: str
) -> None:
    with (
        lab.b.app.connect(getattr(lab.a, family), PLAIN) as sock,
        inbound.accept()[0] as accepted,
    ):
        (by_fd,) = explain_live(directories, "", f"{os.getpid()}/{accepted.fileno()}")
        (by_ends,) = explain_live(directories, "a", by_fd.connection)
        peer = sock.getsockname()[1]

    assert by_fd == by_ends
    assert (by_fd.action, by_fd.rule) == ("TO_INBOUND", "IN_ALL_PORTS")
    assert f":{peer} -> " in by_fd.connection
    assert by_fd.connection.endswith(f":{PLAIN}")
    assert [step.hook for step in by_fd.steps] == [
        "sk_lookup",
        "sock_ops",
        "getsockopt",
    ]
    assert by_fd.counts == {"IN_ALL_PORTS in this pod": 1}


@pytest.mark.usefixtures("inbound")
def test_a_connection_that_went_past_the_sidecar_tells_why(
    lab: Lab, mesh: Mesh, directories: Directories
) -> None:
    mesh.update("a", replace(SIDECAR, inbound_ports_exclude=(PLAIN,)))

    with (
        lab.a.app.listen("0.0.0.0", PLAIN) as listener,
        lab.b.app.connect(lab.a.address, PLAIN),
        listener.accept()[0] as accepted,
    ):
        (told,) = explain_live(directories, "", f"{os.getpid()}/{accepted.fileno()}")

    assert (told.action, told.rule) == ("PASS", "IN_EXCLUDED_PORT")
    assert [step.hook for step in told.steps] == ["sk_lookup", "sock_ops"]


def test_what_was_decided_about_an_accepted_connection_stays(
    lab: Lab, mesh: Mesh, inbound: socket.socket, directories: Directories
) -> None:
    with lab.b.app.connect(lab.a.address, PLAIN), inbound.accept()[0] as accepted:
        mesh.update("a", replace(SIDECAR, inbound_ports_exclude=(PLAIN,)))
        (told,) = explain_live(directories, "", f"{os.getpid()}/{accepted.fileno()}")

    assert (told.action, told.rule) == ("TO_INBOUND", "IN_ALL_PORTS")
    assert "an earlier configuration" in told.origin


def test_a_call_of_the_pods_own_address_was_decided_on_its_way_out(
    lab: Lab, pod: Lab, directories: Directories
) -> None:
    del pod
    with (
        lab.a.app.listen("0.0.0.0", PLAIN) as listener,
        lab.a.app.connect(lab.a.address, PLAIN) as sock,
        listener.accept()[0] as accepted,
    ):
        me = os.getpid()
        (server,) = explain_live(directories, "", f"{me}/{accepted.fileno()}")
        (client,) = explain_live(directories, "", f"{me}/{sock.fileno()}")
        (by_ends,) = explain_live(directories, "a", ends(sock))

    assert (server.action, server.rule) == ("PASS", "IN_LOCAL")
    assert (client.action, client.rule) == ("PASS", "OUT_LOCAL")
    assert by_ends == client


def test_as_many_connections_as_shake_hands_at_once_keep_their_verdicts(
    lab: Lab, inbound: socket.socket, directories: Directories
) -> None:
    with ExitStack() as stack:
        for port in range(PLAIN, PLAIN + 50):
            stack.enter_context(lab.b.app.connect(lab.a.address, port))
        accepted = [stack.enter_context(inbound.accept()[0]) for _ in range(50)]
        told = [
            explain_live(directories, "", f"{os.getpid()}/{each.fileno()}")[0]
            for each in accepted
        ]

    assert {each.rule for each in told} == {"IN_ALL_PORTS"}
    with opened(directories) as node:
        assert node is not None
        notes = node.loaded[state.arrivals]
        assert not any(note.kept or note.check for note in notes.values())
    assert {each.connection.rpartition(":")[2] for each in told} == {
        str(port) for port in range(PLAIN, PLAIN + 50)
    }


def hold(host: str) -> None:
    """What a process of the application does that stays connected."""
    with socket.create_connection((host, PLAIN)):
        time.sleep(600)


def test_a_connection_that_nobody_saw_says_so(
    lab: Lab, mesh: Mesh, directories: Directories
) -> None:
    with (
        lab.b.app.listen("0.0.0.0", PLAIN) as listener,
        lab.a.app.running(lambda: hold(lab.b.address)) as pid,
        listener.accept()[0],
    ):
        mesh.up(target(lab.a)._replace(sidecar_later=True))
        (told,) = explain_live(directories, "", str(pid))
        missed = why_not(directories, "a")
        mesh.down("a")

    assert told.action == "UNSEEN"
    assert "before the pod was enrolled" in told.notes[-1]
    assert [each.kind for each in missed] == ["older connection"]


def test_what_was_left_alone_is_listed_with_its_rule(
    pod: Lab, mesh: Mesh, directories: Directories
) -> None:
    mesh.update("a", EXCLUDING)

    with (
        pod.b.app.listen("0.0.0.0", PLAIN) as listener,
        pod.a.app.running(lambda: hold(pod.b.address)),
        listener.accept()[0],
    ):
        found = why_not(directories, "a")

    open_ones = [each for each in found if each.kind == "left alone"]
    assert [each.rule for each in open_ones] == ["OUT_EXCLUDED_PORT"]
    assert open_ones[0].flow.endswith(f"-> {pod.b.address}:{PLAIN}")
    assert any(
        each.kind == "rule" and each.rule == "OUT_EXCLUDED_PORT" for each in found
    )


def serve(port: int) -> None:
    """What a process of the application does that accepts one connection, and holds it."""
    with socket.create_server(("0.0.0.0", port)) as listener, listener.accept()[0]:
        time.sleep(600)


def reaching(lab: Lab, port: int) -> socket.socket:
    """A connection from pod B to a server of pod A's that is about to listen."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return lab.b.app.connect(lab.a.address, port)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


@pytest.mark.usefixtures("inbound")
def test_an_open_connection_to_an_excluded_port_is_listed(
    lab: Lab, mesh: Mesh, directories: Directories
) -> None:
    mesh.update("a", replace(SIDECAR, inbound_ports_exclude=(PLAIN,)))

    with lab.a.app.running(lambda: serve(PLAIN)), reaching(lab, PLAIN) as sock:
        host, port = sock.getsockname()
        found = why_not(directories, "a")

    flow = f"tcp {host}:{port} -> {lab.a.address}:{PLAIN}"
    assert (flow, "IN_EXCLUDED_PORT") in [(each.flow, each.rule) for each in found]


def test_the_sidecars_end_names_ipv4_destinations_as_ipv4(
    pod: Lab, directories: Directories, sidecar: socket.socket
) -> None:
    with pod.a.app.connect("10.96.0.10", 80), sidecar.accept()[0] as accepted:
        (told,) = explain_live(directories, "", f"{os.getpid()}/{accepted.fileno()}")

    assert told.because == "its own address says where it was going: 10.96.0.10:80"


def test_whom_a_socket_asked_is_read_from_it(
    pod: Lab, mesh: Mesh, directories: Directories
) -> None:
    mesh.update("a", replace(SIDECAR, redirect_dns=True, capture_all_dns=True))

    def ask() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(30)
        sock.sendto(query("web.bw"), ("10.96.0.2", 53))
        sock.recvfrom(512)  # recv() has no place for the address, and no hook
        return sock

    def ask_connected() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect(("10.96.0.3", 53))
        return sock

    with (
        resolver(pod.a.proxy),
        pod.a.app.call(ask) as loose,
        pod.a.app.call(ask_connected) as connected,
    ):
        me = os.getpid()
        (first,) = explain_live(directories, "", f"{me}/{loose.fileno()}")
        (second,) = explain_live(directories, "", f"{me}/{connected.fileno()}")

    assert first.action == second.action == "TO_DNS"
    assert first.outcome == "asked 10.96.0.2:53 last, 0 answers to come"
    assert [step.hook for step in first.steps] == ["sendmsg4", "recvmsg4"]
    assert second.rule == "OUT_DNS"
    assert second.steps[0].before == "10.96.0.3:53"


@pytest.mark.usefixtures("pod")
@pytest.mark.parametrize(
    ("which", "error", "told"),
    [
        ("999999", MeshError, "process 999999 is no socket"),
        ("nonsense", UsageError, "is neither a process"),
        ("10.0.0.1:1 -> 10.0.0.2:2", MeshError, "no socket of any pod is"),
    ],
)
def test_what_is_not_there_is_told(
    directories: Directories, which: str, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        explain_live(directories, "", which)


def test_a_node_without_programs_says_so(directories: Directories) -> None:
    with pytest.raises(MeshError, match="no programs of Beewire are loaded"):
        explain_live(directories, "", "1")
