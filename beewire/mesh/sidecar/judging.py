"""Ports of a pod and destinations of its application: L4-only, or why not."""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from beewire.mesh.sidecar import filters
from beewire.mesh.sidecar.chains import Chain, candidates, takes_plaintext
from beewire.mesh.sidecar.clusters import leads_to, transport
from beewire.mesh.sidecar.dump import Dump, Listener, is_original
from beewire.mesh.sidecar.fields import (
    child,
    children,
    keys,
    number,
    strings,
)
from beewire.mesh.sidecar.reasons import (
    IP,
    Inbound,
    Mtls,
    Outbound,
    Place,
    Reason,
    Refusal,
    UnreadableError,
)

INBOUND_PORT, OUTBOUND_PORT = 15006, 15001
_ANY = {4: ip_address("0.0.0.0"), 6: ip_address("::")}


def inbound(
    dump: Dump, address: IP, port: int, *, listener_port: int = INBOUND_PORT
) -> Inbound:
    """What a sidecar does with plaintext connections to `address`:`port` of its pod.

    `listener_port` is where it takes what is captured.
    """
    mtls = Mtls.DISABLE
    try:
        listener = _bound(dump, address, listener_port)
        found = list(filters.of_listener(listener.message, listener.name))
        chains = candidates(listener.message, address, port)
        mtls = _mtls(chains)
        found += _by_source(listener, chains)
        if mtls is Mtls.STRICT:
            says = "mutual TLS, STRICT: only clients with a certificate of the mesh"
            found.append(Refusal(Reason.MTLS, says, _where(listener, chains[0])))
        elif not takes_plaintext(chains):
            says = (
                f"no filter chain takes plaintext to port {port}, whatever it carries"
            )
            found.append(Refusal(Reason.CHAIN, says, listener.name))
        plain = [each for each in chains if not each.tls]
        ends, refusals = _ends(dump, listener, plain, (address, port))
        found += refusals
        found += _not_here(ends, (address, port), listener.name)
    except UnreadableError as error:
        found = [Refusal(Reason.UNREADABLE, str(error))]
    return Inbound(address, port, mtls, _once(found))


def outbound(
    dump: Dump, address: IP, port: int, *, listener_port: int = OUTBOUND_PORT
) -> Outbound:
    """What a sidecar does with its application's connections to `address`:`port`.

    `listener_port` is where it takes what is captured.
    """
    place: Place | None = None
    try:
        first = _bound(dump, address, listener_port)
        found = list(filters.of_listener(first.message, first.name))
        listener = serving(dump, address, port, listener_port=listener_port)
        if listener is not first:
            found += filters.of_listener(listener.message, listener.name)
        chains = candidates(listener.message, address, port)
        found += _by_source(listener, chains)
        found += [
            Refusal(Reason.TLS, "it ends its application's TLS", _where(listener, each))
            for each in chains
            if each.tls
        ]
        if not takes_plaintext(chains):
            says = "no filter chain takes connections, whatever they carry"
            found.append(Refusal(Reason.CHAIN, says, listener.name))
        ends, refusals = _ends(dump, listener, chains, (address, port))
        found += refusals
        if len(ends) > 1:
            says = f"what it carries decides where it leads: {_texts(ends)}"
            found.append(Refusal(Reason.BALANCING, says, listener.name))
        place = next(iter(ends), None)
    except UnreadableError as error:
        found = [Refusal(Reason.UNREADABLE, str(error))]
    return Outbound(address, port, None if found else place, _once(found))


def upstream(
    dump: Dump, address: IP, port: int, *, listener_port: int = OUTBOUND_PORT
) -> tuple[Refusal, ...]:
    """Why a sidecar may reach `address`:`port` by something else than plaintext.

    Whatever it does with its application's requests: this is about its own connections.
    """
    try:
        found = list(_reaching(dump, address, port, listener_port))
    except UnreadableError as error:
        found = [Refusal(Reason.UNREADABLE, str(error))]
    return _once(found)


