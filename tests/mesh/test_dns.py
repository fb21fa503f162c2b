"""DNS capture: real sockets ask, and a resolver that listens as Istio's agent does answers."""

import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest

from beewire.mesh import events
from beewire.mesh.config import PodConfig
from beewire.mesh.enrol import Enrolment, Node
from beewire.mesh.enrol.pod import SIDECAR
from beewire.mesh.events import Reason
from beewire.mesh.lab import Lab
from beewire.mesh.lab.dns import (
    AAAA,
    PORT,
    address_of,
    answer,
    query,
    question,
    resolver,
)
from beewire.mesh.programs.state import Decision
from tests.mesh.enrolling import target

pytestmark = pytest.mark.mesh

T = TypeVar("T")

FIRST, SECOND = "10.96.0.10", "10.96.0.11"
FIRST6, SECOND6 = "fd00:96::10", "fd00:96::11"
SERVERS = PodConfig(
    inbound_ports_include=SIDECAR.inbound_ports_include,
    inbound_ports_exclude=SIDECAR.inbound_ports_exclude,
    outbound_ip_ranges_include=SIDECAR.outbound_ip_ranges_include,
    enable_ipv6=True,
    redirect_dns=True,
    dns_servers_v4=(IPv4Address(FIRST), IPv4Address(SECOND)),
    dns_servers_v6=(IPv6Address(FIRST6), IPv6Address(SECOND6)),
)
EVERY = replace(SERVERS, capture_all_dns=True, dns_servers_v4=(), dns_servers_v6=())
ALIAS = replace(SERVERS, dns_alias=True)


class World(NamedTuple):
    """Pod A, enrolled, with a resolver in the agent's place."""

    lab: Lab
    node: Node
    pod: Enrolment

    def ask(self, function: Callable[[], T]) -> T:
        return self.lab.a.app.call(function)

    def captured(self) -> int:
        return self.pod.decisions()[Decision.DNS_CAPTURED]

    def events(self) -> dict[Reason, int]:
        counted = events.counts(self.node.loaded, self.pod.netns)
        return {reason: n for reason, n in counted.items() if n}


@contextmanager
def world(config: PodConfig, *, alias: bool = False) -> Iterator[World]:
    with ExitStack() as stack:
        lab = stack.enter_context(Lab())
        node = stack.enter_context(Node.load())
        entry = target(lab.a)._replace(config=config)
        pod = stack.enter_context(node.enrol(entry))
        stack.enter_context(resolver(lab.a.proxy, alias=alias))
        yield World(lab, node, pod)


@pytest.fixture(scope="module")
def servers() -> Iterator[World]:
    """Queries to the servers of resolv.conf are captured."""
    with world(SERVERS) as made:
        yield made


@pytest.fixture(scope="module")
def every() -> Iterator[World]:
    """All queries are captured."""
    with world(EVERY) as made:
        yield made


@pytest.fixture(scope="module")
def aliases() -> Iterator[World]:
    """Each resolver has an address that stands for it."""
    with world(ALIAS, alias=True) as made:
        yield made


def datagrams(host: str, *, mapped: bool = False) -> tuple[socket.socket, str]:
    """A socket for `host`, and the host as that socket spells it."""
    family = socket.AF_INET6 if ":" in host or mapped else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.settimeout(30)
    return sock, f"::ffff:{host}" if mapped else host


def unconnected(host: str, *, mapped: bool = False) -> tuple[str, int, bool]:
    """Ask by sendto(): the answer's source, and whether it is the right answer."""
    sock, name = datagrams(host, mapped=mapped)
    with sock:
        sock.sendto(query("web.test"), (name, 53))
        data, source = sock.recvfrom(512)
    return (
        source[0].removeprefix("::ffff:"),
        source[1],
        data == answer(query("web.test")),
    )


def connected(host: str, *, mapped: bool = False) -> tuple[str, int, bool]:
    """Ask by connect() and send()."""
    sock, name = datagrams(host, mapped=mapped)
    with sock:
        sock.connect((name, 53))
        assert sock.getpeername()[:2] == (name, 53)
        sock.send(query("web.test"))
        data, source = sock.recvfrom(512)
    return (
        source[0].removeprefix("::ffff:"),
        source[1],
        data == answer(query("web.test")),
    )


def by_tcp(host: str, *, mapped: bool = False) -> tuple[str, int, bool]:
    family = socket.AF_INET6 if ":" in host or mapped else socket.AF_INET
    name = f"::ffff:{host}" if mapped else host
    asked = query("web.test")
    with socket.socket(family) as sock:
        sock.settimeout(30)
        sock.connect((name, 53))
        peer = sock.getpeername()
        sock.sendall(len(asked).to_bytes(2, "big") + asked)
        with sock.makefile("rb") as file:
            data = file.read(int.from_bytes(file.read(2), "big"))
    return peer[0].removeprefix("::ffff:"), peer[1], data == answer(asked)


