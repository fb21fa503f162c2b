"""What the data path's programs share: pods, configurations, state in sockets, counters.

One set of programs serves all pods of a node. A pod is its network namespace, whose cookie
(`bpf_get_netns_cookie`, `SO_NETNS_COOKIE`) is the key of all that is its own:

    pods       cookie                    -> PodState, with the id of its configuration
    addresses  cookie, address           -> the pod's own addresses
    owners     address                   -> cookie: sk_lookup knows addresses only
    listeners  cookie, family, port, n   -> the sidecar's listening sockets
    counts     PodState.number           -> what was decided, how often (0: no pod's)
    aliases    cookie, destination       -> loopback address that stands for it
    originals  cookie, loopback address  -> destination that it stands for

A namespace that is not in `pods` is closed, as is one whose configuration is 0. A
configuration is a set of entries under one id, the `owner`, which never change:

    configs    owner                     -> Config: ports, flags
    numbers    owner, list, number       -> ports, users, groups in the lists of `Listed`
    ranges     owner                     -> a trie of its own, which goes with it:
               list, address/bits        -> CIDR ranges in the lists of `Listed`
    sources    owner, family, interface  -> address that its connections come from

To change one, write another and change the id in `pods`: no connection sees half of
either. Lists that say so in `Config.flags` are empty, and are not looked up. What is
configured but depends on the pod (interfaces, routes) stands under `PodState.scope`, an
owner of its own. IPv4 ranges are `::ffff:a.b.c.d/96+n`. Ports are in network order, in 16
of 32 bits, everywhere.
"""

from enum import IntEnum, IntFlag

from beewire.bpf import (
    Array,
    HashMap,
    HashOfMaps,
    LpmTrie,
    SkStorage,
    SockHash,
    Struct,
    array,
    u16,
    u32,
    u64,
)
from beewire.mesh.programs.addresses import Address, Endpoint

ALLOW = 1
DENY = 0
IPPROTO_TCP = 6
IPPROTO_UDP = 17

NO_PREALLOC = 1  # BPF_F_NO_PREALLOC: an entry takes memory when it is made

# A table takes 16 bytes for each entry that it may have; entries take theirs when made.
MAX_PODS = 1 << 12
MAX_ADDRESSES = 1 << 16
MAX_NUMBERS = 1 << 18
MAX_RANGES = 1 << 22  # a trie: nothing in advance
MAX_ALIASES = 1 << 18
NOTE_BITS = 13  # by thread: of two that meet at one place, the first leaves no note
ARRIVAL_BITS = 15  # by connection, from its SYN until it is accepted: the same
MAX_HANDSHAKES = 1 << 16
ALIASES_OF_A_POD = 4096
WORKERS = 16  # listeners with one port (SO_REUSEPORT) of which a pod's slots keep track


class ConfigFlag(IntFlag):
    """What a configuration says besides ports and lists."""

    INBOUND_ALL = 1 << 0  # `*`: captured but for EXCLUDED_INBOUND_PORTS
    OUTBOUND_ALL = 1 << 1  # `*`
    CAPTURES_LOOPBACK = 1 << 2  # an included range is one of the loopback network
    DNS = 1 << 3  # queries are redirected: to DNS_SERVERS ...
    ALL_DNS = 1 << 4  # ... or whatever the server
    DNS_ALIAS = 1 << 5  # the resolver is ours, and answers from every address
    ONLY_GROUPS = 1 << 6  # INCLUDED_GROUPS; otherwise all but EXCLUDED_GROUPS
    BY_OWNER = 1 << 7  # the sidecar is PROXY_UIDS and PROXY_GIDS, not a cgroup
    FIRST_IS_GROUP = 1 << 8  # Config.first_owner is a group
    MODE_NONE = 1 << 9  # nothing is captured
    MODE_TPROXY = 1 << 10
    IPV6 = 1 << 11  # otherwise IPv6 is left alone
    AS_GROUP = 1 << 12  # the sidecar's cgroup stands for PROXY_GIDS, not for PROXY_UIDS


