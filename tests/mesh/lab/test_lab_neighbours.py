"""More pods in a lab, which do nothing."""

import pytest

from beewire.mesh.enrol import Node
from beewire.mesh.lab import Beewire, Iptables, Lab, LoadConfig, load, mesh
from beewire.mesh.lab.neighbours import neighbours

pytestmark = [pytest.mark.mesh, pytest.mark.usefixtures("machine")]


def test_they_have_sidecars_and_are_gone_at_the_end(lab: Lab) -> None:
    with Node.load() as node, mesh(lab, Beewire(node=node)):
        with neighbours(lab, 2, Beewire(node=node)) as pods:
            cookies = len(node.cookies())
            running_there = [len(pod.proxy.cgroup.pids()) for pod in pods]
            result = load(lab.a, lab.b, LoadConfig(connections=4, seconds=1))
        left = [pod.namespace.path.exists() for pod in pods]

        assert cookies == 4
        assert running_there == [1, 1]
        assert result.errors == 0
        assert left == [False, False]
        assert len(node.cookies()) == 2


def test_the_same_pods_can_be_made_again_at_once(lab: Lab) -> None:
    for _ in range(2):
        with neighbours(lab, 2, None) as pods:
            assert [pod.address for pod in pods] == ["10.77.3.2", "10.77.4.2"]


def test_a_sidecar_counts_the_connections_that_come_to_it(lab: Lab) -> None:
    with mesh(lab, Iptables()) as made:
        idle = made.a.connections(), made.b.connections()
        with lab.a.app.connect(lab.b.address, 80) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")
            sock.recv(1 << 16)
            busy = made.a.connections(), made.b.connections()

    assert idle == (0, 0)
    assert busy == (1, 1)
