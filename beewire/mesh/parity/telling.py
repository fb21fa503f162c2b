"""Connections and configurations in one line, for people."""

from dataclasses import fields
from enum import Enum

from beewire.mesh.config import PodConfig
from beewire.mesh.decision import (
    LOOPBACK,
    NO_OWNER,
    TCP,
    UDP,
    Connection,
    Direction,
    IPAddress,
    State,
)

_PROTOCOLS = {TCP: "tcp", UDP: "udp"}


def told_connection(connection: Connection) -> str:
    """As "outbound tcp 10.0.0.7:40000 -> 10.96.0.10:80 by eth0, uid 1000, gid 1000"."""
    protocol = _PROTOCOLS.get(connection.protocol, f"protocol {connection.protocol}")
    source = _endpoint(connection.source, connection.source_port)
    destination = _endpoint(connection.destination, connection.destination_port)
    interface = LOOPBACK if connection.local else connection.interface
    said = [
        f"{connection.direction.name.lower()} {protocol} {source} -> {destination}"
        + (f" by {interface}" if interface else ""),
    ]
    if connection.direction is Direction.OUTBOUND:
        said += [
            f"{kind} {number}" if number != NO_OWNER else f"no {kind}"
            for kind, number in (("uid", connection.uid), ("gid", connection.gid))
        ]
    said += ["in the sidecar's cgroup"] if connection.in_proxy else []
    said += [f"mark {connection.mark}"] if connection.mark else []
    said += [connection.state.name] if connection.state is not State.NEW else []
    return ", ".join(said)


def told_config(config: PodConfig) -> str:
    """The settings that are not the usual ones, as "proxy_uid=3,4 enable_ipv6=True"."""
    usual = PodConfig()
    said = {each.name: getattr(config, each.name) for each in fields(config)}
    return " ".join(
        f"{name}={_value(value)}"
        for name, value in said.items()
        if value != getattr(usual, name)
    )


def _endpoint(address: IPAddress, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_value, value)) or "none"
    return str(value.value if isinstance(value, Enum) else value)
