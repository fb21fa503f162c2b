"""`Subject`: the pod that is asked about."""

from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple

from beewire.mesh.config import Configuration
from beewire.mesh.decision import Rule, Verdict, knob
from beewire.mesh.enrol import Node
from beewire.mesh.network import Network
from beewire.mesh.programs import state
from beewire.mesh.programs.state import PodMode

IP = IPv4Address | IPv6Address
ENVOY_INBOUND6 = IPv6Address("::6")


class Subject(NamedTuple):
    """One pod. `netns` is the cookie of its namespace, 0 where there is none.

    `node` has the programs and maps, None where nothing is loaded: hypothetical
    connections can be explained without.
    """

    name: str
    cgroup: Path
    proxy_cgroup: Path
    namespace: Path
    addresses: tuple[IP, ...]
    configuration: Configuration
    netns: int = 0
    node: Node | None = None

    def is_own(self, address: IP) -> bool:
        """Whether an address is the pod's, loopback included."""
        if address.is_loopback or address.is_unspecified:
            return True
        return address in self.addresses or address == ENVOY_INBOUND6

    @property
    def is_shadow(self) -> bool:
        """Whether the programs decide and do not act."""
        if self.node is None or not self.netns:
            return False
        pod = self.node.loaded[state.pods].get(self.netns)
        return pod is not None and pod.mode == PodMode.SHADOW

    def origin(self, verdict: Verdict) -> str:
        """Who said so: an annotation, flag or file; "" for rules that always hold."""
        field = knob(self.configuration.config, verdict)
        if field is None:
            return ""
        return str(self.configuration.origin(field, verdict.item))

    def times(self, rule: Rule) -> int | None:
        """How often a rule decided since the pod was enrolled."""
        if self.node is None or not self.netns:
            return None
        return self.node.rules(self.netns).get(rule, 0)

    def interface_to(self, destination: IP) -> str:
        """The interface that the main table's best route leads by; "" for none."""
        with Network.of(self.namespace) as network:
            names = {index: name for name, index in network.interfaces().items()}
            ways = [
                way
                for way in network.routes()
                if way.destination.version == destination.version
                and destination in way.destination
            ]
        best = min(
            ways, key=lambda way: (-way.destination.prefixlen, way.metric), default=None
        )
        return "" if best is None else names.get(best.interface, "")


def addresses_of(texts: tuple[str, ...]) -> tuple[IP, ...]:
    """Addresses of their texts."""
    return tuple(ip_address(text) for text in texts)
