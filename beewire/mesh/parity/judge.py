"""One configuration, asked three ways: the rules, the pure function, the programs."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from beewire.mesh.config import PodConfig
from beewire.mesh.decision import (
    AGENT_DNS_PORT,
    LOOPBACK,
    NO_OWNER,
    Action,
    Connection,
    Direction,
    Rule,
    State,
    Verdict,
    decider,
)
from beewire.mesh.parity import oracle_iptables, oracle_nft
from beewire.mesh.parity.deltas import Delta, explained
from beewire.mesh.parity.kernel import Kernel
from beewire.mesh.parity.nft import nft_input
from beewire.mesh.parity.oracle import Oracle, Outcome, Packet
from beewire.mesh.parity.rules import restore_inputs

# What the kernel says of one connection; None: programs are not asked about it.
Programs = tuple[Action, Rule] | None


class Difference(NamedTuple):
    """A connection that is not decided alike, and the rule on each side."""

    connection: Connection
    rules: str
    function: str
    programs: str


class Judged(NamedTuple):
    """What came of comparing some connections, and what the rules did to each."""

    documented: Counter[Delta]
    unexplained: list[Difference]
    outcomes: list[Outcome]


Notation = Callable[[PodConfig, Mapping[str, int]], Oracle]


def iptables(config: PodConfig, groups: Mapping[str, int]) -> Oracle:
    """The oracle of Istio's rules for `config`, as iptables' text."""
    return Oracle(
        table
        for each in restore_inputs(config)
        for table in oracle_iptables.tables(each.family, each.text, groups)
    )


def nft(config: PodConfig, groups: Mapping[str, int]) -> Oracle:
    """The oracle of Istio's rules for `config`, as nft's text."""
    return Oracle(oracle_nft.tables(nft_input(config), groups))


class Judge:
    """Compares decisions under one configuration.

    `groups` are the numbers of groups that it names.
    """

    def __init__(
        self,
        config: PodConfig,
        groups: Mapping[str, int],
        notation: Notation = iptables,
    ) -> None:
        self.config = config
        self.oracle = notation(config, groups)
        self._by_nft = notation is nft
        self._decide = decider(config)
        self._ports = {
            Action.PASS: None,
            Action.TO_OUTBOUND: config.proxy_port,
            Action.TO_INBOUND: config.inbound_capture_port,
            Action.TO_DNS: AGENT_DNS_PORT,
        }

    def compare(
        self,
        connections: Sequence[Connection],
        kernel: Kernel | None,
        interfaces: Mapping[str, int],
    ) -> Judged:
        """Compare what is decided about `connections`; without `kernel`, two ways only."""
        judged = Judged(Counter(), [], [])
        programs = self._programs(connections, kernel, interfaces)
        for connection, program in zip(connections, programs, strict=True):
            outcome = self.oracle.decide(packet_of(connection))
            verdict = self._decide(connection)
            judged.outcomes.append(outcome)
            alike = program is None or program == verdict[:2]
            if alike and self.agree(outcome, verdict):
                continue
            delta = self._explain(connection, verdict) if alike else None
            if delta is None:
                found = self._difference(connection, outcome, verdict, program)
                judged.unexplained.append(found)
            else:
                judged.documented[delta] += 1
        return judged

    def _programs(
        self,
        connections: Sequence[Connection],
        kernel: Kernel | None,
        interfaces: Mapping[str, int],
    ) -> list[Programs]:
        if kernel is None:
            return [None] * len(connections)
        asked = kernel.configure(self.config, interfaces)
        decided = kernel.decide(asked, connections)
        kernel.forget(asked)
        # No hook is called for a packet that begins no connection.
        return [
            program if connection.state is State.NEW else None
            for connection, program in zip(connections, decided, strict=True)
        ]

    def agree(self, outcome: Outcome, verdict: Verdict) -> bool:
        """Whether rules and function do the same with a connection."""
        if outcome.dropped:
            return verdict.action is Action.REFUSE
        return self._ports.get(verdict.action, 0) == outcome.port

    def _explain(self, connection: Connection, verdict: Verdict) -> Delta | None:
        found = explained(self.config, connection, by_nft=self._by_nft)
        if found is None:
            return None
        delta, instead = found
        if instead is None:
            return delta
        outcome = self.oracle.decide(packet_of(instead))
        return delta if self.agree(outcome, verdict) else None

    def _difference(
        self,
        connection: Connection,
        outcome: Outcome,
        verdict: Verdict,
        program: Programs,
    ) -> Difference:
        fate = "dropped" if outcome.dropped else _to(outcome.port)
        rule = self.oracle.deciding(outcome)
        return Difference(
            connection,
            f"{fate} by {rule.table} {rule.text}"
            if rule
            else f"{fate}: no rule matches",
            _said(verdict.action, verdict.rule),
            "" if program is None else _said(*program),
        )


def packet_of(connection: Connection) -> Packet:
    """The packet that rules would see of `connection`."""
    interface = LOOPBACK if connection.local else connection.interface or "eth0"
    new = connection.state is State.NEW
    outbound = connection.direction is Direction.OUTBOUND
    uid = connection.uid if outbound and connection.uid != NO_OWNER else None
    gid = connection.gid if outbound and connection.gid != NO_OWNER else None
    return Packet(
        outbound,
        connection.destination.version,
        connection.protocol,
        int(connection.source),
        connection.source_port,
        int(connection.destination),
        connection.destination_port,
        uid,
        gid,
        interface,
        connection.mark,
        # conntrack keeps the mark of the packet that began a connection.
        0 if new else connection.mark,
        connection.state.name,
    )


def connection_of(packet: Packet, *, in_proxy: bool = False) -> Connection:
    """The connection that begins with `packet`, or that it is a part of."""
    address = IPv4Address if packet.version == 4 else IPv6Address
    local = packet.interface == LOOPBACK
    return Connection(
        Direction.OUTBOUND if packet.outbound else Direction.INBOUND,
        packet.protocol,
        address(packet.source),
        packet.source_port,
        address(packet.destination),
        packet.destination_port,
        NO_OWNER if packet.uid is None else packet.uid,
        NO_OWNER if packet.gid is None else packet.gid,
        in_proxy,
        "" if local else packet.interface,
        local,
        packet.mark,
        State[packet.state],
    )


def _to(port: int | None) -> str:
    return "passed" if port is None else f"to {port}"


def _said(action: Action, rule: Rule) -> str:
    return f"{action.name} by {rule.name}"
