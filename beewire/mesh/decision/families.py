"""One configuration, for one IP version."""

from beewire.mesh.config import InterceptionMode, PodConfig
from beewire.mesh.decision.inbound import inbound_ports, reroute
from beewire.mesh.decision.outbound import first, output
from beewire.mesh.decision.owners import Owners
from beewire.mesh.decision.ranges import loopback_of
from beewire.mesh.decision.vocabulary import (
    AGENT_DNS_PORT,
    INBOUND_SOURCES,
    LOOPBACK,
    REDIRECT_TARGETS,
    SIDECAR_CALL_MARK,
    TCP,
    Action,
    Connection,
    Rule,
    Verdict,
)


class Family:
    """The decisions of one configuration, for one IP version."""

    def __init__(self, config: PodConfig, version: int) -> None:
        self._tproxy = config.inbound_interception_mode is InterceptionMode.TPROXY
        self._proxy_mark = config.inbound_tproxy_mark
        self._interfaces = frozenset(config.exclude_interfaces)
        self._source = INBOUND_SOURCES[version]
        self._target = REDIRECT_TARGETS[version]
        self._loopback = loopback_of(config, version)
        self._owner = Owners(config)
        self._listeners = {
            Action.TO_OUTBOUND: config.proxy_port,
            Action.TO_INBOUND: config.inbound_capture_port,
            Action.TO_DNS: AGENT_DNS_PORT,
        }
        self._output = output(config, version, self._owner)
        self._ports = inbound_ports(config)
        self._reroute = reroute(config, version)

    def outbound(self, connection: Connection) -> Verdict:
        """What happens to a new connection that the pod makes."""
        verdict = first(self._output, connection)
        if self._tproxy and connection.protocol == TCP:
            return self._looped(connection, verdict)
        return verdict

    def inbound(self, connection: Connection) -> Verdict:
        """What happens to a new connection that comes to the pod."""
        if connection.protocol != TCP:
            return Verdict(Action.PASS, Rule.IN_OTHER_PROTOCOL)
        passed = Verdict(Action.PASS, Rule.IN_LOCAL)
        if self._tproxy:
            passed = self._mangle(connection)
        # nat has nothing to say of a packet that OUTPUT has seen, nor of a captured one.
        if connection.local or passed.action is not Action.PASS:
            return passed
        if (verdict := self._reroute(connection)) is not None:
            return verdict
        if self._tproxy:
            return passed
        return self._excluded_interface(connection) or self._ports(connection)

    def _excluded_interface(self, connection: Connection) -> Verdict | None:
        interface = LOOPBACK if connection.local else connection.interface
        if interface in self._interfaces:
            return Verdict(Action.PASS, Rule.IN_EXCLUDED_INTERFACE, interface)
        return None

    def _looped(self, connection: Connection, verdict: Verdict) -> Verdict:
        # What stays on this machine passes mangle PREROUTING too, as OUTPUT left it.
        looped = connection._replace(mark=self._mark(connection))
        if verdict.action is not Action.PASS:
            port = self._listeners[verdict.action]
            looped = looped._replace(
                destination=self._target, destination_port=port, local=True
            )
        if looped.local and self._mangle(looped).action is Action.TO_INBOUND:
            return Verdict(Action.TO_INBOUND, Rule.OUT_SELF_CALL_TPROXY)
        return verdict

    def _mark(self, connection: Connection) -> int:
        # mangle OUTPUT marks the sidecar's calls to its own pod.
        owned = self._owner.of(connection) is not None
        if (
            not connection.local
            or connection.mark == self._proxy_mark
            or connection.destination in self._loopback
            or not owned
        ):
            return connection.mark
        return SIDECAR_CALL_MARK

    def _mangle(self, connection: Connection) -> Verdict:
        if (excluded := self._excluded_interface(connection)) is not None:
            return excluded
        if connection.mark == self._proxy_mark:
            return Verdict(Action.PASS, Rule.IN_MARKED, connection.mark)
        if connection.local and (
            connection.source == self._source or connection.mark != SIDECAR_CALL_MARK
        ):
            return Verdict(Action.PASS, Rule.IN_LOCAL)
        verdict = self._ports(connection)
        captured = verdict.action is Action.TO_INBOUND
        if captured and connection.destination in self._loopback:
            return Verdict(Action.PASS, Rule.IN_LOOPBACK, self._loopback)
        return verdict
