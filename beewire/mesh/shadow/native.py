"""Istio's rules as nftables of its own: `inet istio-proxy-nat` and its kin."""

import re
import shutil
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from beewire.errors import MeshError
from beewire.mesh.shadow.iptables import MARK, Change

_TABLE = re.compile(r"table inet (istio-proxy-\w+) \{")
_CHAIN = re.compile(r"chain (\S+) \{")
_RULE = re.compile(r"(.+) # handle (\d+)")
_PASS = f'meta l4proto tcp return comment "{MARK}"'
_REDIRECTS = ("redirect to ", "tproxy ")


class Rule(NamedTuple):
    """One rule as nft lists it, and the number by which it can be deleted."""

    chain: str
    text: str
    handle: str


class NativeTable(NamedTuple):
    """One table with rules of Istio's, for IPv4 and IPv6."""

    name: str
    rules: tuple[Rule, ...]

    @property
    def redirecting(self) -> tuple[str, ...]:
        """The chains that redirect TCP connections."""
        chains = [
            rule.chain
            for rule in self.rules
            if any(word in rule.text for word in _REDIRECTS)
            and not rule.text.startswith("udp ")
        ]
        return tuple(dict.fromkeys(chains))

    @property
    def passed(self) -> tuple[str, ...]:
        """The chains that are passed over."""
        return tuple(rule.chain for rule in self.rules if MARK in rule.text)

    @property
    def text(self) -> str:
        """The table without ours: a rule in each line."""
        own = [rule for rule in self.rules if MARK not in rule.text]
        return "\n".join(f"{self.name} {rule.chain} {rule.text}" for rule in own)

    @property
    def size(self) -> int:
        """How many rules it has, ours left out."""
        return sum(MARK not in rule.text for rule in self.rules)

    def passing(self) -> Change | None:
        """What passes over the chains that redirect; None if all of them are."""
        chains = [name for name in self.redirecting if name not in self.passed]
        return _change(
            [f"insert rule inet {self.name} {name} {_PASS}" for name in chains]
        )

    def giving_back(self) -> Change | None:
        """What takes that away again; None if there is nothing."""
        return _change(
            [
                f"delete rule inet {self.name} {rule.chain} handle {rule.handle}"
                for rule in self.rules
                if MARK in rule.text
            ]
        )

    def removing(self, interfaces: Collection[str]) -> Change | None:
        """What removes the table: all of it is Istio's."""
        del interfaces
        return _change([f"delete table inet {self.name}"])


def tables(run: Callable[[list[str]], str]) -> Iterator[NativeTable]:
    """The tables of Istio's; `run` gives what a command prints in the namespace."""
    if shutil.which("nft") is None:
        return
    try:
        listed = run(["nft", "-a", "-s", "list", "ruleset"])
    except MeshError:  # this kernel was built without nf_tables
        return
    name, chain, rules = "", "", list[Rule]()
    for line in [*map(str.strip, listed.splitlines()), "table"]:
        if line.startswith("table"):
            if name:
                yield NativeTable(name, tuple(rules))
            found = _TABLE.match(line)
            name, rules = found[1] if found else "", []
        elif begins := _CHAIN.match(line):
            chain = begins[1]
        elif name and (rule := _RULE.fullmatch(line)):
            rules.append(Rule(chain, rule[1], rule[2]))


def _change(lines: list[str]) -> Change | None:
    if not lines:
        return None
    return Change(("nft", "-f", "-"), "\n".join([*lines, ""]))
