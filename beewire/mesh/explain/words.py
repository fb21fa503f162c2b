"""Rules and actions as sentences."""

from typing import Final

from beewire.mesh.decision import Action, Rule

ACTIONS: Final = {
    Action.PASS: "left alone: it goes where it was dialled",
    Action.TO_OUTBOUND: "to the sidecar's outbound listener",
    Action.TO_INBOUND: "to the sidecar's inbound listener",
    Action.TO_DNS: "to the agent's resolver",
    Action.REFUSE: "refused",
}

RULES: Final = {
    Rule.UNDECIDED: "no rule was asked",
    Rule.MODE_NONE: "interception is off",
    Rule.FAMILY_OFF: "IPv6 is not intercepted",
    Rule.ESTABLISHED: "a connection keeps its way",
    Rule.INVALID: "conntrack calls the packet invalid",
    Rule.OUT_EXCLUDED_INTERFACE: "it leaves by an excluded interface",
    Rule.OUT_EXCLUDED_PORT: "the destination's port is excluded",
    Rule.OUT_FROM_INBOUND: "the sidecar calls its application, from 127.0.0.6 or ::6",
    Rule.OUT_SELF_CALL: "the sidecar calls its own pod: to its inbound listener",
    Rule.OUT_LOCAL: "the application calls its own pod",
    Rule.OUT_PROXY: "it is the sidecar's own connection",
    Rule.OUT_GROUP_NOT_INCLUDED: "the socket's group is not among those included",
    Rule.OUT_GROUP_EXCLUDED: "the socket's group is excluded",
    Rule.OUT_DNS: "it is a query to a resolver of the pod",
    Rule.OUT_LOOPBACK: "the destination is the loopback address",
    Rule.OUT_EXCLUDED_RANGE: "the destination is in an excluded range",
    Rule.OUT_INCLUDED_PORT: "the destination's port is included",
    Rule.OUT_INCLUDED_RANGE: "the destination is in an included range",
    Rule.OUT_ALL_RANGES: "all destinations are included",
    Rule.OUT_NOT_INCLUDED: "neither its port nor its range is included",
    Rule.OUT_OTHER_PROTOCOL: "only TCP is captured",
    Rule.OUT_SELF_CALL_TPROXY: "the sidecar's mark: it calls its own pod",
    Rule.OUT_SPLICE: "no sidecar has more to do than TCP: past both of them",
    Rule.OUT_SHORTCUT: "the sidecar there has no more to do than TCP: past it",
    Rule.IN_SPLICE: "no sidecar has more to do than TCP: it came past both of them",
    Rule.IN_SHORTCUT: "the sidecar has no more to do than TCP: it goes past it",
    Rule.IN_LOCAL: "it comes from the pod itself, and was decided on its way out",
    Rule.IN_OTHER_PROTOCOL: "only TCP is captured",
    Rule.IN_REROUTED: "it comes from a virtual machine's interface: as if outbound",
    Rule.IN_REROUTED_NOT_INCLUDED: (
        "it comes from a virtual machine's interface, and its range is not included"
    ),
    Rule.IN_EXCLUDED_INTERFACE: "it arrives by an excluded interface",
    Rule.IN_TUNNEL_PORT: "the port of the tunnel is the sidecar's own (HBONE)",
    Rule.IN_EXCLUDED_PORT: "its port is excluded",
    Rule.IN_INCLUDED_PORT: "its port is included",
    Rule.IN_ALL_PORTS: "all ports are included",
    Rule.IN_NOT_INCLUDED: "its port is not included",
    Rule.IN_MARKED: "the sidecar's mark: it calls its application",
    Rule.IN_LOOPBACK: "TPROXY leaves loopback addresses alone",
}
