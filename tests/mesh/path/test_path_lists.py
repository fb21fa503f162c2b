"""Ports, ranges, owners: each knob of a configuration, met by real connections."""

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network

import pytest

from beewire.errors import MeshError
from beewire.mesh.config import InterceptionMode, PodConfig, ProxyIdentity
from beewire.mesh.decision import Rule
from beewire.mesh.enrol import SIDECAR, Enrolment, Node
from beewire.mesh.lab import Lab
from tests.mesh.enrolling import target

pytestmark = pytest.mark.mesh

PORT = 9000
OUTBOUND, INBOUND = 15001, 15006
B, B6 = "10.77.2.2", "fd77:2::2"


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
    """Pod A; tests give it their configuration by `update`."""
    with node.enrol(target(lab.a)) as enrolment:
        yield enrolment


def config(**knobs: object) -> PodConfig:
    """Istio's configuration without annotations, but for `knobs`."""
    return replace(SIDECAR, **knobs)  # type: ignore[arg-type]


def dialled(lab: Lab, host: str, *, mapped: bool = False, port: int = PORT) -> None:
    """Call from pod A's application; who answers does not matter."""

    def dial() -> None:
        family = socket.AF_INET6 if ":" in host or mapped else socket.AF_INET
        with socket.socket(family) as sock:
            sock.setblocking(False)
            sock.connect_ex((f"::ffff:{host}" if mapped else host, port))

    lab.a.app.call(dial)


RANGES = tuple(map(ip_network, ("10.77.2.0/24", "fd77:2::/64")))
OTHERS = tuple(map(ip_network, ("10.1.0.0/16", "2001:db8::/32", "10.77.2.3/32")))


@pytest.mark.parametrize(("host", "mapped"), [(B, False), (B, True), (B6, False)])
@pytest.mark.parametrize(
    ("knobs", "rule"),
    [
        ({}, Rule.OUT_ALL_RANGES),
        ({"outbound_ip_ranges_exclude": RANGES}, Rule.OUT_EXCLUDED_RANGE),
        ({"outbound_ip_ranges_exclude": OTHERS}, Rule.OUT_ALL_RANGES),
        ({"outbound_ip_ranges_include": RANGES}, Rule.OUT_INCLUDED_RANGE),
        ({"outbound_ip_ranges_include": OTHERS}, Rule.OUT_NOT_INCLUDED),
        ({"outbound_ip_ranges_include": ()}, Rule.OUT_NOT_INCLUDED),
        ({"outbound_ports_exclude": (PORT,)}, Rule.OUT_EXCLUDED_PORT),
        ({"outbound_ports_exclude": (PORT + 1,)}, Rule.OUT_ALL_RANGES),
        (
            {"outbound_ip_ranges_include": OTHERS, "outbound_ports_include": (PORT,)},
            Rule.OUT_INCLUDED_PORT,
        ),
        (
            {"outbound_ip_ranges_exclude": RANGES, "outbound_ports_include": (PORT,)},
            Rule.OUT_EXCLUDED_RANGE,
        ),
        (
            {"inbound_interception_mode": InterceptionMode.NONE},
            Rule.MODE_NONE,
        ),
    ],
)
def test_outbound_connections_meet_the_rule(
    lab: Lab,
    pod: Enrolment,
    knobs: dict[str, object],
    rule: Rule,
    host: str,
    mapped: bool,
) -> None:
    pod.update(config(**knobs))

    dialled(lab, host, mapped=mapped)

    assert pod.rules() == {rule: 1}


@pytest.mark.parametrize("host", ["10.77.1.2", "fd77:1::2"])
@pytest.mark.parametrize(
    ("knobs", "rule"),
    [
        ({}, Rule.IN_ALL_PORTS),
        ({"inbound_ports_exclude": (PORT,)}, Rule.IN_EXCLUDED_PORT),
        ({"inbound_ports_include": (PORT,)}, Rule.IN_INCLUDED_PORT),
        ({"inbound_ports_include": (PORT + 1,)}, Rule.IN_NOT_INCLUDED),
        ({"inbound_ports_include": ()}, Rule.IN_NOT_INCLUDED),
        ({"inbound_tunnel_port": PORT}, Rule.IN_TUNNEL_PORT),
    ],
)
def test_inbound_connections_meet_the_rule(
    lab: Lab, pod: Enrolment, knobs: dict[str, object], rule: Rule, host: str
) -> None:
    pod.update(config(**knobs))

    with (
        lab.a.app.listen("::", PORT),
        lab.a.proxy.listen("::", INBOUND),
        lab.b.app.connect(host, PORT),
    ):
        assert pod.rules() == {rule: 1}


@pytest.mark.parametrize("port", [15020, 15021, 15090])
def test_health_checks_reach_whom_they_ask(lab: Lab, pod: Enrolment, port: int) -> None:
    with lab.a.proxy.listen("0.0.0.0", port), lab.b.app.connect(lab.a.address, port):
        assert pod.rules() == {Rule.IN_EXCLUDED_PORT: 1}


