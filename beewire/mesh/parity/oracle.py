"""What rules do to a packet: the tables of netfilter, interpreted.

    oracle = Oracle([*iptables.tables(4, text), *iptables.tables(6, text6)])
    oracle.decide(packet)       # Outcome(port=15001, dropped=False, trail=(7, 12), zone=0)

Rules are all it knows. It takes a packet through raw, mangle and nat of OUTPUT, and what
stays on the machine through those of PREROUTING as well, as the kernel does; nat only looks
at packets that begin a connection, and never twice at one. Each rule is compiled to
closures, for a million packets are asked about.
"""

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Final, NamedTuple

LOOPBACK: Final = "lo"
TCP: Final = 6
UDP: Final = 17
# Where REDIRECT sends packets of this machine's own sockets: 127.0.0.1 and ::1.
_LOCALHOST = {4: 0x7F000001, 6: 1}
_OUTPUT, _PREROUTING = "OUTPUT", "PREROUTING"
_ORDER = ("raw", "mangle", "nat")


class Packet(NamedTuple):
    """A packet of a connection, as it leaves its socket or arrives.

    Addresses are integers of `version` 4 or 6. `uid` and `gid` are None where no socket
    owns it. `interface` is the one by which it leaves, if `outbound`, or arrives. `state`
    is conntrack's, of which only NEW packets meet nat.
    """

    outbound: bool
    version: int
    protocol: int
    source: int
    source_port: int
    destination: int
    destination_port: int
    uid: int | None = None
    gid: int | None = None
    interface: str = ""
    mark: int = 0
    connmark: int = 0
    state: str = "NEW"


class Outcome(NamedTuple):
    """What became of a packet.

    `port` is the local port that it was redirected to, None if it goes on as it was;
    `trail` are the numbers of the rules that matched it, in order; `zone` is the one of
    conntrack that it was given.
    """

    port: int | None
    dropped: bool
    trail: tuple[int, ...]
    zone: int


class Verdict(Enum):
    """What a rule has a packet do next; without one it goes on to the next rule."""

    ACCEPT = "ACCEPT"  # done with this table
    DROP = "DROP"
    RETURN = "RETURN"  # from this chain


class Walk:
    """A packet on its way: what rules look at, and what they change."""

    __slots__ = (
        "connmark",
        "destination",
        "destination_port",
        "gid",
        "in_interface",
        "mark",
        "out_interface",
        "protocol",
        "redirected",
        "source",
        "source_port",
        "state",
        "taken",
        "trail",
        "uid",
        "version",
        "zone",
    )

    def __init__(self, packet: Packet) -> None:
        (
            outbound,
            self.version,
            self.protocol,
            self.source,
            self.source_port,
            self.destination,
            self.destination_port,
            self.uid,
            self.gid,
            interface,
            self.mark,
            self.connmark,
            self.state,
        ) = packet
        self.out_interface = interface if outbound else ""
        self.in_interface = "" if outbound else interface
        self.redirected: int | None = None  # by REDIRECT
        self.taken: int | None = None  # by TPROXY: a socket is chosen, NAT or not
        self.zone = 0
        self.trail: list[int] = []


Test = Callable[[Walk], bool]
Act = Callable[[Walk], Verdict | None]


class Match(NamedTuple):
    """One condition: the field it looks at, the values where its answer may change."""

    field: str
    values: tuple[int | str, ...]
    test: Test


class Target(NamedTuple):
    """What a rule does; `chain` is the one that it jumps to.

    `settles` says that it decides about the packet: it ends a chain, or `redirects`.
    """

    act: Act | None = None
    chain: str = ""
    settles: bool = False
    redirects: bool = False


class Rule(NamedTuple):
    """A rule, as it was written."""

    family: int
    table: str
    chain: str
    text: str
    matches: tuple[Match, ...]
    target: Target


class Table(NamedTuple):
    """The chains of one table, of one family: each chain's rules, in order."""

    family: int
    name: str
    chains: dict[str, list[Rule]]


# A rule made ready: its number, its tests, what it does.
_Ready = tuple[int, tuple[Test, ...], Act]


class Oracle:
    """Rules that can be asked what they do to packets.

    `rules` are those it was made of, `places` the family, table and chain that each of
    them stands in; `Outcome.trail` counts in them.
    """

    def __init__(self, tables: Iterable[Table]) -> None:
        self.rules: list[Rule] = []
        self.places: list[tuple[int, str, str]] = []
        self._chains: dict[tuple[int, str, str], list[_Ready]] = {}
        for table in tables:
            self._compile(table)

    def decide(self, packet: Packet) -> Outcome:
        """Take `packet` through the tables."""
        walk = Walk(packet)
        passed = self._outbound(walk) if packet.outbound else self._inbound(walk)
        port = walk.redirected if walk.taken is None else walk.taken
        return Outcome(port, not passed, tuple(walk.trail), walk.zone)

    def deciding(self, outcome: Outcome) -> Rule | None:
        """The rule that decided about a packet; None if all chains came to their ends.

        Of those that settled something it is the one that redirected, else nat's last.
        """
        settled = [self.rules[number] for number in outcome.trail]
        settled = [rule for rule in settled if rule.target.settles]
        takes = [rule for rule in settled if rule.target.redirects]
        nat = [rule for rule in settled if rule.table == "nat"]
        return next(reversed(takes or nat or settled), None)

    def _outbound(self, walk: Walk) -> bool:
        if not self._hook(walk, _OUTPUT, nat=walk.state == "NEW"):
            return False
        if walk.redirected is not None:
            walk.destination = _LOCALHOST[walk.version]
            walk.destination_port = walk.redirected
            walk.out_interface = LOOPBACK
        if walk.out_interface != LOOPBACK:
            return True
        # The packet comes in again at once, conntrack's entry attached: no nat. It has no
        # owner any more.
        walk.in_interface, walk.out_interface = LOOPBACK, ""
        walk.uid = walk.gid = None
        return self._hook(walk, _PREROUTING, nat=False)

    def _inbound(self, walk: Walk) -> bool:
        new = walk.state == "NEW" and walk.in_interface != LOOPBACK
        return self._hook(walk, _PREROUTING, nat=new)

    def _hook(self, walk: Walk, hook: str, *, nat: bool) -> bool:
        # The tables of one hook; False if a packet is dropped.
        for table in _ORDER if nat else _ORDER[:2]:
            chain = self._chains.get((walk.version, table, hook))
            if chain is not None and _run(chain, walk) is Verdict.DROP:
                return False
        return True

    def _compile(self, table: Table) -> None:
        family, name, chains = table
        # Chains are filled later than they are jumped to: all exist first.
        ready: dict[str, list[_Ready]] = {chain: [] for chain in chains}
        for chain, rules in chains.items():
            for rule in rules:
                act = rule.target.act or _jump(ready.get(rule.target.chain, []))
                tests = tuple(match.test for match in rule.matches)
                ready[chain].append((len(self.rules), tests, act))
                self.rules.append(rule)
                self.places.append((family, name, chain))
            self._chains[family, name, chain] = ready[chain]


def _run(chain: list[_Ready], walk: Walk) -> Verdict | None:
    for number, tests, act in chain:
        for test in tests:
            if not test(walk):
                break
        else:
            walk.trail.append(number)
            if (verdict := act(walk)) is not None:
                return verdict
    return None


def _jump(chain: list[_Ready]) -> Act:
    def act(walk: Walk) -> Verdict | None:
        verdict = _run(chain, walk)
        return None if verdict is Verdict.RETURN else verdict

    return act
