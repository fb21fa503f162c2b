"""The words of a decision: connections, actions, rules, verdicts.

Programs and Python share the numbers of this module.
"""

from collections.abc import Callable
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Final, NamedTuple

from beewire.mesh.config import IPNetwork

TCP: Final = 6
UDP: Final = 17
DNS_PORT: Final = 53
AGENT_DNS_PORT: Final = 15053  # istio-agent's resolver
SIDECAR_CALL_MARK: Final = 1338  # TPROXY: the sidecar calls its own pod
NO_OWNER: Final = 0xFFFFFFFF  # a packet without socket: (uid_t)-1 is no user
LOOPBACK: Final = "lo"

IPAddress = IPv4Address | IPv6Address
Item = int | str | IPNetwork | IPAddress | None

# What the sidecar binds to when it calls its application.
INBOUND_SOURCES: Final[dict[int, IPAddress]] = {
    4: IPv4Address("127.0.0.6"),
    6: IPv6Address("::6"),
}
# Where REDIRECT sends the packets of this machine's own sockets.
REDIRECT_TARGETS: Final[dict[int, IPAddress]] = {
    4: IPv4Address("127.0.0.1"),
    6: IPv6Address("::1"),
}
LOOPBACK6: Final = IPv6Network("::1/128")


class Direction(IntEnum):
    """Which way a connection is set up, as its pod sees it."""

    OUTBOUND = 0
    INBOUND = 1


class State(IntEnum):
    """What conntrack would call the packet; only NEW ones are redirected."""

    NEW = 0
    ESTABLISHED = 1
    INVALID = 2


class Action(IntEnum):
    """What is done with a connection."""

    PASS = 0  # goes where it was dialled
    TO_OUTBOUND = 1  # the sidecar's outbound listener, 15001
    TO_INBOUND = 2  # its inbound listener, 15006
    TO_DNS = 3  # the agent's resolver, 15053
    REFUSE = 4


class Rule(IntEnum):
    """What decided. The numbers stand in maps and in sockets: they are never reused."""

    UNDECIDED = 0
    # Before any table
    MODE_NONE = 1
    FAMILY_OFF = 2  # IPv6, and Istio was not told that the pod has it
    ESTABLISHED = 3  # a connection keeps its way
    INVALID = 4
    # Outbound, in order
    OUT_EXCLUDED_INTERFACE = 16
    OUT_EXCLUDED_PORT = 17
    OUT_FROM_INBOUND = 18  # from 127.0.0.6 or ::6: the sidecar calls its application
    OUT_SELF_CALL = 19  # the sidecar calls its own pod: to its inbound listener
    OUT_LOCAL = 20  # the application calls its own pod
    OUT_PROXY = 21  # the sidecar's own connection
    OUT_GROUP_NOT_INCLUDED = 22
    OUT_GROUP_EXCLUDED = 23
    OUT_DNS = 24
    OUT_LOOPBACK = 25
    OUT_EXCLUDED_RANGE = 26
    OUT_INCLUDED_PORT = 27
    OUT_INCLUDED_RANGE = 28
    OUT_ALL_RANGES = 29
    OUT_NOT_INCLUDED = 30  # the chain ends
    OUT_OTHER_PROTOCOL = 31  # the chain ends: only TCP is captured
    OUT_SELF_CALL_TPROXY = 32  # as OUT_SELF_CALL, by its mark, on the way in
    # Beewire's own, after any of these has captured it, or has let the sidecar pass
    OUT_SPLICE = 33  # to the other application, past both sidecars
    OUT_SHORTCUT = 34  # the sidecar's, to the other application, past the sidecar there
    # Inbound, in order
    IN_LOCAL = 48  # from the pod itself: decided on its way out
    IN_OTHER_PROTOCOL = 49
    IN_REROUTED = 50  # from a virtual machine's interface: as if outbound
    IN_REROUTED_NOT_INCLUDED = 51
    IN_EXCLUDED_INTERFACE = 52
    IN_TUNNEL_PORT = 53
    IN_EXCLUDED_PORT = 54
    IN_INCLUDED_PORT = 55
    IN_ALL_PORTS = 56
    IN_NOT_INCLUDED = 57
    IN_MARKED = 58  # TPROXY: the sidecar's connection to its application
    IN_LOOPBACK = 59  # TPROXY leaves loopback addresses alone
    # Beewire's own, after one of these has captured it
    IN_SPLICE = 60  # from the other application, past both sidecars
    IN_SHORTCUT = 61  # from the other pod's sidecar, past this one's


# The field of PodConfig that put each rule there; rules without one always hold.
KNOBS: Final[dict[Rule, str]] = {
    Rule.MODE_NONE: "inbound_interception_mode",
    Rule.FAMILY_OFF: "enable_ipv6",
    Rule.OUT_EXCLUDED_INTERFACE: "exclude_interfaces",
    Rule.OUT_EXCLUDED_PORT: "outbound_ports_exclude",
    Rule.OUT_GROUP_NOT_INCLUDED: "owner_groups_include",
    Rule.OUT_GROUP_EXCLUDED: "owner_groups_exclude",
    Rule.OUT_DNS: "redirect_dns",
    Rule.OUT_LOOPBACK: "host_ipv4_loopback_cidr",
    Rule.OUT_EXCLUDED_RANGE: "outbound_ip_ranges_exclude",
    Rule.OUT_INCLUDED_PORT: "outbound_ports_include",
    Rule.OUT_INCLUDED_RANGE: "outbound_ip_ranges_include",
    Rule.OUT_ALL_RANGES: "outbound_ip_ranges_include",
    Rule.OUT_NOT_INCLUDED: "outbound_ip_ranges_include",
    Rule.OUT_SPLICE: "splice",
    Rule.OUT_SHORTCUT: "shortcut",
    Rule.IN_SPLICE: "splice",
    Rule.IN_SHORTCUT: "shortcut",
    Rule.IN_REROUTED: "reroute_virtual_interfaces",
    Rule.IN_REROUTED_NOT_INCLUDED: "reroute_virtual_interfaces",
    Rule.IN_EXCLUDED_INTERFACE: "exclude_interfaces",
    Rule.IN_TUNNEL_PORT: "inbound_tunnel_port",
    Rule.IN_EXCLUDED_PORT: "inbound_ports_exclude",
    Rule.IN_INCLUDED_PORT: "inbound_ports_include",
    Rule.IN_ALL_PORTS: "inbound_ports_include",
    Rule.IN_NOT_INCLUDED: "inbound_ports_include",
}


class Connection(NamedTuple):
    """One connection, as its first packet would look.

    `protocol` is an IP protocol number; ports are 0 where it has none. `uid` and `gid` own
    the socket that dials (NO_OWNER: there is none); `in_proxy` says that it was made in
    the sidecar's cgroup. `interface` is where the packet leaves or arrives, "" if that is
    not known. `local` means by the loopback interface: outbound, the destination is one of
    the pod's own addresses; inbound, the source is. `mark` is the socket's SO_MARK.
    """

    direction: Direction
    protocol: int
    source: IPAddress
    source_port: int
    destination: IPAddress
    destination_port: int
    uid: int = NO_OWNER
    gid: int = NO_OWNER
    in_proxy: bool = False
    interface: str = ""
    local: bool = False
    mark: int = 0
    state: State = State.NEW


class Verdict(NamedTuple):
    """What happens to a connection, and what decided: the rule, and what it matched.

    `item` is the port, range, interface, group or owner ("uid 1337") of that rule.
    """

    action: Action
    rule: Rule
    item: Item = None


Decide = Callable[[Connection], Verdict]
Step = Callable[[Connection], Verdict | None]
