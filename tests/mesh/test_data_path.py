"""The data path on the real kernel: real Envoys, real sockets, two pods."""

import hashlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from beewire.bpf import load
from beewire.errors import MeshError
from beewire.mesh.enrol import Enrolment, enrol
from beewire.mesh.lab import Lab, SidecarConfig, nginx, sidecar
from beewire.mesh.lab.pods import Pod as LabPod
from beewire.mesh.lab.server import body
from beewire.mesh.lab.sidecar import Sidecar
from beewire.mesh.programs.outbound import outbound4
from beewire.mesh.programs.state import Decision
from tests.mesh.enrolling import target

pytestmark = pytest.mark.mesh

RAW = 9000  # the sidecars pass this port on as plain TCP
TRACED = 8080  # the sidecars log what is asked here
DIRECT = 15020  # excluded from inbound capture, as Istio does
SO_ORIGINAL_DST = 80


@dataclass
class Mesh:
    """Two enrolled pods with their sidecars, and nginx in pod B."""

    lab: Lab
    a: Enrolment
    b: Enrolment
    sidecar_a: Sidecar
    sidecar_b: Sidecar


def config(pod: LabPod) -> SidecarConfig:
    return SidecarConfig(
        pod.name, tcp_ports=(RAW,), access_log=pod.state / f"access-{pod.name}.log"
    )


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with (
        Lab() as lab,
        enrol(target(lab.a)) as a,
        enrol(target(lab.b)) as b,
        sidecar(lab.a, config(lab.a)) as sidecar_a,
        sidecar(lab.b, config(lab.b)) as sidecar_b,
        nginx(lab.b),
    ):
        yield Mesh(lab, a, b, sidecar_a, sidecar_b)


@pytest.fixture
def bare() -> Iterator[tuple[Lab, Enrolment]]:
    """Two pods without sidecars; only A is enrolled."""
    with Lab() as lab, enrol(target(lab.a)) as enrolment:
        yield lab, enrolment


def get(sock: socket.socket, path: str, trace: str = "") -> tuple[bytes, bytes]:
    """Headers and body of one HTTP response."""
    extra = f"x-bw-trace: {trace}\r\n" if trace else ""
    head = f"GET {path} HTTP/1.1\r\nHost: b\r\n{extra}Connection: close\r\n\r\n"
    sock.sendall(head.encode())
    answer = b"".join(iter(lambda: sock.recv(1 << 16), b""))
    headers, _, content = answer.partition(b"\r\n\r\n")
    return headers.lower(), content


def test_a_request_passes_both_sidecars(mesh: Mesh) -> None:
    with mesh.lab.a.app.connect(mesh.lab.b.address, 80) as sock:
        headers, content = get(sock, "/")

    assert b"x-bw-outbound: a" in headers
    assert b"x-bw-inbound: b" in headers
    assert content == body(100)


def test_a_megabyte_arrives_unchanged(mesh: Mesh) -> None:
    with mesh.lab.a.app.connect(mesh.lab.b.address, 80) as sock:
        _, content = get(sock, "/1m")

    assert hashlib.sha256(content).digest() == hashlib.sha256(body(1 << 20)).digest()


def test_ipv6_passes_both_sidecars(mesh: Mesh) -> None:
    with mesh.lab.a.app.connect(mesh.lab.b.address6, 80) as sock:
        headers, content = get(sock, "/")

    assert b"x-bw-outbound: a" in headers
    assert b"x-bw-inbound: b" in headers
    assert content == body(100)


def test_v4_mapped_sockets_are_captured(mesh: Mesh) -> None:
    with mesh.lab.a.app.connect(mesh.lab.b.address, 80, mapped=True) as sock:
        headers, _ = get(sock, "/")

    assert b"x-bw-outbound: a" in headers


@pytest.mark.parametrize("mapped", [False, True])
def test_the_application_sees_the_address_it_dialled(mesh: Mesh, mapped: bool) -> None:
    with mesh.lab.a.app.connect(mesh.lab.b.address, 80, mapped=mapped) as sock:
        host, port = sock.getpeername()[:2]

    assert host.removeprefix("::ffff:") == mesh.lab.b.address
    assert port == 80


def test_an_ipv6_application_sees_the_address_it_dialled(mesh: Mesh) -> None:
    with mesh.lab.a.app.connect(mesh.lab.b.address6, 80) as sock:
        assert sock.getpeername()[:2] == (mesh.lab.b.address6, 80)


def test_the_connection_keeps_its_source_address(mesh: Mesh) -> None:
    with mesh.lab.a.app.connect(mesh.lab.b.address, 80) as sock:
        assert sock.getsockname()[0] == mesh.lab.a.address


