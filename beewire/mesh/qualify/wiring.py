"""Two namespaces, joined by a veth pair: what the battery's pods have for a network."""

import os
import socket
import struct
from ipaddress import ip_address

from beewire.bpf.kernel.netlink import (
    CREATE,
    EXCLUSIVE,
    IFINFO,
    NEWLINK,
    SETLINK,
    Route,
    attribute,
    nested,
    number,
    text,
)
from beewire.mesh.lab import Namespace

_NEWADDR = 20  # RTM_NEWADDR
_IFADDR = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, bits, flags, scope, index
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 3, 18, 28
_INFO_KIND, _INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL, _NODAD = 1, 2, 0x02
_UP = 0x1
_NEW = CREATE | EXCLUSIVE
INTERFACE = "eth0"
PREFIX = 16  # both pods' addresses lie in one network, of either family


def join(one: Namespace, two: Namespace) -> None:
    """Give each namespace an eth0 that ends in the other's.

    Raises:
        KernelError: The kernel has no veth, or refuses.
    """
    inside = os.open(two.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        one.run(lambda: _make_pair(inside))
    finally:
        os.close(inside)


def _make_pair(peer: int) -> None:
    name = text(_IFLA_IFNAME, INTERFACE)
    other = IFINFO.pack(0, 0, 0, 0, 0) + name + number(_IFLA_NET_NS_FD, peer)
    kind = nested(
        _IFLA_LINKINFO,
        text(_INFO_KIND, "veth"),
        nested(_INFO_DATA, attribute(_VETH_INFO_PEER, other)),
    )
    with Route() as route:
        body = IFINFO.pack(0, 0, 0, 0, 0) + name + kind
        route.change(NEWLINK, body, "make a veth pair", flags=_NEW)


def raise_up(namespace: Namespace, addresses: dict[str, list[str]]) -> None:
    """Set interfaces up and give each its addresses, in a network of `PREFIX` bits.

    Loopback's are its own alone. Raises:
        KernelError: The kernel refuses.
    """

    def inside() -> None:
        with Route() as route:
            for name, some in addresses.items():
                index = socket.if_nametoindex(name)
                body = IFINFO.pack(0, 0, index, _UP, _UP)
                route.change(SETLINK, body, f"set {name} up")
                for address in some:
                    _add(route, index, address, alone=name == "lo")

    namespace.run(inside)


def _add(route: Route, index: int, address: str, *, alone: bool) -> None:
    found = ip_address(address)
    family = socket.AF_INET if found.version == 4 else socket.AF_INET6
    bits = found.max_prefixlen if alone else PREFIX
    body = _IFADDR.pack(family, bits, _NODAD, 0, index)
    body += attribute(_IFA_LOCAL, found.packed) + attribute(_IFA_ADDRESS, found.packed)
    route.change(_NEWADDR, body, f"add the address {address}", flags=_NEW)
