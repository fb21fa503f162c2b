"""Connections past sidecars on the real kernel: real Envoys, two pods, one node."""

import contextlib
import hashlib
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from beewire.mesh.config import Bypass, PodConfig
from beewire.mesh.decision import Rule
from beewire.mesh.enrol import SIDECAR, Enrolment, Node
from beewire.mesh.lab import Lab, SidecarConfig, nginx, sidecar
from beewire.mesh.lab.description import Protocol, Service
from beewire.mesh.lab.place import Place
from beewire.mesh.lab.pods import Pod as LabPod
from beewire.mesh.lab.sidecar import Sidecar
from beewire.mesh.programs import straight as programs
from beewire.mesh.programs.state import Decision, PodMode
from beewire.mesh.sidecar import Reason
from beewire.mesh.straight import (
    Carried,
    Passing,
    Plan,
    Straight,
    Tables,
    open_ways,
    plan,
)
from tests.mesh.enrolling import target

pytestmark = pytest.mark.mesh

RAW = 9000  # passed on as TCP by both sidecars
HTTP = 80  # HTTP at A's sidecar, TCP at B's
ONE, TWO = "10.96.0.10", "10.96.0.11"  # Services with one endpoint, and with two
BOTH = replace(SIDECAR, shortcut=True, splice=True)
BODY = bytes(range(256)) * 800


@dataclass
class Ways:
    """Two enrolled pods with their sidecars, and the node that they are on."""

    lab: Lab
    node: Node
    a: Enrolment
    b: Enrolment
    sidecar_a: Sidecar
    sidecar_b: Sidecar

    @property
    def tables(self) -> Tables:
        return Tables(self.node.loaded)

    def open(self) -> Plan:
        """Read the sidecars, and open the ways that they allow."""
        return open_ways(self.node, {"a": self.a, "b": self.b})

    def close(self) -> None:
        """Close all ways."""
        self.tables.apply(plan([]))

    def spliced(self) -> list[Passing]:
        """The connections past both sidecars: A's own keeps some past B's."""
        found = self.tables.passing()
        return [each for each in found if each.kind is Straight.SPLICE]

    def carried(self, kind: Straight) -> Carried:
        """What went from A to B."""
        none = Carried(kind, self.a.netns, self.b.netns, 0, 0, 0, 0, 0)
        found = [each for each in self.tables.carried() if each.kind is kind]
        return sum_of(found, none)


def sum_of(found: list[Carried], total: Carried) -> Carried:
    """The counters of several ports together."""
    for each in found:
        total = total._replace(
            opened=total.opened + each.opened,
            closed=total.closed + each.closed,
            sent=total.sent + each.sent,
            received=total.received + each.received,
        )
    return total


def config_a() -> SidecarConfig:
    services = (
        Service("one.svc", ONE, 81, ("10.77.2.2",), RAW, Protocol.TCP),
        Service("two.svc", TWO, 81, ("10.77.2.2", "10.77.2.3"), RAW, Protocol.TCP),
    )
    return SidecarConfig(tcp_ports=(RAW,), services=services)


CONFIG_B = SidecarConfig(http_ports=(), tcp_ports=(HTTP, RAW))


@pytest.fixture(scope="module")
def built() -> Iterator[Ways]:
    with (
        Lab() as lab,
        Node.load() as node,
        node.enrol(target(lab.a)._replace(config=BOTH)) as a,
        node.enrol(target(lab.b)._replace(config=BOTH)) as b,
        sidecar(lab.a, config_a()) as sidecar_a,
        sidecar(lab.b, CONFIG_B) as sidecar_b,
        nginx(lab.b),
    ):
        yield Ways(lab, node, a, b, sidecar_a, sidecar_b)


@pytest.fixture
def ways(built: Ways) -> Iterator[Ways]:
    """The ways between both pods, open."""
    built.a.update(BOTH)
    built.b.update(BOTH)
    built.open()
    yield built
    built.close()


def talk(
    client: Place, server: LabPod, host: str, port: int, *, mapped: bool = False
) -> tuple[str, str, int]:
    """Say something both ways; who called, as the server sees it, and what was dialled.

    The bytes of each way are checked.
    """
    any_address = "::" if ":" in host else "0.0.0.0"
    with (
        server.app.listen(any_address, RAW) as listener,
        client.connect(host, port, mapped=mapped) as sock,
    ):
        shown = sock.getpeername()
        listener.settimeout(30)
        sock.settimeout(30)
        peer, name = listener.accept()
        with peer:
            peer.settimeout(30)
            sock.sendall(BODY)
            sock.shutdown(socket.SHUT_WR)
            heard = b"".join(iter(lambda: peer.recv(1 << 16), b""))
            peer.sendall(hashlib.sha256(heard).digest() * 100)
        answer = b"".join(iter(lambda: sock.recv(1 << 16), b""))
    assert answer == hashlib.sha256(BODY).digest() * 100
    return name[0], shown[0].removeprefix("::ffff:"), shown[1]


