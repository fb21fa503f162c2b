"""Every hazard of the short path: what is done, how bad it is, and who can meet it.

    stalling     readers that do not read
    ordering     by the short path and by TCP in turn
    ending       halves, queued data, resets
    receiving    to be woken, to peek, to wait for a while
    feeding      splice, sendfile, MSG_ZEROCOPY
    carrying     bodies, families, sockets that are handed on, equal tuples
    leaving      switched off and detached while bytes flow
    recognising  kTLS, MPTCP

`HAZARDS` has them in the order in which they are met.
"""

from beewire.mesh.qualify.hazards.table import HAZARDS, STALLED, Hazard, Way

__all__ = ["HAZARDS", "STALLED", "Hazard", "Way"]
