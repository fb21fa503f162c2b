"""PREROUTING: Istio's decision on a connection that comes to the pod."""

from beewire.mesh.config import ALL, InterceptionMode, PodConfig
from beewire.mesh.decision.ranges import finder
from beewire.mesh.decision.vocabulary import (
    Action,
    Connection,
    Decide,
    Rule,
    Step,
    Verdict,
)


def reroute(config: PodConfig, version: int) -> Step:
    """A virtual machine's interfaces: nat PREROUTING takes their traffic for outbound."""
    interfaces = frozenset(config.reroute_virtual_interfaces)
    ranges = config.outbound_ip_ranges_include
    find = finder(() if ranges is ALL else ranges, version)

    def step(connection: Connection) -> Verdict | None:
        interface = connection.interface
        if interface not in interfaces:
            return None
        if ranges is ALL or find(connection.destination) is not None:
            return Verdict(Action.TO_OUTBOUND, Rule.IN_REROUTED, interface)
        return Verdict(Action.PASS, Rule.IN_REROUTED_NOT_INCLUDED, interface)

    return step


def inbound_ports(config: PodConfig) -> Decide:
    """ISTIO_INBOUND; TPROXY has it in another table, without the tunnel's rule."""
    tproxy = config.inbound_interception_mode is InterceptionMode.TPROXY
    tunnel = config.inbound_tunnel_port
    include = config.inbound_ports_include
    included = frozenset(() if include is ALL else include)
    excluded = frozenset(config.inbound_ports_exclude)

    def step(connection: Connection) -> Verdict:
        port = connection.destination_port
        if not include:
            return Verdict(Action.PASS, Rule.IN_NOT_INCLUDED)
        if port == tunnel and not tproxy:
            return Verdict(Action.PASS, Rule.IN_TUNNEL_PORT, port)
        if include is ALL:
            if port in excluded:
                return Verdict(Action.PASS, Rule.IN_EXCLUDED_PORT, port)
            return Verdict(Action.TO_INBOUND, Rule.IN_ALL_PORTS)
        if port in included:
            return Verdict(Action.TO_INBOUND, Rule.IN_INCLUDED_PORT, port)
        return Verdict(Action.PASS, Rule.IN_NOT_INCLUDED)

    return step
