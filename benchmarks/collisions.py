"""What goes wrong when many connections meet in one listener, and how many fit?

wrong_source_ports: 20 connections from one source port to 20 ports of a pod, one after
the other and all open; how many of them the sidecar's listener sees with another source
port. stalls: two CPUs dial two ports of the pod from one source port at the same instant,
again and again; how many of these connections take half a second or more (of
stalls_tried). resets: 20 connections live, conntrack forgets them, and each source port
dials another port of the pod; how many of the live ones are reset. escapes: a server
resets 20 connections of the sidecar, and the application dials that server from the same
source ports; how many of them go past the sidecar.

outbound_connections: 80,000 destinations, dialled by a pod's application, all held open
at once, accepted by a plain SO_REUSEPORT listener on 15001 of as many processes as that
takes. wrong_destinations: for how many SO_ORIGINAL_DST said something else than what was
dialled. _ipv6: the same with IPv6, where ::1 and the pod's own address are all there is:
2 x 28,232 at most. The kernel gives every other port first, and looks at all of them
before it gives the rest: from half of that on, connections are slow to come. iptables is
given the seconds of --seconds for it (30), Beewire 120. All are counts;
wrong_source_ports, resets and escapes are of 20.
"""

import sys
from collections.abc import Callable

from _report import Figure, counted, machine, missing, options, show, write

from beewire.errors import BeewireError
from beewire.interrupts import Stopped, unwinding
from beewire.mesh.lab import Beewire, Interception, Iptables, Lab
from beewire.mesh.lab.escaping import escapes
from beewire.mesh.lab.fan_in import fan_in
from beewire.mesh.lab.fan_out import fan_out

WANTED = 80_000
# A stall takes a second: under iptables, where there are many, fewer pairs will do.
PAIRS = {"iptables": 100, "beewire": 1500}


def main(argv: list[str]) -> int:
    """Measure, print and write."""
    asked = options(argv, __doc__ or "", rounds=1)
    host = machine()
    beewire, iptables = Beewire(), Iptables()
    patient, usual = asked.seconds or 120.0, asked.seconds or 30.0
    figures = {
        **_tried("beewire", FAN_IN, lambda: inbound(beewire)),
        **_tried("beewire", ESCAPES, lambda: escaping(beewire)),
        **_tried("beewire", FAN_OUT, lambda: outbound(beewire, patient)),
        **_tried("beewire", FAN_OUT6, lambda: outbound(beewire, patient, ipv6=True)),
        **_tried("iptables", FAN_IN, lambda: inbound(iptables)),
        **_tried("iptables", ESCAPES, lambda: escaping(iptables)),
        **_tried("iptables", FAN_OUT, lambda: outbound(iptables, usual)),
    }
    show(figures)
    if asked.json:
        write(asked.json, "collisions", host, asked.rounds, figures)
    return 0


FAN_IN = ("wrong_source_ports", "stalls", "stalls_tried", "resets")
ESCAPES = ("escapes",)
FAN_OUT = ("outbound_connections", "outbound_wrong_destinations")
FAN_OUT6 = tuple(f"{name}_ipv6" for name in FAN_OUT)


def _tried(
    side: str, names: tuple[str, ...], measure: Callable[[], list[Figure]]
) -> dict[str, Figure]:
    # What a side cannot do is a figure, too: null, with its reason.
    print(f"{side}: {', '.join(names)}", file=sys.stderr)
    try:
        found = measure()
    except BeewireError as error:
        found = [missing("count", str(error))] * len(names)
    return {f"{side}_{name}": each for name, each in zip(names, found, strict=True)}


def inbound(interception: Interception) -> list[Figure]:
    """Many ports of one pod that meet in one listener."""
    with Lab() as lab:
        found = fan_in(lab, interception, PAIRS[interception.name])
    one = missing("count", "two CPUs are needed, and there is one")
    stalls = found.stalls
    return [
        counted(found.wrong_source_ports),
        one if stalls is None else counted(stalls),
        one if stalls is None else counted(found.connections),
        counted(found.resets),
    ]


def escaping(interception: Interception) -> list[Figure]:
    """Source ports that the sidecar has had before the application."""
    with Lab() as lab:
        return [counted(escapes(lab, interception))]


def outbound(
    interception: Interception, at_most_s: float, *, ipv6: bool = False
) -> list[Figure]:
    """Many destinations of one pod that meet in one listener."""
    with Lab() as lab:
        found = fan_out(lab, interception, WANTED, ipv6=ipv6, at_most_s=at_most_s)
    if found.refused:
        print(f"  {found.held} connections, then: {found.refused}", file=sys.stderr)
    return [counted(found.held), counted(found.wrong)]


if __name__ == "__main__":
    try:
        with unwinding():
            sys.exit(main(sys.argv[1:]))
    except Stopped as stopped:
        sys.exit(stopped.exit_code)
    except BeewireError as error:
        sys.exit(f"collisions: {error}")
