"""What the kernel knows about a pod: CPU time, conntrack entries, iptables rules."""

import os
from collections.abc import Sequence
from pathlib import Path

from beewire.errors import MeshError
from beewire.mesh.lab.place import Place
from beewire.mesh.lab.pods import Lab, Pod
from beewire.mesh.lab.tools import find

STAT = Path("/proc/stat")
CONNTRACK_COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")
SAVE = (
    "iptables-legacy-save",
    "ip6tables-legacy-save",
    "iptables-nft-save",
    "ip6tables-nft-save",
)


def cpu_us(lab: Lab) -> int:
    """CPU time of both applications and both sidecars so far, in microseconds.

    The cgroups' own accounting: user and system time, and what softirqs did in their
    context.
    """
    places = [place for pod in lab.pods for place in (pod.app, pod.proxy)]
    return sum(place.cgroup.usage_us() for place in places)


def machine_cpu_us() -> int:
    """CPU time of the whole machine so far, idle time left out, in microseconds."""
    # user nice system idle iowait irq softirq steal, in clock ticks (proc_stat(5)).
    fields = [int(word) for word in STAT.read_text().split("\n", 1)[0].split()[1:8]]
    busy = sum(fields) - fields[3] - fields[4]
    return busy * 1_000_000 // os.sysconf("SC_CLK_TCK")


def conntrack_entries(pods: Sequence[Pod]) -> int:
    """Connections that conntrack follows in the namespaces of `pods` now."""
    return sum(pod.namespace.run(_conntrack_count) for pod in pods)


def _conntrack_count() -> int:
    try:
        return int(CONNTRACK_COUNT.read_text())
    except FileNotFoundError:  # this kernel has no conntrack, or has not loaded it
        return 0


def iptables_rules(pod: Pod) -> int:
    """Rules in the pod, IPv4 and IPv6, legacy and nft; chains' policies do not count."""
    return sum(_rules_of(pod.app, name) for name in SAVE)


def _rules_of(place: Place, name: str) -> int:
    program = find(name)
    if program is None:
        return 0
    try:
        saved = place.run([str(program)])
    except MeshError:
        if "nft" in name:  # this kernel was built without nf_tables
            return 0
        raise
    return sum(line.startswith("-A ") for line in saved.splitlines())
