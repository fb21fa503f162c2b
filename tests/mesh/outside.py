"""What comes out of a pod, as the other end of its veth pair sees it."""

import socket
import struct
from collections import Counter
from contextlib import suppress
from typing import NamedTuple

from beewire.mesh.lab import Namespace

ETH_P_ALL = 3
PACKET_OUTGOING = 4  # what this end sends
IPV4, ARP, IPV6 = 0x0800, 0x0806, 0x86DD
ICMP6 = 58
NEIGHBOURS = range(133, 137)  # RS, RA, NS, NA
HOP_BY_HOP, ROUTER_ALERT = 0, b"\x05\x02"  # as reports of multicast groups have
HOUSEKEEPING = ("arp", "nd", "mld")


class Frame(NamedTuple):
    """A frame that was seen: its kind ("arp", "ip4/17", ...) and its bytes."""

    kind: str
    data: bytes


class Outside:
    """Everything that an interface of `namespace` receives, from now on."""

    def __init__(self, namespace: Namespace, interface: str) -> None:
        def opened() -> socket.socket:
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            sock.bind((interface, ETH_P_ALL))
            sock.setblocking(False)
            return sock

        self.sock = namespace.run(opened)

    def close(self) -> None:
        self.sock.close()

    def frames(self) -> list[Frame]:
        """What came since the last time."""
        found = []
        with suppress(BlockingIOError):
            while True:
                data, (_, _, direction, *_) = self.sock.recvfrom(1 << 16)
                if direction != PACKET_OUTGOING:
                    found.append(Frame(kind_of(data), data))
        return found

    def packets(self) -> Counter[str]:
        """How many of each kind came since the last time, the kernel's own left out."""
        kinds = Counter(frame.kind for frame in self.frames())
        return Counter({k: n for k, n in kinds.items() if k not in HOUSEKEEPING})


def kind_of(data: bytes) -> str:
    (ether,) = struct.unpack_from("!H", data, 12)
    if ether == ARP:
        return "arp"
    if ether == IPV4:
        return f"ip4/{data[23]}"
    if ether != IPV6:
        return f"{ether:#06x}"
    if data[20] == ICMP6 and data[54] in NEIGHBOURS:
        return "nd"
    if data[20] == HOP_BY_HOP and data[56:58] == ROUTER_ALERT:
        return "mld"
    return f"ip6/{data[20]}"
