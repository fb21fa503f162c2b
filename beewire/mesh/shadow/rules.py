"""Istio's rules in a pod's network namespace: find them, pass them over, give them back.

A connection that iptables has redirected lives by conntrack, and conntrack by the rules:
when the last rule that needs it goes, every such connection is reset. So cutover removes
none. It puts `-p tcp ... -j RETURN` first in each chain that redirects, which no packet
of an older connection meets, since NAT rules are read for a connection's first packet
only. Giving back is taking those out again.

UDP stays: an older socket may be connected to its resolver, and nobody asks a program
when it sends. What Beewire has rewritten goes to ports that no rule names.
"""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from beewire.errors import MeshError
from beewire.mesh.config import InterceptionMode, PodConfig
from beewire.mesh.netns import within

MARK = "beewire: passed over"
_PASS = f'-p tcp -m comment --comment "{MARK}" -j RETURN'
_REDIRECTS = (" -j REDIRECT ", " -j TPROXY ")
_LOCK_S = "10"  # another may hold the machine-wide xtables lock
_PATIENCE_S = 60.0


class Backend(NamedTuple):
    """One of the kernel's two packet filters, for one IP version."""

    version: int
    kind: str  # legacy or nft

    @property
    def save(self) -> str:
        """The program that prints the rules."""
        return f"{self._iptables}-{self.kind}-save"

    @property
    def restore(self) -> str:
        """The program that loads rules."""
        return f"{self._iptables}-{self.kind}-restore"

    @property
    def _iptables(self) -> str:
        return "iptables" if self.version == 4 else "ip6tables"


BACKENDS = tuple(
    Backend(version, kind) for kind in ("legacy", "nft") for version in (4, 6)
)


class Table(NamedTuple):
    """One table with rules of Istio's; `lines` as iptables-save prints them."""

    backend: Backend
    name: str
    lines: tuple[str, ...]

    @property
    def redirecting(self) -> tuple[str, ...]:
        """The chains of Istio's that redirect TCP connections."""
        chains = [
            _chain(line)
            for line in self._rules
            if any(target in f"{line} " for target in _REDIRECTS)
            and " -p udp " not in line
        ]
        return tuple(name for name in dict.fromkeys(chains) if _is_istios(name))

    @property
    def passed(self) -> tuple[str, ...]:
        """The chains that are passed over."""
        return tuple(_chain(line) for line in self._rules if MARK in line)

    @property
    def text(self) -> str:
        """The table without ours, as iptables-restore takes it."""
        rules = [line for line in self.lines if MARK not in line]
        return "\n".join([f"*{self.name}", *rules, "COMMIT", ""])

    @property
    def size(self) -> int:
        """How many rules it has, ours left out."""
        return sum(MARK not in line for line in self._rules)

    @property
    def _rules(self) -> list[str]:
        return [line for line in self.lines if line.startswith("-A ")]


def find(netns: Path) -> tuple[Table, ...]:
    """The tables with rules of Istio's in a namespace.

    Raises:
        MeshError: there is no such namespace, or its rules cannot be read.
    """
    return tuple(
        table
        for backend in BACKENDS
        if shutil.which(backend.save) is not None
        for table in _tables(backend, _save(netns, backend))
        if any(_is_istios(_chain(line)) for line in table.lines if line[:1] in ":-")
    )


def pass_over(netns: Path) -> int:
    """Let Istio's rules redirect no TCP connection from now on; how many there are.

    Rules that are passed over already stay so. A table changes as a whole, or not.

    Raises:
        MeshError: the kernel refused; what was changed is given back.
    """
    tables = find(netns)
    try:
        for table in tables:
            chains = [name for name in table.redirecting if name not in table.passed]
            _change(netns, table, [f"-I {name} 1 {_PASS}" for name in chains])
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
        _change(netns, table, [f"-D {name} {_PASS}" for name in table.passed])
    return sum(table.size for table in tables)


def check(netns: Path, config: PodConfig) -> None:
    """Make sure that there is something to compare with, and that it can be.

    Raises:
        MeshError: there are no rules of Istio's that redirect, in either packet filter;
            or they are TPROXY's.
    """
    if config.inbound_interception_mode is InterceptionMode.TPROXY:
        raise MeshError(
            "shadow mode does not see what TPROXY does: it changes no address; use"
            " interceptionMode REDIRECT, or enrol the pod without --shadow"
        )
    if not any(table.redirecting for table in find(netns)):
        raise MeshError(
            f"there are no rules of Istio's in {netns}: shadow mode compares with them;"
            " without --shadow the pod is enrolled, and Beewire acts"
        )


def are_passed_over(tables: tuple[Table, ...]) -> bool:
    """Whether none of Istio's rules redirects a TCP connection."""
    return all(set(table.redirecting) <= set(table.passed) for table in tables)


def _change(netns: Path, table: Table, rules: list[str]) -> None:
    if not rules:
        return
    text = "\n".join([f"*{table.name}", *rules, "COMMIT", ""])
    command = [table.backend.restore, "--noflush", "--wait", _LOCK_S]
    if table.backend.kind == "nft":
        command = [table.backend.restore, "--noflush"]
    _run(netns, command, text)


def _save(netns: Path, backend: Backend) -> str:
    try:
        return _run(netns, [backend.save])
    except MeshError:
        if backend.kind == "nft":  # this kernel was built without nf_tables
            return ""
        raise


def _tables(backend: Backend, saved: str) -> Iterator[Table]:
    name, lines = "", list[str]()
    for line in saved.splitlines():
        if line.startswith("*"):
            name, lines = line[1:], []
        elif line == "COMMIT":
            yield Table(backend, name, tuple(lines))
        elif line.startswith(":"):
            lines.append(line.partition(" [")[0])  # without counters
        elif not line.startswith("#"):
            lines.append(line)


def _chain(line: str) -> str:
    # Of `-A CHAIN rule` and of `:CHAIN POLICY`.
    words = line.removeprefix(":").split()
    return words[1] if line.startswith("-") else words[0]


def _is_istios(chain: str) -> bool:
    return chain.startswith("ISTIO_")


def _run(netns: Path, command: list[str], text: str = "") -> str:
    def here() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE_S,
        )

    try:
        done = within(netns, here)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MeshError(f"{command[0]} cannot be run: {error}") from error
    if done.returncode != 0:
        said = done.stderr.strip() or f"exit {done.returncode}"
        raise MeshError(f"{command[0]} failed in {netns}: {said}")
    return done.stdout
