"""What happens to a connection of a pod: Istio's decision, as a pure function.

    decide(config, connection)      # Verdict(action, rule, item)
    decider(config)                 # the same, prepared once for many connections
    knob(config, verdict)           # the field of the configuration behind a verdict

The order of the rules is the kernel's way through the tables that Istio writes. Outbound:
mangle OUTPUT (marks), nat OUTPUT; what stays on this machine then passes mangle PREROUTING.
Inbound: mangle PREROUTING, nat PREROUTING. The first rule that settles the matter is named
in the verdict.

A connection is given as its first packet would look: a destination 0.0.0.0 or `::` has been
replaced by the loopback address, `::ffff:a.b.c.d` by a.b.c.d.
"""

from beewire.mesh.decision.deciding import decide, decider, knob
from beewire.mesh.decision.vocabulary import (
    AGENT_DNS_PORT,
    DNS_PORT,
    INBOUND_SOURCES,
    KNOBS,
    LOOPBACK,
    NO_OWNER,
    SIDECAR_CALL_MARK,
    TCP,
    UDP,
    Action,
    Connection,
    Decide,
    Direction,
    IPAddress,
    Item,
    Rule,
    State,
    Verdict,
)

__all__ = [
    "AGENT_DNS_PORT",
    "DNS_PORT",
    "INBOUND_SOURCES",
    "KNOBS",
    "LOOPBACK",
    "NO_OWNER",
    "SIDECAR_CALL_MARK",
    "TCP",
    "UDP",
    "Action",
    "Connection",
    "Decide",
    "Direction",
    "IPAddress",
    "Item",
    "Rule",
    "State",
    "Verdict",
    "decide",
    "decider",
    "knob",
]
