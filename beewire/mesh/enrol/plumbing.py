"""What istio-iptables arranges in a pod's network besides rules.

For IPv6, the address ::6 on lo, from which the sidecar calls its application. It stays for
as long as the pod: Envoy's connections have it.

Under TPROXY, a way back. The sidecar calls in the client's name (Envoy's original_src), and
what answers the client would leave by the pod's interface. As under Istio, marked packets
are routed to lo; but no conntrack carries the mark over: accepted sockets take it from the
SYN (tcp_fwmark_accept). What somebody else has put there, istio-iptables say, stays.

Beside Istio's rules none of that is made: theirs bring answers back, passed over or not, and
mark what comes from outside, too, whose answers an accepted socket must not send to lo.
"""

import errno
import socket
import struct
from pathlib import Path

from beewire.bpf.kernel.netlink import (
    CREATE,
    DELROUTE,
    EXCLUSIVE,
    GETROUTE,
    NEWROUTE,
    RTMSG,
    Route,
    attribute,
    attributes,
    number,
)
from beewire.errors import KernelError, MeshError
from beewire.mesh.config import InterceptionMode, PodConfig
from beewire.mesh.decision.vocabulary import INBOUND_SOURCES
from beewire.mesh.netns import LOOPBACK, own_cookie, visit
from beewire.mesh.network import Network

NEWADDR, NEWRULE, DELRULE, GETRULE = 20, 32, 33, 34
SYSCTL = Path("/proc/sys/net/ipv4/tcp_fwmark_accept")
# Who made a rule or route (FRA_PROTOCOL, RTM_PROTOCOL): we; and whether that switch was
# off before, so that it is to be off again.
SWITCHED_ON, WAS_ON = 235, 236
_OURS = (SWITCHED_ON, WAS_ON)
_FRA_FWMARK, _FRA_TABLE, _FRA_PROTOCOL = 10, 15, 21
_RTA_OIF, _RTA_TABLE = 4, 15
_IFADDR = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, bits, flags, scope, index
_IFA_ADDRESS, _NODAD = 1, 0x02
_TO_TABLE = 1  # FR_ACT_TO_TBL
_LOCAL, _HOST = 2, 254  # RTN_LOCAL, RT_SCOPE_HOST
_ALL = RTMSG.pack(0, 0, 0, 0, 0, 0, 0, 0, 0)
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
# Of a kernel, a namespace or an interface without IPv6.
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EACCES, errno.ENODEV)


def arrange(
    network: Network, netns: Path, config: PodConfig, *, alone: bool = True
) -> None:
    """Make what a configuration needs; what is there already stays as it is.

    `alone` says that no rules of Istio's stand in the namespace.

    Raises:
        MeshError: The namespace is gone, or the kernel refuses.
    """
    if config.inbound_interception_mode is InterceptionMode.NONE:
        return
    try:
        if config.enable_ipv6:
            _add(network.route, NEWADDR, _inbound_source())
        if alone and config.inbound_interception_mode is InterceptionMode.TPROXY:
            visit(netns, lambda: _arrange(network.route, config))
    except (KernelError, OSError) as error:
        raise MeshError(
            f"the pod of {netns} cannot be given what Istio's rules come with: {error}"
        ) from error


def remove(netns: Path, cookie: int) -> None:
    """Take away rules and routes of ours in the namespace with this cookie, if it is there."""
    try:
        visit(netns, lambda: _remove(cookie))
    except MeshError:  # and all of it with it
        return


def _inbound_source() -> bytes:
    head = _IFADDR.pack(socket.AF_INET6, 128, _NODAD, 0, LOOPBACK)
    return head + attribute(_IFA_ADDRESS, INBOUND_SOURCES[6].packed)


def _arrange(route: Route, config: PodConfig) -> None:
    maker = SWITCHED_ON if SYSCTL.read_text().strip() == "0" else WAS_ON
    mark, table = config.inbound_tproxy_mark, config.inbound_tproxy_route_table
    for family in _FAMILIES:
        _add(route, NEWRULE, _rule(family, mark, table, maker))
        _add(route, NEWROUTE, _route(family, table, maker))
    SYSCTL.write_text("1")


def _rule(family: int, mark: int, table: int, maker: int) -> bytes:
    # struct fib_rule_hdr has the shape of struct rtmsg; the table has an attribute.
    return (
        RTMSG.pack(family, 0, 0, 0, 0, 0, 0, _TO_TABLE, 0)
        + number(_FRA_FWMARK, mark)
        + number(_FRA_TABLE, table)
        + attribute(_FRA_PROTOCOL, bytes([maker]))
    )


def _route(family: int, table: int, maker: int) -> bytes:
    return (
        RTMSG.pack(family, 0, 0, 0, 0, maker, _HOST, _LOCAL, 0)
        + number(_RTA_TABLE, table)
        + number(_RTA_OIF, LOOPBACK)
    )


def _add(route: Route, kind: int, body: bytes) -> None:
    refused = -route.try_change(kind, body, flags=CREATE | EXCLUSIVE)
    is_ipv6 = body[0] == socket.AF_INET6
    if refused not in (0, errno.EEXIST, *(_NO_IPV6 if is_ipv6 else ())):
        what = {NEWADDR: "an address", NEWRULE: "a rule", NEWROUTE: "a route"}[kind]
        raise OSError(refused, f"{what} is refused ({errno.errorcode[refused]})")


def _remove(cookie: int) -> None:
    if own_cookie() != cookie:  # the path leads to another pod by now
        return
    with Route() as route:
        rules = [each for each in route.dump(GETRULE, _ALL) if _maker(each) in _OURS]
        routes = [each for each in route.dump(GETROUTE, _ALL) if each[5] in _OURS]
        for body in rules:
            route.try_change(DELRULE, body)
        for body in routes:
            route.try_change(DELROUTE, body)
    if SWITCHED_ON in {*map(_maker, rules), *(each[5] for each in routes)}:
        SYSCTL.write_text("0")


def _maker(rule: bytes) -> int:
    found = attributes(rule[RTMSG.size :]).get(_FRA_PROTOCOL)
    return found[0] if found else 0
