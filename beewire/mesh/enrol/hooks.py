"""Which program is attached to what of a pod, in the order of attaching."""

from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from beewire.bpf import Program
from beewire.mesh.programs import (
    dns,
    handover,
    inbound,
    original,
    outbound,
    shadow,
    view,
)
from beewire.mesh.programs.bypass import joining
from beewire.mesh.programs.bypass.state import Role, Tier
from beewire.mesh.programs.state import PodMode


class Place(Enum):
    """What of a pod a program is attached to."""

    CGROUP = "cgroup"
    PROXY_CGROUP = "proxy_cgroup"
    NETNS = "netns"


class Hook(NamedTuple):
    """One link of a pod; `name` is that of its pin."""

    name: str
    program: Program[Any]
    place: Place


INBOUND = "inbound"  # the hook whose program one pod may have to itself

# Inbound and the hand-over first: a redirected connection finds them in place.
HOOKS = (
    Hook(INBOUND, inbound.inbound, Place.NETNS),
    Hook("handover", handover.handover, Place.CGROUP),
    Hook("original", original.original_destination, Place.PROXY_CGROUP),
    Hook("peer4", view.peer4, Place.CGROUP),
    Hook("peer6", view.peer6, Place.CGROUP),
    Hook("answer4", dns.answer4, Place.CGROUP),
    Hook("answer6", dns.answer6, Place.CGROUP),
    Hook("ask4", dns.ask4, Place.CGROUP),
    Hook("ask6", dns.ask6, Place.CGROUP),
    Hook("outbound4", outbound.outbound4, Place.CGROUP),
    Hook("outbound6", outbound.outbound6, Place.CGROUP),
)

# Instead of inbound: what looks at packets misses none that connect() decides about.
SHADOW = Hook("shadow", shadow.leaving, Place.CGROUP)
SHADOW_IN = Hook("shadow_in", shadow.arriving, Place.CGROUP)
SHADOW_HOOKS = (SHADOW, SHADOW_IN, *HOOKS[1:])

EVERY_HOOK = (*HOOKS, SHADOW, SHADOW_IN)

PROGRAMS = tuple(hook.program for hook in EVERY_HOOK)

# The short path's, whose programs are loaded apart. A sidecar's socket meets its own first.
BYPASS_SIDECAR = Hook("bypass_sidecar", joining.bypass_sidecar, Place.PROXY_CGROUP)
BYPASS_APPLICATION = Hook("bypass_app", joining.bypass_application, Place.CGROUP)
BYPASS_HOOKS = (BYPASS_SIDECAR, BYPASS_APPLICATION)
FOLLOWED = {BYPASS_SIDECAR: Role.SIDECAR, BYPASS_APPLICATION: Role.APPLICATION}


def hooks_of_tier(tier: Tier) -> tuple[Hook, ...]:
    """The hooks that a pod has besides, by how far its connections are shortened."""
    if tier is Tier.OFF:
        return ()
    return BYPASS_HOOKS if tier is Tier.ALL else (BYPASS_SIDECAR,)


def hooks_of(mode: PodMode) -> tuple[Hook, ...]:
    """The hooks of a pod in a mode.

    In shadow mode nothing looks up listeners: there a program that does not know a packet
    has to refuse it, and one that knows them all has nothing to say.
    """
    return SHADOW_HOOKS if mode is PodMode.SHADOW else HOOKS


def hooks_in(pins: Path) -> tuple[str, ...]:
    """The names of the hooks that a pod's directory of pins should have."""
    # What a pod has in shadow mode, and no other.
    mode = PodMode.SHADOW if (pins / SHADOW.name).exists() else PodMode.ACTING
    return tuple(hook.name for hook in hooks_of(mode))
