"""`Dump`: an answer to /config_dump?include_eds (envoy/admin/v3/config_dump.proto).

What is in force: active listeners and clusters, whether static or pushed. What warms up
or drains is not. Secrets are never looked at.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from beewire.mesh.sidecar.fields import (
    Message,
    child,
    children,
    decode,
    keys,
    place,
    strings,
    text,
)
from beewire.mesh.sidecar.reasons import Place, UnreadableError

ORIGINAL_DST = "ORIGINAL_DST"
_TYPES = "type.googleapis.com/envoy.admin.v3."
_LISTENERS = f"{_TYPES}ListenersConfigDump"
_CLUSTERS = f"{_TYPES}ClustersConfigDump"
_ENDPOINTS = f"{_TYPES}EndpointsConfigDump"
_ROUTES = f"{_TYPES}RoutesConfigDump"


@dataclass(frozen=True)
class Listener:
    """One listener; `places` are where it listens, whether it is bound there or not."""

    name: str
    places: frozenset[Place]
    message: Message

    @cached_property
    def names(self) -> frozenset[str]:
        """Whatever it may name: clusters and route configurations among it."""
        return frozenset(strings(self.message))

    @cached_property
    def fields(self) -> frozenset[str]:
        """The names of all its fields."""
        return frozenset(keys(self.message))


class Endpoint(NamedTuple):
    """One endpoint of a cluster; `place` is None for pipes, names and tunnels."""

    place: Place | None
    message: Message


class Cluster(NamedTuple):
    """One cluster. `endpoints` is None where nobody knows them."""

    name: str
    message: Message
    endpoints: tuple[Endpoint, ...] | None


@dataclass(frozen=True)
class Dump:
    """The configuration of one Envoy; `routes` are route configurations by name."""

    listeners: tuple[Listener, ...]
    clusters: dict[str, Cluster]
    routes: dict[str, Message]

    @cached_property
    def by_place(self) -> dict[Place, tuple[Listener, ...]]:
        """The listeners of each place: one, or it is not clear which."""
        found: dict[Place, tuple[Listener, ...]] = {}
        for listener in self.listeners:
            for each in listener.places:
                found[each] = (*found.get(each, ()), listener)
        return found

    @cached_property
    def by_endpoint(self) -> dict[Place, tuple[tuple[Cluster, Endpoint], ...]]:
        """The clusters that have an endpoint at a place."""
        found: dict[Place, tuple[tuple[Cluster, Endpoint], ...]] = {}
        for cluster in self.clusters.values():
            for each in cluster.endpoints or ():
                if each.place is not None:
                    found[each.place] = (*found.get(each.place, ()), (cluster, each))
        return found

    @cached_property
    def anywhere(self) -> tuple[Cluster, ...]:
        """The clusters whose endpoints are not listed: they may lead to any place."""
        return tuple(
            each
            for each in self.clusters.values()
            if each.endpoints is None or is_original(each)
        )


def is_original(cluster: Cluster) -> bool:
    """Whether a cluster leads to where its connections were dialled to."""
    return text(cluster.message, "type") == ORIGINAL_DST


def parse(answer: bytes) -> Dump:
    """The configuration that Envoy's answer tells.

    Raises:
        UnreadableError: it is not one, or lacks listeners or clusters.
    """
    parts: dict[str, list[Message]] = {}
    for part in children(decode(answer), "configs"):
        parts.setdefault(text(part, "@type"), []).append(part)
    for needed in (_LISTENERS, _CLUSTERS):
        if needed not in parts:
            raise UnreadableError(
                f"Envoy's answer has no {needed.removeprefix(_TYPES)}"
            )
    endpoints = dict(_assignments(parts.get(_ENDPOINTS, [])))
    clusters = (_cluster(each, endpoints) for each in _clusters(parts[_CLUSTERS]))
    return Dump(
        listeners=tuple(map(_listener, _listeners(parts[_LISTENERS]))),
        clusters={each.name: each for each in clusters},
        routes=dict(_routes(parts.get(_ROUTES, []))),
    )


def _listeners(parts: Iterable[Message]) -> Iterator[Message]:
    for part in parts:
        for each in children(part, "static_listeners"):
            yield child(each, "listener")
        for each in children(part, "dynamic_listeners"):
            if active := child(each, "active_state"):
                yield child(active, "listener")


def _listener(message: Message) -> Listener:
    more = children(message, "additional_addresses")
    said = (child(each, "address") for each in (message, *more))
    places = frozenset(found for each in said if (found := place(each)) is not None)
    return Listener(text(message, "name"), places, message)


def _clusters(parts: Iterable[Message]) -> Iterator[Message]:
    for part in parts:
        for name in ("static_clusters", "dynamic_active_clusters"):
            for each in children(part, name):
                yield child(each, "cluster")


def _cluster(message: Message, known: dict[str, tuple[Endpoint, ...]]) -> Cluster:
    name = text(message, "name")
    served = text(child(message, "eds_cluster_config"), "service_name") or name
    endpoints = known.get(served)
    if endpoints is None and "load_assignment" in message:
        endpoints = _endpoints(child(message, "load_assignment"))
    return Cluster(name, message, endpoints)


def _assignments(
    parts: Iterable[Message],
) -> Iterator[tuple[str, tuple[Endpoint, ...]]]:
    for part in parts:
        for name in ("static_endpoint_configs", "dynamic_endpoint_configs"):
            for each in children(part, name):
                found = child(each, "endpoint_config")
                yield text(found, "cluster_name"), _endpoints(found)


def _endpoints(assignment: Message) -> tuple[Endpoint, ...]:
    return tuple(
        Endpoint(place(child(child(each, "endpoint"), "address")), each)
        for locality in children(assignment, "endpoints")
        for each in children(locality, "lb_endpoints")
    )


def _routes(parts: Iterable[Message]) -> Iterator[tuple[str, Message]]:
    for part in parts:
        for name in ("static_route_configs", "dynamic_route_configs"):
            for each in children(part, name):
                found = child(each, "route_config")
                yield text(found, "name"), found
