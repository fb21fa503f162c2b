"""The demo: the same pods under iptables and under Beewire, measured by turns."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from beewire.mesh.lab.description import SidecarConfig
from beewire.mesh.lab.follow import Hop, follow
from beewire.mesh.lab.interception import Beewire, Iptables
from beewire.mesh.lab.load import LoadConfig
from beewire.mesh.lab.measure import iptables_rules
from beewire.mesh.lab.mesh import Mesh, mesh
from beewire.mesh.lab.pods import Lab
from beewire.mesh.lab.sampling import Sample, alone, in_turns
from beewire.mesh.lab.tools import require_all, require_root

PROGRAMS = ("envoy", "nginx", "wrk", "iptables-legacy-restore", "iptables-legacy-save")
WARM_UP_S = 1
# Nothing is found out about what a port carries: as lean as Envoy can be.
LEAN = SidecarConfig(sniffing=False)
TESTS = 3  # in each round, each on both sides

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DemoConfig:
    """How much is measured: each test lasts `seconds`, for each side, in each round.

    Many short rounds rather than few long ones: what else the machine does then falls
    on whole rounds, which the median leaves out.
    """

    seconds: int = 1
    connections: int = 16
    rounds: int = 20

    def load(self, *, close: bool = False) -> LoadConfig:
        """The load of one test; `close` makes every request a new connection."""
        return LoadConfig(
            connections=self.connections, seconds=self.seconds, close=close
        )


@dataclass(frozen=True, slots=True)
class Side:
    """All samples of one way to intercept; the n-th of each side belong together.

    `latency` was measured alone; `keep_alive` and `new_connections` in turns.
    """

    name: str
    latency: list[Sample]
    keep_alive: list[Sample]
    new_connections: list[Sample]
    rules: int
    hops: tuple[Hop, ...]

    @property
    def samples(self) -> list[Sample]:
        """Those of every test."""
        return [*self.latency, *self.keep_alive, *self.new_connections]


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo measured."""

    config: DemoConfig
    iptables: Side
    beewire: Side


class _Measured:
    # One mesh and its samples so far.

    def __init__(self, running_mesh: Mesh) -> None:
        self.mesh = running_mesh
        self.latency: list[Sample] = []
        self.keep_alive: list[Sample] = []
        self.new_connections: list[Sample] = []

    def side(self) -> Side:
        with self.mesh.watched():
            return Side(
                self.mesh.name,
                self.latency,
                self.keep_alive,
                self.new_connections,
                max(iptables_rules(pod) for pod in self.mesh.lab.pods),
                follow(self.mesh),
            )


def run_demo(config: DemoConfig, tell: Tell) -> DemoResult:
    """Measure both sides, interleaved, and follow a connection on each.

    `tell` hears what is being done, a short line at a time, and "" when all is measured;
    what it raises stops the demo.

    Raises:
        MeshError: the machine lacks something, or a part of a mesh does not start.
    """
    require_root()
    require_all(PROGRAMS)
    with contextlib.ExitStack() as stack:
        sides = []
        for interception in (Iptables(), Beewire()):
            tell(f"starting two pods with sidecars under {interception.name}")
            lab = stack.enter_context(Lab())
            running_mesh = stack.enter_context(mesh(lab, interception, LEAN))
            sides.append(_Measured(running_mesh))
        _warm_up(sides, config, tell)
        for number in range(config.rounds):
            # A B, then B A: what drifts in the machine falls on both alike.
            order = sides if number % 2 == 0 else sides[::-1]
            _measure(order, config, number, tell)
        tell("following one connection")
        iptables, beewire = (each.side() for each in sides)
        tell("")
    return DemoResult(config, iptables, beewire)


def _warm_up(sides: list[_Measured], config: DemoConfig, tell: Tell) -> None:
    short = DemoConfig(seconds=WARM_UP_S, connections=config.connections)
    for each in sides:
        for close in (False, True):
            tell(f"warming up {each.mesh.name}")
            alone(each.mesh, short.load(close=close))


def _measure(
    order: list[_Measured], config: DemoConfig, number: int, tell: Tell
) -> None:
    # One round.
    test_s = config.seconds * len(order)
    left_s = (config.rounds - number) * TESTS * test_s

    def say(what: str, left_s: int) -> None:
        tell(f"round {number + 1} of {config.rounds}: {what}, {left_s} s left")

    for place, each in enumerate(order):
        say(f"latency under {each.mesh.name}", left_s - place * config.seconds)
        each.latency.append(alone(each.mesh, config.load()))
    meshes = [each.mesh for each in order]
    say("requests under both by turns", left_s - test_s)
    for each, sample in zip(order, in_turns(meshes, config.load()), strict=True):
        each.keep_alive.append(sample)
    say("new connections under both by turns", left_s - 2 * test_s)
    load = config.load(close=True)
    for each, sample in zip(order, in_turns(meshes, load), strict=True):
        each.new_connections.append(sample)
