"""Nothing stays behind a connection, and what is full refuses."""

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from ipaddress import ip_network

import pytest

from beewire.bpf import Loaded, collect, load
from beewire.bpf.kernel import running
from beewire.errors import BeewireError, MeshError
from beewire.mesh.config import PodConfig
from beewire.mesh.decision import Rule
from beewire.mesh.enrol import PROGRAMS, SIDECAR, Enrolment, Node
from beewire.mesh.lab import Lab, SidecarConfig, sidecar
from beewire.mesh.programs import state
from beewire.mesh.programs.addresses import Endpoint
from beewire.mesh.programs.state import Decision
from tests.mesh.enrolling import target

pytestmark = pytest.mark.mesh

PORT = 9000
OUTBOUND = 15001
B, B6 = "10.77.2.2", "fd77:2::2"
SO_ORIGINAL_DST = 80
TIMES = 100
NO_ANSWER = r"No such file|not available"  # with conntrack in the kernel, or without


End = Callable[[socket.socket], None]


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


def small(**sizes: int) -> Loaded:
    """The programs, with maps that have room for a few entries only."""
    spec = collect(PROGRAMS, name="mesh", target=running())
    for name, entries in sizes.items():
        spec.maps[name].max_entries = entries
    return load(spec)


def entries(node: Node) -> dict[str, int]:
    """How many entries each map has that grows with connections."""
    found = {}
    for name, table in node.loaded.maps.items():
        # What a destination is called stays as long as its pod.
        if name not in ("aliases", "originals", "tallies"):
            with contextlib.suppress(
                BeewireError, TypeError
            ):  # storage cannot be counted
                found[name] = len(table)
    return found


def close(sock: socket.socket) -> None:
    sock.close()


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.parametrize("host", [B, B6])
@pytest.mark.parametrize("end", [close, reset])
@pytest.mark.parametrize("listens", [True, False])
def test_connections_leave_nothing(
    lab: Lab, node: Node, pod: Enrolment, host: str, end: End, listens: bool
) -> None:
    del pod

    def dial() -> None:
        for _ in range(TIMES):
            sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            sock.connect_ex((host, PORT))
            end(sock)

    with contextlib.ExitStack() as stack:
        if listens:
            stack.enter_context(lab.a.proxy.listen("::", OUTBOUND, 4 * TIMES))
        before = entries(node)
        lab.a.app.call(dial)
        after = entries(node)
    assert after == before


def test_connections_that_are_never_answered_leave_nothing(
    lab: Lab, node: Node, pod: Enrolment
) -> None:
    """The sidecar's queue is full, and the application gives up."""
    del pod
    before = entries(node)

    def dial() -> None:
        socks = []
        for _ in range(TIMES):
            sock = socket.socket(socket.AF_INET6)
            sock.setblocking(False)
            sock.connect_ex((B6, PORT))
            socks.append(sock)
        for sock in socks:
            sock.close()

    with lab.a.proxy.listen("::", OUTBOUND, 1):
        lab.a.app.call(dial)
    assert entries(node) == before


def test_a_withdrawn_pod_leaves_nothing(lab: Lab, node: Node) -> None:
    before = entries(node)
    aliases = len(node.loaded[state.aliases])
    with node.enrol(target(lab.a)), lab.a.proxy.listen("::", OUTBOUND):
        lab.a.app.connect(B, PORT).close()
        assert len(node.loaded[state.aliases]) == aliases + 1

    assert entries(node) == before
    assert len(node.loaded[state.aliases]) == aliases
    assert len(node.loaded[state.originals]) == aliases


def test_a_configuration_that_is_changed_leaves_nothing(
    node: Node, pod: Enrolment
) -> None:
    before = entries(node)
    for number in range(20):
        pod.update(
            PodConfig(
                outbound_ports_exclude=(1000 + number,),
                outbound_ip_ranges_exclude=(ip_network(f"10.{number}.0.0/16"),),
            )
        )
    pod.update(SIDECAR)

    assert entries(node) == before


def test_a_sidecar_is_told_nothing_wrong_when_handshakes_are_full(lab: Lab) -> None:
    """A connection without its destination is the sidecar's to close."""
    with Node(small(handshakes=1)) as node, node.enrol(target(lab.a)) as pod:
        node.loaded[state.handshakes][state.Handshake(netns=1)] = Endpoint()
        with (
            lab.a.proxy.listen("::", OUTBOUND) as listener,
            lab.a.app.connect(B6, PORT),
        ):
            accepted, _ = listener.accept()
            with accepted, pytest.raises(OSError, match=NO_ANSWER):
                accepted.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)

        assert pod.decisions()[Decision.HANDOVER_MISSED] == 1


def test_envoy_closes_what_has_no_destination(lab: Lab) -> None:
    """Handshakes are full: the connection ends in the sidecar, and goes nowhere else."""
    with (
        Node(small(handshakes=1)) as node,
        node.enrol(target(lab.a)),
        sidecar(lab.a, SidecarConfig("a")),
        lab.b.app.listen("::", PORT) as server,
    ):
        node.loaded[state.handshakes][state.Handshake(netns=1)] = Endpoint()
        server.settimeout(0.5)
        with lab.a.app.connect(B6, PORT) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
            answer = client.recv(4096)
            with pytest.raises(TimeoutError):
                server.accept()

    assert b"200 OK" not in answer


def test_destinations_are_kept_in_sockets_when_aliases_are_full(lab: Lab) -> None:
    with (
        Node(small(aliases=1, originals=1)) as node,
        node.enrol(target(lab.a)) as pod,
        lab.a.proxy.listen("0.0.0.0", OUTBOUND) as listener,
    ):
        for port in range(PORT, PORT + 3):
            with lab.a.app.connect(B, port):
                accepted, _ = listener.accept()
                with accepted:
                    answer = accepted.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
                    assert struct.unpack_from("!2xH", answer) == (port,)
        assert pod.handshakes() == 0


def test_a_configuration_that_does_not_fit_changes_nothing(lab: Lab) -> None:
    many = PodConfig(outbound_ports_exclude=tuple(range(1000, 1100)))
    with Node(small(numbers=16)) as node, node.enrol(target(lab.a)) as pod:
        before = entries(node)
        with pytest.raises(MeshError, match="do not fit the node's maps"):
            pod.update(many)

        assert entries(node) == before
        with pytest.raises(ConnectionRefusedError):
            lab.a.app.connect(B, PORT)
        assert pod.rules() == {Rule.OUT_ALL_RANGES: 1}


def test_a_pod_that_does_not_fit_is_not_enrolled(lab: Lab) -> None:
    with Node(small(addresses=1)) as node:
        before = entries(node)
        with pytest.raises(MeshError, match="addresses are full"):
            node.enrol(target(lab.a))

        assert entries(node) == before
    with lab.b.app.listen("0.0.0.0", PORT):
        lab.a.app.connect(B, PORT).close()
