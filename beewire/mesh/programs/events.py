"""Events: what was refused, or is unusual, with the process, the pod and the rule.

Each is counted, by pod and reason. A pod tells BURST of one reason a second, and with the
next one how many it kept to itself: a pod that is refused a million packets wakes nobody
a million times.
"""

from enum import IntEnum

from beewire.bpf import (
    HashMap,
    RingBuf,
    Struct,
    chars,
    current,
    ktime_ns,
    subprogram,
    u8,
    u16,
    u32,
    u64,
)
from beewire.mesh.programs.addresses import Address
from beewire.mesh.programs.task import task_struct

NO_PREALLOC = 1  # BPF_F_NO_PREALLOC: an entry takes memory when it is made
BURST = 10
SECOND = 30  # a shift: 2^30 ns are a second and a bit


class Reason(IntEnum):
    """Why something was refused, or is worth telling."""

    NAMESPACE_CLOSED = 1  # nobody has said yet which cgroup the pod is
    POD_CLOSED = 2  # the pod has no configuration yet
    NOT_REDIRECTED = 3  # it was to be captured, and could not be
    NO_LISTENER = 4  # the sidecar is dead, or not there yet
    DNS_PIPELINED = 5  # an answer may be shown as another resolver's than whose it is
    HANDOVER_MISSED = 6  # the sidecar's socket has no original destination
    SHADOW_DISAGREES = 7  # Istio's rules did something else than what was decided


class Matter(Struct):
    """What an event is about. Addresses and ports are in network order; rule 0: none."""

    source: Address = Address()
    target: Address = Address()
    source_port: u16 = 0
    port: u16 = 0
    rule: u32 = 0
    protocol: u8 = 0  # IPPROTO_*
    inbound: u8 = 0
    # Whether the running process is the one that sends: it is not when a packet arrives,
    # or is sent again.
    is_own: u8 = 0
    unused: u8 = 0


class Event(Struct):
    """One refused or unusual decision. `when` is CLOCK_MONOTONIC in ns.

    `withheld` is how many of its kind were not told since the last; `process` is 0 where
    no process of the pod ran.
    """

    pod: u64  # its network namespace's cookie
    when: u64
    flow: Matter
    reason: u32
    withheld: u32
    process: u32
    uid: u32
    comm: str = chars(16)


class Kind(Struct):
    """What is counted apart."""

    pod: u64
    reason: u64


class Tally(Struct):
    """How often, and how many of this second were told."""

    count: u64 = 0
    second: u64 = 0
    told: u32 = 0
    withheld: u32 = 0


events = RingBuf[Event](size=1 << 18)
tallies = HashMap[Kind, Tally](max_entries=1 << 20, flags=NO_PREALLOC)


def counted(pod: u64, reason: u32) -> Tally | None:
    """Count one, and give the tally if it is to be told."""
    kind = Kind(pod=pod, reason=reason)
    if (tally := tallies.lookup(kind)) is None:
        tallies.insert(kind, Tally())
        if (tally := tallies.lookup(kind)) is None:
            return None
    tally.count += 1
    second = ktime_ns() >> SECOND
    if tally.second != second:
        # Two CPUs may both begin it, and tell a few more.
        tally.second = second
        tally.told = 0
    if tally.told >= BURST:
        tally.withheld += 1
        return None
    tally.told += 1
    return tally


@subprogram
def report(pod: u64, reason: u32, flow: Matter) -> None:
    """Count a decision about `flow`, and tell it unless this pod has told enough."""
    if (tally := counted(pod, reason)) is None:
        return
    with events.reserve() as event:
        if event is None:
            return
        event.pod = pod
        event.when = ktime_ns()
        event.flow = flow
        event.reason = reason
        event.withheld = tally.withheld
        event.process = 0
        event.uid = 0
        event.comm = ""
        if flow.is_own != 0:
            task = current(task_struct)
            event.process = task.tgid
            event.uid = task.cred.uid.val
            event.comm = task.comm
        tally.withheld = 0
