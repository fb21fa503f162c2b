"""nat OUTPUT: Istio's decision on a connection that the pod makes."""

from beewire.mesh.config import ALL, PodConfig
from beewire.mesh.decision.owners import Owners
from beewire.mesh.decision.ranges import captures_loopback, finder, loopback_of
from beewire.mesh.decision.vocabulary import (
    DNS_PORT,
    INBOUND_SOURCES,
    LOOPBACK,
    TCP,
    UDP,
    Action,
    Connection,
    IPAddress,
    Rule,
    Step,
    Verdict,
)


def first(steps: tuple[Step, ...], connection: Connection) -> Verdict:
    """Walk a chain: the first step that settles the matter, or its end."""
    for step in steps:
        if (verdict := step(connection)) is not None:
            return verdict
    if connection.protocol != TCP:
        return Verdict(Action.PASS, Rule.OUT_OTHER_PROTOCOL)
    return Verdict(Action.PASS, Rule.OUT_NOT_INCLUDED)


def output(config: PodConfig, version: int, owners: Owners) -> tuple[Step, ...]:
    """The chain, in order; what the configuration does not ask for is left out."""
    servers: tuple[IPAddress, ...] = config.dns_servers_v4
    if version == 6:
        servers = config.dns_servers_v6
    dns = config.redirect_dns and (
        config.capture_all_dns or bool(config.dns_servers_v4 or config.dns_servers_v6)
    )
    resolves = dns and (config.capture_all_dns or bool(servers))
    return (
        *([_excluded_interfaces(config)] if config.exclude_interfaces else ()),
        *([_excluded_ports(config)] if config.outbound_ports_exclude else ()),
        _from_inbound(version),
        *([_own_traffic(config, version, owners, dns=dns)] if owners else ()),
        *_owner_groups(config),
        *([_dns(config, servers)] if resolves else ()),
        _loopback(config, version),
        _excluded_ranges(config, version),
        *([_included_ports(config)] if config.outbound_ports_include else ()),
        _included_ranges(config, version),
    )


def _excluded_interfaces(config: PodConfig) -> Step:
    excluded = frozenset(config.exclude_interfaces)

    def step(connection: Connection) -> Verdict | None:
        interface = LOOPBACK if connection.local else connection.interface
        if interface in excluded:
            return Verdict(Action.PASS, Rule.OUT_EXCLUDED_INTERFACE, interface)
        return None

    return step


def _excluded_ports(config: PodConfig) -> Step:
    excluded = frozenset(config.outbound_ports_exclude)

    def step(connection: Connection) -> Verdict | None:
        port = connection.destination_port
        if connection.protocol in (TCP, UDP) and port in excluded:
            return Verdict(Action.PASS, Rule.OUT_EXCLUDED_PORT, port)
        return None

    return step


def _from_inbound(version: int) -> Step:
    source = INBOUND_SOURCES[version]

    def step(connection: Connection) -> Verdict | None:
        if connection.local and connection.source == source:
            return Verdict(Action.PASS, Rule.OUT_FROM_INBOUND, source)
        return None

    return step


def _own_traffic(config: PodConfig, version: int, owners: Owners, *, dns: bool) -> Step:
    loopback = loopback_of(config, version)
    tunnel = config.inbound_tunnel_port
    passes_local = not captures_loopback(config)

    def is_local_call(connection: Connection) -> bool:
        # Whether the first owner's rules settle it: RETURN on lo for everybody else. With
        # DNS the rule is narrower: a resolver may listen on this machine.
        if not passes_local or not connection.local:
            return False
        return not dns or (
            connection.protocol == TCP and connection.destination_port != DNS_PORT
        )

    def is_self_call(connection: Connection, owner: str) -> bool:
        if not connection.local or connection.protocol != TCP:
            return False
        # Istio leaves DNS out for users, not for groups.
        by_user = dns and not owners.is_group(owner)
        if connection.destination_port in (tunnel, DNS_PORT if by_user else tunnel):
            return False
        return connection.destination not in loopback

    def step(connection: Connection) -> Verdict | None:
        if is_local_call(connection) and not owners.is_first(connection):
            return Verdict(Action.PASS, Rule.OUT_LOCAL)
        if (owner := owners.of(connection)) is None:
            return None
        if is_self_call(connection, owner):
            return Verdict(Action.TO_INBOUND, Rule.OUT_SELF_CALL, owner)
        return Verdict(Action.PASS, Rule.OUT_PROXY, owner)

    return step


def _owner_groups(config: PodConfig) -> tuple[Step, ...]:
    def excluded(connection: Connection) -> Verdict | None:
        if (group := groups.get(connection.gid)) is not None:
            return Verdict(Action.PASS, Rule.OUT_GROUP_EXCLUDED, group)
        return None

    def not_included(connection: Connection) -> Verdict | None:
        if connection.gid in groups:
            return None
        return Verdict(Action.PASS, Rule.OUT_GROUP_NOT_INCLUDED, connection.gid)

    if config.owner_groups_include is not ALL:
        groups = {config.gid(group): group for group in config.owner_groups_include}
        return (not_included,)
    groups = {config.gid(group): group for group in config.owner_groups_exclude}
    return (excluded,) if groups else ()


def _dns(config: PodConfig, servers: tuple[IPAddress, ...]) -> Step:
    known = frozenset(servers)

    def step(connection: Connection) -> Verdict | None:
        if connection.destination_port != DNS_PORT:
            return None
        if connection.protocol not in (TCP, UDP):
            return None
        if config.capture_all_dns:
            return Verdict(Action.TO_DNS, Rule.OUT_DNS)
        if connection.destination in known:
            return Verdict(Action.TO_DNS, Rule.OUT_DNS, connection.destination)
        return None

    return step


def _loopback(config: PodConfig, version: int) -> Step:
    loopback = loopback_of(config, version)

    def step(connection: Connection) -> Verdict | None:
        if connection.destination in loopback:
            return Verdict(Action.PASS, Rule.OUT_LOOPBACK, loopback)
        return None

    return step


def _excluded_ranges(config: PodConfig, version: int) -> Step:
    find = finder(config.outbound_ip_ranges_exclude, version)

    def step(connection: Connection) -> Verdict | None:
        if (network := find(connection.destination)) is not None:
            return Verdict(Action.PASS, Rule.OUT_EXCLUDED_RANGE, network)
        return None

    return step


def _included_ports(config: PodConfig) -> Step:
    included = frozenset(config.outbound_ports_include)

    def step(connection: Connection) -> Verdict | None:
        port = connection.destination_port
        if connection.protocol == TCP and port in included:
            return Verdict(Action.TO_OUTBOUND, Rule.OUT_INCLUDED_PORT, port)
        return None

    return step


def _included_ranges(config: PodConfig, version: int) -> Step:
    ranges = config.outbound_ip_ranges_include
    find = finder(() if ranges is ALL else ranges, version)

    def step(connection: Connection) -> Verdict | None:
        if connection.protocol != TCP:
            return None
        if ranges is ALL:
            return Verdict(Action.TO_OUTBOUND, Rule.OUT_ALL_RANGES)
        if (network := find(connection.destination)) is not None:
            return Verdict(Action.TO_OUTBOUND, Rule.OUT_INCLUDED_RANGE, network)
        return None

    return step