class Listed(IntEnum):
    """A list of a configuration. `1 << (16 + list)` in its flags: it is not empty."""

    EXCLUDED_INBOUND_PORTS = 0
    INCLUDED_INBOUND_PORTS = 1
    EXCLUDED_OUTBOUND_PORTS = 2
    INCLUDED_OUTBOUND_PORTS = 3
    PROXY_UIDS = 4
    PROXY_GIDS = 5
    INCLUDED_GROUPS = 6
    EXCLUDED_GROUPS = 7
    EXCLUDED_RANGES = 8
    INCLUDED_RANGES = 9
    DNS_SERVERS = 10
    # In the pod's scope. `PodState.flags` says which there are:
    EXCLUDED_INTERFACES = 11  # indices of interfaces
    REROUTED_INTERFACES = 12
    ROUTES = 13  # ranges; the value is the index of the interface


class Config(Struct):
    """The scalars of a configuration; ports in network order."""

    flags: u32 = 0  # ConfigFlag, and which lists there are
    outbound_port: u32 = 0  # 15001
    inbound_port: u32 = 0  # 15006
    tunnel_port: u32 = 0  # 15008, never captured
    dns_port: u32 = 0  # 15053
    loopback: u32 = 0  # the IPv4 network that Istio's rules leave alone: 127.0.0.1 ...
    loopback_mask: u32 = 0  # ... /32
    first_owner: u32 = 0  # the first of PROXY_UIDS, else of PROXY_GIDS
    proxy_mark: u32 = 0  # TPROXY: SO_MARK of the sidecar's sockets, as a number
    unused: u32 = 0
    digest: u64 = 0  # of the whole set: user space knows equal ones by it


class PodMode(IntEnum):
    """Whether the programs act in a pod."""

    ACTING = 0
    SHADOW = 1  # Istio's rules do; the programs decide, compare, and leave alone
    BESIDE = 2  # they act where conntrack knows connections that the rules redirected


class PodState(Struct):
    """What the programs know of one pod; user space replaces it as a whole.

    `settings` is the configuration's: a copy, as it is asked at each connection. So is
    `own_bits`: an address whose bit is not set is not the pod's (sockets.py).
    """

    config: u32 = 0  # owner of its configuration; 0: everything is refused
    scope: u32 = 0  # owner of what is configured and depends on the pod
    flags: u32 = 0  # which lists its scope has, as in Config.flags
    number: u32 = 0  # its place in `counts`
    own_bits: u64 = 0  # of its addresses
    proxy_cgroup: u64 = 0  # id of the sidecar's cgroup
    proxy_level: u32 = 0  # its depth below the cgroup2 root
    source4: u32 = 0  # what a redirected connection keeps as its source; 0: it has none
    mode: u32 = 0  # PodMode
    straight: u32 = 0  # straight.Straight: ways past sidecars that it says yes to
    source6: Address = Address()
    settings: Config = Config()


class Number(Struct):
    """Key of `numbers`."""

    owner: u32
    listed: u32
    number: u32


class Range(Struct):
    """Key of an owner's `ranges`: `bits` counts those of `listed`, too."""

    bits: u32
    listed: u32
    address: Address


class PodAddress(Struct):
    """Key of `addresses`."""

    netns: u64
    address: Address = Address()


class Slot(Struct):
    """Key of `listeners`: the nth of those with one port."""

    netns: u64
    port: u16
    family: u16
    number: u32 = 0


class Named(Struct):
    """An IPv4 destination of one pod."""

    netns: u64
    ip: u32
    port: u32


class Alias(Struct):
    """A loopback address of one pod."""

    netns: u64
    ip: u32
    unused: u32 = 0


class Dialled(Struct):
    """On a socket that has connected: what its owner dialled, and what came of it.

    `target` is the last word of the rewritten address, `target_port` its port; 0 where the
    connection was left alone. They tell a socket that has been connected elsewhere since.
    `verdict` is the decision's: action and rule, by the configuration `config`.
    """

    wanted: Endpoint
    target: u32
    target_port: u32
    verdict: u32
    config: u32


class Asked(Struct):
    """On a socket that sends queries without connecting: whom it asked last.

    `target` and `target_port` are as in Dialled, `waiting` counts the answers that have
    not come. `mixed`: not all of them are of the resolver that was asked last.
    """

    wanted: Endpoint
    target: u32
    target_port: u32
    waiting: u32
    mixed: u32 = 0


