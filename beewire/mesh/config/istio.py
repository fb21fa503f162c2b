"""Read a `PodConfig` from the names and spellings that Istio uses."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_network
from typing import Any, Literal

from beewire.errors import UsageError
from beewire.mesh.config.pod import ALL, All, InterceptionMode, IPNetwork, PodConfig


def from_istio(values: Mapping[str, object]) -> PodConfig:
    """Return the PodConfig that `istio-iptables` would make of `values`.

    Names are those of its configuration (`ProxyUID`, `InboundPortsInclude`, ...); what
    is not named keeps its default. Lists are comma-separated; `*` is all of them.

    Raises:
        UsageError: a name that Istio does not know, or a value that it could not mean.
    """
    # Any: one dict for fields of many types; each reader returns its field's type.
    fields: dict[str, Any] = {}
    for name, value in values.items():
        if name not in _READERS:
            raise UsageError(f"{name!r} is no setting of Istio's interception")
        field, read = _READERS[name]
        try:
            fields[field] = read(value)
        except ValueError as error:
            raise UsageError(f"{name}: {error}") from error
    return replace(PodConfig(), **fields)


def _words(value: object) -> tuple[str, ...]:
    # "6000,7000," is legal in Istio: empty words are skipped.
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a comma-separated text")  # noqa: TRY004 - caller's border
    return tuple(word.strip() for word in value.split(",") if word.strip())


def _number(word: str, limit: int) -> int:
    if not word.isascii() or not word.isdigit() or int(word) > limit:
        raise ValueError(f"{word!r} is not a number from 0 to {limit}")
    return int(word)


def _port(value: object) -> int:
    port = _number(str(value), 65535)
    if port == 0:
        raise ValueError("0 is not a port")
    return port


def _ports(value: object) -> tuple[int, ...]:
    return tuple(_port(word) for word in _words(value))


def _ports_or_all(value: object) -> tuple[int, ...] | Literal[All.ALL]:
    return ALL if value == "*" else _ports(value)


def _id(value: object) -> int:
    return _number(str(value), 2**32 - 1)


def _ids(value: object) -> tuple[int, ...]:
    return tuple(_id(word) for word in _words(value))


def _ranges(value: object) -> tuple[IPNetwork, ...]:
    if value == "*":
        raise ValueError("'*' would exclude every address")
    # Istio masks host bits away instead of refusing them, as iptables does.
    return tuple(ip_network(word, strict=False) for word in _words(value))


def _ranges_or_all(value: object) -> tuple[IPNetwork, ...] | Literal[All.ALL]:
    return ALL if value == "*" else _ranges(value)


def _groups_or_all(value: object) -> tuple[str, ...] | Literal[All.ALL]:
    return ALL if value == "*" else _words(value)


def _mode(value: object) -> InterceptionMode:
    return InterceptionMode(value)


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")  # noqa: TRY004 - caller's border
    return value


def _addresses(value: object) -> tuple[str, ...]:
    if isinstance(value, list | tuple):
        return tuple(str(word) for word in value)
    return _words(value)


def _servers_v4(value: object) -> tuple[IPv4Address, ...]:
    return tuple(IPv4Address(word) for word in _addresses(value))


def _servers_v6(value: object) -> tuple[IPv6Address, ...]:
    return tuple(IPv6Address(word) for word in _addresses(value))


def _loopback(value: object) -> IPv4Network:
    return IPv4Network(str(value), strict=False)


_READERS: dict[str, tuple[str, Callable[[object], object]]] = {
    "ProxyPort": ("proxy_port", _port),
    "InboundCapturePort": ("inbound_capture_port", _port),
    "InboundTunnelPort": ("inbound_tunnel_port", _port),
    "ProxyUID": ("proxy_uid", _ids),
    "ProxyGID": ("proxy_gid", _ids),
    "InboundInterceptionMode": ("inbound_interception_mode", _mode),
    "InboundTProxyMark": ("inbound_tproxy_mark", _id),
    "InboundTProxyRouteTable": ("inbound_tproxy_route_table", _id),
    "InboundPortsInclude": ("inbound_ports_include", _ports_or_all),
    "InboundPortsExclude": ("inbound_ports_exclude", _ports),
    "OutboundPortsInclude": ("outbound_ports_include", _ports),
    "OutboundPortsExclude": ("outbound_ports_exclude", _ports),
    "OutboundIPRangesInclude": ("outbound_ip_ranges_include", _ranges_or_all),
    "OutboundIPRangesExclude": ("outbound_ip_ranges_exclude", _ranges),
    "RerouteVirtualInterfaces": ("reroute_virtual_interfaces", _words),
    "ExcludeInterfaces": ("exclude_interfaces", _words),
    "OwnerGroupsInclude": ("owner_groups_include", _groups_or_all),
    "OwnerGroupsExclude": ("owner_groups_exclude", _words),
    "RedirectDNS": ("redirect_dns", _switch),
    "CaptureAllDNS": ("capture_all_dns", _switch),
    "DNSServersV4": ("dns_servers_v4", _servers_v4),
    "DNSServersV6": ("dns_servers_v6", _servers_v6),
    "HostIPv4LoopbackCidr": ("host_ipv4_loopback_cidr", _loopback),
    "EnableIPv6": ("enable_ipv6", _switch),
    "DropInvalid": ("drop_invalid", _switch),
    "DualStack": ("dual_stack", _switch),
    "DryRun": ("dry_run", _switch),
}
