"""`Tables`: the plan in the maps that the programs read; connections and counters."""

import time
from collections.abc import Iterator
from ipaddress import IPv6Address
from math import inf
from typing import Final, NamedTuple

from beewire.bpf import Loaded, htons, ntohs
from beewire.errors import MapError, MeshError
from beewire.mesh.enrol.configurations import wait_for_programs
from beewire.mesh.enrol.pod import words
from beewire.mesh.programs import state, straight
from beewire.mesh.programs.addresses import Address
from beewire.mesh.programs.straight import PodPlace, Stage, Straight, Way
from beewire.mesh.sidecar import Reason, Refusal
from beewire.mesh.sidecar.reasons import IP, Place
from beewire.mesh.straight.plan import Judged, Plan

FOREVER: Final = inf
_LONG_S = 100 * 365 * 86400.0

_Dialled = tuple[int, IP, int]  # a pod's cookie, an address, a port


class Passing(NamedTuple):
    """One connection that goes past a sidecar; pods are cookies of namespaces.

    `cookie` is that of the socket that dialled; `is_open` tells it from one that is being
    set up.
    """

    kind: Straight
    client: int
    server: int
    source: Place
    target: Place
    cookie: int
    is_open: bool


class Carried(NamedTuple):
    """What went from one pod to a port of another, past a sidecar, as the client sees it.

    `sent` and `received` are the bytes of connections that have ended.
    """

    kind: Straight
    client: int
    server: int
    port: int
    opened: int
    closed: int
    sent: int
    received: int


class Applied(NamedTuple):
    """What has changed in the tables: ways that are new, and that are gone."""

    added: int
    removed: int


class Tables:
    """The ways of one node, as its programs have them."""

    def __init__(self, loaded: Loaded) -> None:
        self._ways = loaded[straight.ways]
        self._ports = loaded[straight.l4_ports]
        self._claims = loaded[straight.claims]
        self._traffic = loaded[straight.traffic]
        self._lease = loaded[straight.lease]
        self._pods = loaded[state.pods]

    def apply(self, plan: Plan, lease_s: float = FOREVER) -> Applied:
        """Let the programs go by `plan`: first what is gone, then what is new.

        When it returns, no program acts by what is gone any more. After `lease_s`, unless
        it is renewed before, they go by no plan at all.

        Raises:
            MeshError: there are more ways than the maps have room for; those that are
                gone are gone.
        """
        ways = {_key(*dialled): way for dialled, way in _ways_of(plan).items()}
        ports = {_key(*place) for place in _ports_of(plan)}
        known = dict(self._ways.items())
        gone = [key for key, way in known.items() if ways.get(key) != way]
        closed = [key for key in self._ports if key not in ports]
        for key in closed:
            self._ports.delete(key)
        for key in gone:
            self._ways.delete(key)
        if gone or closed:
            wait_for_programs()
        fresh = {key: way for key, way in ways.items() if known.get(key) != way}
        try:
            self._ports.update(dict.fromkeys(ports, 1))
            self._ways.update(fresh)
        except MapError as error:
            raise MeshError(
                f"the node has no room for {len(ways):,} ways past sidecars: {error}"
            ) from error
        self.renew(lease_s)
        return Applied(added=len(fresh), removed=len(gone))

    def renew(self, lease_s: float) -> None:
        """What the sidecars say is still so: the plan holds for `lease_s` from now on."""
        until = time.monotonic_ns() + int(min(lease_s, _LONG_S) * 1e9)
        self._lease[0] = until

    def holds(self) -> bool:
        """Whether the programs go by a plan: its lease has not ended."""
        return self._lease[0] > time.monotonic_ns()

    def end_of(
        self, netns: int, kind: Straight, address: IP, port: int
    ) -> Place | None:
        """Where a pod's connection to a destination ends, if it goes past a sidecar.

        As the programs would decide it now, except that they see whether the sidecars
        live, too.
        """
        if not (self.holds() and self._allows(netns, kind)):
            return None
        way = self._ways.get(_key(netns, address, port))
        if way is None or not way.kinds & kind or not self._allows(way.server, kind):
            return None
        end = _ip(way.address), ntohs(way.port)
        return end if _key(way.server, *end) in self._ports else None

    def _allows(self, netns: int, kind: Straight) -> bool:
        pod = self._pods.get(netns)
        return pod is not None and bool(pod.straight & kind)

    def ways(self) -> int:
        """How many destinations have a way."""
        return len(list(self._ways))

    def passing(self) -> Iterator[Passing]:
        """The connections that go past a sidecar now, those being set up included."""
        for ends, claim in self._claims.items():
            yield Passing(
                kind=Straight(claim.kind),
                client=claim.client,
                server=claim.server,
                source=(_ip(ends.source), ntohs(ends.source_port)),
                target=(_ip(ends.target), ntohs(ends.port)),
                cookie=claim.cookie,
                is_open=claim.stage == Stage.OPEN,
            )

    def live(self) -> set[tuple[Straight, int, int]]:
        """Between which pods connections go past sidecars now: kind, client, server."""
        return {(each.kind, each.client, each.server) for each in self.passing()}

    def stale(self, plan: Plan) -> list[tuple[Passing, tuple[Refusal, ...]]]:
        """Connections that go past a sidecar which has to do something by now, and what.

        Those of pods that have only changed their minds are none: see `plan`.
        """
        judged: dict[tuple[Straight, int, int], list[Judged]] = {}
        for each in plan.judged:
            pair = each.kind, each.client.netns, each.server.netns
            judged.setdefault(pair, []).append(each)
        found = []
        for one in self.passing():
            about = judged.get((one.kind, one.client, one.server), [])
            if about and all(each.leads_to != one.target for each in about):
                found.append((one, _why(about, one)))
        return found

    def carried(self) -> list[Carried]:
        """What Envoy would have counted, by pods and port."""
        return [
            Carried(
                Straight(pair.kind),
                pair.client,
                pair.server,
                ntohs(pair.port),
                counted.opened,
                counted.closed,
                counted.sent,
                counted.received,
            )
            for pair, counted in self._traffic.items()
        ]


def _ways_of(plan: Plan) -> dict[_Dialled, Way]:
    found: dict[_Dialled, Way] = {}
    for each in plan.open:
        if each.address is None or each.leads_to is None:
            continue
        address, port = each.leads_to
        way = Way(
            server=each.server.netns,
            kinds=each.kind,
            port=htons(port),
            address=words(address),
        )
        before = found.setdefault((each.client.netns, each.address, each.port), way)
        before.kinds |= each.kind
    return found


def _ports_of(plan: Plan) -> set[_Dialled]:
    return {(each.server.netns, *each.leads_to) for each in plan.open if each.leads_to}


def _key(netns: int, address: IP, port: int) -> PodPlace:
    return PodPlace(netns=netns, address=words(address), port=htons(port))


def _ip(address: Address) -> IP:
    full = IPv6Address(address.to_bytes())
    return full.ipv4_mapped or full


def _why(judged: list[Judged], passing: Passing) -> tuple[Refusal, ...]:
    for each in judged:
        if each.address is None or (each.address, each.port) == passing.target:
            return each.refusals
    return (Refusal(Reason.CHAIN, "its port is not known to the sidecar any more"),)
