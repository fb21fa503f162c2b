"""Several pods on one node: what is shared, and what is each one's own."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_network

import pytest

from beewire.bpf import ntohs
from beewire.mesh.decision import Rule
from beewire.mesh.enrol import SIDECAR, Enrolment, Node
from beewire.mesh.lab import Lab
from beewire.mesh.programs import state
from tests.mesh.enrolling import target

pytestmark = pytest.mark.mesh

PORT = 9000
OUTBOUND, INBOUND, OTHER = 15001, 15006, 16006
B = "10.77.2.2"

Both = tuple[Enrolment, Enrolment]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node.load() as made:
        yield made


@pytest.fixture
def both(lab: Lab, node: Node) -> Iterator[Both]:
    with node.enrol(target(lab.a)) as a, node.enrol(target(lab.b)) as b:
        yield a, b


def test_each_pod_has_counters_and_aliases_of_its_own(lab: Lab, both: Both) -> None:
    a, b = both
    with lab.a.proxy.listen("0.0.0.0", OUTBOUND):
        lab.a.app.connect(B, PORT).close()

    assert a.rules() == {Rule.OUT_ALL_RANGES: 1}
    assert list(a.aliases().values()) == [f"{B}:{PORT}"]
    assert b.rules() == {}
    assert b.aliases() == {}


def test_each_pods_connections_go_to_its_own_sidecar(lab: Lab, both: Both) -> None:
    a, b = both
    with (
        lab.a.proxy.listen("0.0.0.0", OUTBOUND),
        lab.b.proxy.listen("0.0.0.0", INBOUND) as inbound,
        lab.a.proxy.connect(B, PORT) as upstream,
    ):
        accepted, peer = inbound.accept()
        accepted.close()

        assert peer == upstream.getsockname()
    assert a.rules() == {Rule.OUT_PROXY: 1}
    assert b.rules() == {Rule.IN_ALL_PORTS: 1}


def test_a_pod_is_served_when_another_is_withdrawn(lab: Lab, both: Both) -> None:
    a, b = both
    b.close()

    with lab.a.proxy.listen("0.0.0.0", OUTBOUND), lab.a.app.connect(B, PORT) as sock:
        assert sock.getpeername() == (B, PORT)
    with lab.a.app.listen("0.0.0.0", PORT), pytest.raises(ConnectionRefusedError):
        lab.b.app.connect(lab.a.address, PORT)
    assert a.rules() == {Rule.OUT_ALL_RANGES: 1, Rule.IN_ALL_PORTS: 1}


@pytest.mark.usefixtures("both")
def test_equal_configurations_are_one(node: Node) -> None:
    assert len(node.loaded[state.configs]) == 1
    assert node.configure(SIDECAR) == next(iter(node.loaded[state.configs]))
    node.release(next(iter(node.loaded[state.configs])))


def test_a_configuration_goes_with_its_last_pod(node: Node, both: Both) -> None:
    a, b = both
    narrower = replace(SIDECAR, outbound_ports_exclude=(PORT,))
    a.update(narrower)
    assert len(node.loaded[state.configs]) == 2
    b.update(narrower)

    assert len(node.loaded[state.configs]) == 1
    a.close()
    b.close()
    assert len(node.loaded[state.configs]) == 0
    assert len(node.loaded[state.numbers]) == 0


def accept_all(listener: socket.socket) -> None:
    """Accept until the listener is shut down."""
    with contextlib.suppress(OSError):
        while True:
            listener.accept()[0].close()


@contextlib.contextmanager
def working(*functions: Callable[[], None]) -> Iterator[None]:
    """Run functions beside the block; they have to end by themselves."""
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()


def test_every_connection_meets_the_old_configuration_or_the_new(
    lab: Lab, node: Node
) -> None:
    """Half of either would refuse it, or send it nowhere."""
    straight = replace(
        SIDECAR,
        outbound_ip_ranges_exclude=(ip_network(f"{B}/32"),),
        outbound_ports_exclude=tuple(range(20_000, 20_200)),
    )
    done = threading.Event()

    def dial() -> None:
        for _ in range(600):
            socket.create_connection((B, PORT), 30).close()

    with (
        node.enrol(target(lab.a)) as pod,
        lab.a.proxy.listen("0.0.0.0", OUTBOUND, 512) as near,
        lab.b.app.listen("0.0.0.0", PORT, 512) as far,
    ):

        def change() -> None:
            while not done.is_set():
                pod.update(straight)
                pod.update(SIDECAR)

        with working(change, lambda: accept_all(near), lambda: accept_all(far)):
            try:
                lab.a.app.call(dial, timeout_s=60.0)
            finally:
                done.set()
                near.shutdown(socket.SHUT_RDWR)
                far.shutdown(socket.SHUT_RDWR)
        met = pod.rules()
    assert sum(met.values()) == 600
    assert set(met) <= {Rule.OUT_ALL_RANGES, Rule.OUT_EXCLUDED_RANGE}


def test_a_listener_that_is_there_takes_over_with_another_port(
    lab: Lab, node: Node
) -> None:
    with (
        lab.a.proxy.listen("0.0.0.0", OTHER) as listener,
        node.enrol(target(lab.a)) as pod,
    ):
        moved = replace(SIDECAR, inbound_capture_port=OTHER)
        pod.update(moved, [(listener.family, listener.fileno())])
        with lab.b.app.connect(lab.a.address, PORT) as client:
            accepted, peer = listener.accept()
            accepted.close()

            assert peer == client.getsockname()
        assert {ntohs(slot.port) for slot in node.loaded[state.listeners]} == {OTHER}
