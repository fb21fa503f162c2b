"""Real connections, compared: where Istio's rules and Beewire's programs took them."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from random import Random
from typing import NamedTuple, Self

from beewire.mesh.config import PodConfig, ProxyIdentity
from beewire.mesh.decision import (
    AGENT_DNS_PORT,
    DNS_PORT,
    TCP,
    Action,
    Connection,
    Direction,
    Rule,
    Verdict,
    decider,
)
from beewire.mesh.enrol import Node
from beewire.mesh.parity.deltas import Delta
from beewire.mesh.proving.attempts import (
    Attempt,
    attempts,
    configurations,
    connection_of,
)
from beewire.mesh.proving.ground import Ground

# Who takes a connection somewhere.
IPTABLES, NFT, PROGRAMS = "iptables", "nft", "programs"
# Rules that settle what has been decided before, or what has no decision.
_UNCOUNTED = frozenset((Rule.IN_LOCAL, Rule.IN_OTHER_PROTOCOL))
_EACH = 250  # connections under one configuration
_BY_NFT = 0.25  # of the configurations' rules are nft's, the others iptables'
_KEPT = 50  # differences that are shown; all are counted


class RealDifference(NamedTuple):
    """A connection that did not arrive where it was decided; `by` says who took it."""

    by: str
    config: PodConfig
    connection: Connection
    attempt: Attempt
    decided: str
    arrived: str


class Miscount(NamedTuple):
    """A rule that has decided more or fewer connections than it should have."""

    config: PodConfig
    rule: Rule
    decided: int
    counted: int


class RealReport(NamedTuple):
    """What came of real connections, in each of the pods.

    `rules` are what the enrolled pods counted: how many connections each rule decided.
    """

    compared: dict[str, int]
    documented: Counter[Delta]
    arrived: Counter[str]
    unexplained: int
    differences: list[RealDifference]
    rules: Counter[Rule]
    miscounts: list[Miscount]
    configurations: int


class Real:
    """Makes `count` connections in each of two pods; equal seeds make the same ones.

    One pod has Istio's rules, in which the sidecar is known by user and group; the other
    is enrolled, and knows it so or by its cgroup. A context manager.
    """

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._random = Random(seed)
        self._compared = {IPTABLES: 0, NFT: 0, PROGRAMS: 0}
        self._documented = Counter[Delta]()
        self._arrived = Counter[str]()
        self._differences: list[RealDifference] = []
        self._rules = Counter[Rule]()
        self._miscounts: list[Miscount] = []
        self._unexplained = self._configurations = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._node = self._stack.enter_context(Node.load())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, progress: Callable[[int], None] = lambda _: None) -> RealReport:
        """Make and compare them; `progress` is told how many were.

        Raises:
            MeshError: The lab cannot be built here, or a connection took too long.
        """
        configs = configurations(self._random)
        while (done := self._compared[PROGRAMS]) < self._count:
            self._under(next(configs), min(_EACH, self._count - done))
            progress(self._compared[PROGRAMS])
        return RealReport(
            self._compared,
            self._documented,
            self._arrived,
            self._unexplained,
            self._differences,
            self._rules,
            self._miscounts,
            self._configurations,
        )

    def _under(self, config: PodConfig, count: int) -> None:
        made = attempts(self._random, config, count)
        by_nft = self._random.random() < _BY_NFT
        enrolled = replace(
            config,
            proxy_identity=self._random.choice(list(ProxyIdentity)),
            reroute_virtual_interfaces=(),  # which Beewire refuses
        )
        with Ground() as ground:
            a, b = ground.lab.pods
            ground.write_rules(config, by_nft=by_nft)
            seen = ground.perform(a, made)
            by = NFT if by_nft else IPTABLES
            self._compare(by, config, made, seen, ground.own(a))
            with ground.enrolled(self._node, enrolled) as enrolment:
                seen = ground.perform(b, made)
                counted = enrolment.rules()
            own = ground.own(b)
            self._compare(PROGRAMS, enrolled, made, seen, own)
            self._count_rules(enrolled, made, counted, own)
        self._configurations += 1

    def _compare(
        self,
        by: str,
        config: PodConfig,
        made: Sequence[Attempt],
        seen: Sequence[str],
        own: Mapping[str, str],
    ) -> None:
        judge = decider(config)
        for each, arrived in zip(made, seen, strict=True):
            connection = connection_of(each, own)
            expected = _expected(config, connection, judge(connection))
            self._arrived[arrived] += 1
            if arrived == expected:
                continue
            self._unexplained += 1
            if len(self._differences) < _KEPT:
                self._differences.append(
                    RealDifference(by, config, connection, each, expected, arrived)
                )
        self._compared[by] += len(made)

    def _count_rules(
        self,
        config: PodConfig,
        made: Sequence[Attempt],
        counted: Mapping[Rule, int],
        own: Mapping[str, str],
    ) -> None:
        judge = decider(config)
        decided = Counter[Rule]()
        for each in made:
            verdict = judge(connection_of(each, own))
            decided[verdict.rule] += _asked(each, verdict)
        for rule in Rule:
            if rule in _UNCOUNTED:
                continue
            self._rules[rule] += counted.get(rule, 0)
            if decided[rule] != counted.get(rule, 0):
                self._unexplained += 1
                self._miscounts.append(
                    Miscount(config, rule, decided[rule], counted.get(rule, 0))
                )


def _asked(attempt: Attempt, verdict: Verdict) -> int:
    # How often the programs are asked about one attempt.
    if attempt.protocol == TCP:
        return 1
    if attempt.port != DNS_PORT:  # of datagrams, Istio captures queries only
        return 0
    # The kernel gives what a connected IPv4-mapped socket sends to both families' hooks.
    twice = attempt.mapped and attempt.connected and verdict.action is Action.PASS
    return 2 if twice else 1


def _expected(config: PodConfig, connection: Connection, verdict: Verdict) -> str:
    ports = {
        Action.TO_OUTBOUND: config.proxy_port,
        Action.TO_INBOUND: config.inbound_capture_port,
        Action.TO_DNS: AGENT_DNS_PORT,
    }
    if verdict.action in ports:
        return f"pod {ports[verdict.action]}"
    inside = connection.local or connection.direction is Direction.INBOUND
    return f"{'pod' if inside else 'world'} {connection.destination_port}"
