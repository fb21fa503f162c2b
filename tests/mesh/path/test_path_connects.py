"""All ways to connect: the sidecar is told the destination, the application sees it."""

import contextlib
import errno
import select
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from beewire.mesh.config import InterceptionMode
from beewire.mesh.decision import Rule
from beewire.mesh.enrol import SIDECAR, Enrolment, Node
from beewire.mesh.lab import Lab
from tests.mesh.enrolling import target
from tests.mesh.path import uring

pytestmark = pytest.mark.mesh

PORT = 9000
OUTBOUND, INBOUND = 15001, 15006
B = "10.77.2.2"
SO_ORIGINAL_DST = 80
TCP_FASTOPEN, TCP_FASTOPEN_CONNECT = 23, 30
MPTCP = 262

Connect = Callable[[], socket.socket]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node.load() as made:
        yield made


@pytest.fixture
def pod(lab: Lab, node: Node) -> Iterator[Enrolment]:
    with node.enrol(target(lab.a)) as enrolment:
        yield enrolment


@pytest.fixture
def sidecar(lab: Lab, pod: Enrolment) -> Iterator[socket.socket]:
    """What listens on 15001."""
    del pod
    with lab.a.proxy.listen("0.0.0.0", OUTBOUND, backlog=256) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN, 16)
        listener.settimeout(30)
        yield listener


def told(sock: socket.socket) -> tuple[str, int]:
    """What the sidecar is told that was dialled."""
    answer = sock.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
    port, address = struct.unpack_from("!2xH4s", answer)
    return socket.inet_ntoa(address), port


def plainly() -> socket.socket:
    return socket.create_connection((B, PORT), 30)


def without_waiting() -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    assert sock.connect_ex((B, PORT)) in (0, errno.EINPROGRESS)
    assert select.select([], [sock], [], 30)[1]
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    return sock


def with_data_in_the_syn() -> socket.socket:
    sock = socket.socket()
    sock.sendto(b"hello", socket.MSG_FASTOPEN, (B, PORT))
    return sock


def deferred_until_data() -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
    sock.connect((B, PORT))
    sock.sendall(b"hello")
    return sock


def by_io_uring() -> socket.socket:
    sock = socket.socket()
    try:
        answer = uring.connect(sock, B, PORT)
    except OSError as error:
        pytest.skip(f"io_uring: {error.strerror}")
    assert answer == 0
    return sock


def by_mptcp() -> socket.socket:
    try:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP)
    except OSError:
        pytest.skip("this kernel has no MPTCP")
    sock.connect((B, PORT))
    return sock


def from_a_port() -> socket.socket:
    sock = socket.socket()
    sock.bind(("", 25679))
    sock.connect((B, PORT))
    return sock


def from_an_address() -> socket.socket:
    return socket.create_connection((B, PORT), 30, ("10.77.1.2", 0))


def from_an_address_without_port() -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
    sock.bind(("10.77.1.2", 0))
    sock.connect((B, PORT))
    return sock


def after_a_call_that_was_left_alone() -> socket.socket:
    with socket.socket() as other:
        other.setblocking(False)
        other.connect_ex(("127.0.0.1", 9))
    return plainly()


@pytest.mark.parametrize(
    "connect",
    [
        plainly,
        without_waiting,
        with_data_in_the_syn,
        deferred_until_data,
        by_io_uring,
        by_mptcp,
        from_a_port,
        from_an_address,
        from_an_address_without_port,
        after_a_call_that_was_left_alone,
    ],
)
def test_every_way_of_connecting_is_captured(
    lab: Lab, pod: Enrolment, sidecar: socket.socket, connect: Connect
) -> None:
    def dial() -> socket.socket:
        sock = connect()
        assert sock.getpeername() == (B, PORT)
        return sock

    with lab.a.app.call(dial) as client:
        accepted, _ = sidecar.accept()
        with accepted:
            assert told(accepted) == (B, PORT)
            assert accepted.getpeername()[1] == client.getsockname()[1]
    assert pod.rules()[Rule.OUT_ALL_RANGES] == 1
    assert pod.handshakes() == 0


@pytest.fixture
def workers(lab: Lab, pod: Enrolment) -> Iterator[list[socket.socket]]:
    """Three workers of a sidecar, each with a listener on 15006."""
    del pod

    def listen() -> socket.socket:
        sock = socket.socket()
        # Self-calls of other tests may wait in TIME_WAIT with this port.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("0.0.0.0", INBOUND))
        sock.listen(64)
        sock.setblocking(False)
        return sock

    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(lab.a.proxy.call(listen)) for _ in range(3)]


def accepted_by(workers: list[socket.socket]) -> list[int]:
    """How many connections wait at each."""
    counts = []
    for worker in workers:
        waiting = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                worker.accept()[0].close()
                waiting += 1
        counts.append(waiting)
    return counts


def call(lab: Lab, times: int) -> None:
    def dial() -> None:
        for _ in range(times):
            socket.create_connection((lab.a.address, PORT), 30).close()

    lab.b.app.call(dial)


def test_connections_are_spread_over_the_sidecars_workers(
    lab: Lab, workers: list[socket.socket]
) -> None:
    call(lab, 60)

    counts = accepted_by(workers)
    assert sum(counts) == 60
    assert min(counts) > 0


def test_the_other_workers_serve_when_one_has_gone(
    lab: Lab, workers: list[socket.socket]
) -> None:
    for worker in workers[1:]:
        worker.close()
        call(lab, 10)
    call(lab, 10)

    assert accepted_by(workers[:1])[0] >= 10


def test_a_worker_that_comes_later_takes_its_share(
    lab: Lab, workers: list[socket.socket]
) -> None:
    workers[0].close()
    again = lab.a.proxy.call(lambda: _listening(INBOUND))

    with again:
        call(lab, 60)
        assert accepted_by([again])[0] > 0


def _listening(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("0.0.0.0", port))
    sock.listen(64)
    sock.setblocking(False)
    return sock


@pytest.fixture
def transparent(pod: Enrolment) -> Enrolment:
    """Pod A in mode TPROXY."""
    tproxy = InterceptionMode.TPROXY
    pod.update(replace(SIDECAR, inbound_interception_mode=tproxy))
    return pod


def test_tproxy_shows_the_sidecar_client_and_destination(
    lab: Lab, transparent: Enrolment
) -> None:
    with (
        lab.a.proxy.listen("0.0.0.0", INBOUND) as listener,
        lab.b.app.connect(lab.a.address, PORT) as client,
    ):
        accepted, peer = listener.accept()
        with accepted:
            assert peer == client.getsockname()
            assert accepted.getsockname() == (lab.a.address, PORT)
    assert transparent.rules() == {Rule.IN_ALL_PORTS: 1}


def test_tproxy_captures_the_sidecars_calls_to_its_own_pod(
    lab: Lab, transparent: Enrolment
) -> None:
    with (
        lab.a.proxy.listen("0.0.0.0", INBOUND) as listener,
        lab.a.proxy.connect(lab.a.address, PORT),
    ):
        accepted, _ = listener.accept()
        with accepted:
            assert told(accepted) == (lab.a.address, PORT)
    assert transparent.rules() == {Rule.OUT_SELF_CALL_TPROXY: 1}
