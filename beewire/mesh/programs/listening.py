"""The sidecar's listeners, each in a slot: filled when it listens, emptied when it closes.

No agent is needed for either, so that a sidecar that comes back is found again. Several
workers with one port (SO_REUSEPORT) have a slot each: when one goes, the others serve.
"""

from beewire.bpf import (
    SkLookup,
    SockOps,
    htons,
    netns_cookie,
    sk_assign,
    sk_release,
    u32,
    u64,
)
from beewire.mesh.programs.addresses import AF_INET, AF_INET6
from beewire.mesh.programs.state import WORKERS, Slot, configs, listeners, pods
from beewire.mesh.programs.task import runs_in_sidecar

NOEXIST = 1  # BPF_NOEXIST


def keep_listener(ctx: SockOps) -> None:
    """Remember a listener of the sidecar's that captures inbound connections."""
    netns = netns_cookie(ctx)
    if (pod := pods.lookup(netns)) is None:
        return
    if (config := configs.lookup(pod.config)) is None:
        return
    if htons(ctx.local_port) != config.inbound_port:
        return
    if not runs_in_sidecar(pod):
        return
    slot = Slot(netns=netns, port=config.inbound_port, family=ctx.family)
    for number in range(WORKERS):
        slot.number = number
        if listeners.update(ctx, slot, NOEXIST) == 0:
            return


def assign(ctx: SkLookup, netns: u64, port: u32, family: u32) -> bool:
    """Give a connection to a listener with `port`; the kernel spreads over its group."""
    slot = Slot(netns=netns, port=port, family=family)
    for number in range(WORKERS):
        slot.number = number
        if (listener := listeners.lookup(slot)) is not None:
            refused = sk_assign(ctx, listener, 0)
            sk_release(listener)
            if refused == 0:
                return True
    return False


def is_listening(netns: u64, port: u32) -> bool:
    """Whether a pod's sidecar has a listener with `port`: it is there, and alive."""
    slot = Slot(netns=netns, port=port, family=AF_INET)
    for number in range(2 * WORKERS):
        slot.number = number >> 1
        slot.family = AF_INET6 if number & 1 != 0 else AF_INET
        if (listener := listeners.lookup(slot)) is not None:
            sk_release(listener)
            return True
    return False
