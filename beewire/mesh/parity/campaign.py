"""The comparison as a whole: golden files cell by cell, configurations at random.

    report = Campaign(cases=1_000_000, seed=1, kernel=kernel).run()

Of a golden file each cell is compared, and then packets of the cells that meet rules which
have decided too little. What remains of `cases` goes to configurations at random.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import NamedTuple

from beewire.mesh.config import PodConfig
from beewire.mesh.parity.cells import Cell, Cells
from beewire.mesh.parity.configurations import INTERFACES, random_config
from beewire.mesh.parity.deltas import Delta
from beewire.mesh.parity.goldens import GROUPS, goldens, larger_goldens
from beewire.mesh.parity.judge import (
    Difference,
    Judge,
    Notation,
    connection_of,
    iptables,
)
from beewire.mesh.parity.kernel import Kernel
from beewire.mesh.parity.oracle import Outcome, Packet
from beewire.mesh.parity.unreached import Unreached

ENOUGH = 1000  # packets that each rule of a golden file is to have decided
_CONFIG_CASES = 1000  # connections for each configuration at random
EXHAUSTIVE = 100_000  # cases from which on golden files are compared cell by cell
EXHAUSTIVE_ALL = 500_000  # and from which on there is room for all 27 of them
_SHARE = 1000  # a rule of a golden file is due one in so many cases, up to ENOUGH
_IN_PROXY = 0.4  # of the sockets are in the sidecar's cgroup
_KEPT = 10_000  # differences that are shown; all are counted


class RuleCount(NamedTuple):
    """A rule of a golden file, and how many compared packets it has matched.

    `number` is its place in the file, from 1. `reachable` is False when there is no packet
    that would; `proof` says then which rules see to that (unreached.py).
    """

    golden: str
    number: int
    family: int
    table: str
    text: str
    packets: int
    reachable: bool
    proof: str


class Found(NamedTuple):
    """A difference, and the configuration that it was found under."""

    config: PodConfig
    difference: Difference


class Report(NamedTuple):
    """What came of a campaign."""

    compared: int
    documented: Counter[Delta]
    unexplained: int
    differences: list[Found]
    rules: list[RuleCount]
    configurations: int
    by_programs: bool


class Campaign:
    """Compares `cases` connections; equal seeds compare the same ones."""

    def __init__(
        self,
        cases: int,
        seed: int,
        kernel: Kernel | None,
        notation: Notation = iptables,
    ) -> None:
        self._cases = cases
        self._notation = notation
        self._random = Random(seed)
        self._kernel = kernel
        self._compared = self._unexplained = self._configurations = 0
        self._documented = Counter[Delta]()
        self._differences: list[Found] = []
        self._rules: list[RuleCount] = []
        self._progress: Callable[[int], None] = lambda _: None

    def run(self, progress: Callable[[int], None] = lambda _: None) -> Report:
        """Compare; `progress` is told from time to time how many were."""
        self._progress = progress
        files = goldens() if self._cases >= EXHAUSTIVE else {}
        files |= larger_goldens() if self._cases >= EXHAUSTIVE_ALL else {}
        for name, config in files.items():
            self._golden(name, config)
        while self._left > 0:
            self._at_random(min(_CONFIG_CASES, self._left))
        return Report(
            self._compared,
            self._documented,
            self._unexplained,
            self._differences,
            self._rules,
            self._configurations,
            self._kernel is not None,
        )

    @property
    def _left(self) -> int:
        return self._cases - self._compared

    def _golden(self, name: str, config: PodConfig) -> None:
        judge = self._judge(config)
        rules = judge.oracle.rules
        hits = Counter[int]()
        reach: dict[int, list[Cell]] = {}
        some = _all_cells(judge, config, all_families=self._notation is not iptables)
        every = [cell for cells in some for cell in cells]
        packets = [cell.first() for cell in every]
        outcomes = self._compare(judge, packets)
        for cell, outcome in zip(every, outcomes, strict=True):
            for number in set(outcome.trail):
                reach.setdefault(number, []).append(cell)
        hits.update(number for each in outcomes for number in set(each.trail))
        for number in sorted(reach, key=lambda number: len(reach[number])):
            self._top_up(judge, number, hits, reach[number])
        unmet = [number for number in range(len(rules)) if number not in reach]
        proofs = Unreached(judge.oracle, packets).proofs(unmet)
        self._rules.extend(
            RuleCount(
                name,
                number + 1,
                rule.family,
                rule.table,
                rule.text,
                hits[number],
                number in reach,
                proofs.get(number, ""),
            )
            for number, rule in enumerate(rules)
        )

    def _top_up(
        self, judge: Judge, number: int, hits: Counter[int], met_by: list[Cell]
    ) -> None:
        # More packets that one rule matches, until it has decided enough.
        enough = min(ENOUGH, self._cases // _SHARE)
        missing = min(enough - hits[number], self._left)
        random = self._random
        packets = [random.choice(met_by).sample(random) for _ in range(missing)]
        for outcome in self._compare(judge, packets):
            hits.update(set(outcome.trail))

    def _at_random(self, cases: int) -> None:
        judge = self._judge(random_config(self._random))
        every = list(_all_cells(judge, judge.config, all_families=True))
        random = self._random
        packets = [random.choice(every).sample(random) for _ in range(cases)]
        self._compare(judge, packets)

    def _judge(self, config: PodConfig) -> Judge:
        self._configurations += 1
        return Judge(config, GROUPS, self._notation)

    def _compare(self, judge: Judge, packets: Sequence[Packet]) -> list[Outcome]:
        random = self._random
        connections = [
            connection_of(packet, in_proxy=random.random() < _IN_PROXY)
            for packet in packets
        ]
        judged = judge.compare(connections, self._kernel, INTERFACES)
        self._documented.update(judged.documented)
        room = _KEPT - len(self._differences)
        self._differences.extend(
            Found(judge.config, each) for each in judged.unexplained[:room]
        )
        self._unexplained += len(judged.unexplained)
        self._compared += len(packets)
        self._progress(self._compared)
        return judged.outcomes


def _all_cells(
    judge: Judge, config: PodConfig, *, all_families: bool = False
) -> Iterator[Cells]:
    versions = (4, 6) if all_families or config.enable_ipv6 else (4,)
    for version in versions:
        for outbound in (True, False):
            yield Cells(judge.oracle, version, outbound=outbound)
