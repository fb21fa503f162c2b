"""Read rules in iptables' notation: what `iptables-restore` takes, `iptables-save` gives."""

import shlex
from collections.abc import Callable, Iterator, Mapping

from beewire.errors import UsageError
from beewire.mesh.parity import oracle_rules as rules
from beewire.mesh.parity.oracle import Match, Rule, Table, Target

_BUILT_IN = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
_VERDICTS = {"ACCEPT": rules.ACCEPT, "DROP": rules.DROP, "RETURN": rules.RETURN}


def tables(
    family: int, text: str, groups: Mapping[str, int] | None = None
) -> tuple[Table, ...]:
    """Return the tables that stand in `text`, of one family (4 or 6).

    `groups` are the numbers of groups that rules name, as in /etc/group.

    Raises:
        UsageError: A line says what is not known here; nothing is skipped.
    """
    found: dict[str, Table] = {}
    table: Table | None = None
    for number, line in enumerate(text.splitlines(), 1):
        try:
            words = shlex.split(line, comments=True)
            if words and words[0].startswith("*"):
                name = "".join(words)[1:]
                table = found.setdefault(name, Table(family, name, {}))
            elif words and words != ["COMMIT"]:
                _read(table, words, groups or {})
        except (ValueError, KeyError) as error:
            where = f"rules, line {number}: {line.strip()!r}"
            raise UsageError(f"{where}: {error}") from error
    return tuple(found.values())


def _read(table: Table | None, words: list[str], groups: Mapping[str, int]) -> None:
    if table is None:
        raise ValueError("no table (*nat) before it")
    command, chain = words[0], words[1] if len(words) > 1 else ""
    if command.startswith(":"):
        table.chains.setdefault(command[1:], [])
    elif command == "-N":
        table.chains.setdefault(chain, [])
    elif command in ("-A", "-I"):
        rest = words[2:]
        position = len(_chain(table, chain))
        if command == "-I":
            position = int(rest.pop(0)) - 1 if rest and rest[0].isdigit() else 0
        rule = _Reader(table, chain, rest, groups).rule(" ".join(words))
        _chain(table, chain).insert(position, rule)
    else:
        raise ValueError(f"{command!r} is no command of iptables-restore known here")


def _chain(table: Table, chain: str) -> list[Rule]:
    if chain in _BUILT_IN:
        return table.chains.setdefault(chain, [])
    if chain not in table.chains:
        raise ValueError(f"there is no chain {chain!r} in table {table.name}")
    return table.chains[chain]


class _Reader:
    # One rule: options from left to right, `!` before the one that it negates.

    def __init__(
        self, table: Table, chain: str, words: list[str], groups: Mapping[str, int]
    ) -> None:
        self.table, self.chain = table, chain
        self.words: Iterator[str] = iter(words)
        self.groups = groups
        self.module = ""
        self.matches: list[Match] = []
        self.target = rules.COUNT
        self.has_ports = False

    def rule(self, text: str) -> Rule:
        negated = False
        for word in self.words:
            if word == "!":
                negated = True
                continue
            self._option(word, negated=negated)
            negated = False
        return Rule(
            self.table.family,
            self.table.name,
            self.chain,
            text,
            tuple(self.matches),
            self.target,
        )

    def _value(self) -> str:
        value = next(self.words, None)
        if value is None:
            raise ValueError("an option lacks its value")
        return value

    def _option(self, word: str, *, negated: bool) -> None:
        if word == "-m":
            self.module = self._value()
            if self.module not in _MODULES:
                raise ValueError(f"match {self.module!r} is not known here")
        elif word == "--comment":
            self._value()
        elif word == "-j":
            self.target = self._target(self._value())
        elif word in _OPTIONS:
            match = _OPTIONS[word](self, self._value())
            self.matches.append(rules.negated(match) if negated else match)
        else:
            raise ValueError(f"option {word!r} is not known here")

    def _protocol(self, value: str) -> Match:
        self.has_ports = value in ("tcp", "udp", "sctp")
        return rules.protocol(rules.PROTOCOLS.get(value) or int(value))

    def _ports(self, field: str, value: str) -> Match:
        if not self.has_ports:
            raise ValueError("ports need -p tcp, -p udp or -p sctp before them")
        return rules.ports(field, [_range(each, ":") for each in value.split(",")])

    def _owner(self, field: str, value: str) -> Match:
        if value[0].isdigit():
            return rules.owner(field, *_range(value, "-"))
        if field == "gid" and value in self.groups:
            return rules.owner(field, self.groups[value], self.groups[value])
        raise ValueError(f"{field} {value!r} is a name without a number")

    def _mark(self, value: str) -> Match:
        return rules.mark(self.module, *_masked(value))

    def _target(self, name: str) -> Target:
        if name in _VERDICTS:
            return _VERDICTS[name]
        options = self._target_options()
        if name in _TARGETS:
            return _TARGETS[name](options)
        if options:
            raise ValueError(f"target {name!r} is not known here")
        _chain(self.table, name)
        return rules.jump(name)

    def _target_options(self) -> dict[str, str]:
        # Behind -j stand the options of the target alone, in Istio's rules and as
        # iptables-save writes them.
        options: dict[str, str] = {}
        for word in self.words:
            flag = word in ("--save-mark", "--restore-mark")
            options[word] = "" if flag else self._value()
        return options


