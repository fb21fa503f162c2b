"""Every live TCP connection of a pod: how far it is shortened, by what way, and why.

An end that the short path has considered is told by its programs. Of the others the reason
is found out: which tiers both pods have, and where the other end is.
"""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, NamedTuple

from beewire.mesh.agent.records import ENROLLED, PodRecord
from beewire.mesh.agent.tiers import Tiering
from beewire.mesh.agent.view import (
    CLOSE,
    LISTEN,
    TIME_WAIT,
    NetworkView,
    SocketState,
    inode_of,
)
from beewire.mesh.bypass import REASONS, Connection, connections
from beewire.mesh.config import Bypass
from beewire.mesh.enrol import Node
from beewire.mesh.programs.bypass.state import Mode, Role, Totals, Why
from beewire.mesh.sidecar import ADMIN_PORT
from beewire.mesh.straight import Tables

_AT_REST = (LISTEN, TIME_WAIT, CLOSE)
_COUNTERS = (
    "short_bytes", "short_messages", "tcp_bytes", "tcp_segments", "received_bytes", "turns",
)  # fmt: skip
SHORT, TCP = "short", "tcp"
_PAST = "past the sidecars by TCP: the short path asks for tier all of both pods"
_ADDRESS = IPv4Address | IPv6Address
_Ends = tuple[str, str]  # of a connection, as one of them sees them


class Neighbourhood(NamedTuple):
    """The pods of a node, as one of them sees the others.

    `pods` are those that are enrolled, by the cookies of their namespaces, and `tierings`
    what they get; `owners` has the pod of each address. `considered` has the ends that the
    short path has looked at, of each pod; `past` the way of each connection that goes past
    a sidecar, by its ends as either of them sees them.
    """

    pods: Mapping[int, PodRecord]
    tierings: Mapping[int, Tiering]
    owners: Mapping[str, int]
    considered: Mapping[int, Mapping[_Ends, Connection]]
    past: Mapping[_Ends, str]
    totals: Mapping[int, Totals]

    @classmethod
    def of(
        cls, node: Node | None, pods: list[PodRecord], tierings: dict[str, Tiering]
    ) -> "Neighbourhood":
        """Of these pods, which are all of the node's."""
        enrolled = {int(each.id): each for each in pods if each.state == ENROLLED}
        considered: dict[int, dict[_Ends, Connection]] = {}
        for each in connections(node.short_path) if node else ():
            considered.setdefault(each.netns, {})[each.local, each.remote] = each
        return cls(
            enrolled,
            {netns: tierings[each.id] for netns, each in enrolled.items()},
            {
                address: netns
                for netns, each in enrolled.items()
                for address in each.addresses
            },
            considered,
            dict(_past(node)) if node else {},
            {each: node.short_path.totals(each) for each in enrolled} if node else {},
        )

    def name(self, netns: int) -> str:
        """What a pod is called; "" for none of this node."""
        return self.pods[netns].name if netns in self.pods else ""

    def told(self, record: PodRecord) -> list[dict[str, Any]]:
        """The live connections of a pod, each of its ends there, as JSON."""
        netns = int(record.id)
        known = self.considered.get(netns, {})
        found = [self._considered(each) for each in known.values()]
        if inode_of(Path(record.netns)) != record.netns_inode:
            return found
        with NetworkView(Path(record.netns)) as view:
            others = [
                self._other(netns, each)
                for each in view.sockets()
                if each.state not in _AT_REST
                and _ends(each) not in known
                and not _is_asked(each)
            ]
        return found + others

    def closed(self, record: PodRecord) -> dict[str, Any]:
        """What the connections of a pod carried that are closed by now, as JSON.

        `reasons` has how many there were by the reason of their last message, "" for those
        that ended on the short path.
        """
        found = self.totals.get(int(record.id), Totals())
        reasons = {
            REASONS[why]: found.connections[why]
            for why in Why
            if found.connections[why]
        }
        names = ("short_bytes", "short_messages", "tcp_bytes", "tcp_messages", "turns")
        return {
            "connections": sum(reasons.values()),
            **{name: getattr(found, name) for name in names},
            "reasons": reasons,
        }

    def _considered(self, each: Connection) -> dict[str, Any]:
        return {
            "local": each.local,
            "remote": each.remote,
            "role": each.role.name.lower(),
            "peer": self.name(each.peer_netns),
            "peer_role": each.peer_role.name.lower() if each.peer_netns else "",
            "tier": _tier(each) if each.peer_netns and not each.is_final else "off",
            "mode": SHORT if each.mode == Mode.SHORT else TCP,
            "reason": each.reason,
            "is_final": each.is_final,
            **{name: getattr(each, name) for name in _COUNTERS},
        }

    def _other(self, netns: int, each: SocketState) -> dict[str, Any]:
        local, remote = _ends(each)
        beyond = self._beyond(netns, each)
        return {
            "local": local,
            "remote": remote,
            "role": "",
            "peer": self.name(beyond),
            "peer_role": "",
            "tier": self.past.get((local, remote), "off"),
            "mode": TCP,
            "reason": _PAST
            if (local, remote) in self.past
            else self._why(netns, beyond, (local, remote)),
            "is_final": True,
            **dict.fromkeys(_COUNTERS),
        }

    def _beyond(self, netns: int, each: SocketState) -> int:
        # The namespace of the other end; 0: of no pod of this node.
        ends = (_plain(each.local), _plain(each.remote))
        if any(end.is_loopback for end in ends):
            return netns
        return self.owners.get(str(ends[1]), 0)

    def _why(self, netns: int, beyond: int, ends: _Ends) -> str:
        other = self.considered.get(beyond, {}).get((ends[1], ends[0]))
        if other is not None and other.reason:
            return other.reason  # it has dialled, and stays on TCP with this end
        own = self.tierings[netns]
        if own.tier is Bypass.OFF:
            return next(iter(own.why), "the pod asks for no short path")
        if not beyond:
            return "the other end is on no pod of this node"
        if beyond == netns:
            if own.tier is not Bypass.ALL:
                return f"tier {own.tier.value} leaves connections within a pod on TCP"
        elif self.tierings[beyond].tier is Bypass.OFF:
            return f"{self.name(beyond)} has no short path"
        return "it is older than its pod's tier, or of no sidecar"


def _past(node: Node) -> Iterator[tuple[_Ends, str]]:
    for each in Tables(node.loaded).passing():
        source, target = _end(*each.source), _end(*each.target)
        way = (each.kind.name or "").lower()
        yield (source, target), way
        yield (target, source), way


def _is_asked(each: SocketState) -> bool:
    """Whether somebody asks Envoy itself, as the agent does: nothing of the pod's."""
    is_local = _plain(each.local).is_loopback and _plain(each.remote).is_loopback
    return is_local and ADMIN_PORT in (each.local_port, each.remote_port)


def _tier(each: Connection) -> str:
    if each.netns == each.peer_netns:
        return "all"
    if each.role == each.peer_role == Role.APPLICATION:
        return "splice"
    return "sidecars" if each.role == each.peer_role else "shortcut"


def _ends(each: SocketState) -> _Ends:
    return (
        _end(each.local, each.local_port),
        _end(each.remote, each.remote_port),
    )


def _end(address: _ADDRESS, port: int) -> str:
    plain = _plain(address)
    return f"[{plain}]:{port}" if plain.version == 6 else f"{plain}:{port}"


def _plain(address: _ADDRESS) -> _ADDRESS:
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else ip_address(str(mapped))
