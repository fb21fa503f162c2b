"""The hazards, one row each."""

from collections.abc import Callable
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from beewire.mesh.qualify.hazards import (
    carrying,
    ending,
    feeding,
    leaving,
    ordering,
    receiving,
    recognising,
    stalling,
)
from beewire.mesh.qualify.stand import IN_LIFE, UNPARTED, Leg, Limits, Stand
from beewire.mesh.qualify.verdicts import HazardClass, Role

A, B = HazardClass.A, HazardClass.B
_LEGS: Final = MappingProxyType(
    {Role.SIDECAR: (Leg.BETWEEN,), Role.APPLICATION: (Leg.OUT, Leg.IN)}
)
_STRAIGHT_TOO: Final = MappingProxyType(
    {**_LEGS, Role.SHORTCUT: (Leg.SHORTCUT,), Role.SPLICE: (Leg.SPLICE,)}
)
_APPLICATIONS: Final = MappingProxyType({Role.APPLICATION: (Leg.OUT, Leg.IN)})
_ALL_APPLICATIONS: Final = MappingProxyType(
    {role: legs for role, legs in _STRAIGHT_TOO.items() if role is not Role.SIDECAR}
)
_NOBODY: Final = MappingProxyType(dict[Role, str]())


class Way(StrEnum):
    """Which way a hazard's bytes have to take, by the programs' own counters."""

    SHORT = "short"
    BOTH = "both"
    TCP = "tcp"


class Hazard(NamedTuple):
    """One hazard; `meet` does it, and returns one sentence about what was seen.

    `short` is how many bytes have to take the short path at least, where `way` is not TCP;
    `before` is that where an application parts on the way, if it does. `legs` are those on
    which it is met, by the role that is judged; `unmet` says why a role's sockets cannot
    meet it, in life. `limits` are those of life unless the hazard is met without parting,
    too: what it looks for could not be met, or not for long, by an application that parts.
    """

    name: str
    hazard_class: HazardClass
    what: str
    meet: Callable[[Stand], str]
    way: Way = Way.SHORT
    short: int = 1
    before: int = 0
    legs: MappingProxyType[Role, tuple[Leg, ...]] = _LEGS
    unmet: MappingProxyType[Role, str] = _NOBODY
    limit_s: float = 60.0
    limits: Limits = IN_LIFE

    def parts(self, leg: Leg) -> bool:
        """Whether an application on this leg may part."""
        return self.limits.large > 0 and leg is not Leg.BETWEEN

    def least(self, leg: Leg) -> int:
        """How many bytes have to take the short path at least."""
        return self.before if self.before and self.parts(leg) else self.short


def _sidecars(why: str) -> MappingProxyType[Role, str]:
    return MappingProxyType({Role.SIDECAR: why})


_ENVOY_WAITS_IN_EPOLL: Final = _sidecars("Envoy's sockets never block")
_IN_TWO_PODS: Final = MappingProxyType(
    {
        **_STRAIGHT_TOO,
        Role.SIDECAR: (Leg.OUT, Leg.BETWEEN),
        Role.APPLICATION: (Leg.OUT,),
    }
)

STALLED: Final = "stalled_reader"