def _range(text: str, separator: str) -> tuple[int, int]:
    low, _, high = text.partition(separator)
    return int(low), int(high or low)


def _masked(text: str) -> tuple[int, int]:
    value, _, mask = text.partition("/")
    return int(value, 0), int(mask, 0) if mask else rules.ALL_BITS


def _redirect(options: dict[str, str]) -> Target:
    ports = options.pop("--to-ports", "") or options.pop("--to-port")
    _nothing_else(options)
    return rules.redirect(_range(ports, "-")[0])


def _tproxy(options: dict[str, str]) -> Target:
    value, mask = _masked(options.pop("--tproxy-mark", "0/0"))
    port = int(options.pop("--on-port"))
    options.pop("--on-ip", None)
    _nothing_else(options)
    return rules.tproxy(port, value, mask)


def _mark_target(options: dict[str, str]) -> Target:
    value, mask = _masked(options.pop("--set-mark", "") or options.pop("--set-xmark"))
    _nothing_else(options)
    return rules.set_mark(value, mask)


def _connmark(options: dict[str, str]) -> Target:
    for mask in ("--nfmask", "--ctmask"):
        if int(options.pop(mask, "0xffffffff"), 0) != rules.ALL_BITS:
            raise ValueError(f"{mask} of some bits is not known here")
    saves = "--save-mark" in options
    options.pop("--save-mark", None)
    if not saves:
        del options["--restore-mark"]
    _nothing_else(options)
    return rules.save_mark() if saves else rules.restore_mark()


def _zone(options: dict[str, str]) -> Target:
    number = int(options.pop("--zone"))
    _nothing_else(options)
    return rules.zone(number)


def _nothing_else(options: dict[str, str]) -> None:
    if options:
        raise ValueError(f"{' '.join(options)} is not known here")


_MODULES = (
    "tcp",
    "udp",
    "multiport",
    "owner",
    "conntrack",
    "mark",
    "connmark",
    "comment",
)

_OPTIONS: dict[str, Callable[[_Reader, str], Match]] = {
    "-p": _Reader._protocol,
    "-s": lambda _, value: rules.address("source", value),
    "-d": lambda _, value: rules.address("destination", value),
    "-i": lambda _, value: rules.interface("in_interface", value),
    "-o": lambda _, value: rules.interface("out_interface", value),
    "--sport": lambda reader, value: reader._ports("source_port", value),
    "--dport": lambda reader, value: reader._ports("destination_port", value),
    "--sports": lambda reader, value: reader._ports("source_port", value),
    "--dports": lambda reader, value: reader._ports("destination_port", value),
    "--uid-owner": lambda reader, value: reader._owner("uid", value),
    "--gid-owner": lambda reader, value: reader._owner("gid", value),
    "--ctstate": lambda _, value: rules.state(value.split(",")),
    "--mark": _Reader._mark,
}

_TARGETS: dict[str, Callable[[dict[str, str]], Target]] = {
    "REDIRECT": _redirect,
    "TPROXY": _tproxy,
    "MARK": _mark_target,
    "CONNMARK": _connmark,
    "CT": _zone,
}
