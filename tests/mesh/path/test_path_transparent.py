"""Mode TPROXY with what istiod pushes for it: the application sees its client's address.

A real Envoy, with a transparent listener and the original_src filter.
"""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

import pytest

from beewire.mesh.config import InterceptionMode
from beewire.mesh.decision import Rule
from beewire.mesh.enrol import SIDECAR, Enrolment, Node
from beewire.mesh.lab import (
    Iptables,
    Lab,
    SidecarConfig,
    echo,
    received,
    serving,
    sidecar,
)
from beewire.mesh.lab.pilot import pilot
from beewire.mesh.lab.place import Place
from beewire.mesh.programs.transparent import own_calls
from tests.mesh.enrolling import target

pytestmark = pytest.mark.mesh

PORT, INBOUND = 9000, 15006
RULES = replace(SIDECAR, inbound_interception_mode=InterceptionMode.TPROXY)
ISTIOS = (
    "rule add fwmark 1337 lookup 133",
    "route add local default dev lo table 133",
)
BOTH = ("-4", "-6")
SAID = b"\0no HTTP, as the sidecar finds out at once"
By = Literal["istio", "beewire"]


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node.load() as made:
        yield made


def ip(place: Place, words: str) -> str:
    return place.run(["/sbin/ip", *words.split()])


def as_istio(lab: Lab) -> None:
    for family in BOTH:
        for words in ISTIOS:
            ip(lab.b.app, f"{family} {words}")


def plumbing(lab: Lab) -> tuple[str, ...]:
    """Rules, routes and the switch that belong to the mode."""
    switch = Path("/proc/sys/net/ipv4/tcp_fwmark_accept")
    return (
        *(ip(lab.b.app, f"{family} rule") for family in BOTH),
        *(ip(lab.b.app, f"{family} route show table all") for family in BOTH),
        lab.b.app.call(switch.read_text),
    )


@contextmanager
def intercepted(lab: Lab, node: Node, by: By) -> Iterator[Enrolment | None]:
    """Pod B, by Istio's rules or by ours, with its sidecar."""
    with ExitStack() as stack:
        enrolment = None
        if by == "beewire":
            enrolled = node.enrol(target(lab.b)._replace(config=RULES))
            enrolment = stack.enter_context(enrolled)
        else:
            stack.enter_context(Iptables(RULES).install(lab.b))
            as_istio(lab)
        stack.enter_context(pilot(lab.b))
        stack.enter_context(sidecar(lab.b, SidecarConfig(transparent=True)))
        yield enrolment


def client_seen(lab: Lab, host: str) -> tuple[str, bytes]:
    """Whom pod B's application takes for its client, and what it heard."""
    with (
        serving(lab.b.app, "::", PORT, tell_peer),
        lab.a.app.connect(host, PORT) as sock,
    ):
        sock.sendall(SAID)
        peer, _, heard = received(sock).partition(b" ")
    return str(ip_address(peer.decode().removeprefix("::ffff:"))), heard


def tell_peer(sock: socket.socket) -> None:
    heard = sock.recv(64)
    sock.sendall(sock.getpeername()[0].encode() + b" " + heard)


@pytest.mark.parametrize("by", ["istio", "beewire"])
def test_the_application_sees_its_clients_address(node: Node, by: By) -> None:
    with Lab() as lab, intercepted(lab, node, by) as enrolment:
        for number, host in enumerate(lab.b.addresses):
            assert client_seen(lab, host) == (lab.a.addresses[number], SAID)
        if enrolment is not None:
            count = len(lab.b.addresses)
            assert enrolment.rules() == {
                Rule.IN_ALL_PORTS: count,
                Rule.OUT_LOCAL: count,
            }


def test_nothing_stays_behind(node: Node) -> None:
    with Lab() as lab:
        before = plumbing(lab)
        with intercepted(lab, node, "beewire"):
            assert plumbing(lab) != before
            client_seen(lab, lab.b.address)
        assert plumbing(lab) == before
    assert list(node.loaded[own_calls]) == []


@pytest.mark.parametrize("switched", ["0", "1"])
def test_what_others_have_put_there_stays(node: Node, switched: str) -> None:
    with Lab() as lab:
        as_istio(lab)
        lab.b.namespace.sysctl("ipv4/tcp_fwmark_accept", switched)
        before = plumbing(lab)
        with node.enrol(target(lab.b)._replace(config=RULES)):
            pass
        assert plumbing(lab) == before


def test_calls_that_are_open_live_on_when_the_pod_is_withdrawn(node: Node) -> None:
    with Lab() as lab, serving(lab.b.app, "::", PORT, echo), ExitStack() as stack:
        before = plumbing(lab)
        with node.enrol(target(lab.b)._replace(config=RULES)):
            stack.enter_context(pilot(lab.b))
            stack.enter_context(sidecar(lab.b, SidecarConfig(transparent=True)))
            old = stack.enter_context(lab.a.app.connect(lab.b.address, PORT))
            old.sendall(SAID)
            assert old.recv(64) == SAID
        old.sendall(SAID)
        assert old.recv(64) == SAID
        assert plumbing(lab) != before
        with node.enrol(target(lab.b)._replace(config=RULES)):
            pass  # and takes over what was left
        assert plumbing(lab) == before


@pytest.mark.parametrize("enables", [True, False])
def test_the_sidecar_has_an_address_to_call_from_over_ipv6(
    node: Node, *, enables: bool
) -> None:
    with Lab() as lab:
        ip(lab.b.app, "-6 addr del ::6/128 dev lo")
        config = replace(SIDECAR, enable_ipv6=enables)
        with node.enrol(target(lab.b)._replace(config=config)):
            has = "inet6 ::6/128" in ip(lab.b.app, "-6 addr show dev lo")
    assert has is enables


def test_a_pod_changes_to_this_mode_and_back_while_it_serves(node: Node) -> None:
    with Lab() as lab, ExitStack() as stack:
        pod = stack.enter_context(node.enrol(target(lab.b)))
        stack.enter_context(pilot(lab.b))
        stack.enter_context(sidecar(lab.b, SidecarConfig(transparent=True)))
        pod.update(RULES)
        with (
            serving(lab.b.app, "::", PORT, echo),
            lab.a.app.connect(lab.b.address, PORT) as old,
        ):
            for config in (RULES, SIDECAR):
                pod.update(config)
                old.sendall(SAID)
                assert old.recv(64) == SAID


def test_calls_of_others_in_a_clients_name_are_none_of_the_sidecars(node: Node) -> None:
    with Lab() as lab, node.enrol(target(lab.b)._replace(config=RULES)) as pod:
        with (
            lab.b.proxy.listen("0.0.0.0", INBOUND) as listener,
            lab.b.app.call(lambda: _named(lab.a.address, lab.b.address)),
        ):
            listener.settimeout(30)
            listener.accept()[0].close()
        assert pod.rules()[Rule.IN_ALL_PORTS] == 1


def _named(client: str, host: str) -> socket.socket:
    """As the sidecar calls, but from the application's cgroup."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_IP, 19, 1)  # IP_TRANSPARENT
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 1337)
    sock.bind((client, 0))
    sock.connect((host, PORT))
    return sock