def get(sock: socket.socket) -> bytes:
    """The headers of one HTTP response, in lower case."""
    sock.sendall(b"GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
    answer = b"".join(iter(lambda: sock.recv(1 << 16), b""))
    return answer.partition(b"\r\n\r\n")[0].lower()


@pytest.mark.parametrize("mapped", [False, True])
def test_an_application_reaches_the_other_past_both_sidecars(
    ways: Ways, mapped: bool
) -> None:
    lab = ways.lab
    caller, *dialled = talk(lab.a.app, lab.b, lab.b.address, RAW, mapped=mapped)

    assert caller == lab.a.address
    assert dialled == [lab.b.address, RAW]


def test_ipv6_goes_past_both_sidecars(ways: Ways) -> None:
    lab = ways.lab
    caller, *dialled = talk(lab.a.app, lab.b, lab.b.address6, RAW)

    assert caller == lab.a.address6
    assert dialled == [lab.b.address6, RAW]


@pytest.mark.parametrize("mapped", [False, True])
def test_a_service_with_one_endpoint_is_that_pod(ways: Ways, mapped: bool) -> None:
    lab = ways.lab
    caller, *dialled = talk(lab.a.app, lab.b, ONE, 81, mapped=mapped)

    assert caller == lab.a.address
    assert dialled == [ONE, 81]


def test_a_service_with_two_endpoints_needs_the_sidecar(ways: Ways) -> None:
    before = ways.a.rules().get(Rule.OUT_SPLICE, 0)
    with ways.lab.a.app.connect(TWO, 81):
        pass

    assert ways.a.rules().get(Rule.OUT_SPLICE, 0) == before


def test_the_sidecar_reaches_the_other_application_past_its_sidecar(
    ways: Ways,
) -> None:
    with ways.lab.a.app.connect(ways.lab.b.address, HTTP) as sock:
        headers = get(sock)

    assert b"x-bw-outbound: a" in headers
    assert ways.a.rules()[Rule.OUT_SHORTCUT] >= 1
    assert ways.b.rules()[Rule.IN_SHORTCUT] >= 1


@pytest.mark.parametrize("pod", ["a", "b"])
def test_both_pods_have_to_say_yes(ways: Ways, pod: str) -> None:
    getattr(ways, pod).update(SIDECAR)

    caller, *_ = talk(ways.lab.a.app, ways.lab.b, ways.lab.b.address, RAW)

    assert caller == "127.0.0.6"


@pytest.mark.parametrize(
    ("said", "rule"),
    [
        (replace(SIDECAR, shortcut=True), Rule.IN_SHORTCUT),
        (replace(SIDECAR, splice=True), Rule.IN_SPLICE),
    ],
)
def test_a_pod_says_yes_to_each_by_itself(
    ways: Ways, said: PodConfig, rule: Rule
) -> None:
    ways.b.update(said)
    before = ways.b.rules()

    talk(ways.lab.a.app, ways.lab.b, ways.lab.b.address, RAW)

    after = ways.b.rules()
    changed = {each for each in after if after[each] != before.get(each, 0)}
    assert changed & {Rule.IN_SHORTCUT, Rule.IN_SPLICE} == {rule}


def test_without_a_claim_nobody_gets_past_a_sidecar(ways: Ways) -> None:
    # A's own destinations are not captured at all: no decision to go past B's sidecar.
    ways.a.update(replace(BOTH, outbound_ip_ranges_include=()))

    caller, *_ = talk(ways.lab.a.app, ways.lab.b, ways.lab.b.address, RAW)

    assert caller == "127.0.0.6"


def test_connections_and_bytes_are_counted_as_envoy_would(ways: Ways) -> None:
    before = ways.carried(Straight.SPLICE)
    for _ in range(3):
        talk(ways.lab.a.app, ways.lab.b, ways.lab.b.address, RAW)
    after = ways.carried(Straight.SPLICE)

    assert after.opened - before.opened == 3
    assert after.closed - before.closed == 3
    assert after.sent - before.sent == 3 * len(BODY)
    assert after.received - before.received == 3 * 3200


def test_a_reset_connection_is_counted_to_its_end(ways: Ways) -> None:
    before = ways.carried(Straight.SPLICE)
    with (
        ways.lab.b.app.listen("0.0.0.0", RAW) as listener,
        ways.lab.a.app.connect(ways.lab.b.address, RAW) as sock,
    ):
        listener.settimeout(30)
        peer, _ = listener.accept()
        sock.sendall(b"x" * 1000)
        assert len(peer.recv(1000, socket.MSG_WAITALL)) == 1000
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    after = ways.carried(Straight.SPLICE)

    assert (after.closed, after.sent) == (before.closed + 1, before.sent + 1000)
    assert ways.spliced() == []


def test_an_open_connection_is_told_and_goes_with_its_socket(ways: Ways) -> None:
    with (
        ways.lab.b.app.listen("0.0.0.0", RAW),
        ways.lab.a.app.connect(ways.lab.b.address, RAW) as sock,
    ):
        (found,) = ways.spliced()
        assert found.is_open
        assert (str(found.source[0]), found.source[1]) == sock.getsockname()

    assert ways.spliced() == []


def test_a_refused_connection_leaves_no_claim(ways: Ways) -> None:
    with pytest.raises(ConnectionRefusedError):
        ways.lab.a.app.connect(ways.lab.b.address, RAW)

    assert ways.spliced() == []
    assert ways.carried(Straight.SPLICE).opened == ways.carried(Straight.SPLICE).closed


MPTCP = 262


@pytest.mark.parametrize("protocol", [0, MPTCP])
def test_an_mptcp_socket_goes_past_both_sidecars(ways: Ways, protocol: int) -> None:
    def listen() -> socket.socket:
        listener = socket.socket(proto=protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", RAW))
        listener.listen()
        listener.settimeout(30)
        return listener

    def dial() -> str:
        with socket.socket(proto=MPTCP) as sock:
            sock.settimeout(30)
            sock.connect((ways.lab.b.address, RAW))
            sock.sendall(b"x" * 1000)
            return str(sock.getpeername()[0])

    before = ways.carried(Straight.SPLICE)
    try:
        listener = ways.lab.b.namespace.run(listen)
        socket.socket(proto=MPTCP).close()
    except OSError:
        pytest.skip("this kernel has no MPTCP")
    with listener:
        shown = ways.lab.a.app.call(dial)
        peer, (caller, _) = listener.accept()
        with peer:
            assert peer.recv(1000, socket.MSG_WAITALL) == b"x" * 1000
            assert peer.recv(1) == b""

    assert (shown, caller) == (ways.lab.b.address, ways.lab.a.address)
    assert ways.carried(Straight.SPLICE).opened == before.opened + 1


def test_many_connections_leave_nothing_behind(ways: Ways) -> None:
    before = ways.carried(Straight.SHORTCUT)

    def dial() -> list[int]:
        ports = []
        for _ in range(300):
            with socket.create_connection((ways.lab.b.address, HTTP)) as sock:
                ports.append(sock.getsockname()[1])
        return ports

    dialled = ways.lab.a.proxy.call(dial)

    after = ways.carried(Straight.SHORTCUT)
    assert after.opened - before.opened == 300
    assert after.closed - before.closed >= 300
    assert not {each.source[1] for each in ways.tables.passing()} & set(dialled)


def test_connections_through_the_sidecars_stay_when_ways_open(ways: Ways) -> None:
    ways.close()
    with (
        ways.lab.b.app.listen("0.0.0.0", RAW) as listener,
        ways.lab.a.app.connect(ways.lab.b.address, RAW) as sock,
    ):
        listener.settimeout(30)
        sock.settimeout(30)
        peer, _ = listener.accept()
        with peer:
            ways.open()
            sock.sendall(b"still here")
            assert peer.recv(100) == b"still here"
            peer.sendall(b"so am I")
            assert sock.recv(100) == b"so am I"


def test_when_ways_close_new_connections_take_the_sidecars(ways: Ways) -> None:
    with (
        ways.lab.b.app.listen("0.0.0.0", RAW) as listener,
        ways.lab.a.app.connect(ways.lab.b.address, RAW) as old,
    ):
        listener.settimeout(30)
        listener.accept()[0].close()
        members = ways.open().members
        nothing = plan(each._replace(dump=None, problem="gone") for each in members)
        ways.tables.apply(nothing)
        stale = ways.tables.stale(nothing)
        with ways.lab.a.app.connect(ways.lab.b.address, RAW):
            peer, (caller, _) = listener.accept()
            peer.close()

        assert old.getsockname()[1] in [each.source[1] for each, _ in stale]
        assert {why.reason for _, whys in stale for why in whys} == {Reason.UNREADABLE}
        assert caller == "127.0.0.6"


@pytest.mark.parametrize("pod", ["a", "b"])
def test_a_dead_sidecar_refuses_what_it_would_have_handled(pod: str) -> None:
    with (
        Lab() as lab,
        Node.load() as node,
        node.enrol(target(lab.a)._replace(config=BOTH)) as a,
        node.enrol(target(lab.b)._replace(config=BOTH)) as b,
        sidecar(lab.a, config_a()) as sidecar_a,
        sidecar(lab.b, CONFIG_B) as sidecar_b,
        lab.b.app.listen("0.0.0.0", RAW) as listener,
    ):
        open_ways(node, {"a": a, "b": b})
        lab.a.app.connect(lab.b.address, RAW).close()
        listener.accept()[0].close()
        (sidecar_a if pod == "a" else sidecar_b).stop()

        # A's sidecar may take it, and find nobody.
        with (
            contextlib.suppress(ConnectionRefusedError, ConnectionResetError),
            lab.a.app.connect(lab.b.address, RAW) as sock,
        ):
            sock.settimeout(30)
            assert sock.recv(1) == b""
        listener.settimeout(0.1)
        with pytest.raises(TimeoutError):
            listener.accept()


def test_when_nobody_reads_the_sidecars_any_more_they_have_everything(
    ways: Ways,
) -> None:
    ways.tables.renew(0)

    caller, *_ = talk(ways.lab.a.app, ways.lab.b, ways.lab.b.address, RAW)

    assert caller == "127.0.0.6"


def test_a_pod_that_changes_its_mind_keeps_its_open_connections(ways: Ways) -> None:
    with (
        ways.lab.b.app.listen("0.0.0.0", RAW),
        ways.lab.a.app.connect(ways.lab.b.address, RAW),
    ):
        ways.a.update(SIDECAR)
        members = ways.open().members
        live = ways.tables.live()

        assert (Straight.SPLICE, ways.a.netns, ways.b.netns) in live
        assert not ways.tables.stale(plan(members, live))


def test_in_shadow_mode_nothing_goes_past_a_sidecar(ways: Ways) -> None:
    before = ways.a.rules().get(Rule.OUT_SPLICE, 0)
    ways.b.switch(PodMode.SHADOW)
    try:
        with ways.lab.b.app.listen("0.0.0.0", RAW):
            ways.lab.a.app.connect(ways.lab.b.address, RAW).close()
    finally:
        ways.b.switch(PodMode.ACTING)

    assert ways.a.rules().get(Rule.OUT_SPLICE, 0) == before


def test_what_goes_past_is_counted_as_a_decision_of_its_own(ways: Ways) -> None:
    before_a, before_b = ways.a.decisions(), ways.b.decisions()
    talk(ways.lab.a.app, ways.lab.b, ways.lab.b.address, RAW)

    spliced, straight = Decision.OUTBOUND_SPLICED, Decision.INBOUND_STRAIGHT
    assert ways.a.decisions()[spliced] == before_a[spliced] + 1
    assert ways.b.decisions()[straight] == before_b[straight] + 1
    captured = Decision.OUTBOUND_CAPTURED
    assert ways.a.decisions()[captured] == before_a[captured]


def test_a_pod_that_is_withdrawn_takes_its_ways_with_it() -> None:
    with (
        Lab() as lab,
        Node.load() as node,
        node.enrol(target(lab.a)._replace(config=BOTH)) as a,
        sidecar(lab.a, config_a()),
    ):
        with (
            node.enrol(target(lab.b)._replace(config=BOTH)) as b,
            sidecar(lab.b, CONFIG_B),
            lab.b.app.listen("0.0.0.0", RAW),
        ):
            open_ways(node, {"a": a, "b": b})
            lab.a.app.connect(lab.b.address, RAW).close()
            assert Tables(node.loaded).carried()

        places = [*node.loaded[programs.ways], *node.loaded[programs.l4_ports]]
        assert {key.netns for key in places} <= {a.netns}
        assert not list(node.loaded[programs.claims])
        assert not list(node.loaded[programs.traffic])


@pytest.mark.parametrize("proxy", [False, True])
def test_what_the_short_path_carries_is_counted_too(ways: Ways, proxy: bool) -> None:
    both = replace(BOTH, bypass=Bypass.ALL)
    ways.a.update(both)
    ways.b.update(both)
    kind = Straight.SHORTCUT if proxy else Straight.SPLICE
    before = ways.carried(kind)
    client = ways.lab.a.proxy if proxy else ways.lab.a.app
    with (
        ways.lab.b.app.listen("0.0.0.0", RAW) as listener,
        client.connect(ways.lab.b.address, RAW) as sock,
    ):
        listener.settimeout(30)
        peer, _ = listener.accept()
        with peer:
            for end in (sock, peer):
                end.setblocking(False)
            for _ in range(20):
                sock.send(b"x" * 1000)
                assert read(peer, 1000) == b"x" * 1000
                peer.send(b"y" * 500)
                assert read(sock, 500) == b"y" * 500

    after = ways.carried(kind)
    assert after.sent - before.sent == 20 * 1000
    assert after.received - before.received == 20 * 500


def read(sock: socket.socket, size: int) -> bytes:
    """So many bytes of a socket that does not block."""
    import select  # noqa: PLC0415 - here alone

    found = b""
    while len(found) < size:
        assert select.select([sock], [], [], 30)[0]
        found += sock.recv(size - len(found))
    return found