def test_ipv6_is_left_alone_where_istio_was_not_told_of_it(
    lab: Lab, pod: Enrolment
) -> None:
    pod.update(config(enable_ipv6=False))

    dialled(lab, B6)
    dialled(lab, B)

    assert pod.rules() == {Rule.FAMILY_OFF: 1, Rule.OUT_ALL_RANGES: 1}


@pytest.mark.parametrize(
    ("knobs", "rule"),
    [
        ({"enable_ipv6": False}, Rule.OUT_LOCAL),
        (
            {
                "outbound_ip_ranges_include": (ip_network("127.0.0.0/8"),),
                "host_ipv4_loopback_cidr": ip_network("127.0.0.5/32"),
            },
            Rule.OUT_INCLUDED_RANGE,
        ),
    ],
)
def test_no_address_means_ipv4s_localhost_to_a_socket_that_is_bound_to_ipv4(
    lab: Lab, pod: Enrolment, knobs: dict[str, object], rule: Rule
) -> None:
    pod.update(config(**knobs))

    def dial() -> object:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind((f"::ffff:{lab.a.address}", 0))
            sock.connect(("::", PORT))
            return sock.getpeername()[:2]

    with (
        lab.a.app.listen("127.0.0.1", PORT),
        lab.a.proxy.listen("0.0.0.0", OUTBOUND),
    ):
        peer = lab.a.app.call(dial)

    assert peer == ("::ffff:127.0.0.1", PORT)
    assert pod.rules() == {rule: 1}


def dialled_as(lab: Lab, uid: int, gid: int, host: str = B) -> None:
    """Call from pod A's application as another user and group."""

    def dial() -> None:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.connect_ex((host, PORT))

    lab.a.app.call(dial)


BY_OWNER = {
    "proxy_identity": ProxyIdentity.OWNER,
    "proxy_uid": (1337, 1400),
    "proxy_gid": (1338,),
}


@pytest.mark.parametrize(
    ("uid", "gid", "rule"),
    [
        (1337, 0, Rule.OUT_PROXY),
        (1400, 0, Rule.OUT_PROXY),
        (0, 1338, Rule.OUT_PROXY),
        (1338, 1337, Rule.OUT_ALL_RANGES),
        (0, 0, Rule.OUT_ALL_RANGES),
    ],
)
def test_the_sidecar_is_known_by_its_owner(
    lab: Lab, pod: Enrolment, uid: int, gid: int, rule: Rule
) -> None:
    pod.update(config(**BY_OWNER))

    dialled_as(lab, uid, gid)

    assert pod.rules() == {rule: 1}


def test_the_owner_is_who_made_the_socket(lab: Lab, pod: Enrolment) -> None:
    pod.update(config(**BY_OWNER))

    def dial() -> None:
        with socket.socket() as sock:  # as root
            os.setresuid(1337, 1337, 1337)
            sock.setblocking(False)
            sock.connect_ex((B, PORT))

    lab.a.app.call(dial)

    assert pod.rules() == {Rule.OUT_ALL_RANGES: 1}


@pytest.mark.parametrize("connects", [True, False])
@pytest.mark.parametrize("host", ["10.96.0.10", "::ffff:10.96.0.10", "fd77:2::2"])
@pytest.mark.parametrize("maker", [0, 1337])
def test_the_owner_of_a_query_is_who_made_the_socket(
    lab: Lab, pod: Enrolment, maker: int, host: str, *, connects: bool
) -> None:
    sender, rule = (0, Rule.OUT_PROXY) if maker else (1337, Rule.OUT_DNS)
    pod.update(config(**BY_OWNER, redirect_dns=True, capture_all_dns=True))

    def ask() -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        os.setresuid(maker, maker, 0)
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            os.setresuid(sender, sender, 0)
            if connects:
                sock.connect((host, 53))
            else:
                with contextlib.suppress(OSError):  # nobody is there to be asked
                    sock.sendto(b"?", (host, 53))

    lab.a.app.call(ask)

    assert pod.rules() == {rule: 1}


def test_a_user_id_opens_no_way_past_a_sidecar_that_is_known_by_its_cgroup(
    lab: Lab, pod: Enrolment
) -> None:
    dialled_as(lab, 1337, 1337)

    assert pod.rules() == {Rule.OUT_ALL_RANGES: 1}


def test_owners_call_their_own_pod_as_istio_has_it(lab: Lab, pod: Enrolment) -> None:
    pod.update(config(**BY_OWNER))

    dialled_as(lab, 1337, 0, lab.a.address)
    dialled_as(lab, 1400, 0, lab.a.address)  # the first user's rules return it

    assert pod.rules() == {Rule.OUT_SELF_CALL: 1, Rule.OUT_LOCAL: 1}