class Handshake(Struct):
    """Names one redirected connection on both of its ends, while it is set up.

    The namespace's cookie is part of it: 127.0.0.1 is the same address in every pod.
    """

    netns: u64 = 0
    source: Address = Address()
    target: u32 = 0
    source_port: u16 = 0
    target_port: u16 = 0


class Decision(IntEnum):
    """What became of a connection; the index of `Counts.decisions`."""

    OUTBOUND_CAPTURED = 0
    OUTBOUND_PROXY = 1  # the sidecar's own connection
    OUTBOUND_LOCAL = 2  # to this pod
    OUTBOUND_SELF_CALL = 3  # the sidecar calls its own pod: to the inbound listener
    OUTBOUND_REFUSED = 4  # could not be redirected, or nothing is configured yet
    INBOUND_CAPTURED = 5
    INBOUND_LOCAL = 6
    INBOUND_EXCLUDED = 7
    INBOUND_REFUSED = 8  # no listener: the sidecar is dead or not there yet
    HANDED_OVER = 9  # the sidecar's socket has its original destination
    HANDOVER_MISSED = 10  # the sidecar's socket has none: somebody dialled it by number
    HANDOVER_ABANDONED = 11  # a connection without alias ended before it was accepted
    OUTBOUND_EXCLUDED = 12  # its port or range is excluded, or not included
    DNS_CAPTURED = 13  # a query, to the agent's resolver
    OUTBOUND_SPLICED = 14  # the application's connection goes past both sidecars
    INBOUND_STRAIGHT = 15  # a connection goes past the sidecar to the application


class Note(Struct):
    """What connect() leaves for the socket: see dialling."""

    thread: u64 = 0  # its address in the kernel; 0: the note was taken
    kept: Dialled


class Arrival(Struct):
    """What sk_lookup leaves for the socket that a connection gets: see arrivals.

    `kept` is the id of the configuration in the upper half, the verdict in the lower.
    """

    kept: u64 = 0
    check: u64 = 0


class Came(Struct):
    """On a socket that was accepted from outside: what was decided, by which `config`."""

    verdict: u32
    config: u32


class Counts(Struct):
    """What was done in one pod: how often each rule decided, and what came of it."""

    rules: list[u64] = array(u64, 64, default=0)
    decisions: list[u64] = array(u64, 16, default=0)


pods = HashMap[u64, PodState](max_entries=MAX_PODS, flags=NO_PREALLOC)
addresses = HashMap[PodAddress, u32](max_entries=MAX_ADDRESSES, flags=NO_PREALLOC)
owners = HashMap[Address, u64](max_entries=MAX_ADDRESSES, flags=NO_PREALLOC)
listeners = SockHash[Slot](max_entries=MAX_PODS)
counts = Array[Counts](max_entries=MAX_PODS)

configs = HashMap[u32, Config](max_entries=MAX_PODS, flags=NO_PREALLOC)
numbers = HashMap[Number, u32](max_entries=MAX_NUMBERS, flags=NO_PREALLOC)
ranges = HashOfMaps[u32, LpmTrie[Range, u32]](
    LpmTrie[Range, u32](max_entries=MAX_RANGES), MAX_PODS, flags=NO_PREALLOC
)
sources = HashMap[Number, Address](max_entries=MAX_ADDRESSES, flags=NO_PREALLOC)

aliases = HashMap[Named, u32](max_entries=MAX_ALIASES, flags=NO_PREALLOC)
originals = HashMap[Alias, Endpoint](max_entries=MAX_ALIASES, flags=NO_PREALLOC)
alias_counts = HashMap[u64, u32](max_entries=MAX_PODS, flags=NO_PREALLOC)
notes = Array[Note](max_entries=1 << NOTE_BITS)
dialled = SkStorage[Dialled]()
asked = SkStorage[Asked]()
arrived = SkStorage[Endpoint]()
arrivals = Array[Arrival](max_entries=1 << ARRIVAL_BITS)
came = SkStorage[Came]()
handshakes = HashMap[Handshake, Endpoint](max_entries=MAX_HANDSHAKES, flags=NO_PREALLOC)
