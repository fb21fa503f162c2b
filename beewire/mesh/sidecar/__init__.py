"""What a sidecar does with connections, as its Envoy says itself.

    with Admin(Path("/run/netns/pod-b")) as admin:
        dump = admin.dump()
    for refusal in inbound(dump, ip_address("10.0.0.7"), 9000).refusals:
        print(refusal)

A connection may go past a sidecar only where the sidecar would do no more than pass its
bytes on: it is *L4-only*. Whatever is not known to be so needs the proxy, and the reason
is told.

    admin      asks Envoy's administration interface, in the pod's namespace
    reader     asks again, and reads again what has changed
    dump       its answer: listeners, clusters, endpoints
    chains     which filter chains may take a connection
    filters    what a chain does besides passing bytes on
    clusters   where a cluster leads, and by which transport
    judging    ports and destinations: L4-only, or why not
    reasons    the words of all of them
"""

from beewire.mesh.sidecar.admin import ADMIN_PORT, Admin
from beewire.mesh.sidecar.dump import Dump, parse
from beewire.mesh.sidecar.judging import inbound, known_ports, outbound, upstream
from beewire.mesh.sidecar.reader import Reader, Reading
from beewire.mesh.sidecar.reasons import (
    Inbound,
    Mtls,
    Outbound,
    Reason,
    Refusal,
    UnreadableError,
)

__all__ = [
    "ADMIN_PORT",
    "Admin",
    "Dump",
    "Inbound",
    "Mtls",
    "Outbound",
    "Reader",
    "Reading",
    "Reason",
    "Refusal",
    "UnreadableError",
    "inbound",
    "known_ports",
    "outbound",
    "parse",
    "upstream",
]
