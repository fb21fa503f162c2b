"""Qualify a kernel: meet every hazard of the short path in pods made for it.

standing = read(directory)                # what is known already
if not standing.is_current:
    write(directory, qualify())           # some seconds
standing.allowed_tiers(), standing.why_not(Tier.ALL)

verdicts     Verdict: one hazard for one role, class A or B
tiers        Tier: whose sockets it puts on the short path; which are allowed
fingerprint  what verdicts hold for: boot, kernel, live patches, programs
standing     kept verdicts, if they still hold
"""

from beewire.mesh.qualify.fingerprint import Fingerprint, fingerprint
from beewire.mesh.qualify.standing import Qualification, Standing, read, write
from beewire.mesh.qualify.tiers import Tier
from beewire.mesh.qualify.verdicts import HazardClass, Outcome, Role, Verdict

__all__ = [
    "Fingerprint",
    "HazardClass",
    "Outcome",
    "Qualification",
    "Role",
    "Standing",
    "Tier",
    "Verdict",
    "fingerprint",
    "read",
    "write",
]