def known_ports(dump: Dump, *, listener_port: int = INBOUND_PORT) -> set[int]:
    """The ports that have filter chains of their own where a sidecar takes connections."""
    found: set[int] = set()
    for listener in dump.listeners:
        if any(port == listener_port for _, port in listener.places):
            for each in children(listener.message, "filter_chains"):
                match = child(each, "filter_chain_match")
                found.add(number(match, "destination_port"))
    return found - {0, listener_port}


def serving(
    dump: Dump, address: IP, port: int, *, listener_port: int = OUTBOUND_PORT
) -> Listener:
    """The listener that serves a connection that was dialled to `address`:`port`.

    Raises:
        UnreadableError: the sidecar has none, or does not go by what was dialled.
    """
    first = _bound(dump, address, listener_port)
    if first.message.get("use_original_dst") is not True:
        raise UnreadableError(
            f"the listener {first.name} does not go by what was dialled"
            " (use_original_dst)"
        )
    for place in ((address, port), (_any(address), port)):
        if (found := _at(dump, place)) is not None:
            return found
    return first


def _reaching(
    dump: Dump, address: IP, port: int, listener_port: int
) -> Iterator[Refusal]:
    listener = serving(dump, address, port, listener_port=listener_port)
    routes = [dump.routes[name] for name in listener.names & dump.routes.keys()]
    named = listener.names.union(*map(strings, routes))
    if "cluster_header" in listener.fields.union(*map(keys, routes)):
        says = "a header chooses the cluster, which may be any"
        yield Refusal(Reason.BALANCING, says, listener.name)
    for cluster in dump.anywhere:
        if cluster.name in named or not is_original(cluster):
            yield from transport(cluster, None)
    for cluster, endpoint in dump.by_endpoint.get((address, port), ()):
        yield from transport(cluster, endpoint)


def _bound(dump: Dump, address: IP, port: int) -> Listener:
    found = _at(dump, (_any(address), port))
    if found is None:
        raise UnreadableError(f"the sidecar has no listener on port {port}, or several")
    return found


def _at(dump: Dump, place: Place) -> Listener | None:
    """The listener at a place; None if there is none, or if it is not clear which."""
    found = dump.by_place.get(place, ())
    if len(found) > 1:
        address, port = place
        raise UnreadableError(f"{len(found)} listeners share {address} and port {port}")
    return found[0] if found else None


def _any(address: IP) -> IP:
    return _ANY[address.version]


def _mtls(chains: Iterable[Chain]) -> Mtls:
    ends = [each.tls for each in chains]
    if not any(ends):
        return Mtls.DISABLE
    return Mtls.STRICT if all(ends) else Mtls.PERMISSIVE


def _by_source(listener: Listener, chains: Iterable[Chain]) -> list[Refusal]:
    says = "who calls decides what becomes of it"
    return [
        Refusal(Reason.CHAIN, says, _where(listener, each))
        for each in chains
        if each.by_source
    ]


def _ends(
    dump: Dump, listener: Listener, chains: Iterable[Chain], dialled: Place
) -> tuple[set[Place], list[Refusal]]:
    """Where chains lead to, and what they do besides."""
    ends: set[Place] = set()
    found: list[Refusal] = []
    for each in chains:
        passing = filters.passing(each.message, _where(listener, each))
        found += passing.refusals
        if not passing.refusals:
            place, refusals = leads_to(dump, passing.cluster, dialled)
            found += refusals
            if place is not None:
                ends.add(place)
    return ends, found


def _not_here(ends: set[Place], place: Place, where: str) -> Iterator[Refusal]:
    if others := ends - {place}:
        says = f"it leads to {_texts(others)}, and not to where it was dialled"
        yield Refusal(Reason.ELSEWHERE, says, where)


def _where(listener: Listener, chain: Chain) -> str:
    return f"{listener.name}, {chain.name}" if chain.name else listener.name


def _texts(places: Iterable[Place]) -> str:
    said = sorted(
        f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
        for address, port in places
    )
    return ", ".join(said)


def _once(found: Iterable[Refusal]) -> tuple[Refusal, ...]:
    return tuple(dict.fromkeys(found))