def test_a_source_that_the_application_bound_stays(mesh: Mesh) -> None:
    source = (mesh.lab.a.address, 25678)
    with mesh.lab.a.app.connect(mesh.lab.b.address, 80, source=source) as sock:
        headers, _ = get(sock, "/")
        assert sock.getsockname() == source

    assert b"x-bw-outbound: a" in headers


def test_the_sidecar_is_told_where_the_connection_was_going(mesh: Mesh) -> None:
    with mesh.lab.a.app.connect(mesh.lab.b.address, TRACED) as sock:
        client = sock.getsockname()
        get(sock, "/", "told")

    record = mesh.sidecar_a.logged("told")
    assert record["original"] == f"{mesh.lab.b.address}:{TRACED}"
    assert record["client"] == f"{client[0]}:{client[1]}"


def test_the_server_sees_the_clients_address(mesh: Mesh) -> None:
    with mesh.lab.a.app.connect(mesh.lab.b.address, TRACED) as sock:
        _, content = get(sock, "/who", "seen")

    assert content.decode().split()[-1] == mesh.lab.a.address
    record = mesh.sidecar_b.logged("seen")
    assert record["client"].startswith(mesh.lab.a.address + ":")
    assert record["original"] == f"{mesh.lab.b.address}:{TRACED}"


def test_half_close_reaches_the_server_and_its_answer_comes_back(mesh: Mesh) -> None:
    with (
        mesh.lab.b.app.listen("0.0.0.0", RAW) as listener,
        mesh.lab.a.app.connect(mesh.lab.b.address, RAW) as client,
    ):
        client.sendall(b"all I have to say")
        client.shutdown(socket.SHUT_WR)
        listener.settimeout(30)
        server, _ = listener.accept()
        with server:
            server.settimeout(30)
            heard = b"".join(iter(lambda: server.recv(4096), b""))
            server.sendall(b"understood: " + heard)
        answer = b"".join(iter(lambda: client.recv(4096), b""))

    assert answer == b"understood: all I have to say"


def test_a_pod_that_calls_itself_goes_straight(mesh: Mesh) -> None:
    with mesh.lab.b.app.connect(mesh.lab.b.address, 80) as sock:
        headers, content = get(sock, "/")

    assert b"x-bw" not in headers
    assert content == body(100)


def test_the_sidecar_that_calls_its_own_pod_meets_the_inbound_listener(
    mesh: Mesh,
) -> None:
    with mesh.lab.b.proxy.connect(mesh.lab.b.address, 80) as sock:
        headers, _ = get(sock, "/")

    assert b"x-bw-inbound: b" in headers


def test_an_excluded_inbound_port_is_reached_directly(mesh: Mesh) -> None:
    with (
        mesh.lab.b.app.listen("0.0.0.0", DIRECT) as listener,
        mesh.lab.a.proxy.connect(mesh.lab.b.address, DIRECT) as client,
    ):
        listener.settimeout(30)
        server, peer = listener.accept()
        with server:
            assert peer == client.getsockname()


def test_a_socket_that_is_connected_again_shows_its_new_peer(mesh: Mesh) -> None:
    def reconnect() -> tuple[str, int]:
        with socket.socket() as listener, socket.socket() as sock:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            sock.connect((mesh.lab.b.address, 80))
            # connect() to AF_UNSPEC takes the connection back.
            _disconnect(sock)
            sock.connect(listener.getsockname())
            host, port = sock.getpeername()
            return host, port - listener.getsockname()[1]

    assert mesh.lab.a.app.call(reconnect) == ("127.0.0.1", 0)


def _disconnect(sock: socket.socket) -> None:
    import ctypes  # noqa: PLC0415 - Python has no AF_UNSPEC address

    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.connect(sock.fileno(), bytes(16), 16) == 0


def test_only_the_sidecar_is_told_original_destinations(mesh: Mesh) -> None:
    def ask() -> int:
        with socket.create_connection((mesh.lab.b.address, 80)) as sock:
            try:
                sock.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
            except OSError as error:
                return error.errno or 0
            return 0

    assert mesh.lab.a.app.call(ask) != 0


def test_nothing_of_a_handshake_stays_behind(mesh: Mesh) -> None:
    before = mesh.a.decisions()[Decision.HANDED_OVER]
    for _ in range(50):
        mesh.lab.a.app.connect(mesh.lab.b.address, 80).close()

    assert mesh.a.handshakes() == 0
    assert mesh.a.decisions()[Decision.HANDED_OVER] - before == 50


