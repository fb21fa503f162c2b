"""Beside TPROXY, which changes no address: who gets a connection is all that shows."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import NamedTuple

import pytest

from beewire.errors import MeshError
from beewire.mesh.config import InterceptionMode, PodConfig
from beewire.mesh.decision import Action, Rule
from beewire.mesh.enrol import SIDECAR, Enrolment, Node
from beewire.mesh.lab import Iptables, Lab
from beewire.mesh.lab.place import Place
from beewire.mesh.programs.state import PodMode
from beewire.mesh.shadow import Row, Seen, cutover, finish, read, rollback, rules
from tests.mesh.enrolling import target

pytestmark = pytest.mark.mesh

PORT, DIRECT, INBOUND = 9000, 15020, 15006
IP_TRANSPARENT = 19
RULES = replace(SIDECAR, inbound_interception_mode=InterceptionMode.TPROXY)


class World(NamedTuple):
    """Pod B in shadow mode; the sidecar's listener, and two of the application's."""

    lab: Lab
    node: Node
    pod: Enrolment
    sidecar: socket.socket
    app: socket.socket

    def rows(self) -> dict[tuple[Rule, Seen], Row]:
        rows = read(self.node.loaded, self.pod.netns).rows
        return {(row.rule, row.seen): row for row in rows}

    def call(self, port: int) -> socket.socket:
        return self.lab.a.proxy.connect(self.lab.b.address, port)


@contextmanager
def world(config: PodConfig) -> Iterator[World]:
    with ExitStack() as stack:
        lab = stack.enter_context(Lab())
        pod = lab.b
        stack.enter_context(Iptables(RULES).install(pod))
        for words in (
            "rule add fwmark 1337 lookup 133",
            "route add local 0.0.0.0/0 dev lo table 133",
        ):
            pod.app.run(["/sbin/ip", *words.split()])
        # As root: whoever receives for other addresses needs CAP_NET_ADMIN.
        proxy = Place(pod.namespace, pod.proxy.cgroup)
        sidecar = stack.enter_context(proxy.call(_transparent))
        sidecar.settimeout(30)
        app = stack.enter_context(pod.app.listen("0.0.0.0", DIRECT))
        node = stack.enter_context(Node.load())
        enrolment = stack.enter_context(
            node.enrol(
                target(pod)._replace(config=config),
                listeners=[(sidecar.family, sidecar.fileno())],
                mode=PodMode.SHADOW,
            )
        )
        yield World(lab, node, enrolment, sidecar, app)


def _transparent() -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
    sock.bind(("0.0.0.0", INBOUND))
    sock.listen()
    return sock


def test_what_tproxy_takes_and_leaves_agrees() -> None:
    with world(RULES) as made:
        with made.call(PORT) as client, made.sidecar.accept()[0] as served:
            assert served.getsockname() == (made.lab.b.address, PORT)
            source = client.getsockname()
        made.call(DIRECT).close()

        taken = made.rows()[Rule.IN_ALL_PORTS, Seen.TO_INBOUND]
        assert (taken.decided, taken.times) == (Action.TO_INBOUND, 1)
        assert (str(taken.example.source), taken.example.source_port) == source
        assert made.rows()[Rule.IN_EXCLUDED_PORT, Seen.PASS].times == 1
        assert read(made.node.loaded, made.pod.netns).disagreed == 0


def test_a_port_that_only_one_side_excludes_disagrees() -> None:
    ports = (*RULES.inbound_ports_exclude, PORT)
    with world(replace(RULES, inbound_ports_exclude=ports)) as made:
        with made.call(PORT), made.sidecar.accept()[0]:
            pass

        row = made.rows()[Rule.IN_EXCLUDED_PORT, Seen.TO_INBOUND]
        assert row.decided is Action.PASS
        assert row.example.destination_port == PORT


def test_connections_live_through_cutover_and_rollback() -> None:
    with world(RULES) as made:
        loaded, netns = made.node.loaded, made.pod.pod.netns
        with made.call(PORT) as old, made.sidecar.accept()[0] as old_served:
            cutover(made.pod, loaded, netns, least=1)
            with made.call(PORT) as new, made.sidecar.accept()[0] as new_served:
                assert new_served.getsockname() == (made.lab.b.address, PORT)
                assert made.pod.rules()[Rule.IN_ALL_PORTS] == 1
                rollback(made.pod, loaded, netns)
                for client, served in ((old, old_served), (new, new_served)):
                    client.sendall(b"still here")
                    assert served.recv(64) == b"still here"
                    served.sendall(b"I hear you")
                    assert client.recv(64) == b"I hear you"
        with made.call(PORT), made.sidecar.accept()[0]:
            assert made.pod.rules()[Rule.IN_ALL_PORTS] == 1


def test_the_rules_go_with_the_pod() -> None:
    with world(RULES) as made:
        netns = made.pod.pod.netns
        cutover(made.pod, made.node.loaded, netns, least=0)

        with pytest.raises(MeshError, match="under TPROXY the sidecar calls"):
            finish(made.pod, netns)

        assert rules.are_passed_over(rules.find(netns))
        assert made.pod.mode is PodMode.BESIDE
