"""Connections that are really made, by all kinds of sockets."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from random import Random
from typing import NamedTuple

from beewire.mesh.config import InterceptionMode, PodConfig, ProxyIdentity
from beewire.mesh.decision import LOOPBACK, TCP, UDP, Connection, Direction
from beewire.mesh.parity.configurations import random_config

# Every one of them is open, in the pods and in the world.
PORTS = (53, 80, 443, 3306, 8080, 9000, 15008, 15020, 15021, 15090)
UDP_PORTS = (53, 80)

# Names of a pod's own addresses: of eth0 and of eth1.
OWN = {4: ("own4", "other4"), 6: ("own6", "other6")}
ANY = {4: "0.0.0.0", 6: "::"}
_HOSTS = {
    4: (
        *("10.96.0.10", "192.168.1.1", "192.0.2.1", "8.8.8.8", "172.31.0.5"),
        *("127.0.0.1", "127.0.0.2", "127.0.0.53", *OWN[4], OWN[4][0], ANY[4]),
    ),
    6: (
        *("fd00:10:96::a", "2001:db8::1", "2001:db9::1", "fd99::5"),
        *("::1", *OWN[6], OWN[6][0], ANY[6]),
    ),
}
_INBOUND_SOURCES = {4: IPv4Address("127.0.0.6"), 6: IPv6Address("::6")}
_VISITORS = {4: ("203.0.113.9", "8.8.8.8"), 6: ("2001:db8:9::9", "fd00:10:96::a")}
_BY_ETH1 = ("172.31.", "fd99:")
_USERS = (0, 1000, 1337, 1338, 2000)
_GROUPS = (0, 202, 203, 1000, 1337, 2000)
# Istio's, by which the sidecar's sockets are known under both identities.
_SIDECAR = 1337


class Attempt(NamedTuple):
    """One connection, or one datagram; names of `OWN` stand for the pod's addresses.

    `source` is what the socket is bound to, "" if it is not. `mapped` calls an IPv4
    address by an IPv6 socket; a datagram that is not `connected` is sent by sendto().
    `caller` is the user that connects a socket which `uid` has made, -1 if it is the same.
    """

    inbound: bool
    protocol: int
    version: int
    host: str
    port: int
    source: str = ""
    uid: int = 0
    gid: int = 0
    in_proxy: bool = False
    mark: int = 0
    mapped: bool = False
    connected: bool = True
    caller: int = -1


def configurations(random: Random) -> Iterator[PodConfig]:
    """Yield configurations at random that both pods can have, without end."""
    while True:
        config = replace(
            random_config(random),
            proxy_identity=ProxyIdentity.OWNER,
            proxy_port=15001,
            inbound_capture_port=15006,
            inbound_tproxy_mark=1337,
            enable_ipv6=True,
        )
        if config.inbound_interception_mode is not InterceptionMode.NONE:
            yield replace(
                config,
                exclude_interfaces=_there(config.exclude_interfaces),
                reroute_virtual_interfaces=_there(config.reroute_virtual_interfaces),
            )


def _there(interfaces: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in interfaces if name in ("eth0", "eth1"))


def attempts(random: Random, config: PodConfig, count: int) -> list[Attempt]:
    """Return connections for a pod with `config`: three of four are outbound."""
    tproxy = config.inbound_interception_mode is InterceptionMode.TPROXY
    return [
        _outbound(random, tproxy=tproxy) if random.random() < 0.75 else _inbound(random)
        for _ in range(count)
    ]


def _outbound(random: Random, *, tproxy: bool) -> Attempt:
    version = random.choice((4, 4, 6))
    udp = random.random() < 0.25
    host = random.choice(_HOSTS[version])
    own = host in OWN[version] or host == ANY[version]
    source = random.choice((*OWN[version][:1], "", "", ""))
    if own and random.random() < 0.3:
        source = str(_INBOUND_SOURCES[version])
    if host.startswith(("127.", "::1")):
        source = ""
    in_proxy = random.random() < 0.4
    # A mark decides on the route, too: only where the destination is this machine.
    marked = tproxy and host in OWN[version] and random.random() < 0.4
    return Attempt(
        inbound=False,
        protocol=UDP if udp else TCP,
        version=version,
        host=host,
        port=random.choice(UDP_PORTS if udp else PORTS),
        source=source,
        uid=_SIDECAR if in_proxy and random.random() < 0.5 else random.choice(_USERS),
        gid=_SIDECAR if in_proxy and random.random() < 0.5 else random.choice(_GROUPS),
        in_proxy=in_proxy,
        mark=random.choice((1337, 1338, 7)) if marked else 0,
        mapped=version == 4 and random.random() < 0.2,
        connected=random.random() < 0.5,
        caller=random.choice(_USERS) if random.random() < 0.2 else -1,
    )


def _inbound(random: Random) -> Attempt:
    version = random.choice((4, 4, 6))
    return Attempt(
        inbound=True,
        protocol=TCP,
        version=version,
        host=random.choice(OWN[version]),
        port=random.choice(PORTS),
        source=random.choice(("", *_VISITORS[version])),
    )


def connection_of(attempt: Attempt, own: Mapping[str, str]) -> Connection:
    """What is decided about `attempt` in the pod whose addresses are `own`."""
    destination = ip_address(own.get(attempt.host, attempt.host))
    source = ip_address(own.get(attempt.source, attempt.source) or ANY[attempt.version])
    if destination.is_unspecified:  # it means localhost: the source, or 127.0.0.1
        localhost = ip_address("127.0.0.1" if attempt.version == 4 else "::1")
        bound = attempt.version == 4 and not source.is_unspecified
        destination = source if bound else localhost
    local = destination.is_loopback or str(destination) in own.values()
    eth1 = attempt.host.startswith(_BY_ETH1) or attempt.host in (OWN[4][1], OWN[6][1])
    return Connection(
        Direction.INBOUND if attempt.inbound else Direction.OUTBOUND,
        attempt.protocol,
        source,
        0,
        destination,
        attempt.port,
        attempt.uid,
        attempt.gid,
        attempt.in_proxy,
        LOOPBACK if local and not attempt.inbound else "eth1" if eth1 else "eth0",
        local and not attempt.inbound,
        attempt.mark,
    )
