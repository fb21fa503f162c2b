"""Istio's rules as iptables has them, in either of the kernel's two packet filters."""

import shutil
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from beewire.errors import MeshError

MARK = "beewire: passed over"
_PASS = f'-p tcp -m comment --comment "{MARK}" -j RETURN'
_REDIRECTS = (" -j REDIRECT ", " -j TPROXY ")
_LOCK_S = "10"  # another may hold the machine-wide xtables lock


class Change(NamedTuple):
    """A command that changes one table, as a whole or not at all, and its input."""

    command: tuple[str, ...]
    text: str


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

    def passing(self) -> Change | None:
        """What passes over the chains that redirect; None if all of them are."""
        chains = [name for name in self.redirecting if name not in self.passed]
        return self._change([f"-I {name} 1 {_PASS}" for name in chains])

    def giving_back(self) -> Change | None:
        """What takes that away again; None if there is nothing."""
        return self._change([f"-D {name} {_PASS}" for name in self.passed])

    def removing(self, interfaces: Collection[str]) -> Change | None:
        """What removes Istio's rules, chains and all; others of the table stay.

        Those that a configuration writes for `interfaces` jump to no chain of Istio's.
        """
        passes = {f"-A PREROUTING -i {name} -j RETURN" for name in interfaces}
        passes |= {f"-A OUTPUT -o {name} -j RETURN" for name in interfaces}
        chains = [_chain(line) for line in self.lines if line.startswith(":")]
        own = [name for name in chains if _is_istios(name)]
        jumps = [
            f"-D{line.removeprefix('-A')}"
            for line in self._rules
            if not _is_istios(_chain(line))
            and (_is_istios(line.split()[-1]) or line in passes)
        ]
        flushed = [f"-F {name}" for name in own]
        return self._change([*jumps, *flushed, *(f"-X {name}" for name in own)])

    def _change(self, rules: list[str]) -> Change | None:
        if not rules:
            return None
        wait = ("--wait", _LOCK_S) if self.backend.kind == "legacy" else ()
        command = (self.backend.restore, "--noflush", *wait)
        return Change(command, "\n".join([f"*{self.name}", *rules, "COMMIT", ""]))

    @property
    def _rules(self) -> list[str]:
        return [line for line in self.lines if line.startswith("-A ")]


def tables(run: Callable[[list[str]], str]) -> Iterator[Table]:
    """The tables with rules of Istio's; `run` gives what a command prints in the namespace.

    Raises:
        MeshError: they cannot be read.
    """
    for backend in BACKENDS:
        if shutil.which(backend.save) is None:
            continue
        for table in _split(backend, _save(run, backend)):
            if any(_is_istios(_chain(line)) for line in table.lines):
                yield table


def _save(run: Callable[[list[str]], str], backend: Backend) -> str:
    try:
        return run([backend.save])
    except MeshError:
        if backend.kind == "nft":  # this kernel was built without nf_tables
            return ""
        raise


def _split(backend: Backend, saved: str) -> Iterator[Table]:
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
