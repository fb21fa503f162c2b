"""What a hazard stands on: connected sockets of given roles, and the programs' counters."""

import contextlib
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager
from enum import Enum
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from beewire.mesh.programs.bypass.state import BOUND, LARGE, PAYS


class Finding(Exception):  # noqa: N818 - what is found is a result, and no error
    """A hazard is real here; the text says what was seen, as one sentence."""


class Impossible(Exception):  # noqa: N818 - as above
    """This kernel cannot run the hazard; the text says what it lacks."""


class Limits(NamedTuple):
    """What the programs of the short path are loaded with: constants of their `state`."""

    bound: int = BOUND
    pays: int = PAYS
    large: int = LARGE


IN_LIFE: Final = Limits()
UNPARTED: Final = Limits(large=0)
"""An application stays on the short path, whatever it is sent."""
UNBOUNDED: Final = Limits(bound=1 << 62, large=0)
"""A bound that no queue reaches."""


TCP_MEMORY: Final = MappingProxyType(
    {"tcp_rmem": (4096, 128 << 10, 6 << 20), "tcp_wmem": (4096, 16 << 10, 4 << 20)}
)
"""What TCP may take for a socket (net.ipv4, bytes: least, first, most): Linux's own limits.

A machine may allow so much more that what TCP takes is anybody's guess.
"""


class Leg(Enum):
    """Whose sockets are connected: who dials, and who accepts.

    An application is judged where there is one; where both ends are of one kind, who dials.
    """

    OUT = "application to its sidecar"
    BETWEEN = "sidecar to sidecar"
    IN = "sidecar to its application"
    SHORTCUT = "sidecar to another pod's application"
    SPLICE = "application to another pod's application"

    @property
    def dials(self) -> bool:
        """Whether the judged end dials."""
        return self not in (Leg.IN, Leg.SHORTCUT)

    @property
    def crosses(self) -> bool:
        """Whether its ends are in two pods."""
        return self not in (Leg.OUT, Leg.IN)

    @property
    def is_straight(self) -> bool:
        """Whether it goes past a sidecar."""
        return self in (Leg.SHORTCUT, Leg.SPLICE)


class Family(Enum):
    """How the dialling socket says where to."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"
    MAPPED = "IPv4 by an IPv6 socket"


class Counted(NamedTuple):
    """Bytes that the programs have counted, by the way that they took."""

    short: int = 0
    tcp: int = 0

    def plus(self, more: "Counted") -> "Counted":
        """Both together."""
        return Counted(self.short + more.short, self.tcp + more.tcp)

    def since(self, before: "Counted") -> "Counted":
        """What was counted after `before`."""
        return Counted(self.short - before.short, self.tcp - before.tcp)


class Pair(NamedTuple):
    """Both ends of one connection: `subject` is the judged role's."""

    subject: socket.socket
    other: socket.socket

    def swapped(self) -> "Pair":
        """The same from the other end."""
        return Pair(self.other, self.subject)

    def both(self) -> tuple["Pair", "Pair"]:
        """This and the same from the other end: what is sent goes to `subject`."""
        return self, self.swapped()

    def close(self) -> None:
        """Close both ends; closing twice does nothing."""
        self.subject.close()
        self.other.close()


class Dialled(NamedTuple):
    """How a pair is to be made.

    Where it is `blocking`, the judged end blocks, from the beginning; the other one never
    does. `first` is sent by whoever dials, before the other end is accepted. `source_port`
    is what the dialling socket is bound to, 0 for any. `pod` is that of who dials, 0 or 1.
    """

    family: Family = Family.IPV4
    blocking: bool = False
    protocol: int = 0
    first: bytes = b""
    source_port: int = 0
    pod: int = 0


USUAL = Dialled()


class Stand(Protocol):
    """One leg, for as long as one hazard takes.

    `parts`: an application there that was sent too much, or switched off, is on TCP for
    good.
    """

    leg: Leg
    parts: bool

    def pair(self, how: Dialled = USUAL) -> AbstractContextManager[Pair]:
        """A new connection, established and accepted; non-blocking unless `how` says so.

        The first one of a stand is dialled to a destination of which nothing is known, the
        others to one whose connections live long.

        Raises:
            Finding: It cannot be made.
            Impossible: This kernel has no such sockets.
        """

    def counted(self) -> Counted:
        """What the programs have counted of this stand's pods so far."""

    def prove(self, before: Counted, least: int, what: str) -> None:
        """Make sure that `least` bytes took the short path since `before`.

        Raises:
            Finding: They did not: `what` says which.
        """

    def switch(self, *, off: bool) -> None:
        """Send every live connection back to TCP, or let them take the short path again."""

    def has(self, family: Family) -> bool:
        """Whether connections of this family can be made here."""

    def detach(self) -> None:
        """Take every program away, with the connections as they are."""

    def step(self, text: str) -> None:
        """Say what is done next: of a hang, this is what is known."""


@contextlib.contextmanager
def by_tcp(stand: Stand) -> Iterator[None]:
    """Let everything go by TCP until the end of the block."""
    stand.switch(off=True)
    try:
        yield
    finally:
        stand.switch(off=False)
