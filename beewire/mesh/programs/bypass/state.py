"""What the programs of the short path share: tiers, connections, sockets.

    tiers      netns cookie              -> PodTier: how far its connections are shortened
    off        PodTier.number            -> whether it is switched off just now (0: all are)
    greetings  End, its `socket` 0       -> Greeting, while two ends look for each other
    peers      End                       -> the socket at this end of a connection
    flows      socket                    -> Flow: its other end, its counters
    unread     socket                    -> Unread: an application's that TCP has filled
    habits     Destination               -> Habit: how long its connections live
    totals     PodTier.number            -> Totals of connections that have closed

An End is one end of one connection: the namespace it stands in, its addresses and ports as
that end sees them, and the cookie of its socket. IPv4 is `::ffff:a.b.c.d` whatever the
family of the socket, ports are in network order. Equal tuples in two namespaces are two
Ends, and so are two sockets that had one tuple after the other: cookies are never given
twice. A namespace that is not in `tiers` is off.
"""

from enum import IntEnum, IntFlag

from beewire.bpf import (
    Array,
    Const,
    HashMap,
    LruHash,
    SkStorage,
    SockHash,
    Struct,
    array,
    u16,
    u32,
    u64,
)
from beewire.mesh.programs.addresses import Address
from beewire.mesh.programs.state import MAX_PODS, NO_PREALLOC

MAX_ENDS = 1 << 17  # sockets on the short path; buckets alone are 16 bytes each
MAX_GREETINGS = 1 << 16
MAX_DESTINATIONS = 1 << 14

# Bytes that may wait for a reader before the rest goes by TCP, which has windows.
BOUND = 2 << 20
# And messages: each has a head of a kilobyte in the kernel, for which nobody is charged.
MOST_MESSAGES = 1 << 10
# A message to who serves of which one is not likely to be all: many will come.
LARGE = 16 << 10
# How long bytes of TCP may lie unread before their owner is told of them again: half a second.
OVERDUE = 500_000_000
# Messages in one direction, in sixteenths, from which it is worth to join.
PAYS = 4 * 16


class Tier(IntEnum):
    """How far a pod's connections are shortened: `beewire.io/bypass`."""

    OFF = 0
    SIDECARS = 1  # from sidecar to sidecar
    ALL = 2  # the application's, too
    AUTO = 3  # from sidecar to sidecar, where connections are known to live long


class TierFlag(IntFlag):
    """What else a pod allows."""

    SHORTCUT = 1 << 0  # a sidecar straight to its application
    SPLICE = 1 << 1  # its application straight to another


class Role(IntEnum):
    """Whose a socket is."""

    NONE = 0
    SIDECAR = 1
    APPLICATION = 2


class Mode(IntEnum):
    """Where the last message of a socket went."""

    TCP = 0
    SHORT = 1


class Why(IntEnum):
    """Why the last message of a socket went by TCP; from UNMET on it is for good."""

    NOTHING = 0
    SILENT = 1  # nothing was sent yet
    ALONE = 2  # the other end has not joined yet
    FULL = 3  # more than the bound waits for the reader
    UNREAD = 4  # what TCP carried was not read yet
    UNACCEPTED = 5  # nobody has accepted the other end yet
    SWITCHED_OFF = 6
    CLOSING = 7  # this end has said its last word
    GONE = 8  # the other end has closed
    UNMET = 16  # the other end never joined
    SHORT_LIVED = 17  # connections to this destination end soon
    BLOCKING = 18  # one end's owner waits inside recv(): it could wait for ever
    MPTCP = 19
    ULP = 20  # TLS in the kernel, say
    STRANGER = 21  # what answers to the name is another connection
    NO_ROOM = 22  # a map is full, or there was no memory
    UNKNOWN = 23  # how long connections to this destination live is not known yet
    BULK = 24  # an application's socket that is TCP's again: see `parting`


class PodTier(Struct):
    """Value of `tiers`."""

    tier: u32 = 0  # Tier
    flags: u32 = 0  # TierFlag
    number: u32 = 0  # its place in `off`: PodState.number
    unused: u32 = 0


class End(Struct):
    """One end of a connection."""

    netns: u64 = 0
    socket: u64 = 0  # its cookie; 0 in `greetings`: whoever is there
    local: Address = Address()
    remote: Address = Address()
    local_port: u16 = 0
    remote_port: u16 = 0
    unused: u32 = 0


