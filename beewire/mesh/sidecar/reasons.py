"""Why a connection needs the proxy, in words and types."""

from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from beewire.errors import MeshError

IP = IPv4Address | IPv6Address
Place = tuple[IP, int]  # an address and a port


class UnreadableError(MeshError):
    """What a sidecar says of itself could not be had, or not be understood."""


class Reason(Enum):
    """Why a connection needs the proxy."""

    UNREADABLE = "unreadable"  # nothing is known, or it makes no sense
    HTTP = "http"  # requests are looked at
    PROTOCOL = "protocol"  # another protocol than HTTP is
    POLICY = "policy"  # somebody decides who may connect, or how
    LIMIT = "limit"  # connections are counted, or take turns
    MTLS = "mtls"  # mutual TLS, which the proxy speaks
    TLS = "tls"  # other TLS, which the proxy speaks
    TUNNEL = "tunnel"  # it travels inside of something else
    BALANCING = "balancing"  # the proxy chooses among several places
    ELSEWHERE = "elsewhere"  # it leads to another place than the one that was dialled
    CHAIN = "chain"  # not every client is treated alike, or none is served
    LOG = "log"  # connections are written to an access log
    FILTER = "filter"  # something that is not known


class Mtls(Enum):
    """Which clients a port of a pod takes (PeerAuthentication's modes)."""

    DISABLE = "disable"  # plaintext
    PERMISSIVE = "permissive"  # plaintext, and mutual TLS from sidecars
    STRICT = "strict"  # mutual TLS alone


class Refusal(NamedTuple):
    """One thing that needs the proxy; `where` is the listener, chain or cluster."""

    reason: Reason
    says: str
    where: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.says}" if self.where else self.says


class Inbound(NamedTuple):
    """What a sidecar does with plaintext connections to an address and port of its pod."""

    address: IP
    port: int
    mtls: Mtls
    refusals: tuple[Refusal, ...]

    @property
    def is_l4(self) -> bool:
        """Whether it would do no more than pass bytes on, to where they were sent."""
        return not self.refusals


class Outbound(NamedTuple):
    """What a sidecar does with connections of its application to an address and port.

    `leads_to` is the one place that they end at; None where they are refused.
    """

    address: IP
    port: int
    leads_to: Place | None
    refusals: tuple[Refusal, ...]

    @property
    def is_l4(self) -> bool:
        """Whether it would do no more than pass bytes on, to that one place."""
        return not self.refusals
