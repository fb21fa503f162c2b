"""Real connections, compared: what Istio's rules did, what was decided, what Beewire did."""

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from beewire.mesh.config import PodConfig
from beewire.mesh.decision import (
    AGENT_DNS_PORT,
    Action,
    Connection,
    Verdict,
    decider,
)
from beewire.mesh.proving.attempts import (
    Attempt,
    attempts,
    configurations,
    connection_of,
)
from beewire.mesh.proving.ground import Ground

_EACH = 250  # connections under one configuration
_KEPT = 50


class RealDifference(NamedTuple):
    """A connection that did not arrive where it was decided, or not in both pods."""

    config: PodConfig
    connection: Connection
    attempt: Attempt
    decided: str
    rules: str


class RealReport(NamedTuple):
    """What came of real connections."""

    compared: int
    arrived: Counter[str]
    unexplained: int
    differences: list[RealDifference]
    configurations: int


class Real:
    """Makes `count` connections; equal seeds make the same ones."""

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._random = Random(seed)
        self._arrived = Counter[str]()
        self._differences: list[RealDifference] = []
        self._unexplained = self._compared = self._configurations = 0

    def run(self, progress: Callable[[int], None] = lambda _: None) -> RealReport:
        """Make and compare them; `progress` is told how many were.

        Raises:
            MeshError: The lab cannot be built here, or a connection took too long.
        """
        configs = configurations(self._random)
        while self._compared < self._count:
            self._under(next(configs), min(_EACH, self._count - self._compared))
            progress(self._compared)
        return RealReport(
            self._compared,
            self._arrived,
            self._unexplained,
            self._differences,
            self._configurations,
        )

    def _under(self, config: PodConfig, count: int) -> None:
        made = attempts(self._random, config, count)
        with Ground() as ground:
            ground.write_rules(config)
            pod = ground.lab.a
            seen = ground.perform(pod, made)
            own = ground.own(pod)
        judge = decider(config)
        for each, arrived in zip(made, seen, strict=True):
            connection = connection_of(each, own)
            expected = _expected(config, connection, judge(connection))
            self._arrived[arrived] += 1
            if arrived == expected:
                continue
            self._unexplained += 1
            if len(self._differences) < _KEPT:
                found = RealDifference(config, connection, each, expected, arrived)
                self._differences.append(found)
        self._compared += len(made)
        self._configurations += 1


def _expected(config: PodConfig, connection: Connection, verdict: Verdict) -> str:
    ports = {
        Action.TO_OUTBOUND: config.proxy_port,
        Action.TO_INBOUND: config.inbound_capture_port,
        Action.TO_DNS: AGENT_DNS_PORT,
    }
    if verdict.action in ports:
        return f"pod {ports[verdict.action]}"
    inside = connection.local or connection.direction
    return f"{'pod' if inside else 'world'} {connection.destination_port}"