HAZARDS: Final = (
    Hazard(
        STALLED,
        A,
        "a reader sleeps while its peer sends: memory stays within twice of TCP's",
        stalling.stalled_reader,
        way=Way.BOTH,
        short=2_000_000,
        legs=_STRAIGHT_TOO,
    ),
    Hazard(
        "tiny_messages",
        A,
        "a reader sleeps while its peer sends single bytes: heads take memory, too",
        stalling.tiny_messages,
        short=100,
    ),
    Hazard(
        "order",
        A,
        "the queue overflows and is read, again and again: short path and TCP in turn",
        ordering.order,
        way=Way.BOTH,
        short=5_000_000,
        before=2_000_000,
        legs=_STRAIGHT_TOO,
    ),
    Hazard(
        "equal_counts",
        A,
        "as many bytes by the short path, read, as by TCP, unread, then a short one",
        ordering.equal_counts,
        way=Way.BOTH,
        short=200_000,
        before=100_000,
    ),
    Hazard(
        "first_bytes",
        A,
        "who dials speaks at once, before the other end is accepted",
        ordering.first_bytes,
        short=100_000,
        legs=_STRAIGHT_TOO,
    ),
    Hazard(
        "half_close",
        A,
        "one half is shut behind data, and the answer comes on the other",
        ending.half_close,
        way=Way.BOTH,
        short=1_000_000,
        legs=_STRAIGHT_TOO,
    ),
    Hazard(
        "close_queued",
        A,
        "close() behind data that nobody has read; and SIGKILL",
        ending.close_queued,
        way=Way.BOTH,
        short=3_000_000,
        legs=_STRAIGHT_TOO,
    ),
    Hazard(
        "reset",
        A,
        "a connection is aborted behind data that nobody has read",
        ending.reset,
        short=300_000,
        legs=_STRAIGHT_TOO,
    ),
    Hazard(
        "reset_unread",
        A,
        "close() with bytes of TCP unread, a reset, behind data that nobody has read",
        ending.reset_unread,
        way=Way.BOTH,
        short=4_000_000,
        legs=_STRAIGHT_TOO,
    ),
    Hazard(
        "eof_unread",
        B,
        "close() with data unread, which TCP answers by a reset",
        ending.eof_unread,
        short=100_000,
    ),
    Hazard(
        "nonblocking",
        A,
        "epoll (level and edge), poll and select tell of every message, and of no other",
        receiving.nonblocking,
        short=50_000,
    ),
    Hazard(
        "missed_edge",
        A,
        "a reader of edges stops past the bound, and reads on: an application by short reads",
        receiving.missed_edge,
        way=Way.BOTH,
        short=1_500_000,
        legs=_STRAIGHT_TOO,
    ),
    Hazard(
        "counted_edge",
        A,
        "the same, by who believes FIONREAD: an application that waits once it says 0",
        receiving.counted_edge,
        way=Way.BOTH,
        short=1_500_000,
        legs=_ALL_APPLICATIONS,
    ),
    Hazard(
        "blocking",
        A,
        "a socket that blocks is left on TCP, and recv() waits as it should",
        receiving.blocking,
        way=Way.TCP,
        unmet=_ENVOY_WAITS_IN_EPOLL,
    ),
    Hazard(
        "blocking_later",
        A,
        "a socket begins to block after it was connected",
        receiving.blocking_later,
        unmet=MappingProxyType(
            {
                Role.SIDECAR: _ENVOY_WAITS_IN_EPOLL[Role.SIDECAR],
                Role.APPLICATION: "`all` is for applications whose owner states that"
                " they do not block",
            }
        ),
    ),
    Hazard(
        "rcvtimeo",
        A,
        "recv() with SO_RCVTIMEO gives up in time, and not before",
        receiving.rcvtimeo,
        way=Way.TCP,
        unmet=_ENVOY_WAITS_IN_EPOLL,
    ),
    Hazard(
        "peek",
        A,
        "MSG_PEEK shows what comes next, and leaves it there",
        receiving.peek,
        short=20_000,
    ),
    Hazard(
        "fionread",
        B,
        "FIONREAD tells how many bytes wait",
        receiving.fionread,
        short=100_000,
    ),
    Hazard(
        "rcvlowat",
        B,
        "SO_RCVLOWAT: poll() waits for so many bytes",
        receiving.rcvlowat,
        short=5_000,
    ),
    Hazard("oob", B, "MSG_OOB: an urgent byte is told of", receiving.oob, short=100),
    Hazard(
        "splice_from",
        A,
        "splice() from the socket to a pipe",
        feeding.splice_from,
        short=40_000,
        unmet=MappingProxyType(
            {
                Role.SIDECAR: "Envoy reads with readv(), and never splices",
                Role.APPLICATION: "`all` is for applications whose owner states that"
                " they do not splice",
            }
        ),
    ),
    Hazard(
        "splice_to",
        A,
        "splice() from a pipe to the socket",
        feeding.splice_to,
        short=400_000,
    ),
    Hazard(
        "sendfile",
        A,
        "sendfile() to the socket",
        feeding.sendfile,
        short=1_000_000,
        before=500_000,
    ),
    Hazard(
        "zerocopy",
        B,
        "MSG_ZEROCOPY: the sender is told when its memory is free",
        feeding.zerocopy,
        short=10_000,
    ),
    Hazard(
        "tcp_info",
        B,
        "TCP_INFO counts the bytes, as `ss -i` shows them",
        feeding.tcp_info,
        short=40_000,
    ),
    Hazard(
        "ktls",
        A,
        "the kernel's TLS on a socket that took the short path: left on TCP, or refused",
        recognising.ktls,
        short=100_000,
    ),
    Hazard(
        "ktls_offered",
        B,
        "the kernel's TLS can be had for a socket that took the short path",
        recognising.ktls_offered,
        short=100_000,
    ),
    Hazard(
        "mptcp",
        A,
        "multipath TCP is left on TCP",
        recognising.mptcp,
        way=Way.TCP,
    ),
    Hazard(
        "handed_on",
        A,
        "sockets that a child inherits, or that are passed to another process",
        carrying.handed_on,
        short=400_000,
    ),
    Hazard(
        "equal_tuples",
        A,
        "equal addresses and ports, in two pods or one after the other: each hears its own",
        carrying.equal_tuples,
        short=5_000,
        legs=_IN_TWO_PODS,
    ),
    Hazard(
        "families",
        A,
        "IPv4, IPv6 and IPv4 by IPv6 sockets take the short path",
        carrying.families,
        short=800_000,
    ),
    Hazard(
        "bodies",
        A,
        "64 MB each way, by SHA-256",
        carrying.bodies,
        short=60_000_000,
        before=500_000,
        legs=_STRAIGHT_TOO,
        limit_s=120.0,
    ),
    Hazard(
        "accounting",
        A,
        "what lies unread is charged to the reader, and given back",
        stalling.accounting,
        short=5_000_000,
    ),
    Hazard(
        "switched_off",
        A,
        "`beewire mesh bypass off` while bytes lie queued",
        leaving.switched_off,
        way=Way.BOTH,
        short=2_000_000,
        legs=_STRAIGHT_TOO,
    ),
    Hazard(
        "detached",
        A,
        "every program is detached while bytes lie queued",
        leaving.detached,
        short=1_000_000,
        legs=_STRAIGHT_TOO,
    ),
    Hazard(
        "order_unparted",
        A,
        "`order` by an application that does not part: it would at the first turn",
        ordering.order,
        way=Way.BOTH,
        short=5_000_000,
        legs=_APPLICATIONS,
        limits=UNPARTED,
    ),
    Hazard(
        "counts_unparted",
        A,
        "`equal_counts` by one that does not part: it would when TCP's bytes come",
        ordering.equal_counts,
        way=Way.BOTH,
        short=200_000,
        legs=_APPLICATIONS,
        limits=UNPARTED,
    ),
    Hazard(
        "bodies_unparted",
        A,
        "`bodies` by one that does not part: it would at the first large message",
        carrying.bodies,
        short=60_000_000,
        legs=_APPLICATIONS,
        limit_s=120.0,
        limits=UNPARTED,
    ),
    Hazard(
        "switch_unparted",
        A,
        "`switched_off` by one that does not part: it would not come back",
        leaving.switched_off,
        way=Way.BOTH,
        short=2_000_000,
        legs=_APPLICATIONS,
        limits=UNPARTED,
    ),
)
