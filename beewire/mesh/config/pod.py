"""`PodConfig`: which of a pod's connections go through its sidecar."""

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, Literal


class All(Enum):
    """The type of `ALL`, Istio's `*`."""

    ALL = "*"


ALL: Final = All.ALL

IPNetwork = IPv4Network | IPv6Network
_LOOPBACK = IPv4Network("127.0.0.1/32")  # Istio's, and only that one address


class InterceptionMode(Enum):
    """`sidecar.istio.io/interceptionMode`."""

    REDIRECT = "REDIRECT"
    TPROXY = "TPROXY"
    NONE = "NONE"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodConfig:
    """Interception as Istio configures it; fields bear Istio's names in snake case.

    The defaults are those of `istio-iptables` without flags: nothing is captured until
    an include list says so. `ALL` stands for `*`, an empty tuple for the empty string.
    Lists keep their order: it decides the order of the rules.
    """

    proxy_port: int = 15001
    inbound_capture_port: int = 15006
    inbound_tunnel_port: int = 15008
    proxy_uid: tuple[int, ...] = (1337,)
    proxy_gid: tuple[int, ...] = (1337,)
    inbound_interception_mode: InterceptionMode = InterceptionMode.REDIRECT
    inbound_tproxy_mark: int = 1337
    inbound_tproxy_route_table: int = 133
    inbound_ports_include: tuple[int, ...] | Literal[All.ALL] = ()
    inbound_ports_exclude: tuple[int, ...] = ()
    outbound_ports_include: tuple[int, ...] = ()
    outbound_ports_exclude: tuple[int, ...] = ()
    outbound_ip_ranges_include: tuple[IPNetwork, ...] | Literal[All.ALL] = ()
    outbound_ip_ranges_exclude: tuple[IPNetwork, ...] = ()
    reroute_virtual_interfaces: tuple[str, ...] = ()
    exclude_interfaces: tuple[str, ...] = ()
    owner_groups_include: tuple[str, ...] | Literal[All.ALL] = ALL
    owner_groups_exclude: tuple[str, ...] = ()
    redirect_dns: bool = False
    capture_all_dns: bool = False
    dns_servers_v4: tuple[IPv4Address, ...] = ()
    dns_servers_v6: tuple[IPv6Address, ...] = ()
    host_ipv4_loopback_cidr: IPv4Network = _LOOPBACK
    enable_ipv6: bool = False
    dry_run: bool = False