WAYS = (unconnected, connected, by_tcp)
by_name = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


@by_name
@pytest.mark.parametrize("host", [FIRST, SECOND, FIRST6, SECOND6])
def test_a_query_is_answered_in_its_resolvers_name(
    servers: World, way: Callable[[str], object], host: str
) -> None:
    before = servers.captured()

    assert servers.ask(lambda: way(host)) == (host, 53, True)
    assert servers.captured() == before + 1


@by_name
def test_mapped_queries_are_answered_in_their_resolvers_name(
    servers: World, way: Callable[..., object]
) -> None:
    assert servers.ask(lambda: way(FIRST, mapped=True)) == (FIRST, 53, True)


@by_name
@pytest.mark.parametrize("host", [FIRST, SECOND])
def test_with_aliases_a_query_is_answered_in_its_resolvers_name(
    aliases: World, way: Callable[..., object], host: str
) -> None:
    assert aliases.ask(lambda: way(host)) == (host, 53, True)
    assert aliases.ask(lambda: way(host, mapped=True)) == (host, 53, True)


@by_name
@pytest.mark.parametrize("host", ["192.0.2.53", "2001:db8::53"])
def test_all_queries_are_captured_if_all_are_to_be(
    every: World, way: Callable[[str], object], host: str
) -> None:
    assert every.ask(lambda: way(host)) == (host, 53, True)


def test_servers_that_are_not_listed_are_asked_themselves(servers: World) -> None:
    before = servers.captured()
    asked = query("web.test")

    def listen() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("0.0.0.0", 53))
        return sock

    def send() -> None:
        sock, name = datagrams(servers.lab.b.address)
        with sock:
            sock.sendto(asked, (name, 53))

    with servers.lab.b.proxy.namespace.run(listen) as server:
        server.settimeout(30)
        servers.ask(send)
        assert server.recv(512) == asked

    assert servers.captured() == before


def test_the_sidecars_own_queries_are_not_captured(servers: World) -> None:
    before = servers.captured()

    def send() -> tuple[str, int]:
        sock, name = datagrams(FIRST)
        with sock:
            sock.connect((name, 53))
            peer: tuple[str, int] = sock.getpeername()
            sock.sendto(b"x", (name, 53))
            return peer

    assert servers.lab.a.proxy.call(send) == (FIRST, 53)
    assert servers.captured() == before


def test_an_agent_that_asks_upstream_is_not_asked_itself(servers: World) -> None:
    """The agent's own resolver, on another port, forwards to the captured address."""
    node = servers.lab.run.namespace("node")

    def listen() -> socket.socket:
        subprocess.run(["ip", "addr", "add", f"{FIRST}/32", "dev", "lo"], check=True)
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((FIRST, 53))
        return sock

    def ask() -> bytes:
        sock, _ = datagrams("127.0.0.1")
        with sock:
            sock.sendto(query("up.test", id=7), ("127.0.0.1", PORT + 1))
            return sock.recv(512)

    with (
        node.run(listen) as upstream,
        resolver(servers.lab.a.proxy, upstream=FIRST, port=PORT + 1),
    ):
        upstream.settimeout(30)
        import threading  # noqa: PLC0415

        def serve() -> None:
            message, client = upstream.recvfrom(512)
            upstream.sendto(answer(message), client)

        thread = threading.Thread(target=serve)
        thread.start()
        got = servers.ask(ask)
        thread.join()

    assert got == answer(query("up.test", id=7))


def test_other_datagrams_are_left_alone(servers: World) -> None:
    before = servers.captured()

    def send() -> tuple[str, int]:
        sock, name = datagrams(FIRST)
        with sock:
            sock.sendto(b"x", (name, 443))
            sock.connect((name, 443))
            peer: tuple[str, int] = sock.getpeername()
            return peer

    assert servers.ask(send) == (FIRST, 443)
    assert servers.captured() == before


def test_an_answer_of_another_keeps_its_source(servers: World) -> None:
    """A socket that asked a resolver also hears from others, under their names."""

    def ask() -> list[str]:
        sock, name = datagrams(FIRST)
        with sock, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            sock.sendto(query("web.test"), (name, 53))
            first = sock.recvfrom(512)[1]
            other.bind(("127.0.0.1", 0))
            other.sendto(b"x", ("127.0.0.1", sock.getsockname()[1]))
            second = sock.recvfrom(512)[1]
            return [first[0], second[0]]

    assert servers.ask(ask) == [FIRST, "127.0.0.1"]


