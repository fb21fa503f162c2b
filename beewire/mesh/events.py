"""What the data path refused, or found unusual: told by events, and counted.

    for event in events.follow(loaded):
        print(event)          # refused udp 10.0.0.7:40000 -> 10.96.0.10:53 of dig[4711]: ...

One process reads the ring; counters anybody may read.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import IntEnum
from ipaddress import IPv6Address
from typing import Self

from beewire.bpf import ntohs
from beewire.bpf.author.loaded import Loaded
from beewire.mesh.decision.vocabulary import Rule
from beewire.mesh.programs import events as programs
from beewire.mesh.programs.addresses import Address
from beewire.mesh.programs.events import Reason

__all__ = [
    "Event",
    "Protocol",
    "Reason",
    "counts",
    "follow",
    "forget",
    "poll",
    "text_of",
]


class Protocol(IntEnum):
    """`IPPROTO_*`, of those that are named; 0 is a frame that is no IP packet."""

    FRAME = 0
    ICMP = 1
    TCP = 6
    UDP = 17
    ICMP6 = 58
    SCTP = 132


SENTENCES = {
    Reason.NAMESPACE_CLOSED: "the pod's network is closed: its cgroup is not known yet",
    Reason.POD_CLOSED: "the pod is closed: it has no configuration yet",
    Reason.NOT_REDIRECTED: "it was to be captured, and could not be redirected",
    Reason.NO_LISTENER: "the sidecar does not listen: it is dead, or not there yet",
    Reason.DNS_PIPELINED: (
        "a socket asked a second resolver before the first had answered: an answer may"
        " be shown as another's than whose it is"
    ),
    Reason.HANDOVER_MISSED: "the sidecar's socket has no original destination",
    Reason.SHADOW_DISAGREES: (
        "Istio's rules did something else with it than Beewire would: `beewire mesh"
        " shadow` tells what"
    ),
}
UNUSUAL = (  # and not refused
    Reason.DNS_PIPELINED,
    Reason.HANDOVER_MISSED,
    Reason.SHADOW_DISAGREES,
)


@dataclass(frozen=True, slots=True)
class Event:
    """One refused or unusual decision.

    `pod` is the cookie of its network namespace, `when_ns` CLOCK_MONOTONIC. `process` is
    0 where it is not known: a packet that arrives has none, nor has one that is sent
    again. `rule` is the number of the rule that decided, 0 for none. `withheld` tells how
    many of the kind were counted only since the last one.
    """

    pod: int
    when_ns: int
    reason: Reason
    protocol: str
    source: str
    target: str
    inbound: bool
    rule: int
    process: int
    uid: int
    comm: str
    withheld: int

    @classmethod
    def of(cls, record: programs.Event) -> Self:
        """The event that a program sent."""
        flow = record.flow
        return cls(
            pod=record.pod,
            when_ns=record.when,
            reason=Reason(record.reason),
            protocol=protocol_name(flow.protocol),
            source=text_of(flow.source, ntohs(flow.source_port)),
            target=text_of(flow.target, ntohs(flow.port)),
            inbound=bool(flow.inbound),
            rule=flow.rule,
            process=record.process,
            uid=record.uid,
            comm=record.comm,
            withheld=record.withheld,
        )

    def __str__(self) -> str:
        verb = "unusual" if self.reason in UNUSUAL else "refused"
        way = f"{self.protocol} {self.source} -> {self.target}"
        process = f" of {self.comm}[{self.process}]" if self.process else ""
        rule = f" [{rule_name(self.rule)}]" if self.rule else ""
        more = f" ({self.withheld} more before)" if self.withheld else ""
        return f"{verb} {way}{process}: {SENTENCES[self.reason]}{rule}{more}"

    def to_json(self) -> dict[str, object]:
        """The same, for `json.dumps`; reason and rule by their names."""
        rule = rule_name(self.rule) if self.rule else None
        return {**asdict(self), "reason": self.reason.name, "rule": rule}


def protocol_name(number: int) -> str:
    """`tcp`, `icmp6`, ...; a number where there is no name."""
    with contextlib.suppress(ValueError):
        return Protocol(number).name.lower()
    return str(number)


def rule_name(number: int) -> str:
    """`OUT_DNS`, ...; a number that is no rule's, as it is."""
    with contextlib.suppress(ValueError):
        return Rule(number).name
    return str(number)


def follow(loaded: Loaded, seconds: float | None = None) -> Iterator[Event]:
    """Events as they come, without end or for so many seconds."""
    ring = loaded[programs.events]
    for record in ring if seconds is None else ring.during(seconds):
        yield Event.of(record)


def poll(loaded: Loaded) -> list[Event]:
    """Events that have come and were not read yet."""
    return [Event.of(record) for record in loaded[programs.events].poll()]


def counts(loaded: Loaded, pod: int) -> dict[Reason, int]:
    """How often each happened in the pod, told or not; those that never did are 0."""
    tallies = loaded[programs.tallies]
    return {reason: _count(tallies.get(_kind(pod, reason))) for reason in Reason}


def forget(loaded: Loaded, pod: int) -> None:
    """Drop the counters of a pod that is withdrawn."""
    tallies = loaded[programs.tallies]
    for reason in Reason:
        with contextlib.suppress(KeyError):
            del tallies[_kind(pod, reason)]


def text_of(address: Address, port: int = 0) -> str:
    """An address as people write it, with its port unless that is 0.

    `10.0.0.7:80`, `[fd00::7]:80`, `fd00::7`.
    """
    full = IPv6Address(address.to_bytes())
    if (short := full.ipv4_mapped) is not None:
        return f"{short}:{port}" if port else str(short)
    return f"[{full}]:{port}" if port else str(full)


def _kind(pod: int, reason: Reason) -> programs.Kind:
    return programs.Kind(pod=pod, reason=reason)


def _count(tally: programs.Tally | None) -> int:
    return 0 if tally is None else tally.count
