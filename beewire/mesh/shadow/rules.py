"""Istio's rules in a pod's network namespace: find them, pass them over, give them back.

A connection that iptables has redirected lives by conntrack, and conntrack by the rules:
when the last rule that needs it goes, every such connection is reset. So cutover removes
none. It puts a rule that returns first in each chain that redirects, which no packet
of an older connection meets, since NAT rules are read for a connection's first packet
only. Giving back is taking those out again.

UDP stays: an older socket may be connected to its resolver, and nobody asks a program
when it sends. What Beewire has rewritten goes to ports that no rule names.
"""

import subprocess
from pathlib import Path

from beewire.errors import MeshError
from beewire.mesh.config import PodConfig
from beewire.mesh.netns import within
from beewire.mesh.shadow import iptables, native
from beewire.mesh.shadow.iptables import Change
from beewire.mesh.shadow.native import NativeTable
from beewire.mesh.shadow.present import has_rules

Table = iptables.Table | NativeTable

_PATIENCE_S = 60.0


def find(netns: Path) -> tuple[Table, ...]:
    """The tables with rules of Istio's in a namespace: iptables' or its own nftables.

    Raises:
        MeshError: there is no such namespace, or its rules cannot be read.
    """

    def run(command: list[str]) -> str:
        return _run(netns, Change(tuple(command), ""))

    return (*iptables.tables(run), *native.tables(run))


def pass_over(netns: Path) -> int:
    """Let Istio's rules redirect no TCP connection from now on; how many there are.

    Rules that are passed over already stay so. A table changes as a whole, or not.

    Raises:
        MeshError: the kernel refused; what was changed is given back.
    """
    tables = find(netns)
    try:
        for table in tables:
            _change(netns, table.passing())
    except MeshError:
        give_back(netns)
        raise
    return sum(table.size for table in tables)


def give_back(netns: Path) -> int:
    """Let Istio's rules act again; how many there are. Doing it twice does nothing.

    Raises:
        MeshError: the kernel refused.
    """
    tables = find(netns)
    for table in tables:
        _change(netns, table.giving_back())
    return sum(table.size for table in tables)


def remove(netns: Path, config: PodConfig) -> int:
    """Remove Istio's rules, which `config` asked for; how many there were.

    Whatever they have redirected is reset: it is for the caller to know that there is
    nothing. A table changes as a whole, or not; doing it again goes on with the others.

    Raises:
        MeshError: the kernel refused.
    """
    tables = find(netns)
    interfaces = {*config.exclude_interfaces, *config.reroute_virtual_interfaces}
    for table in tables:
        _change(netns, table.removing(interfaces))
    return sum(table.size for table in tables)


def act(netns: Path) -> bool:
    """Whether rules of Istio's redirect connections in a namespace.

    Raises:
        MeshError: there is no such namespace, or its rules cannot be read.
    """
    return has_rules(netns) and any(
        set(table.redirecting) - set(table.passed) for table in find(netns)
    )


def check(netns: Path) -> None:
    """Make sure that there is something to compare with.

    Raises:
        MeshError: there are no rules of Istio's that redirect.
    """
    if not any(table.redirecting for table in find(netns)):
        raise MeshError(
            f"there are no rules of Istio's in {netns}: shadow mode compares with them;"
            " without --shadow the pod is enrolled, and Beewire acts"
        )


def are_passed_over(tables: tuple[Table, ...]) -> bool:
    """Whether none of Istio's rules redirects a TCP connection."""
    return all(set(table.redirecting) <= set(table.passed) for table in tables)


def _change(netns: Path, change: Change | None) -> None:
    if change is not None:
        _run(netns, change)


def _run(netns: Path, change: Change) -> str:
    def here() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            change.command,
            input=change.text,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE_S,
        )

    try:
        done = within(netns, here)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MeshError(f"{change.command[0]} cannot be run: {error}") from error
    if done.returncode != 0:
        said = done.stderr.strip() or f"exit {done.returncode}"
        raise MeshError(f"{change.command[0]} failed in {netns}: {said}")
    return done.stdout
