"""Ways past the sidecar that an application may try (docs/mesh/threat-model.md)."""

import ctypes
import os
import socket
from collections.abc import Callable, Iterator

import pytest

from beewire.mesh.enrol import Enrolment, Node
from beewire.mesh.lab import Lab, Place
from beewire.mesh.programs.state import Decision
from tests.mesh.enrolling import target

pytestmark = pytest.mark.mesh

OUTBOUND, INBOUND, PORT = 15001, 15006, 9000
CLONE_NEWNET = 0x4000_0000
SO_ORIGINAL_DST = 80


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


@pytest.fixture
def pod(lab: Lab) -> Iterator[Enrolment]:
    with Node.load() as node, node.enrol(target(lab.a)) as enrolment:
        yield enrolment


@pytest.fixture
def sidecar(lab: Lab, pod: Enrolment) -> Iterator[socket.socket]:
    """What listens on 15001 in pod A."""
    assert pod.netns
    with lab.a.proxy.listen("0.0.0.0", OUTBOUND) as listener:
        listener.settimeout(30)
        yield listener


def told(listener: socket.socket) -> str:
    """Where the sidecar is told that the next connection was going."""
    with listener.accept()[0] as sock:
        raw = sock.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
    return f"{socket.inet_ntoa(raw[4:8])}:{int.from_bytes(raw[2:4])}"


def test_the_sidecars_user_in_the_applications_cgroup_is_captured(
    lab: Lab, sidecar: socket.socket
) -> None:
    """Under iptables user 1337 is the sidecar, whoever it is."""
    stranger = Place(lab.a.namespace, lab.a.app.cgroup, uid=1337)
    with stranger.connect(lab.b.address, PORT):
        assert told(sidecar) == f"{lab.b.address}:{PORT}"


def test_a_socket_of_the_sidecar_in_the_applications_hands_is_captured(
    lab: Lab, sidecar: socket.socket
) -> None:
    passed = lab.a.proxy.call(socket.socket)  # made in the sidecar's cgroup

    def dial() -> bool:
        passed.connect((lab.b.address, PORT))
        return True

    with passed:
        assert lab.a.app.call(dial)
        assert told(sidecar) == f"{lab.b.address}:{PORT}"


def test_a_socket_of_the_application_in_strange_hands_is_captured(
    lab: Lab, sidecar: socket.socket
) -> None:
    """Its programs are those of the cgroup that it was made in."""
    with lab.a.app.call(socket.socket) as passed:
        passed.settimeout(30)
        passed.connect((lab.b.address, PORT))
        assert told(sidecar) == f"{lab.b.address}:{PORT}"


def test_another_network_namespace_in_the_pods_cgroup_is_closed(
    lab: Lab, pod: Enrolment
) -> None:
    def elsewhere() -> int:
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.unshare(CLONE_NEWNET) == 0
        with socket.socket() as sock:
            return sock.connect_ex((lab.b.address, PORT))

    assert pod.netns
    assert lab.a.app.call(elsewhere) == 1  # EPERM


def test_the_source_of_the_sidecars_calls_leads_nowhere_outside(
    lab: Lab, sidecar: socket.socket
) -> None:
    """Istio leaves alone what 127.0.0.6 dials, by the loopback interface."""
    source = ("127.0.0.6", 0)
    with (
        lab.b.app.listen("0.0.0.0", PORT),
        lab.a.app.connect(lab.b.address, PORT, source=source),
    ):
        assert told(sidecar) == f"{lab.b.address}:{PORT}"


def test_an_alias_that_is_dialled_by_itself_leads_to_the_sidecar(
    lab: Lab, pod: Enrolment, sidecar: socket.socket
) -> None:
    lab.a.app.connect(lab.b.address, PORT).close()
    told(sidecar)
    (alias,) = pod.aliases()

    with lab.a.app.connect(alias, OUTBOUND):
        assert told(sidecar) == f"{lab.b.address}:{PORT}"


@pytest.mark.usefixtures("sidecar")
def test_the_application_is_not_told_what_the_sidecar_is(lab: Lab) -> None:
    def ask() -> bool:
        with socket.create_connection((lab.b.address, PORT), timeout=30) as sock:
            try:
                raw = sock.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
            except OSError:
                return True
            # conntrack, where it only watches, names the socket's own peer.
            return raw[4:8] != socket.inet_aton(lab.b.address)

    assert lab.a.app.call(ask)


@pytest.mark.parametrize(
    "make",
    [
        lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262),  # MPTCP
        lambda: socket.socket(socket.AF_INET6, socket.SOCK_STREAM),
    ],
    ids=["mptcp", "v4-mapped"],
)
def test_other_ways_to_dial_are_captured(
    lab: Lab, sidecar: socket.socket, make: Callable[[], socket.socket]
) -> None:
    def dial() -> socket.socket | None:
        try:
            sock = make()
        except OSError:  # this kernel has no MPTCP
            return None
        host = lab.b.address
        sock.connect(
            (f"::ffff:{host}" if sock.family != socket.AF_INET else host, PORT)
        )
        return sock

    sock = lab.a.app.call(dial)
    if sock is None:
        pytest.skip("this kernel has no MPTCP")
    with sock:
        assert told(sidecar) == f"{lab.b.address}:{PORT}"


def test_a_dead_sidecar_lets_nothing_in(lab: Lab, pod: Enrolment) -> None:
    with (
        lab.a.app.listen("0.0.0.0", PORT),
        pytest.raises(ConnectionRefusedError),
    ):
        lab.b.app.connect(lab.a.address, PORT)

    assert pod.decisions()[Decision.INBOUND_REFUSED] == 1


def test_a_listener_of_the_application_is_not_taken_for_the_sidecars(
    lab: Lab, pod: Enrolment
) -> None:
    """It listens on 15006 before the sidecar does."""
    assert pod.netns
    with (
        lab.a.app.listen("0.0.0.0", INBOUND),
        pytest.raises(ConnectionRefusedError),
    ):
        lab.b.app.connect(lab.a.address, PORT)


def test_the_pods_state_is_nobodys_but_roots(lab: Lab, pod: Enrolment) -> None:
    """An ordinary user cannot take programs away, nor change what they know."""
    assert pod.netns
    stranger = Place(lab.a.namespace, lab.a.app.cgroup, uid=65534)

    def attempt() -> bool:
        try:
            os.listdir("/sys/fs/bpf")  # noqa: PTH208 - by the kernel's own check
            (lab.a.proxy.cgroup.path / "cgroup.procs").write_text("0")
        except PermissionError:
            return False
        return True

    assert not stranger.call(attempt)
