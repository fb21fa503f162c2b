"""Two pods under Istio's rules, with their sidecars, and Beewire beside them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from beewire.mesh.config import PodConfig
from beewire.mesh.decision import Rule
from beewire.mesh.enrol import SIDECAR, Enrolment, Node
from beewire.mesh.lab import Interception, Iptables, Lab, mesh
from beewire.mesh.lab.pods import Pod as LabPod
from beewire.mesh.lab.tools import require
from beewire.mesh.parity import nft_input
from beewire.mesh.programs.state import PodMode
from beewire.mesh.shadow import Report, Row, Seen, read
from tests.mesh.enrolling import target

INBOUND = 15006
REQUEST = b"GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n"
KEEP = b"GET / HTTP/1.1\r\nHost: b\r\n\r\n"
RULES = replace(SIDECAR, redirect_dns=True, capture_all_dns=True)


class Nftables:
    """Istio's rules as nftables of its own."""

    name = "nftables"

    def __init__(self, config: PodConfig) -> None:
        self.config = config

    @contextmanager
    def install(self, pod: LabPod) -> Iterator[None]:
        """Load the rules; they go with the pod's namespace."""
        pod.app.run([require("nft"), "-f", "-"], text=nft_input(self.config))
        yield


class World(NamedTuple):
    """Pods A and B, enrolled in shadow mode while they run."""

    lab: Lab
    node: Node
    a: Enrolment
    b: Enrolment

    def report(self, enrolment: Enrolment) -> Report:
        return read(self.node.loaded, enrolment.netns)

    def rows(self, enrolment: Enrolment) -> dict[tuple[Rule, Seen], Row]:
        rows = self.report(enrolment).rows
        return {(row.rule, row.seen): row for row in rows}


@contextmanager
def world(
    rules: PodConfig = RULES,
    config: PodConfig = RULES,
    pins: Path | None = None,
    written_by: Callable[[PodConfig], Interception] = Iptables,
) -> Iterator[World]:
    """Istio has written `rules`, and Beewire is told `config`."""
    with ExitStack() as stack:
        lab = stack.enter_context(Lab())
        stack.enter_context(mesh(lab, written_by(rules)))
        node = stack.enter_context(Node.load(pins and pins / "set"))
        pods = [
            stack.enter_context(shadowed(node, pod, config, pins)) for pod in lab.pods
        ]
        yield World(lab, node, pods[0], pods[1])


def shadowed(
    node: Node, pod: LabPod, config: PodConfig, pins: Path | None = None
) -> Enrolment:
    """Enrol a pod that runs, with the listeners of its sidecar."""
    from beewire.mesh.agent import processes  # noqa: PLC0415 - a room above
    from beewire.mesh.agent.view import NetworkView  # noqa: PLC0415 - as above

    with NetworkView(pod.namespace.path) as view:
        pids = processes.pids_in(pod.proxy.cgroup.path)
        found = processes.listeners_of(view, pids, INBOUND)
    try:
        return node.enrol(
            target(pod)._replace(config=config),
            pins=pins and pins / pod.name,
            listeners=[(each.family, each.fd) for each in found],
            mode=PodMode.SHADOW,
        )
    finally:
        processes.close_all(found)


def get(lab: Lab, host: str, port: int = 80) -> bytes:
    """Headers and body that pod A's application gets."""
    with lab.a.app.connect(host, port) as sock:
        sock.sendall(REQUEST)
        return b"".join(iter(lambda: sock.recv(1 << 16), b"")).lower()
