"""Addresses, links and routes of a lab, by netlink. Needs the extra `lab` (pyroute2)."""

import os
from typing import NamedTuple

from pyroute2 import IPRoute

from beewire.mesh.lab.namespaces import Namespace

AF_INET6 = 10
NODAD = 0x02  # IFA_F_NODAD: an address is usable at once
INBOUND_SOURCE6 = "::6"  # with 127.0.0.6 where the sidecar dials its application from


class Leg(NamedTuple):
    """One pod's connection to the router: `port` there, `eth0` in the pod."""

    router: Namespace
    pod: Namespace
    port: str
    address: str
    gateway: str
    address6: str
    gateway6: str


def wire(leg: Leg, *, ipv6: bool) -> None:
    """Join a pod to the router by a veth pair, give both ends addresses, and route.

    /24 and /64. The pair never appears outside the two namespaces.
    """
    inside = os.open(leg.pod.path, os.O_RDONLY | os.O_CLOEXEC)

    def router_end() -> None:
        with IPRoute() as link:
            peer = {"ifname": "eth0", "net_ns_fd": inside}
            link.link("add", ifname=leg.port, kind="veth", peer=peer)
            _raise_link(link, leg.port, [(leg.gateway, 24)])
            if ipv6:
                _raise_link(link, leg.port, [(leg.gateway6, 64)])

    def pod_end() -> None:
        with IPRoute() as link:
            _raise_link(link, "lo", [])
            _raise_link(link, "eth0", [(leg.address, 24)])
            link.route("add", dst="default", gateway=leg.gateway)
            if ipv6:
                _raise_link(link, "lo", [(INBOUND_SOURCE6, 128)])
                _raise_link(link, "eth0", [(leg.address6, 64)])
                gateway = leg.gateway6
                link.route("add", dst="default", gateway=gateway, family=AF_INET6)

    try:
        leg.router.run(router_end)
        leg.pod.run(pod_end)
    finally:
        os.close(inside)


def unwire(router: Namespace, port: str) -> None:
    """Take a pod's pair away at once; by itself it goes some time after the pod."""

    def delete() -> None:
        with IPRoute() as link:
            for index in link.link_lookup(ifname=port):
                link.link("del", index=index)

    router.run(delete)


def _raise_link(link: IPRoute, name: str, addresses: list[tuple[str, int]]) -> None:
    index = link.link_lookup(ifname=name)[0]
    link.link("set", index=index, state="up")
    for address, bits in addresses:
        flags = {"flags": NODAD} if ":" in address else {}
        link.addr("add", index=index, address=address, prefixlen=bits, **flags)
