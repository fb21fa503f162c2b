"""The sidecars of the lab have what istiod pushes, and it works as in a mesh."""

import json
import socket
import struct
from collections.abc import Iterator

import pytest

from beewire.mesh.lab import (
    Beewire,
    Lab,
    Mesh,
    Protocol,
    Service,
    SidecarConfig,
    echo,
    mesh,
    received,
    serving,
    tell_client,
)
from beewire.mesh.lab.dns import address_of, query

RAW = 9000
UNKNOWN = 7000  # a port that istiod knows nothing of
WEB, DATABASE = "10.96.0.10", "10.96.0.11"
RIG = [pytest.mark.mesh, pytest.mark.usefixtures("machine")]


@pytest.fixture(scope="module")
def rig(machine: None) -> Iterator[Mesh]:  # noqa: ARG001 - it may skip
    with Lab() as lab:
        pods = (lab.b.address,)
        services = (
            Service("web.bw", WEB, 80, pods),
            Service("db.bw", DATABASE, 5432, pods, RAW, Protocol.TCP),
        )
        config = SidecarConfig(tcp_ports=(RAW,), services=services, workers=2)
        with mesh(lab, Beewire(), config) as running:
            yield running


def asked(rig: Mesh, host: str, port: int, head: str = "GET / HTTP/1.1") -> bytes:
    """All of an HTTP answer, in lower case."""
    with rig.lab.a.app.connect(host, port) as sock:
        sock.sendall(f"{head}\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        return received(sock).lower()


def admin(rig: Mesh, path: str) -> bytes:
    def ask() -> bytes:
        with socket.create_connection(("127.0.0.1", 15000), timeout=30) as sock:
            head = f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            sock.sendall(head.encode())
            return received(sock)

    answered = rig.lab.a.namespace.run(ask)
    return _unchunked(answered.partition(b"\r\n\r\n")[2])


def _unchunked(data: bytes) -> bytes:
    out = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        out, data = out + data[: int(size, 16)], data[int(size, 16) + 2 :]
    return out


@pytest.fixture(scope="module")
def dump(rig: Mesh) -> dict[str, dict[str, dict[str, object]]]:
    """What the running Envoy of pod A says of its listeners and clusters, by name."""
    parts = json.loads(admin(rig, "/config_dump"))["configs"]
    by_type = {part["@type"].rpartition(".")[2]: part for part in parts}
    listeners = by_type["ListenersConfigDump"]["dynamic_listeners"]
    clusters = by_type["ClustersConfigDump"]["dynamic_active_clusters"]
    return {
        "listeners": {
            each["name"]: each["active_state"]["listener"] for each in listeners
        },
        "clusters": {each["cluster"]["name"]: each["cluster"] for each in clusters},
    }


Dump = dict[str, dict[str, dict[str, object]]]


def chains(listener: dict[str, object]) -> list[str]:
    found = listener["filter_chains"]
    assert isinstance(found, list)
    return [chain.get("name", "") for chain in found]


@pytest.mark.mesh
@pytest.mark.usefixtures("machine")
class TestTheRunningEnvoy:
    def test_outbound_connections_are_handed_on_by_what_was_dialled(
        self, dump: Dump
    ) -> None:
        listener = dump["listeners"]["virtualOutbound"]

        assert listener["use_original_dst"] is True
        assert chains(listener) == [
            "virtualOutbound-blackhole",
            "virtualOutbound-catchall-tcp",
        ]

    def test_inbound_connections_have_a_chain_for_each_port(self, dump: Dump) -> None:
        listener = dump["listeners"]["virtualInbound"]

        assert chains(listener) == [
            "virtualInbound-blackhole",
            "virtualInbound",
            "virtualInbound-catchall-http",
            "0.0.0.0_80",
            "0.0.0.0_8080",
            "0.0.0.0_9000",
        ]

    def test_listeners_of_ports_and_services_are_bound_to_none(
        self, dump: Dump
    ) -> None:
        unbound = {
            name
            for name, listener in dump["listeners"].items()
            if listener.get("bind_to_port") is False
        }

        assert unbound == {
            *("0.0.0.0_80", "0.0.0.0_8080", "0.0.0.0_9000"),
            f"{DATABASE}_5432",
        }

    @pytest.mark.parametrize(
        "name", ["InboundPassthroughCluster", "inbound|80||", "inbound|9000||"]
    )
    def test_the_application_is_called_from_istios_addresses(
        self, dump: Dump, name: str
    ) -> None:
        cluster = dump["clusters"][name]

        assert cluster["type"] == "ORIGINAL_DST"
        assert cluster["upstream_bind_config"] == {
            "source_address": {"address": "127.0.0.6", "port_value": 0},
            "extra_source_addresses": [
                {"address": {"address": "::6", "port_value": 0}}
            ],
        }

    def test_the_other_clusters_are_istios(self, dump: Dump) -> None:
        names = set(dump["clusters"])

        assert {
            *("BlackHoleCluster", "PassthroughCluster", "agent", "prometheus_stats"),
            *("outbound|80||web.bw", "outbound|5432||db.bw", "outbound|80||lab.bw"),
        } <= names
        assert "upstream_bind_config" not in dump["clusters"]["PassthroughCluster"]

    def test_it_and_pilot_agent_listen_where_a_sidecar_listens(self, rig: Mesh) -> None:
        listening = _listening(rig)

        for port in (15001, 15006, 15021, 15090):
            assert ("0.0.0.0", port) in listening
            assert ("::", port) in listening
        assert {("127.0.0.1", 15000), ("::", 15020)} <= listening
        assert {("127.0.0.1", 15053), ("::1", 15053)} <= listening


def _listening(rig: Mesh) -> set[tuple[str, int]]:
    """Addresses and ports of pod A that accept TCP."""

    def read() -> set[tuple[str, int]]:
        found = set()
        for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
            with open(f"/proc/thread-self/net/{name}") as table:  # noqa: PTH123
                for line in table.readlines()[1:]:
                    _, local, _, state, *_ = line.split()
                    if state != "0A":
                        continue
                    text, port = local.split(":")
                    words = struct.unpack(f">{len(text) // 8}I", bytes.fromhex(text))
                    packed = struct.pack(f"={len(words)}I", *words)
                    found.add((socket.inet_ntop(family, packed), int(port, 16)))
        return found

    return rig.lab.a.namespace.run(read)


@pytest.mark.mesh
@pytest.mark.usefixtures("machine")
class TestTheMesh:
    def test_known_http_is_stamped_by_both_sidecars(self, rig: Mesh) -> None:
        answered = asked(rig, rig.lab.b.address, 80)

        assert b"x-bw-outbound: a" in answered
        assert b"x-bw-inbound: b" in answered

    def test_known_http_over_ipv6_is_stamped_by_both_sidecars(self, rig: Mesh) -> None:
        with rig.lab.a.app.connect(rig.lab.b.address6, 80) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
            answered = received(sock).lower()

        assert b"x-bw-outbound: a" in answered
        assert b"x-bw-inbound: b" in answered

    def test_a_service_is_reached_at_its_own_address(self, rig: Mesh) -> None:
        answered = asked(rig, WEB, 80)

        assert b"x-bw-outbound: a" in answered
        assert b"x-bw-inbound: b" in answered

    def test_a_tcp_service_is_reached_at_its_own_address(self, rig: Mesh) -> None:
        with (
            serving(rig.lab.b.app, "0.0.0.0", RAW, tell_client),
            rig.lab.a.app.connect(DATABASE, 5432) as sock,
        ):
            assert received(sock) == b"127.0.0.6"

    def test_http_at_an_unknown_port_is_found_out_inbound(self, rig: Mesh) -> None:
        with serving(rig.lab.b.app, "0.0.0.0", UNKNOWN, _respond):
            answered = asked(rig, rig.lab.b.address, UNKNOWN)

        # As with Istio: outbound, an unknown port is plain TCP.
        assert b"x-bw-inbound: b" in answered
        assert b"x-bw-outbound" not in answered

    def test_bytes_at_an_unknown_port_are_passed_through(self, rig: Mesh) -> None:
        with (
            serving(rig.lab.b.app, "0.0.0.0", UNKNOWN, echo),
            rig.lab.a.app.connect(rig.lab.b.address, UNKNOWN) as sock,
        ):
            sock.sendall(b"\0neither HTTP nor TLS")
            assert sock.recv(64) == b"\0neither HTTP nor TLS"

    @pytest.mark.parametrize("port", [15001, 15006])
    def test_a_listener_that_is_dialled_itself_is_a_black_hole(
        self, rig: Mesh, port: int
    ) -> None:
        def ask() -> bytes:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                try:
                    return received(sock)
                except ConnectionResetError:
                    return b""

        assert rig.lab.a.app.call(ask) == b""

    def test_readiness_and_statistics_are_reached_from_outside(self, rig: Mesh) -> None:
        ready = _from_node(rig, 15021, "/healthz/ready")
        stats = _from_node(rig, 15090, "/stats/prometheus")
        agent = _from_node(rig, 15020, "/healthz/ready")

        assert ready.startswith(b"HTTP/1.1 200")
        assert b"envoy_server_live" in stats
        assert b" 200 " in agent.splitlines()[0]


def _respond(sock: socket.socket) -> None:
    sock.recv(4096)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def _from_node(rig: Mesh, port: int, path: str) -> bytes:
    """What the kubelet, outside of every pod, is answered by pod B."""

    def ask() -> bytes:
        where = (rig.lab.b.address, port)
        with socket.create_connection(where, timeout=30) as sock:
            head = f"GET {path} HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n"
            sock.sendall(head.encode())
            return received(sock)

    return rig.lab.router.run(ask)


@pytest.mark.mesh
@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_dns_is_answered_where_pilot_agent_answers_it(rig: Mesh, host: str) -> None:
    def ask() -> bytes:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as udp:
            udp.settimeout(30)
            udp.connect((host, 15053))
            udp.send(query("web.bw"))
            return udp.recv(512)

    answered = rig.lab.a.app.call(ask)

    assert answered.endswith(socket.inet_aton(address_of("web.bw")))
