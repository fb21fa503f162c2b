"""What the data path's programs share: settings, state in sockets, counters.

Ports are in network order, in 16 of 32 bits.
"""

from enum import IntEnum

from beewire.bpf import (
    Global,
    HashMap,
    PerCpuArray,
    SkStorage,
    SockMap,
    Struct,
    u16,
    u32,
    u64,
)
from datapath.addresses import Address, Endpoint

ALLOW = 1
DENY = 0
IPPROTO_TCP = 6

NO_PREALLOC = 1  # BPF_F_NO_PREALLOC: an entry takes memory when it is made

V4_LISTENER = 0  # slots of `listeners`
V6_LISTENER = 1


class Dialled(Struct):
    """On a redirected socket without alias: what its owner dialled, what we made of it.

    `target` is the last word of the rewritten address, `target_port` its port. They tell
    a socket that has been connected elsewhere since.
    """

    wanted: Endpoint
    target: u32
    target_port: u32


class Handshake(Struct):
    """Names one redirected connection on both of its ends, while it is set up.

    The namespace's cookie is part of it: 127.0.0.1 is the same address in every pod.
    """

    netns: u64 = 0
    source: Address = Address()
    target: u32 = 0
    source_port: u16 = 0
    target_port: u16 = 0


class Settings(Struct):
    """One pod's configuration. Ports are in network order; 0 = not configured."""

    proxy_cgroup: u64  # id of the sidecar's cgroup
    proxy_level: u32  # its depth below the cgroup2 root
    outbound_port: u32  # 15001
    inbound_port: u32  # 15006
    tunnel_port: u32  # 15008, never captured
    source4: u32  # what a redirected connection keeps as its source
    unused: u32 = 0
    source6: Address


class Decision(IntEnum):
    """What was decided about a connection; the index of `decisions`."""

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


settings = Global(Settings)
local_addresses = HashMap[Address, u32](max_entries=64)
excluded_inbound_ports = HashMap[u32, u32](max_entries=65536, flags=NO_PREALLOC)
aliases = HashMap[Endpoint, u32](max_entries=4096, flags=NO_PREALLOC)
originals = HashMap[u32, Endpoint](max_entries=4096, flags=NO_PREALLOC)
dialled = SkStorage[Dialled]()
arrived = SkStorage[Endpoint]()
handshakes = HashMap[Handshake, Endpoint](max_entries=65536)
listeners = SockMap[u32](max_entries=2)
decisions = PerCpuArray[u64](max_entries=16)


def count(decision: u32) -> None:
    """Count one decision."""
    if (n := decisions.lookup(decision)) is not None:
        n.value += 1


def is_listener(port: u32) -> bool:
    """Whether a port (network order) is one of the sidecar's capturing listeners."""
    return port in (settings.outbound_port, settings.inbound_port)