def test_the_agents_own_address_is_shown_as_it_is(servers: World) -> None:
    def ask() -> list[tuple[str, int]]:
        sock, name = datagrams(FIRST)
        seen = []
        with sock:
            for address in ((name, 53), ("127.0.0.1", PORT), (name, 53)):
                sock.sendto(query("web.test"), address)
                seen.append(sock.recvfrom(512)[1])
        return seen

    assert servers.ask(ask) == [(FIRST, 53), ("127.0.0.1", PORT), (FIRST, 53)]


def test_a_socket_that_is_connected_again_shows_its_new_peer(servers: World) -> None:
    def ask() -> list[tuple[str, int]]:
        sock, _ = datagrams(FIRST)
        seen = []
        with sock:
            for host in (FIRST, SECOND, FIRST):
                sock.connect((host, 53))
                sock.send(query("web.test"))
                seen += [sock.recvfrom(512)[1], sock.getpeername()]
            sock.connect((FIRST, 443))
            seen.append(sock.getpeername())
        return seen

    wanted = [(host, 53) for host in (FIRST, SECOND, FIRST) for _ in range(2)]
    assert servers.ask(ask) == [*wanted, (FIRST, 443)]


def serial(first: str, second: str) -> list[tuple[str, str]]:
    """Ask two resolvers by turns in one socket, each when the other has answered."""
    sock, _ = datagrams(first)
    seen = []
    with sock:
        for number in range(100):
            host = (first, second)[number % 2]
            sock.sendto(query("web.test", id=number), (host, 53))
            seen.append((host, sock.recvfrom(512)[1][0]))
    return seen


@pytest.mark.parametrize(("first", "second"), [(FIRST, SECOND), (FIRST6, SECOND6)])
def test_serial_queries_in_one_socket_are_exact(
    servers: World, first: str, second: str
) -> None:
    before = servers.events()
    seen = servers.ask(lambda: serial(first, second))

    assert all(asked == shown for asked, shown in seen)
    assert servers.events() == before


def pipelined() -> list[tuple[str, str]]:
    """Ask resolvers in one socket without waiting; answers come in another order."""
    hosts = [f"192.0.2.{n}" for n in range(1, 21)] + [FIRST, SECOND]
    sock, _ = datagrams(FIRST)
    sent = {}
    with sock:
        for number, host in enumerate(random.sample(hosts, len(hosts))):
            name = "late.test" if number % 3 == 0 else "web.test"
            sock.sendto(query(name, id=number), (host, 53))
            sent[number] = host
        seen = []
        for _ in sent:
            data, source = sock.recvfrom(512)
            seen.append((sent[question(data).id], source[0]))
    return seen


def test_with_aliases_pipelined_queries_are_exact() -> None:
    config = replace(EVERY, dns_alias=True)
    with world(config, alias=True) as made:
        seen = made.ask(pipelined)

        assert len(seen) == 22
        assert all(asked == shown for asked, shown in seen)
        assert made.events() == {}


def test_without_aliases_pipelined_queries_are_counted_and_told(every: World) -> None:
    events.poll(every.node.loaded)
    before = every.events().get(Reason.DNS_PIPELINED, 0)
    seen = every.ask(pipelined)
    told = events.poll(every.node.loaded)

    assert len(seen) == 22
    assert every.events()[Reason.DNS_PIPELINED] == before + 22
    assert told[0].reason is Reason.DNS_PIPELINED
    assert str(told[0]).startswith("unusual udp")


def asks_both(*, whom: bool) -> None:
    """Ask two IPv6 resolvers in one socket at once; `whom`: each answer is whose."""
    sock, _ = datagrams(FIRST6)
    with sock:
        for host in (FIRST6, SECOND6):
            sock.sendto(query("web.test"), (host, 53))
        for _ in range(2):
            sock.recvfrom(512) if whom else sock.recv(512)


def test_ipv6_has_no_aliases_and_pipelined_queries_are_told(aliases: World) -> None:
    before = aliases.events().get(Reason.DNS_PIPELINED, 0)
    aliases.ask(lambda: asks_both(whom=True))

    assert aliases.events()[Reason.DNS_PIPELINED] == before + 2


def test_answers_that_are_shown_as_nobodys_are_not_told(aliases: World) -> None:
    before = aliases.events()

    aliases.ask(lambda: asks_both(whom=False))

    assert aliases.events() == before


def test_serial_queries_whose_answers_are_nobodys_are_not_told(every: World) -> None:
    def ask() -> None:
        sock, _ = datagrams(FIRST)
        with sock:
            for number in range(10):
                host = (FIRST, SECOND)[number % 2]
                sock.sendto(query("web.test", id=number), (host, 53))
                sock.recv(512)

    before = every.events()
    every.ask(ask)

    assert every.events() == before


