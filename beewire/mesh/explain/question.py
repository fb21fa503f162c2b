"""`Question`: a connection that might be made, as people write it.

tcp 10.0.0.5:1234 -> 10.96.0.10:80
udp [fd00::5]:1234 -> [fd00::a]:53
10.96.0.10:80                         TCP, from the pod itself
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from beewire.errors import UsageError
from beewire.mesh.decision import NO_OWNER, TCP, UDP

IP = IPv4Address | IPv6Address
PROTOCOLS = {"tcp": TCP, "udp": UDP}
ARROWS = ("->", "→", "to")
EXAMPLE = "write it as tcp 10.0.0.5:1234 '->' 10.96.0.10:80"


class Question(NamedTuple):
    """One connection. A `source` of None is the pod itself; ports may be 0.

    `uid` and `gid` own the socket; `in_proxy` says that the sidecar's cgroup dials;
    `interface` is where it leaves or arrives, "" to look it up in the pod's routes.
    """

    protocol: int
    source: IP | None
    source_port: int
    destination: IP
    destination_port: int
    uid: int = NO_OWNER
    gid: int = NO_OWNER
    in_proxy: bool = False
    interface: str = ""

    def __str__(self) -> str:
        names = {number: name for name, number in PROTOCOLS.items()}
        source = "" if self.source is None else ended(self.source, self.source_port)
        target = ended(self.destination, self.destination_port)
        way = f"{source} -> {target}" if source else target
        return f"{names.get(self.protocol, self.protocol)} {way}"


def ended(address: IP, port: int) -> str:
    """An end of a connection: `10.0.0.5:80`, `[fd00::5]:80`, without a port of 0."""
    if not port:
        return str(address)
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def parse(words: Sequence[str]) -> Question:
    """The connection that words of a command line say.

    Raises:
        UsageError: they say none; the message shows how to write it.
    """
    rest = " ".join(words).replace("->", " -> ").replace("→", " -> ").split()
    if rest and rest[-1] == "-":
        # What is left of an arrow whose > was taken for a redirection.
        raise UsageError(
            "the shell took the > of the arrow for a redirection, and made a file of the"
            f" rest: quote it, or write `to` instead; {EXAMPLE}"
        )
    protocol = TCP
    if rest and rest[0].lower() in PROTOCOLS:
        protocol = PROTOCOLS[rest.pop(0).lower()]
    ends = [word for word in rest if word not in ARROWS]
    if len(ends) not in (1, 2) or len(rest) - len(ends) != len(ends) - 1:
        raise UsageError(f"{' '.join(words)!r} is no connection: {EXAMPLE}")
    destination, port = end_of(ends[-1])
    source, source_port = end_of(ends[0]) if len(ends) == 2 else (None, 0)
    if source is not None and source.version != destination.version:
        raise UsageError(f"{source} and {destination} are of different IP versions")
    if not port:
        raise UsageError(f"{ends[-1]} has no port: {EXAMPLE}")
    return Question(protocol, source, source_port, destination, port)


def end_of(text: str) -> tuple[IP, int]:
    """An address and its port, 0 where there is none; `::ffff:a.b.c.d` is IPv4.

    Raises:
        UsageError: it is none.
    """
    host, port = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        address = ip_address(host)
        number = int(port) if port else 0
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no address and port: 10.0.0.5:80, [fd00::5]:80"
        ) from error
    if not 0 <= number <= 65535:
        raise UsageError(f"{text!r}: a port is at most 65535")
    return getattr(address, "ipv4_mapped", None) or address, number
