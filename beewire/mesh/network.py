"""What a network namespace is like: its addresses, interfaces and routes, by rtnetlink.

    with Network.of(Path("/run/netns/pod")) as network:
        network.cookie, network.addresses(), network.routes(), network.interfaces()
        network.watch()               # from now on fileno() is readable after a change
        network.drain()               # forget the changes that have been told so far

The sockets are made in the namespace and used from wherever we are. They keep it alive:
close them when the pod goes.
"""

import os
import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import NamedTuple, Self

from beewire.bpf.kernel.netlink import IFINFO, RTMSG, Route, attributes, integer
from beewire.mesh.config import IPNetwork
from beewire.mesh.netns import own_cookie, visit

GETLINK, GETADDR, GETROUTE, GETRULE = 18, 22, 26, 34
_FRA_DST, _FRA_SRC, _FRA_IIF, _FRA_PRIORITY, _FRA_FWMARK = 1, 2, 3, 6, 10
_FRA_TABLE, _FRA_OIF = 15, 17
GETROUTE_REQUEST = RTMSG.pack(0, 0, 0, 0, 0, 0, 0, 0, 0)
_IFADDR = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, bits, flags, scope, index
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_IFLA_IFNAME = 3
_RTA_DST, _RTA_OIF, _RTA_PRIORITY, _RTA_TABLE, _RTA_MULTIPATH = 1, 4, 6, 15, 9
_NEXTHOP = struct.Struct("=HBBi")  # struct rtnexthop: length, flags, hops, index
_RTN_UNICAST = 1
_MAIN = 254
_USUAL = {(0, 255), (32766, _MAIN), (32767, 253)}  # priorities and tables, everywhere
# Secondary or temporary, deprecated, tentative, failed: no source of ours.
_POOR = 0x01 | 0x20 | 0x40 | 0x08
# link, IPv4 addresses and routes, IPv6 addresses and routes (RTMGRP_*)
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
_LENGTHS = {socket.AF_INET: 4, socket.AF_INET6: 16}

Address = IPv4Address | IPv6Address


class Own(NamedTuple):
    """One address of the namespace; `scope` is 0 for those that others can reach.

    `is_good` says that the kernel would choose it as a source: neither temporary nor
    deprecated, nor the second of its network.
    """

    address: Address
    interface: int
    scope: int
    is_good: bool


class Way(NamedTuple):
    """A route of the main table; the lowest `metric` of one destination is taken."""

    destination: IPNetwork
    interface: int
    metric: int


class Network:
    """One network namespace, seen from outside. A context manager."""

    def __init__(self, cookie: int, route: Route, news: socket.socket) -> None:
        self.cookie = cookie
        self.route = route
        self._news = news

    @classmethod
    def of(cls, netns: Path) -> Self:
        """The namespace at `netns`, such as /run/netns/NAME or /proc/PID/ns/net.

        Raises:
            MeshError: There is none, or it may not be entered.
        """
        return visit(netns, cls.here)

    @classmethod
    def here(cls) -> Self:
        """The namespace of the calling thread."""
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
        return cls(own_cookie(), Route(), socket.socket(socket.AF_NETLINK, kind, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the namespace. Closing twice does nothing."""
        self.route.close()
        self._news.close()

    def addresses(self) -> list[Own]:
        """All addresses, in the kernel's order: IPv4 first."""
        found = []
        for body in self.route.dump(GETADDR, _IFADDR.pack(0, 0, 0, 0, 0)):
            _, _, flags, scope, index = _IFADDR.unpack_from(body)
            told = attributes(body[_IFADDR.size :])
            raw = told.get(_IFA_LOCAL) or told.get(_IFA_ADDRESS)
            if raw is not None:
                flags = integer(told.get(_IFA_FLAGS)) or flags
                good = flags & _POOR == 0
                found.append(Own(ip_address(raw), index, scope, good))
        return found

    def interfaces(self) -> dict[str, int]:
        """The index of each interface, by its name."""
        found = {}
        for body in self.route.dump(GETLINK, IFINFO.pack(0, 0, 0, 0, 0)):
            _, _, index, _, _ = IFINFO.unpack_from(body)
            name = attributes(body[IFINFO.size :]).get(_IFLA_IFNAME, b"")
            found[os.fsdecode(name.rstrip(b"\0"))] = index
        return found

    def routes(self) -> list[Way]:
        """Where the main table sends packets; other tables, and rules, are not looked at."""
        found: list[Way] = []
        for body in self.route.dump(GETROUTE, GETROUTE_REQUEST):
            family, bits, _, _, table, _, _, kind, _ = RTMSG.unpack_from(body)
            told = attributes(body[RTMSG.size :])
            table = integer(told.get(_RTA_TABLE)) or table
            if family not in _LENGTHS or kind != _RTN_UNICAST or table != _MAIN:
                continue
            raw = told.get(_RTA_DST) or bytes(_LENGTHS[family])
            destination = ip_network((raw, bits))
            metric = integer(told.get(_RTA_PRIORITY))
            found += [Way(destination, index, metric) for index in _outgoing(told)]
        return found

    def rules(self) -> list[str]:
        """Routing rules besides the usual ones and those on marks, as `ip rule` has them."""
        found = []
        for body in self.route.dump(GETRULE, GETROUTE_REQUEST):
            told = attributes(body[RTMSG.size :])
            if _FRA_FWMARK in told and body[0] in _LENGTHS:
                continue
            priority = integer(told.get(_FRA_PRIORITY))
            table = integer(told.get(_FRA_TABLE)) or body[4]
            if (priority, table) not in _USUAL and body[0] in _LENGTHS:
                found.append(_rule_text(body, told, priority, table))
        return found

    def watch(self) -> None:
        """Be told of changes of addresses, interfaces and routes from now on."""
        self._news.bind((0, _GROUPS))

    def fileno(self) -> int:
        """What is readable after a change."""
        return self._news.fileno()

    def drain(self) -> bool:
        """Forget the changes that were told so far; whether there were any."""
        changed = False
        while True:
            try:
                self._news.recv(1 << 16)
            except BlockingIOError:
                return changed
            except OSError:  # ENOBUFS: so many that some were lost
                changed = True
                continue
            changed = True


def _rule_text(body: bytes, told: dict[int, bytes], priority: int, table: int) -> str:
    """A rule in the words of `ip rule`."""
    _, to_bits, from_bits, *_ = RTMSG.unpack_from(body)
    words = [f"{priority}: from {_prefix(told.get(_FRA_SRC), from_bits) or 'all'}"]
    if to := _prefix(told.get(_FRA_DST), to_bits):
        words.append(f"to {to}")
    for name, kind in (("iif", _FRA_IIF), ("oif", _FRA_OIF)):
        if kind in told:
            words.append(f"{name} {os.fsdecode(told[kind].rstrip(bytes(1)))}")
    return " ".join([*words, f"lookup {table}"])


def _prefix(raw: bytes | None, bits: int) -> str:
    return f"{ip_address(raw)}/{bits}" if raw else ""


def _outgoing(told: dict[int, bytes]) -> list[int]:
    """The interfaces that a route leads to; several where it has several next hops."""
    if (only := integer(told.get(_RTA_OIF))) != 0:
        return [only]
    hops, at, found = told.get(_RTA_MULTIPATH, b""), 0, []
    while at + _NEXTHOP.size <= len(hops):
        length, _, _, index = _NEXTHOP.unpack_from(hops, at)
        found.append(index)
        at += max(length, _NEXTHOP.size)
    return found
