"""Which connections between the pods of a node need no proxy, and why the others do."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from beewire.mesh.programs.straight import Straight
from beewire.mesh.sidecar import (
    Dump,
    Inbound,
    Mtls,
    Outbound,
    Reason,
    Refusal,
    inbound,
    known_ports,
    outbound,
    upstream,
)
from beewire.mesh.sidecar.judging import INBOUND_PORT, OUTBOUND_PORT
from beewire.mesh.sidecar.reasons import IP, Place

Pair = tuple[Straight, int, int]  # kind, and the cookies of client and server

_NOTHING = Dump((), {}, {})  # by it everything is refused


class Member(NamedTuple):
    """One pod of the node that says yes to something.

    `netns` is the cookie of its namespace, `kinds` what it says yes to. `dump` is what its
    sidecar says, None where that is not known, and `problem` then says why. `ports` are
    those that its application listens on; the others are where its sidecar listens.
    """

    name: str
    netns: int
    addresses: tuple[IP, ...]
    kinds: Straight
    dump: Dump | None
    problem: str = ""
    ports: frozenset[int] = frozenset()
    inbound_port: int = INBOUND_PORT
    outbound_port: int = OUTBOUND_PORT


class Judged(NamedTuple):
    """One destination of one pod's connections; it has a way if nothing refuses it.

    The client's sidecar is only asked about what the server's does not refuse.

    `address` and `port` are what is dialled, `leads_to` where that ends: the same, but
    for the address of a Service with a single endpoint. Both are None, and `port` 0,
    where what refuses it goes for every port. `mtls` is which clients the port takes;
    `agreed` whether both pods say yes, without which there is no new connection.
    """

    kind: Straight
    client: Member
    server: Member
    address: IP | None
    port: int
    leads_to: Place | None
    refusals: tuple[Refusal, ...]
    mtls: Mtls | None = None
    agreed: bool = True

    @property
    def is_open(self) -> bool:
        """Whether new connections go past the sidecars."""
        return self.agreed and not self.refusals


class Plan(NamedTuple):
    """Every pair of pods that both say yes, destination by destination."""

    members: tuple[Member, ...]
    judged: tuple[Judged, ...]

    @property
    def open(self) -> Iterator[Judged]:
        """Those that have a way."""
        return (each for each in self.judged if each.is_open)


def plan(members: Iterable[Member], live: Iterable[Pair] = ()) -> Plan:
    """Judge all pairs of `members` that both say yes, and those of `live`.

    `live` are pairs between which connections go past sidecars, as Tables.live tells them:
    they are judged whatever their pods say by now.
    """
    pods, going = tuple(members), frozenset(live)
    judged: list[Judged] = []
    for server in pods:
        ends = _Ends(server)
        for client in pods:
            if client is not server:
                judged += _between(client, ends, going)
    return Plan(pods, tuple(judged))


class _Ends:
    """The places of a pod that its sidecar has been asked about."""

    def __init__(self, server: Member) -> None:
        self.server = server
        self.judged: dict[Place, Inbound] = {}
        if server.dump is None:
            return
        chained = known_ports(server.dump, listener_port=server.inbound_port)
        for port in sorted((server.ports | chained) - _own_ports(server.dump)):
            for address in server.addresses:
                self.judged[address, port] = inbound(
                    server.dump, address, port, listener_port=server.inbound_port
                )


def _own_ports(dump: Dump) -> set[int]:
    """The ports that a sidecar itself is bound to."""
    return {
        port
        for listener in dump.listeners
        if listener.message.get("bind_to_port") is not False
        for _, port in listener.places
    }


def _between(client: Member, ends: _Ends, live: frozenset[Pair]) -> Iterator[Judged]:
    server = ends.server
    for kind in Straight:
        agreed = bool(kind & client.kinds & server.kinds)
        if not agreed and (kind, client.netns, server.netns) not in live:
            continue
        for each in _of_kind(kind, client, ends):
            yield each._replace(agreed=agreed)


def _of_kind(kind: Straight, client: Member, ends: _Ends) -> Iterator[Judged]:
    if refusals := tuple(_unread(client, ends.server)):
        yield Judged(kind, client, ends.server, None, 0, None, refusals)
    elif kind is Straight.SHORTCUT:
        yield from _shortcuts(client, ends)
    else:
        yield from _splices(client, ends)


def _unread(client: Member, server: Member) -> Iterator[Refusal]:
    for member in (client, server):
        if member.dump is None:
            yield Refusal(
                Reason.UNREADABLE, f"the sidecar of {member.name}: {member.problem}"
            )


def _shortcuts(client: Member, ends: _Ends) -> Iterator[Judged]:
    dump = _dump(client)
    for (address, port), found in ends.judged.items():
        refusals = found.refusals or upstream(
            dump, address, port, listener_port=client.outbound_port
        )
        yield _judged(Straight.SHORTCUT, client, ends, (address, port), refusals)


def _splices(client: Member, ends: _Ends) -> Iterator[Judged]:
    for place, found in ends.judged.items():
        refusals = found.refusals or tuple(_going_astray(client, place))
        yield _judged(Straight.SPLICE, client, ends, place, refusals)
    for service in _services(client):
        left = _leaving(client, service)
        end = left.leads_to
        if end is None or end == service or end not in ends.judged:
            continue
        if end[0].version == service[0].version:
            refusals = ends.judged[end].refusals
            yield _judged(Straight.SPLICE, client, ends, service, refusals, end)


def _going_astray(client: Member, place: Place) -> Iterator[Refusal]:
    left = _leaving(client, place)
    yield from left.refusals
    if left.leads_to not in (None, place):
        says = f"the sidecar of {client.name} sends it elsewhere"
        yield Refusal(Reason.ELSEWHERE, says)


def _judged(
    kind: Straight,
    client: Member,
    ends: _Ends,
    dialled: Place,
    refusals: tuple[Refusal, ...],
    end: Place | None = None,
) -> Judged:
    once = tuple(dict.fromkeys(refusals))
    where = None if once else end or dialled
    mtls = ends.judged[end or dialled].mtls
    return Judged(kind, client, ends.server, *dialled, where, once, mtls)


def _leaving(client: Member, place: Place) -> Outbound:
    return outbound(_dump(client), *place, listener_port=client.outbound_port)


def _services(client: Member) -> list[Place]:
    """The addresses that a sidecar has listeners for, without being bound to them."""
    return sorted(
        (
            (address, port)
            for listener in _dump(client).listeners
            if listener.message.get("bind_to_port") is False
            for address, port in listener.places
            if not address.is_unspecified
        ),
        key=lambda place: (place[0].version, int(place[0]), place[1]),
    )


def _dump(member: Member) -> Dump:
    return member.dump or _NOTHING