@pytest.mark.parametrize("host", [FIRST, FIRST6])
def test_a_connected_socket_keeps_its_source(servers: World, host: str) -> None:
    def source() -> str:
        sock, name = datagrams(host)
        with sock:
            sock.connect((name, 53))
            found: str = sock.getsockname()[0]
            return found

    assert servers.ask(source) in servers.lab.a.addresses


def musl(servers: list[str]) -> list[str]:
    """As musl's resolver does: both kinds to all servers at once, from one socket.

    It takes the first answer to each from any of the servers, told by its address.
    """
    kinds = (1, AAAA)
    sock, _ = datagrams(servers[0])
    found: dict[int, str] = {}
    with sock:
        for kind in kinds:
            for host in servers:
                sock.sendto(query("musl.test", kind, id=kind), (host, 53))
        while len(found) < len(kinds):
            data, source = sock.recvfrom(512)
            if source[0] in servers and source[1] == 53:
                asked = question(data)
                found.setdefault(asked.id, address_of(asked.name, asked.kind))
    return [found[kind] for kind in kinds]


@pytest.mark.parametrize("mode", ["servers", "aliases"])
def test_musls_way_of_asking_works(request: pytest.FixtureRequest, mode: str) -> None:
    made: World = request.getfixturevalue(mode)
    wanted = [address_of("musl.test"), address_of("musl.test", AAAA)]

    assert made.ask(lambda: musl([FIRST, SECOND])) == wanted


GLIBC = """
import socket, sys
for number in range(50):
    found = socket.getaddrinfo(f"host{number}.test", 80, proto=socket.IPPROTO_TCP)
    print(*sorted(each[4][0] for each in found))
"""


@pytest.mark.parametrize("options", ["", "options rotate", "options use-vc"])
@pytest.mark.parametrize("mode", ["servers", "aliases"])
def test_glibc_resolves_by_two_nameservers(
    request: pytest.FixtureRequest, tmp_path: Path, mode: str, options: str
) -> None:
    made: World = request.getfixturevalue(mode)
    conf = tmp_path / "resolv.conf"
    conf.write_text(f"nameserver {FIRST}\nnameserver {SECOND}\n{options}\n")
    # A mount of its own hides the machine's file from this process alone.
    script = (
        f"mount --bind {conf} /etc/resolv.conf && exec {sys.executable} -c '{GLIBC}'"
    )
    out = made.lab.a.app.run(
        [
            shutil.which("unshare") or "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            script,
        ]
    )

    wanted = [
        sorted([address_of(f"host{n}.test"), address_of(f"host{n}.test", AAAA)])
        for n in range(50)
    ]
    assert [line.split() for line in out.splitlines()] == wanted


def test_nothing_of_a_query_stays_behind(servers: World) -> None:
    servers.ask(lambda: [way(host) for way in WAYS for host in (FIRST, FIRST6)])

    assert servers.pod.handshakes() == 0


def test_without_a_resolver_queries_are_refused() -> None:
    with ExitStack() as stack:
        lab = stack.enter_context(Lab())
        node = stack.enter_context(Node.load())
        stack.enter_context(node.enrol(target(lab.a)._replace(config=SERVERS)))

        with pytest.raises(ConnectionRefusedError):
            lab.a.app.call(lambda: connected(FIRST))
        with pytest.raises(ConnectionRefusedError):
            lab.a.app.call(lambda: by_tcp(FIRST))


@pytest.mark.parametrize("port", [53, 443])
@pytest.mark.parametrize("host", [FIRST, FIRST6])
def test_a_pod_without_configuration_sends_no_datagram(host: str, port: int) -> None:
    from beewire.mesh.enrol.hooks import HOOKS, Place  # noqa: PLC0415

    def send() -> None:
        sock, name = datagrams(host)
        with sock:
            sock.sendto(b"x", (name, port))

    def dial() -> None:
        sock, name = datagrams(host)
        with sock:
            sock.connect((name, port))

    with ExitStack() as stack:
        lab = stack.enter_context(Lab())
        node = stack.enter_context(Node.load())
        for hook in HOOKS:
            if hook.place is Place.CGROUP:
                link = node.loaded[hook.program].attach(str(lab.a.cgroup.path))
                stack.enter_context(link)
        for attempt in (send, dial):
            with pytest.raises(PermissionError):
                lab.a.app.call(attempt)
        told = events.poll(node.loaded)

    assert {event.reason for event in told} == {Reason.POD_CLOSED}
