"""Enrol pods: one set of programs for all of them, and what the programs know of each.

    with Node.load() as node, node.enrol(Pod(cgroup, proxy_cgroup, netns)) as mesh:
        ...                       # start the sidecar and the application in here
        print(mesh.decisions())

`enrol(pod)` does it for one pod, with programs of its own. The programs are attached
before the sidecar listens, so that its listener is seen; until then inbound connections are
refused, and outbound ones meet a closed port.

    pod        Pod: its cgroups, its namespace, its addresses, its configuration
    node       Node: the programs and maps, loaded once or found pinned; its configurations
    enrolment  Enrolment: one pod, from entries to links and back
    entries    what the maps say of a pod
    short_path ShortPath: the programs that leave TCP/IP out, loaded when a pod wants them
    links      its links, in this process or pinned
    neighbours programs of others at its hooks, and in which order all run
    plumbing   what istio-iptables arranges in a pod's network besides rules
    scene      its addresses, interfaces and routes
    encode     PodConfig -> what stands in the maps (configurations: once each)
    hooks      which program is attached where (private: programs for one pod)
"""

from beewire.mesh.enrol.enrolment import Enrolment
from beewire.mesh.enrol.hooks import HOOKS, PROGRAMS
from beewire.mesh.enrol.neighbours import Neighbour
from beewire.mesh.enrol.node import Node, enrol
from beewire.mesh.enrol.pod import SIDECAR, Pod
from beewire.mesh.enrol.short_path import ShortPath

__all__ = [
    "HOOKS",
    "PROGRAMS",
    "SIDECAR",
    "Enrolment",
    "Neighbour",
    "Node",
    "Pod",
    "ShortPath",
    "enrol",
]