def test_decisions_are_counted(mesh: Mesh) -> None:
    before_a, before_b = mesh.a.decisions(), mesh.b.decisions()
    with mesh.lab.a.app.connect(mesh.lab.b.address, 80) as sock:
        get(sock, "/")

    captured = Decision.OUTBOUND_CAPTURED
    assert mesh.a.decisions()[captured] == before_a[captured] + 1
    inbound = Decision.INBOUND_CAPTURED
    assert mesh.b.decisions()[inbound] >= before_b[inbound]


def test_a_dead_sidecar_refuses_outbound_connections(
    bare: tuple[Lab, Enrolment],
) -> None:
    lab, _ = bare
    with (
        lab.b.app.listen("0.0.0.0", RAW),
        pytest.raises(ConnectionRefusedError),
    ):
        lab.a.app.connect(lab.b.address, RAW)


def test_a_dead_sidecar_refuses_inbound_connections(
    bare: tuple[Lab, Enrolment],
) -> None:
    lab, enrolment = bare
    with (
        lab.a.app.listen("0.0.0.0", RAW),
        pytest.raises(ConnectionRefusedError),
    ):
        lab.b.app.connect(lab.a.address, RAW)

    assert enrolment.decisions()[Decision.INBOUND_REFUSED] == 1


def test_a_refused_connection_leaves_no_handshake(bare: tuple[Lab, Enrolment]) -> None:
    lab, enrolment = bare
    with pytest.raises(ConnectionRefusedError):
        lab.a.app.connect(lab.b.address, RAW)

    assert enrolment.handshakes() == 0


def test_a_sidecar_that_comes_back_is_found_again(bare: tuple[Lab, Enrolment]) -> None:
    lab, enrolment = bare
    with sidecar(lab.a, config(lab.a)) as first:
        assert enrolment.has_listener()
        first.stop()
        assert not enrolment.has_listener()
    with (
        sidecar(lab.a, config(lab.a)),
        nginx(lab.a),
        lab.b.app.connect(lab.a.address, 80) as sock,
    ):
        headers, _ = get(sock, "/")

    assert b"x-bw-inbound: a" in headers


def test_a_withdrawn_pod_is_on_its_own_again(bare: tuple[Lab, Enrolment]) -> None:
    lab, enrolment = bare
    enrolment.close()
    with lab.b.app.listen("0.0.0.0", RAW) as listener:
        listener.settimeout(30)
        with lab.a.app.connect(lab.b.address, RAW) as client:
            server, peer = listener.accept()
            server.close()

            assert peer == client.getsockname()


def test_a_pod_without_its_configuration_is_closed() -> None:
    with Lab() as lab, load([outbound4]) as programs:
        closed = programs[outbound4].attach(lab.a.cgroup.path)
        with lab.b.app.listen("0.0.0.0", RAW), closed, pytest.raises(PermissionError):
            lab.a.app.connect(lab.b.address, RAW)


def test_fast_open_reaches_both_sidecars(mesh: Mesh) -> None:
    """The destination must be handed over before the SYN, which carries data."""

    def fast_open() -> bytes:
        request = b"GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n"
        with socket.socket() as sock:
            sock.sendto(request, socket.MSG_FASTOPEN, (mesh.lab.b.address, 80))
            return b"".join(iter(lambda: sock.recv(1 << 16), b"")).lower()

    answer = mesh.lab.a.app.call(fast_open)

    assert b"x-bw-outbound: a" in answer
    assert b"x-bw-inbound: b" in answer


def test_connections_given_up_at_once_leave_no_handshake(mesh: Mesh) -> None:
    def give_up() -> None:
        for _ in range(500):
            with socket.socket() as sock:
                sock.setblocking(False)
                sock.connect_ex((mesh.lab.b.address, 80))

    mesh.lab.a.app.call(give_up)

    assert mesh.a.handshakes() == 0


def test_udp_is_left_alone(mesh: Mesh) -> None:
    def peer() -> tuple[str, int]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((mesh.lab.b.address, 80))
            name: tuple[str, int] = sock.getpeername()
            return name

    before = mesh.a.decisions()

    assert mesh.lab.a.app.call(peer) == (mesh.lab.b.address, 80)
    assert mesh.a.decisions() == before


def test_a_pod_without_its_cgroup_cannot_be_enrolled(
    bare: tuple[Lab, Enrolment],
) -> None:
    lab, _ = bare
    missing = target(lab.b)._replace(cgroup=lab.b.cgroup.path / "gone")

    with pytest.raises(MeshError, match="gone does not exist"):
        enrol(missing)
