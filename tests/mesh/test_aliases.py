"""Aliases: which loopback address a connection is sent to, and what that tells."""

import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from beewire.mesh.enrol import Enrolment, enrol
from beewire.mesh.lab import Lab
from beewire.mesh.programs.state import Decision
from tests.mesh.enrolling import target

pytestmark = pytest.mark.mesh

OUTBOUND = 15001
INBOUND = 15006
SO_ORIGINAL_DST = 80
NO_ANSWER = "No such file|not available"  # with conntrack in the kernel, or without
MPTCP = 262
CAPACITY = 4096
ENOUGH = range(1, CAPACITY + 1000)  # ports: some meet at one alias, and go without


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


@pytest.fixture
def pod(lab: Lab) -> Iterator[Enrolment]:
    """Pod A, enrolled; the tests stand in for its sidecar."""
    with enrol(target(lab.a)) as enrolment:
        yield enrolment


@pytest.fixture
def sidecar(lab: Lab, pod: Enrolment) -> Iterator[socket.socket]:
    """What listens on 15001."""
    del pod  # enrolled before anything listens
    with lab.a.proxy.listen("0.0.0.0", OUTBOUND, backlog=256) as listener:
        listener.settimeout(30)
        yield listener


def dial(lab: Lab, ports: range) -> None:
    """Try `ports` of pod B, one after the other."""

    def refused() -> None:
        for port in ports:
            with socket.socket() as sock:
                sock.connect_ex((lab.b.address, port))

    lab.a.app.call(refused)


def told(sock: socket.socket) -> tuple[str, int]:
    """What the sidecar is told that was dialled."""
    answer = sock.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
    port, address = struct.unpack_from("!2xH4s", answer)
    return socket.inet_ntoa(address), port


def reached(lab: Lab, listener: socket.socket, port: int) -> str:
    """The address that a connection to `port` of pod B is sent to."""
    with lab.a.app.connect(lab.b.address, port):
        accepted, _ = listener.accept()
        with accepted:
            assert told(accepted) == (lab.b.address, port)
            address: str = accepted.getsockname()[0]
            return address


def test_a_destination_has_one_alias(lab: Lab, sidecar: socket.socket) -> None:
    assert reached(lab, sidecar, 80) == reached(lab, sidecar, 80)


def test_destinations_have_aliases_of_their_own(
    lab: Lab, pod: Enrolment, sidecar: socket.socket
) -> None:
    first, second = reached(lab, sidecar, 80), reached(lab, sidecar, 81)

    assert pod.aliases() == {
        first: f"{lab.b.address}:80",
        second: f"{lab.b.address}:81",
    }


def test_a_destination_has_its_alias_again_when_the_pod_is_enrolled_anew(
    lab: Lab,
) -> None:
    def aliases() -> dict[str, str]:
        with enrol(target(lab.a)) as enrolment:
            dial(lab, range(80, 90))
            return enrolment.aliases()

    assert len(aliases()) == 10
    assert aliases() == aliases()


def test_a_connection_with_an_alias_needs_no_handshake(
    lab: Lab, pod: Enrolment, sidecar: socket.socket
) -> None:
    del sidecar

    def dialling() -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex((lab.b.address, 80))
        return sock

    with lab.a.app.call(dialling):
        assert pod.handshakes() == 0
    assert pod.decisions()[Decision.HANDED_OVER] == 1


def test_the_application_sees_what_it_dialled_by_mptcp(
    lab: Lab, sidecar: socket.socket
) -> None:
    del sidecar

    def peer() -> tuple[str, int]:
        try:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP)
        except OSError:
            pytest.skip("this kernel has no MPTCP")
        with sock:
            sock.connect((lab.b.address, 80))
            name: tuple[str, int] = sock.getpeername()
            return name

    assert lab.a.app.call(peer) == (lab.b.address, 80)


def test_an_address_that_stands_for_nothing_stays_what_it_is(
    lab: Lab, pod: Enrolment, sidecar: socket.socket
) -> None:
    with lab.a.app.connect("127.65.9.9", OUTBOUND) as sock:
        accepted, _ = sidecar.accept()
        with accepted, pytest.raises(OSError, match=NO_ANSWER):
            told(accepted)

        assert sock.getpeername() == ("127.65.9.9", OUTBOUND)
    assert pod.decisions()[Decision.HANDOVER_MISSED] == 1


