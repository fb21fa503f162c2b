"""Connections that a namespace's NAT rules have redirected, as conntrack remembers them."""

import re
from pathlib import Path

from beewire.mesh.netns import within

_ENDS = re.compile(r"\b(src|dst|sport|dport)=(\S+)")
_OVER = frozenset(("TIME_WAIT", "CLOSE"))


def redirected(netns: Path) -> int | None:
    """How many of them still live in a namespace; None where the kernel does not tell.

    Of TCP those count whose ends have not both closed, of UDP all that are remembered.

    Raises:
        MeshError: there is no such namespace.
    """

    def read() -> str | None:
        try:
            return Path("/proc/thread-self/net/nf_conntrack").read_text()
        except FileNotFoundError:  # CONFIG_NF_CONNTRACK_PROCFS, or no conntrack at all
            return None

    told = within(netns, read)
    return None if told is None else sum(map(is_redirected, told.splitlines()))


def is_redirected(entry: str) -> bool:
    """Whether an entry, as the kernel prints it, is a redirected connection that lives."""
    ends = [value for _, value in _ENDS.findall(entry)]
    if len(ends) != 8 or _OVER.intersection(entry.split()[:7]):
        return False
    source, target, source_port, target_port = ends[:4]
    return ends[4:] != [target, source, target_port, source_port]
