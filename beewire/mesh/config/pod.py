"""`PodConfig`: which of a pod's connections go through its sidecar."""

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, Literal

from beewire.errors import UsageError


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


class ProxyIdentity(Enum):
    """How the sidecar's own connections are told from the application's."""

    CGROUP = "cgroup"  # by the sidecar's cgroup: no user id opens a way past the mesh
    OWNER = "owner"  # by proxy_uid and proxy_gid, as iptables does


class Bypass(Enum):
    """`beewire.io/bypass`: which of a pod's connections may leave out the TCP/IP stack.

    Ends of connections on the same node only; what the kernel did not qualify for stays
    on TCP whatever is asked for.
    """

    OFF = "off"
    SIDECARS = "sidecars"  # between sidecars
    ALL = "all"  # the application's, too: its owner says that it neither splices nor blocks
    AUTO = "auto"  # between sidecars, to destinations whose connections live long


@dataclass(frozen=True, slots=True, kw_only=True)
class PodConfig:
    """Interception as Istio configures it; fields bear Istio's names in snake case.

    The defaults are those of `istio-iptables` without flags: nothing is captured until
    an include list says so. `ALL` stands for `*`, an empty tuple for the empty string.
    Lists keep their order: it decides the order of the rules. The last six fields are
    Beewire's own: Istio has one way to know its sidecar, asks the system for the numbers
    of groups, and answers DNS from one address. `bypass`, `shortcut` and `splice` say how
    far a connection on one node is shortened, and never which connections are captured;
    without a word (None), `bypass` is `SIDECARS` where the kernel qualified for it.
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
    drop_invalid: bool = False
    dual_stack: bool = False
    dry_run: bool = False
    proxy_identity: ProxyIdentity = ProxyIdentity.CGROUP
    owner_group_ids: tuple[tuple[str, int], ...] = ()
    dns_alias: bool = False
    bypass: Bypass | None = None
    shortcut: bool = False
    splice: bool = False

    def gid(self, group: str) -> int:
        """The number of an owner group, which may be one already.

        Raises:
            UsageError: a name without a number in `owner_group_ids`.
        """
        if group.isascii() and group.isdigit():
            return int(group)
        for name, number in self.owner_group_ids:
            if name == group:
                return number
        raise UsageError(
            f"owner group {group!r} has no number: name its GID in owner_group_ids,"
            " or write the number instead of the name"
        )
