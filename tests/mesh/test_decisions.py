"""Which decision a connection meets: an enrolled pod, and plain sockets for a sidecar."""

import ctypes
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from beewire.mesh.enrol import Enrolment, Node, enrol
from beewire.mesh.lab import Lab
from beewire.mesh.programs import state
from beewire.mesh.programs.outbound import outbound4
from beewire.mesh.programs.state import Decision
from tests.mesh.enrolling import target

pytestmark = pytest.mark.mesh

PORT = 9000
OUTBOUND, INBOUND = 15001, 15006
ENDS_IN_1 = "fd77:9::1"  # an address of the pod whose last word is that of ::1


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


@pytest.fixture
def pod(lab: Lab) -> Iterator[Enrolment]:
    """Pod A of the lab, enrolled."""
    with enrol(target(lab.a, ENDS_IN_1)) as enrolment:
        yield enrolment


def taken(pod: Enrolment) -> dict[Decision, int]:
    return {decision: n for decision, n in pod.decisions().items() if n}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "0.0.0.0", "::"])
def test_an_application_that_dials_this_machine_goes_straight(
    lab: Lab, pod: Enrolment, host: str
) -> None:
    any_address = "::" if ":" in host else "0.0.0.0"
    with lab.a.app.listen(any_address, PORT), lab.a.app.connect(host, PORT):
        assert taken(pod) == {Decision.OUTBOUND_LOCAL: 1}


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_mapped_addresses_of_this_machine_go_straight(
    lab: Lab, pod: Enrolment, host: str
) -> None:
    with (
        lab.a.app.listen("0.0.0.0", PORT),
        lab.a.app.connect(host, PORT, mapped=True),
    ):
        assert taken(pod) == {Decision.OUTBOUND_LOCAL: 1}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "::"])
def test_a_sidecar_that_dials_localhost_goes_straight(
    lab: Lab, pod: Enrolment, host: str
) -> None:
    any_address = "::" if ":" in host else "0.0.0.0"
    with lab.a.app.listen(any_address, PORT), lab.a.proxy.connect(host, PORT):
        assert taken(pod) == {Decision.OUTBOUND_PROXY: 1}


@pytest.mark.parametrize("host", ["10.77.1.2", "fd77:1::2", ENDS_IN_1])
def test_a_sidecar_that_dials_its_own_pod_calls_itself(
    lab: Lab, pod: Enrolment, host: str
) -> None:
    any_address = "::" if ":" in host else "0.0.0.0"
    with (
        lab.a.proxy.listen(any_address, INBOUND),
        lab.a.proxy.connect(host, PORT),
    ):
        assert taken(pod) == {
            Decision.OUTBOUND_SELF_CALL: 1,
            Decision.HANDED_OVER: 1,
        }


def test_a_connection_that_is_refused_was_abandoned(lab: Lab, pod: Enrolment) -> None:
    with pytest.raises(ConnectionRefusedError):
        lab.a.app.connect(lab.b.address6, PORT)

    counted = taken(pod)
    # Where the pod's own address took the destination's place, and not ::1.
    counted.pop(Decision.INBOUND_LOCAL, None)
    assert counted == {
        Decision.OUTBOUND_CAPTURED: 1,
        Decision.HANDOVER_ABANDONED: 1,
    }


def test_a_connection_that_was_accepted_is_not_abandoned(
    lab: Lab, pod: Enrolment
) -> None:
    with lab.a.proxy.listen("::", OUTBOUND):
        lab.a.app.connect(lab.b.address6, PORT).close()

        assert taken(pod)[Decision.HANDED_OVER] == 1
        assert Decision.HANDOVER_ABANDONED not in taken(pod)


def test_a_listener_that_is_dialled_by_its_number_misses_a_destination(
    lab: Lab, pod: Enrolment
) -> None:
    with (
        lab.a.proxy.listen("0.0.0.0", OUTBOUND),
        lab.a.app.connect("127.0.0.1", OUTBOUND),
    ):
        assert taken(pod)[Decision.HANDOVER_MISSED] == 1


def test_a_socket_that_cannot_be_bound_is_refused(lab: Lab, pod: Enrolment) -> None:
    def dial() -> None:
        with socket.socket(socket.AF_INET6) as sock:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.connect((f"::ffff:{lab.b.address}", PORT))

    with pytest.raises(PermissionError):
        lab.a.app.call(dial)

    assert taken(pod)[Decision.OUTBOUND_REFUSED] == 1


def test_a_pod_without_its_configuration_counts_what_it_refuses(lab: Lab) -> None:
    with Node.load() as node:
        counted = node.loaded[state.counts]
        closed = node.loaded[outbound4].attach(lab.a.cgroup.path)
        with closed, pytest.raises(PermissionError):
            lab.a.app.connect(lab.b.address, PORT)

        assert counted[0].decisions[Decision.OUTBOUND_REFUSED] == 1


# A mount of its own, made private: in a chroot / is none that unshare could change.
IN_A_CGROUP_NAMESPACE = """
mount --bind {root} {root} && mount --make-private {root} || exit
mount -t cgroup2 none {root} && mkdir {root}/proxy && {python} -c '
from pathlib import Path
from beewire.errors import MeshError
from beewire.mesh.enrol import Pod, enrol
root = Path("{root}")
try:
    enrol(Pod(root, root / "proxy", Path("/proc/self/ns/net"), ("10.77.1.2",)))
except MeshError as error:
    print(error)
'
umount {root} && umount {root}
"""


def test_a_sidecar_whose_depth_is_hidden_is_not_enrolled(
    lab: Lab, tmp_path: Path
) -> None:
    script = IN_A_CGROUP_NAMESPACE.format(root=tmp_path, python=sys.executable)
    unshare = ["/usr/bin/unshare", "--cgroup", "--mount", "--propagation", "unchanged"]
    command = [*unshare, "/bin/sh", "-c", script]

    assert "is not the root of cgroup2" in lab.a.app.run(command)


def test_a_socket_that_is_connected_again_is_not_handed_over(
    lab: Lab, pod: Enrolment
) -> None:
    def again() -> socket.socket:
        sock = socket.socket(socket.AF_INET6)
        sock.connect((lab.b.address6, PORT))
        # connect() to AF_UNSPEC takes the connection back.
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.connect(sock.fileno(), bytes(16), 16) == 0
        sock.connect(("::1", PORT))
        return sock

    with (
        lab.a.proxy.listen("::", OUTBOUND),
        lab.a.app.listen("::", PORT),
        lab.a.app.call(again),
    ):
        assert taken(pod)[Decision.HANDED_OVER] == 1
        assert pod.handshakes() == 0
