"""Live connections explained by what their sockets hold; what went past a sidecar."""

import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from beewire.errors import MeshError, UsageError
from beewire.mesh.agent import Directories, Mesh
from beewire.mesh.agent.explaining import explain_live, explain_question, why_not
from beewire.mesh.enrol import SIDECAR
from beewire.mesh.explain import parse
from beewire.mesh.lab import Lab
from beewire.mesh.lab.dns import query, resolver
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


def hold(host: str) -> None:
    """What a process of the application does that stays connected."""
    with socket.create_connection((host, PLAIN)):
        time.sleep(60)


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


def test_whom_a_socket_asked_is_read_from_it(
    pod: Lab, mesh: Mesh, directories: Directories
) -> None:
    mesh.update("a", replace(SIDECAR, redirect_dns=True, capture_all_dns=True))

    def ask() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(5)
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
