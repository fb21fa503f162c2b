"""Trials: a whole node under load, while things go wrong.

with Rig() as rig:
print(survive(rig, FAULTS["agent_killed"], seconds=4))

rig      Rig: two pods with sidecars, enrolled through an agent of their own
faults   what goes wrong, and what it did to the requests meanwhile
churn    a million short connections, and what is left of them
asking, streaming    requests, and streams, whose every byte is compared
endurance, soak      millions of them on each tier of the short path; half an hour of all
telling  what went wrong on a connection, in words
"""

from beewire.mesh.trial.churn import Churn, churn
from beewire.mesh.trial.faults import FAULTS, Fault, Survived, survive
from beewire.mesh.trial.rig import Rig

__all__ = ["FAULTS", "Churn", "Fault", "Rig", "Survived", "churn", "survive"]