def test_what_dials_at_once_gets_aliases_that_agree(lab: Lab, pod: Enrolment) -> None:
    """Two CPUs that meet a new destination at once give it one alias."""

    def all_at_once() -> None:
        def each(port: int) -> None:
            with socket.socket() as sock:
                sock.connect_ex((lab.b.address, port))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(each, [port for port in range(1, 201) for _ in range(8)]))

    lab.a.app.call(all_at_once)

    destinations = list(pod.aliases().values())
    assert len(destinations) == len(set(destinations))
    assert len(destinations) > 190


def reset(client: socket.socket, accepted: socket.socket) -> None:
    """End a connection by a reset, and wait until the other end has it."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    with pytest.raises(ConnectionResetError):
        accepted.recv(1)


def test_the_sidecar_is_told_where_a_connection_was_going_that_was_reset(
    lab: Lab, sidecar: socket.socket
) -> None:
    client = lab.a.app.connect(lab.b.address, 80)
    accepted, _ = sidecar.accept()
    with accepted:
        reset(client, accepted)

        assert told(accepted) == (lab.b.address, 80)


def test_the_sidecar_is_told_no_port_0_of_an_inbound_connection_that_was_reset(
    lab: Lab, pod: Enrolment
) -> None:
    del pod
    with lab.a.proxy.listen("0.0.0.0", INBOUND) as listener:
        listener.settimeout(30)
        client = lab.b.app.connect(lab.a.address, 80)
        accepted, _ = listener.accept()
        with accepted:
            assert told(accepted) == (lab.a.address, 80)
            reset(client, accepted)

            with pytest.raises(OSError, match=NO_ANSWER):
                told(accepted)


def test_a_listener_of_both_families_is_told_in_both_forms(
    lab: Lab, pod: Enrolment
) -> None:
    del pod
    with lab.a.proxy.listen("::", OUTBOUND) as listener:
        listener.settimeout(30)
        with lab.a.app.connect(lab.b.address, 80):
            accepted, _ = listener.accept()
            with accepted:
                answer = accepted.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
                port, address = struct.unpack_from("!2xH4x16s", answer)

                assert told(accepted) == (lab.b.address, 80)
    name = socket.inet_ntop(socket.AF_INET6, address)
    assert (name, port) == (f"::ffff:{lab.b.address}", 80)


@pytest.fixture
def full(lab: Lab, pod: Enrolment) -> Enrolment:
    """Pod A after it has dialled more destinations than there are aliases."""
    dial(lab, ENOUGH)
    assert len(pod.aliases()) == CAPACITY
    return pod


def test_destinations_beyond_the_aliases_are_kept_in_sockets(
    lab: Lab, full: Enrolment, sidecar: socket.socket
) -> None:
    before = full.decisions()[Decision.HANDED_OVER]
    port = ENOUGH[-1] + 1
    address = reached(lab, sidecar, port)

    assert address.startswith("127.64.")
    assert full.decisions()[Decision.HANDED_OVER] == before + 1
    assert full.handshakes() == 0
    with lab.a.app.connect(lab.b.address, port) as sock:
        assert sock.getpeername() == (lab.b.address, port)


def test_connections_beyond_the_aliases_leave_nothing_when_refused(
    lab: Lab, full: Enrolment
) -> None:
    before = full.decisions()[Decision.HANDOVER_ABANDONED]
    with pytest.raises(ConnectionRefusedError):
        lab.a.app.connect(lab.b.address, ENOUGH[-1] + 1)

    assert full.handshakes() == 0
    assert full.decisions()[Decision.HANDOVER_ABANDONED] == before + 1


def test_an_alias_keeps_its_meaning_when_all_are_taken(
    lab: Lab, full: Enrolment, sidecar: socket.socket
) -> None:
    address, destination = next(iter(full.aliases().items()))
    port = int(destination.rpartition(":")[2])

    assert reached(lab, sidecar, port) == address


def test_a_connection_beyond_the_aliases_that_was_reset_was_going_there(
    lab: Lab, full: Enrolment, sidecar: socket.socket
) -> None:
    del full
    port = ENOUGH[-1] + 1
    client = lab.a.app.connect(lab.b.address, port)
    accepted, _ = sidecar.accept()
    with accepted:
        reset(client, accepted)

        assert told(accepted) == (lab.b.address, port)
