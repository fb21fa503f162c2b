"""A start-storm: 200 pods send at once, from before they are configured."""

import contextlib
import os
import signal
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import pytest
from pyroute2 import IPRoute

from beewire.bpf import load
from beewire.bpf.author.loaded import Loaded
from beewire.mesh import gate
from beewire.mesh import netns as namespaces
from beewire.mesh.agent import older
from beewire.mesh.agent.view import NetworkView
from beewire.mesh.enrol import Node, Pod
from beewire.mesh.lab.cgroups import Cgroup, mount_point
from beewire.mesh.lab.namespaces import Namespace
from tests.mesh.outside import HOUSEKEEPING, kind_of

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(300)]

PODS = 200
NAME = f"bw-storm-{os.getpid()}"  # others may run it at the same time
PAUSE_S, PATIENCE_S = 0.4, 120.0
PING = b"\x08\0\xf7\xff\0\0\0\0"
ETH_P_ALL = 3
PACKET_OUTGOING = 4


class StormPod(NamedTuple):
    """One of many: its namespace, its cgroup, its end of a veth pair."""

    number: int
    namespace: Namespace
    cgroup: Cgroup

    @property
    def port(self) -> str:
        """The other end's name."""
        return f"bw-s{self.number}"

    @property
    def address(self) -> str:
        return f"10.{100 + self.number // 200}.{self.number % 200}.2"

    @property
    def gateway(self) -> str:
        return f"10.{100 + self.number // 200}.{self.number % 200}.1"

    def enrolled_as(self) -> Pod:
        return Pod(
            cgroup=self.cgroup.path,
            proxy_cgroup=self.cgroup.path / "proxy",
            netns=self.namespace.path,
            addresses=(self.address,),
        )


@pytest.fixture
def router() -> Iterator[Namespace]:
    made = Namespace(NAME)
    made.create()
    made.run(lambda: _up("lo"))
    yield made
    made.delete()


@pytest.fixture
def pods(router: Namespace) -> Iterator[list[StormPod]]:
    made: list[StormPod] = []
    top = mount_point() / NAME
    try:
        for number in range(PODS):
            pod = StormPod(
                number, Namespace(f"{NAME}-{number}"), Cgroup(top / f"pod-{number}")
            )
            pod.namespace.create()
            made.append(pod)
            Cgroup(pod.cgroup.path / "proxy").create()
            Cgroup(pod.cgroup.path / "app").create()
        router.run(lambda: _wire(made))
        for pod in made:
            pod.namespace.run(partial(_inside, pod))
        yield made
    finally:
        Cgroup(top).delete()
        for pod in made:
            pod.namespace.delete()


def _up(name: str) -> None:
    with IPRoute() as link:
        link.link("set", index=link.link_lookup(ifname=name)[0], state="up")


def _wire(pods: list[StormPod]) -> None:
    with IPRoute() as link:
        for pod in pods:
            fd = os.open(pod.namespace.path, os.O_RDONLY)
            peer = {"ifname": "eth0", "net_ns_fd": fd}
            link.link("add", ifname=pod.port, kind="veth", peer=peer)
            os.close(fd)
            index = link.link_lookup(ifname=pod.port)[0]
            link.addr("add", index=index, address=pod.gateway, prefixlen=24)
            link.link("set", index=index, state="up")


def _inside(pod: StormPod) -> None:
    with IPRoute() as link:
        link.link("set", index=1, state="up")
        index = link.link_lookup(ifname="eth0")[0]
        link.addr("add", index=index, address=pod.address, prefixlen=24)
        link.link("set", index=index, state="up")
        link.route("add", dst="default", gateway=pod.gateway)


def _noise() -> None:
    """Send all that a pod can send, again and again."""
    target = "198.51.100.7"
    header = bytearray(20)
    struct.pack_into("!BBHHHBB", header, 0, 0x45, 0, 20, 0, 0, 64, 253)
    header[16:20] = socket.inet_aton(target)
    while True:
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.connect_ex((target, 80))
        for kind, protocol, data in (
            (socket.SOCK_DGRAM, 0, b"x"),
            (socket.SOCK_RAW, socket.IPPROTO_ICMP, PING),
            (socket.SOCK_RAW, 255, bytes(header)),
        ):
            with (
                contextlib.suppress(OSError),
                socket.socket(socket.AF_INET, kind, protocol) as sock,
            ):
                sock.sendto(data, (target, 9))
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        ):
            sock.connect((target, 9))
            sock.send(b"x")
        time.sleep(PAUSE_S)


@contextlib.contextmanager
def noisy(pods: list[StormPod]) -> Iterator[None]:
    """A process in each pod, in its cgroup from its first moment."""
    children = []
    try:
        for pod in pods:
            child = os.fork()
            if child == 0:
                try:
                    (pod.cgroup.path / "app" / "cgroup.procs").write_text("0")
                    fd = os.open(pod.namespace.path, os.O_RDONLY)
                    namespaces.join(fd)
                    _noise()
                finally:
                    os._exit(1)
            children.append(child)
        yield
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
        for child in children:
            os.waitpid(child, 0)


class Witness:
    """What comes out of any pod, by the interface that it comes to."""

    def __init__(self, router: Namespace) -> None:
        def opened() -> socket.socket:
            sock = socket.socket(
                socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)
            )
            sock.setsockopt(socket.SOL_SOCKET, 33, 1 << 26)  # SO_RCVBUFFORCE
            sock.setblocking(False)
            return sock

        self.sock = router.run(opened)

    def seen(self) -> dict[str, Counter[str]]:
        found: dict[str, Counter[str]] = {}
        with contextlib.suppress(BlockingIOError):
            while True:
                data, (name, _, direction, *_) = self.sock.recvfrom(1 << 16)
                kind = kind_of(data)
                if direction != PACKET_OUTGOING and kind not in HOUSEKEEPING:
                    found.setdefault(name, Counter())[kind] += 1
        return found


@pytest.fixture(scope="module")
def programs() -> Iterator[Loaded]:
    with load(gate.programs()) as loaded:
        yield loaded


def test_200_pods_send_nothing_before_they_are_configured(
    router: Namespace, pods: list[StormPod], programs: Loaded
) -> None:
    with contextlib.ExitStack() as stack:
        keep = stack.enter_context
        witness = Witness(router)
        keep(witness.sock)
        node = keep(Node.load())
        closed = [
            keep(gate.close_namespace(programs, pod.namespace.path)) for pod in pods
        ]
        witness.seen()
        keep(noisy(pods))
        time.sleep(1)  # many of them have begun to send
        early: dict[str, Counter[str]] = {}
        for pod, shut in zip(pods, closed, strict=True):
            early |= {
                name: kinds
                for name, kinds in witness.seen().items()
                if int(name[4:]) >= pod.number
            }
            keep(node.enrol(pod.enrolled_as()))
            with NetworkView(pod.namespace.path) as view:
                older.hand_over(view, shut, pod.cgroup.path / "proxy")
        time.sleep(2)
        late: dict[str, Counter[str]] = {}
        deadline = time.monotonic() + PATIENCE_S
        while True:
            for name, kinds in witness.seen().items():
                late.setdefault(name, Counter()).update(kinds)
            heard = sum("ip4/17" in kinds for kinds in late.values())
            if heard == PODS:
                break
            assert time.monotonic() < deadline, f"{heard} pods have sent anything"
            time.sleep(0.1)

    assert early == {}
    assert len(late) == PODS
    assert all("ip4/6" not in kinds for kinds in late.values())
