"""Qualify a kernel: meet every hazard of the short path in pods made for it.

    standing = read(directory)                # what is known already
    if not standing.is_current:
        write(directory, qualify())           # less than a minute
    standing.allowed_tiers(), standing.why_not(Tier.ALL)

A tier is allowed where every class A hazard that its sockets can meet passes.

    verdicts     Verdict: one hazard for one role, class A or B
    tiers        Tier: whose sockets it puts on the short path; which are allowed
    fingerprint  what verdicts hold for: boot, kernel, live patches, programs
    standing     kept verdicts, if they still hold
    hazards      what is met, one row each
    battery      meets them; isolated: each in a process of its own, for a limited time
    stand        what a hazard stands on; live: on real pods
    ground       two pods made for it; wiring, doors to their places
    enrolled     the programs there, with the limits of life or others
    exchange     text that is sent and heard

Reading verdicts imports nothing of what meets hazards.
"""

from typing import TYPE_CHECKING

from beewire.mesh.qualify.fingerprint import Fingerprint, fingerprint
from beewire.mesh.qualify.standing import Qualification, Standing, read, write
from beewire.mesh.qualify.tiers import Tier
from beewire.mesh.qualify.verdicts import HazardClass, Outcome, Role, Verdict

if TYPE_CHECKING:
    from beewire.mesh.qualify.battery import TWIN, qualify
    from beewire.mesh.qualify.hazards import HAZARDS, Hazard

__all__ = [
    "HAZARDS",
    "TWIN",
    "Fingerprint",
    "Hazard",
    "HazardClass",
    "Outcome",
    "Qualification",
    "Role",
    "Standing",
    "Tier",
    "Verdict",
    "fingerprint",
    "qualify",
    "read",
    "write",
]

_PLACES = {
    "HAZARDS": "hazards",
    "Hazard": "hazards",
    "TWIN": "battery",
    "qualify": "battery",
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - as above

    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
