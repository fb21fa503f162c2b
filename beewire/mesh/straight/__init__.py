"""Ways past the sidecars of a node: which there are, why not the others, what they carry.

    members    pods, what they say yes to, what their sidecars say
    plan       from that: each pair of pods, and each port, judged
    tables     the plan in the maps that the programs read; connections and counters

`beewire.mesh.programs.straight` is the data path, `beewire.mesh.sidecar` reads sidecars.
"""

from beewire.mesh.programs.straight import Straight
from beewire.mesh.straight.members import addresses_of, kinds_of, member, open_ways
from beewire.mesh.straight.plan import Judged, Member, Plan, plan
from beewire.mesh.straight.tables import Applied, Carried, Passing, Tables

__all__ = [
    "Applied",
    "Carried",
    "Judged",
    "Member",
    "Passing",
    "Plan",
    "Straight",
    "Tables",
    "addresses_of",
    "kinds_of",
    "member",
    "open_ways",
    "plan",
]
