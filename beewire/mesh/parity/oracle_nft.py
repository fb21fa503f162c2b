"""Read rules in nft's notation: input of `nft -f`, in tables of family inet.

Its words mean what those of iptables do, but for owners: of a packet without socket nft
knows none, and no condition on one holds, `!=` included (nft_meta_get_eval, NFT_BREAK).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from beewire.errors import UsageError
from beewire.mesh.parity import oracle_rules as rules
from beewire.mesh.parity.oracle import Match, Rule, Table, Target, Verdict, Walk

_FAMILIES = (4, 6)
_TABLES = {
    -300: "raw",
    -150: "mangle",
    -100: "nat",
}  # by priority, as iptables has them
_HOOK = re.compile(r"type \w+ hook (prerouting|output) priority (-?\d+) ;")
_WORD = re.compile(r'"[^"]*"|[{}]|[^\s{}]+')
_VERDICTS = {
    "accept": rules.ACCEPT,
    "drop": rules.DROP,
    "return": rules.RETURN,
    "counter": rules.COUNT,
}


class _Read(NamedTuple):
    # A rule, and the families whose packets it can match.
    rule: Rule
    families: tuple[int, ...]


class _Chain(NamedTuple):
    rules: list[_Read]
    base: tuple[str, str] | None  # the table and the chain that iptables has for it


def tables(text: str, groups: Mapping[str, int] | None = None) -> tuple[Table, ...]:
    """Return the tables that stand in `text`, of both families.

    `groups` are the numbers of groups that rules name, as in /etc/group.

    Raises:
        UsageError: A line says what is not known here; nothing is skipped.
    """
    known: dict[tuple[str, str], _Chain] = {}
    for number, line in enumerate(text.splitlines(), 1):
        try:
            _line(known, line.strip(), groups or {})
        except (ValueError, KeyError, StopIteration) as error:
            where = f"rules, line {number}: {line.strip()!r}"
            raise UsageError(f"{where}: {str(error) or 'it ends too early'}") from error
    return tuple(
        _table(known, family, name) for family in _FAMILIES for name in _names(known)
    )


def _names(known: dict[tuple[str, str], _Chain]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(table for table, _ in known))


def _table(known: dict[tuple[str, str], _Chain], family: int, name: str) -> Table:
    chains: dict[str, list[Rule]] = {}
    kind = name
    for (table, chain), found in known.items():
        if table != name:
            continue
        called = chain
        if found.base is not None:
            kind, called = found.base
        chains[called] = [
            each.rule._replace(family=family)
            for each in found.rules
            if family in each.families
        ]
    return Table(family, kind, chains)


def _line(
    known: dict[tuple[str, str], _Chain], line: str, groups: Mapping[str, int]
) -> None:
    words = iter(_WORD.findall(line))
    command, kind = next(words, "#"), next(words, "")
    if command.startswith("#") or (command, kind) in (
        ("add", "table"),
        ("flush", "table"),
    ):
        return
    if next(words) != "inet":
        raise ValueError("only tables of family inet are known here")
    where = next(words), next(words)
    if (command, kind) == ("add", "chain"):
        hook = _HOOK.search(line)
        base = (_TABLES[int(hook[2])], hook[1].upper()) if hook else None
        known.setdefault(where, _Chain([], base))
    elif kind == "rule" and command in ("add", "insert"):
        chain = known[where]
        position = len(chain.rules)
        if command == "insert":
            if next(words) != "index":
                raise ValueError("insert needs an index")
            position = int(next(words))
        read = _Reader(words, groups, lambda name: _found(known, where[0], name))
        chain.rules.insert(position, read.rule(where, line))
    else:
        raise ValueError(f"{command} {kind} is not known here")


def _found(known: dict[tuple[str, str], _Chain], table: str, chain: str) -> str:
    if (table, chain) not in known:
        raise ValueError(f"there is no chain {chain!r} in table {table}")
    return chain


class _Reader:
    # One rule: conditions and statements, from left to right.

    def __init__(
        self,
        words: Iterator[str],
        groups: Mapping[str, int],
        chain: Callable[[str], str],
    ) -> None:
        self._words = words
        self._groups = groups
        self._chain = chain
        self._matches: list[Match] = []
        self._targets: list[Target] = []
        self._jump = ""
        self._families: tuple[int, ...] = _FAMILIES

    def rule(self, where: tuple[str, str], text: str) -> _Read:
        for word in self._words:
            self._statement(word)
        target = _one_after_another(self._targets)
        if self._jump:
            target = rules.jump(self._jump)
        made = Rule(0, where[0], where[1], text, tuple(self._matches), target)
        return _Read(made, self._families)

    def _statement(self, word: str) -> None:
        if word == "meta":
            word = next(self._words)
        if word in _VERDICTS:
            self._targets.append(_VERDICTS[word])
        elif word == "jump":
            self._jump = self._chain(next(self._words))
        elif word in _READERS:
            _READERS[word](self)
        else:
            raise ValueError(f"{word!r} is not known here")

    def _when(self, make: Callable[[str], Match]) -> None:
        # "WORD VALUE" or "WORD != VALUE".
        value = next(self._words)
        negated = value == "!="
        match = make(self._set(next(self._words) if negated else value))
        self._matches.append(rules.negated(match) if negated else match)

    def _set(self, word: str) -> str:
        # "{ 53, 15008 }" is "53,15008".
        if word != "{":
            return word.strip('"')
        return "".join(iter(lambda: next(self._words), "}"))

    def _protocol(self) -> None:
        self._when(
            lambda value: rules.protocol(rules.PROTOCOLS.get(value) or int(value))
        )

    def _ports(self, protocol: str) -> None:
        field = {"dport": "destination_port", "sport": "source_port"}[next(self._words)]
        self._matches.append(rules.protocol(rules.PROTOCOLS[protocol]))
        self._when(
            lambda value: rules.ports(field, [_span(each) for each in value.split(",")])
        )

    def _address(self, family: int) -> None:
        field = {"saddr": "source", "daddr": "destination"}[next(self._words)]
        self._families = (family,)
        self._when(lambda value: rules.address(field, value))

    def _interface(self, field: str) -> None:
        self._when(lambda value: rules.interface(field, value.replace("*", "+")))

    def _owner(self, field: str) -> None:
        def make(value: str) -> Match:
            low, high = _span(str(self._groups.get(value, value)))
            return rules.owner(field, low, high)

        self._when(make)
        made = self._matches[-1]
        self._matches[-1] = made._replace(test=_of_socket(field, made))

    def _mark(self, field: str) -> None:
        word = next(self._words)
        if word != "set":
            self._words = _again(word, self._words)
            self._when(lambda value: rules.mark(field, int(value, 0), rules.ALL_BITS))
            return
        value = next(self._words)
        if field == "connmark" and value == "mark":
            self._targets.append(rules.save_mark())
        elif field == "mark" and value == "ct":
            if next(self._words) != "mark":
                raise ValueError("of conntrack, only its mark is set here")
            self._targets.append(rules.restore_mark())
        else:
            self._targets.append(rules.set_mark(int(value, 0)))

    def _conntrack(self) -> None:
        word = next(self._words)
        if word == "state":
            self._when(lambda value: rules.state(value.upper().split(",")))
        elif word == "mark":
            self._mark("connmark")
        elif word == "zone" and next(self._words) == "set":
            self._targets.append(rules.zone(int(next(self._words))))
        else:
            raise ValueError(f"ct {word} is not known here")

    def _redirect(self) -> None:
        self._targets.append(rules.redirect(self._port()))

    def _tproxy(self) -> None:
        # Unlike iptables' it decides nothing else: marks and verdicts follow.
        port = self._port()

        def act(walk: Walk) -> None:
            walk.taken = port

        self._targets.append(Target(act, redirects=True))

    def _port(self) -> int:
        word = next(self._words)
        if word in ("ip", "ip6"):
            word = next(self._words)
        to = next(self._words)
        if word != "to" or not to.startswith(":"):
            raise ValueError("redirect and tproxy go to :PORT here")
        return int(to[1:])


def _one_after_another(targets: list[Target]) -> Target:
    acts = [target.act for target in targets if target.act is not None]

    def act(walk: Walk) -> Verdict | None:
        for each in acts:
            if (verdict := each(walk)) is not None:
                return verdict
        return None

    settles = any(target.settles for target in targets)
    redirects = any(target.redirects for target in targets)
    return Target(act, settles=settles, redirects=redirects)


def _of_socket(field: str, match: Match) -> Callable[[Walk], bool]:
    def uid(walk: Walk) -> bool:
        return walk.uid is not None and match.test(walk)

    def gid(walk: Walk) -> bool:
        return walk.gid is not None and match.test(walk)

    return uid if field == "uid" else gid


def _again(word: str, words: Iterator[str]) -> Iterator[str]:
    yield word
    yield from words


def _span(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    return int(low), int(high or low)


_READERS: dict[str, Callable[[_Reader], None]] = {
    "l4proto": _Reader._protocol,
    "tcp": lambda reader: reader._ports("tcp"),
    "udp": lambda reader: reader._ports("udp"),
    "ip": lambda reader: reader._address(4),
    "ip6": lambda reader: reader._address(6),
    "iifname": lambda reader: reader._interface("in_interface"),
    "oifname": lambda reader: reader._interface("out_interface"),
    "skuid": lambda reader: reader._owner("uid"),
    "skgid": lambda reader: reader._owner("gid"),
    "mark": lambda reader: reader._mark("mark"),
    "ct": _Reader._conntrack,
    "redirect": _Reader._redirect,
    "tproxy": _Reader._tproxy,
}
