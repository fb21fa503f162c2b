"""How a pod's traffic comes to its sidecar: Istio's iptables rules, or Beewire."""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from beewire.mesh.config import ALL, PodConfig
from beewire.mesh.lab.pods import Pod
from beewire.mesh.lab.tools import require
from beewire.mesh.parity import restore_inputs

if TYPE_CHECKING:
    from beewire.mesh.enrol import Enrolment, Node

# Istio's `empty` case and includes `*`: what a sidecar gets without annotations.
SIDECAR = PodConfig(inbound_ports_include=ALL, outbound_ip_ranges_include=ALL)
LOCK_WAIT_S = "60"  # another lab may hold the machine-wide xtables lock


class Interception(Protocol):
    """One way to intercept; installed before the sidecar starts."""

    @property
    def name(self) -> str:
        """What tables and figures call it."""

    def install(self, pod: Pod) -> AbstractContextManager[object]:
        """Intercept the pod's traffic until the end of the block."""


class Iptables:
    """Istio's rules, by iptables-legacy or by iptables-nft, in the pod's namespace."""

    def __init__(self, config: PodConfig = SIDECAR, *, nft: bool = False) -> None:
        self.config = config
        self.backend = "nft" if nft else "legacy"
        self.name = "iptables_nft" if nft else "iptables"

    @contextlib.contextmanager
    def install(self, pod: Pod) -> Iterator[None]:
        """Load the rules; they go with the pod's namespace.

        Raises:
            MeshError: the program is missing, or the kernel refused a rule.
        """
        for table in restore_inputs(self.config):
            family = "ip6tables" if table.family == 6 else "iptables"
            program = require(f"{family}-{self.backend}-restore")
            pod.app.run([program, "-w", LOCK_WAIT_S], text=table.text)
        yield


class Beewire:
    """Beewire's programs, on the pod's cgroups and namespace.

    Pods share the programs of `node`, and know each other by them; without one each pod
    has programs of its own.
    """

    def __init__(
        self,
        config: PodConfig | None = None,
        *,
        node: "Node | None" = None,
        name: str = "beewire",
    ) -> None:
        self.config = config
        self.node = node
        self.name = name

    @contextlib.contextmanager
    def install(self, pod: Pod) -> "Iterator[Enrolment]":
        """Enrol the pod; it is withdrawn at the end of the block.

        Raises:
            KernelError: the kernel refused a program or a link.
        """
        # Only here: the compiler and the programs take a moment to import.
        from beewire.mesh import enrol  # noqa: PLC0415

        target = enrol.Pod(
            cgroup=pod.cgroup.path,
            proxy_cgroup=pod.proxy.cgroup.path,
            netns=pod.namespace.path,
            addresses=pod.addresses,
            config=self.config or enrol.SIDECAR,
        )
        enrolled = self.node.enrol(target) if self.node else enrol.enrol(target)
        with enrolled as enrolment:
            yield enrolment
