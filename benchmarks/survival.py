"""How many requests does it cost when something goes wrong on a node?

Two pods with sidecars, enrolled through `beewire agent`; wrk in one asks nginx in the
other, a new connection for each request, and meanwhile one thing goes wrong, again and
again (_times). _requests were answered in those seconds and one more afterwards; _failed
failed, or missed a sidecar's header, which _bypassed counts alone. Where the sidecar
itself is not there (sidecar_restarted), or a connection needs a place in a map that is
full (maps_full_without_alias), refusing is what has to happen: nothing may be bypassed.
sidecar_restarted_iptables is the same node and fault while Istio's rules act.

churn: 1,000,000 short connections of one pod, a tenth of them reset, a tenth given up at
once, a tenth refused, some timed out. churn_leaked counts what is left of them in the
maps. --seconds is for each fault (4). All are counts.
"""

import sys

from _report import Figure, counted, machine, missing, options, show, write

from beewire.errors import BeewireError
from beewire.interrupts import Stopped, unwinding
from beewire.mesh.lab import Lab
from beewire.mesh.trial import FAULTS, Rig, churn, survive

CONNECTIONS = 1_000_000
PARTS = ("requests", "failed", "bypassed", "times")
ENDINGS = ("connections", "reset", "abandoned", "refused", "timed_out", "leaked")


def main(argv: list[str]) -> int:
    """Measure, print and write."""
    asked = options(argv, __doc__ or "", rounds=1)
    host = machine()
    figures = faults(round(asked.seconds or 4)) | leaks()
    show(figures)
    if asked.json:
        write(asked.json, "survival", host, asked.rounds, figures)
    return 0


def faults(seconds: int) -> dict[str, Figure]:
    """Every fault, one after the other, on one node."""
    figures: dict[str, Figure] = {}
    with Rig() as rig:
        for name, fault in FAULTS.items():
            print(f"{name}: {fault.what}", file=sys.stderr)
            try:
                found = survive(rig, fault, max(2, seconds))
            except BeewireError as error:
                told = [missing("count", str(error))] * len(PARTS)
            else:
                told = [counted(getattr(found, part)) for part in PARTS]
            figures |= {
                f"{name}_{part}": each for part, each in zip(PARTS, told, strict=True)
            }
    return figures


def leaks() -> dict[str, Figure]:
    """A million connections, and what is left of them."""
    print(f"churn: {CONNECTIONS:,} short connections", file=sys.stderr)
    with Lab() as lab:
        found = churn(lab, CONNECTIONS)
    return {f"churn_{name}": counted(getattr(found, name)) for name in ENDINGS}


if __name__ == "__main__":
    try:
        with unwinding():
            sys.exit(main(sys.argv[1:]))
    except Stopped as stopped:
        sys.exit(stopped.exit_code)
    except BeewireError as error:
        sys.exit(f"survival: {error}")
