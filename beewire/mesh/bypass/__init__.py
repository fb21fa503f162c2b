"""The short path as seen from user space: its connections, and its switch.

    with Node.load(pins) as node:
        for each in connections(node.short_path):
            print(each.role, each.local, each.remote, each.mode, each.reason)
        switch_off(node.short_path)

A pod's tier is part of its configuration: `PodConfig.bypass`, written by `Node.enrol` and
`Enrolment.update`, told by `Enrolment.tier`. Where nothing is configured it is OFF.

Without an agent, `ShortPath.at(pins)` opens what one has left pinned.

    live       Connection: each one that is there, its mode, why, and what it carried
    switching  every connection back to TCP, of one pod or of all, and on again
    words      reasons, in words
"""

from beewire.mesh.bypass.live import Connection, connections
from beewire.mesh.bypass.switching import is_off, switch_off, switch_on
from beewire.mesh.bypass.words import REASONS

__all__ = [
    "REASONS",
    "Connection",
    "connections",
    "is_off",
    "switch_off",
    "switch_on",
]