@pytest.mark.parametrize(
    ("knobs", "gid", "rule"),
    [
        ({"owner_groups_exclude": ("202",)}, 202, Rule.OUT_GROUP_EXCLUDED),
        ({"owner_groups_exclude": ("202",)}, 203, Rule.OUT_ALL_RANGES),
        ({"owner_groups_include": ("java",)}, 202, Rule.OUT_ALL_RANGES),
        ({"owner_groups_include": ("java",)}, 203, Rule.OUT_GROUP_NOT_INCLUDED),
    ],
)
def test_groups_are_left_out(
    lab: Lab, pod: Enrolment, knobs: dict[str, object], gid: int, rule: Rule
) -> None:
    pod.update(config(owner_group_ids=(("java", 202),), **knobs))

    dialled_as(lab, 0, gid)

    assert pod.rules() == {rule: 1}


def test_a_network_of_loopback_is_captured_where_it_is_included(
    lab: Lab, pod: Enrolment
) -> None:
    included = (ip_network("127.1.2.0/24"),)
    pod.update(config(outbound_ip_ranges_include=included))

    dialled(lab, "127.1.2.3")
    dialled(lab, "127.0.0.1")

    assert pod.rules() == {Rule.OUT_INCLUDED_RANGE: 1, Rule.OUT_LOOPBACK: 1}


@pytest.mark.parametrize("source", ["127.0.0.6", "::6"])
def test_what_the_sidecar_sends_on_to_the_application_goes_straight(
    lab: Lab, pod: Enrolment, source: str
) -> None:
    host = "fd77:1::2" if ":" in source else "10.77.1.2"

    with (
        lab.a.app.listen("::", PORT) as listener,
        lab.a.proxy.connect(host, PORT, source=(source, 0)),
    ):
        accepted, peer = listener.accept()
        accepted.close()
    assert peer[0].removeprefix("::ffff:") == source
    assert pod.rules() == {Rule.OUT_FROM_INBOUND: 1}


def test_other_ports_of_the_sidecars_are_honoured(lab: Lab, pod: Enrolment) -> None:
    pod.update(config(proxy_port=16001, inbound_capture_port=16006))

    with (
        lab.a.proxy.listen("0.0.0.0", 16001),
        lab.a.proxy.listen("0.0.0.0", 16006),
        lab.a.app.connect(B, PORT) as out,
        lab.b.app.connect(lab.a.address, PORT),
    ):
        assert out.getpeername() == (B, PORT)


def test_thousands_of_ports_and_ranges_are_all_honoured(
    lab: Lab, pod: Enrolment
) -> None:
    ports = tuple(range(20_000, 25_000))
    ranges = tuple(ip_network(f"10.{n // 256}.{n % 256}.0/28") for n in range(5_000))
    pod.update(config(outbound_ports_exclude=ports, outbound_ip_ranges_exclude=ranges))

    for port in (20_000, 24_999):
        dialled(lab, B, port=port)
    dialled(lab, "10.19.135.1")
    dialled(lab, "10.19.135.17")

    assert pod.rules() == {
        Rule.OUT_EXCLUDED_PORT: 2,
        Rule.OUT_EXCLUDED_RANGE: 1,
        Rule.OUT_ALL_RANGES: 1,
    }


@pytest.mark.usefixtures("pod")
def test_a_pod_that_is_enrolled_is_not_enrolled_again(lab: Lab, node: Node) -> None:
    with pytest.raises(MeshError, match="enrolled already"):
        node.enrol(target(lab.a))


@pytest.mark.parametrize(
    ("listens", "probed", "source"),
    [("127.0.0.1", "127.0.0.6", "127.0.0.1"), ("::1", "::6", "::1")],
)
def test_istio_validation_finds_itself_redirected(
    lab: Lab, pod: Enrolment, listens: str, probed: str, source: str
) -> None:
    """It runs before the sidecar, as its user, and listens on localhost alone."""
    with (
        lab.a.proxy.listen(listens, INBOUND) as listener,
        lab.a.proxy.connect(probed, 15002) as client,
    ):
        accepted, peer = listener.accept()
        with accepted:
            assert told(accepted) == (probed, 15002)
        assert client.getpeername()[:2] == (probed, 15002)
        assert peer[:2] == client.getsockname()[:2]
        assert peer[0] == source
    assert pod.rules() == {Rule.OUT_SELF_CALL: 1}


def told(sock: socket.socket) -> tuple[str, int]:
    """What the sidecar is told that was dialled."""
    if sock.family == socket.AF_INET6:
        answer = sock.getsockopt(41, 80, 28)
        port, address = struct.unpack_from("!2xH4x16s", answer)
        return socket.inet_ntop(socket.AF_INET6, address), port
    answer = sock.getsockopt(socket.SOL_IP, 80, 16)  # SO_ORIGINAL_DST
    port, address = struct.unpack_from("!2xH4s", answer)
    return socket.inet_ntoa(address), port