class Greeting(Struct):
    """What the end that dialled leaves for the other, and what that one answers.

    `sent` and `received` are the first sequence numbers of both directions. The answer
    counts once `answered` is not 0: it is written last.
    """

    address: u64  # of the tcp_sock
    socket: u64  # its cookie
    sent: u32
    received: u32
    role: u32
    pod: u32  # PodTier.number
    answer_role: u32 = 0
    answer_pod: u32 = 0
    answer_netns: u64 = 0
    answer_address: u64 = 0
    answered: u64 = 0  # the other socket's cookie


class Flow(Struct):
    """On each socket that was considered: its other end, and what it sent.

    `address` is that of the other end's tcp_sock, 0 as long as it is unknown. Only this
    socket's owner writes, and it holds the socket's lock; counters need no atomics.
    """

    own: End = End()
    peer: End = End()
    address: u64 = 0
    role: u32 = 0  # Role
    peer_role: u32 = 0
    pod: u32 = 0  # PodTier.number
    peer_pod: u32 = 0
    mode: u32 = 0  # Mode
    why: u32 = 0  # Why
    checked: u32 = 0  # whether the other end is known not to block
    written: u32 = 0  # write_seq when all that TCP had carried was read
    dialled: u32 = 0  # whether this end dialled
    turns: u32 = 0  # how often it went from one mode to the other
    short_bytes: u64 = 0
    short_messages: u64 = 0
    tcp_bytes: u64 = 0
    tcp_messages: u64 = 0
    read_messages: u64 = 0  # of short_messages, so many are known to be read
    mark_messages: u64 = 0  # where we look next whether they are: after so many, ...
    mark_bytes: u64 = 0  # ... which are so many of short_bytes
    parts: u32 = 0  # whether it is to go back to TCP for good as soon as it may
    parted: u32 = 0  # whether the other end was taken out of `peers`


class Unread(Struct):
    """On an application's socket in `peers` while it has bytes of TCP unread.

    Since when (ktime) no byte of them was read and nothing waited in front of them; and
    what its owner has set of its keepalives.
    """

    since: u64 = 0
    copied: u32 = 0  # copied_seq then
    alive: u32 = 0  # SO_KEEPALIVE
    idle: u32 = 0  # TCP_KEEPIDLE
    interval: u32 = 0  # TCP_KEEPINTVL
    count: u32 = 0  # TCP_KEEPCNT
    unused: u32 = 0


class Destination(Struct):
    """What the sockets of one role in one pod dial."""

    netns: u64 = 0
    address: Address = Address()
    port: u32 = 0
    role: u32 = 0


class Owner(IntEnum):
    """How those who accept connections read: as seen when one was accepted last."""

    UNSEEN = 0
    READY = 1  # they never wait inside recv()
    WAITING = 2


class Habit(Struct):
    """How many messages one direction of a connection carries, in sixteenths."""

    messages: u32 = 0
    owner: u32 = 0  # Owner


class Totals(Struct):
    """What the ends of a pod's connections have sent that are closed by now.

    `connections` counts them by the Why of their last message; those that were left alone
    are counted there as soon as they are, and are in nothing else.
    """

    short_bytes: u64 = 0
    short_messages: u64 = 0
    tcp_bytes: u64 = 0
    tcp_messages: u64 = 0
    turns: u64 = 0
    connections: list[u64] = array(u64, 32, default=0)


tiers = HashMap[u64, PodTier](max_entries=MAX_PODS, flags=NO_PREALLOC)
off = Array[u32](max_entries=MAX_PODS)
greetings = HashMap[End, Greeting](max_entries=MAX_GREETINGS, flags=NO_PREALLOC)
peers = SockHash[End](max_entries=MAX_ENDS)
flows = SkStorage[Flow]()
unread = SkStorage[Unread]()
habits = LruHash[Destination, Habit](max_entries=MAX_DESTINATIONS)
totals = Array[Totals](max_entries=MAX_PODS)

bound = Const(u64, BOUND)
pays = Const(u32, PAYS)
large = Const(u32, LARGE)
overdue = Const(u64, OVERDUE)
