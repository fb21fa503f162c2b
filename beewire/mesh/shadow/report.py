"""What was compared: by rule, what Beewire decided and what Istio's rules did."""

from collections.abc import Iterable
from ipaddress import IPv6Address
from typing import Any, NamedTuple

from beewire.bpf import Loaded, ntohs
from beewire.mesh.config import PodConfig
from beewire.mesh.decision import (
    UDP,
    Action,
    Connection,
    Direction,
    IPAddress,
    Rule,
    decide,
    knob,
)
from beewire.mesh.programs import shadow, state
from beewire.mesh.programs.addresses import Address
from beewire.mesh.programs.shadow import Observed, Outcome, Seen

_INBOUND = frozenset(rule for rule in Rule if rule.name.startswith("IN_"))


class Row(NamedTuple):
    """One kind of outcome: how many connections had it, and the first of them.

    `source_port` of the example is 0 where nothing was seen leave.
    """

    direction: Direction
    rule: Rule
    decided: Action
    seen: Seen
    times: int
    example: Connection

    @property
    def agrees(self) -> bool:
        """Whether the rules did what was decided."""
        return int(self.decided) == int(self.seen)


class Report(NamedTuple):
    """All outcomes of one pod under its present configuration."""

    rows: tuple[Row, ...]

    @property
    def agreed(self) -> int:
        """How many connections both sides would treat alike."""
        return sum(row.times for row in self.rows if row.agrees)

    @property
    def disagreements(self) -> tuple[Row, ...]:
        """What the two sides would not treat alike."""
        return tuple(
            row for row in self.rows if not row.agrees and row.seen is not Seen.NOTHING
        )

    @property
    def disagreed(self) -> int:
        """How many connections the two sides would not treat alike."""
        return sum(row.times for row in self.disagreements)

    @property
    def compared(self) -> int:
        """How many connections were seen on both sides."""
        return self.agreed + self.disagreed

    @property
    def unseen(self) -> int:
        """How many were decided about, and no packet of theirs was seen so far."""
        return sum(row.times for row in self.rows if row.seen is Seen.NOTHING)


def read(loaded: Loaded, netns: int) -> Report:
    """What was compared so far in the pod whose namespace has the cookie `netns`."""
    pod = loaded[state.pods].get(netns)
    config = 0 if pod is None else pod.config
    found = [
        _row(key, observed)
        for key, observed in _of(loaded, netns)
        if key.config == config and observed.count != 0
    ]
    return Report(tuple(sorted(found, key=lambda row: (row.direction, row.rule))))


def as_json(report: Report, config: PodConfig) -> dict[str, Any]:
    """The report, for `json.dumps`."""
    return {
        "compared": report.compared,
        "agreed": report.agreed,
        "disagreed": report.disagreed,
        "unseen": report.unseen,
        "rows": [_row_json(row, config) for row in report.rows],
    }


def _row_json(row: Row, config: PodConfig) -> dict[str, Any]:
    return {
        "direction": row.direction.name.lower(),
        "rule": row.rule.name,
        "knob": knob(config, decide(config, row.example)),
        "beewire": row.decided.name,
        "iptables": row.seen.name,
        "agrees": row.agrees,
        "times": row.times,
        "example": text_of(row.example),
    }


def text_of(connection: Connection) -> str:
    """A connection in one line: "tcp 10.0.0.7:40000 -> 10.96.0.10:80"."""
    protocol = "udp" if connection.protocol == UDP else "tcp"
    target = _endpoint(connection.destination, connection.destination_port)
    if connection.source_port == 0:
        return f"{protocol} to {target}"
    return (
        f"{protocol} {_endpoint(connection.source, connection.source_port)} -> {target}"
    )


def _endpoint(address: IPAddress, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _of(loaded: Loaded, netns: int) -> Iterable[tuple[Outcome, Observed]]:
    items: list[tuple[Outcome, Observed]] = list(loaded[shadow.outcomes].items())
    return [each for each in items if each[0].netns == netns]


def _row(key: Outcome, observed: Observed) -> Row:
    # Programs on several CPUs count up and down: less than nothing was never seen.
    count = observed.count - (1 << 64 if observed.count >> 63 else 0)
    return Row(
        Direction(key.inbound),
        Rule(key.rule),
        Action(key.decided),
        Seen(key.seen),
        max(count, 0),
        Connection(
            direction=Direction(key.inbound),
            protocol=observed.protocol,
            source=_address(observed.source, observed.destination),
            source_port=ntohs(observed.source_port),
            destination=_address(observed.destination, observed.destination),
            destination_port=ntohs(observed.port),
            uid=observed.uid,
            gid=observed.gid,
            in_proxy=bool(observed.in_proxy),
            local=bool(observed.local),
        ),
    )


def _address(address: Address, other: Address) -> IPAddress:
    # All zeros is no IPv4-mapped address; the other end tells the family.
    plain = IPv6Address(address.to_bytes())
    mapped = plain.ipv4_mapped
    if mapped is None and IPv6Address(other.to_bytes()).ipv4_mapped is not None:
        return IPv6Address(int(plain) | 0xFFFF << 32).ipv4_mapped or plain
    return mapped or plain
