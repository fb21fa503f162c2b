"""Which tiers verdicts allow, and why not the others."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

from beewire.mesh.qualify.verdicts import Role, Verdict


class Tier(StrEnum):
    """What may leave out the TCP/IP stack: the values of `beewire.io/bypass`, and two more."""

    OFF = "off"
    SIDECARS = "sidecars"
    ALL = "all"
    AUTO = "auto"
    SHORTCUT = "shortcut"
    SPLICE = "splice"


ROLES: Final = {
    Tier.OFF: frozenset[Role](),
    Tier.SIDECARS: frozenset({Role.SIDECAR}),
    Tier.AUTO: frozenset({Role.SIDECAR}),
    Tier.ALL: frozenset({Role.SIDECAR, Role.APPLICATION}),
    Tier.SHORTCUT: frozenset({Role.SIDECAR, Role.APPLICATION, Role.SHORTCUT}),
    Tier.SPLICE: frozenset({Role.APPLICATION, Role.SPLICE}),
}
"""Whose sockets a tier puts on the short path."""


def binding(tier: Tier, verdicts: Iterable[Verdict]) -> list[Verdict]:
    """The verdicts that keep a tier off."""
    return [each for each in verdicts if each.binds and each.role in ROLES[tier]]


def why_not(tier: Tier, verdicts: Sequence[Verdict]) -> str:
    """Why a tier is not allowed, in one sentence; "" where it is.

    A role that has no verdict at all was not judged, and is not allowed.
    """
    judged = {each.role for each in verdicts}
    if missing := sorted(ROLES[tier] - judged):
        return f"no hazard was judged for {' and '.join(map(_whose, missing))}"
    found = binding(tier, verdicts)
    if not found:
        return ""
    by_hazard: dict[str, list[str]] = {}
    for each in found:
        by_hazard.setdefault(each.hazard, []).append(each.role)
    told = ", ".join(
        f"{hazard} ({' and '.join(roles)})" for hazard, roles in by_hazard.items()
    )
    return f"{told} failed: {found[0].says}"


def _whose(role: Role) -> str:
    if role in (Role.SIDECAR, Role.APPLICATION):
        return f"the {role}'s sockets"
    return f"connections by {role}"


def allowed(verdicts: Sequence[Verdict]) -> frozenset[Tier]:
    """The tiers that nothing keeps off; `off` is always one."""
    return frozenset(tier for tier in Tier if not why_not(tier, verdicts))
