"""The demo: the same pods under iptables and under Beewire, measured in turn."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from beewire.mesh.lab.follow import Hop, follow
from beewire.mesh.lab.interception import Beewire, Iptables
from beewire.mesh.lab.load import LoadConfig, LoadResult, finish, running
from beewire.mesh.lab.measure import (
    conntrack_entries,
    cpu_us,
    iptables_rules,
    machine_cpu_us,
)
from beewire.mesh.lab.mesh import Mesh, mesh
from beewire.mesh.lab.pods import Lab
from beewire.mesh.lab.tools import require_all, require_root

PROGRAMS = ("envoy", "nginx", "wrk", "iptables-legacy-restore", "iptables-legacy-save")
WARM_UP_S = 1
KEEP_ALIVE, NEW_CONNECTIONS = "keep-alive", "new connections"
TESTS = {KEEP_ALIVE: False, NEW_CONNECTIONS: True}  # does wrk close each connection?

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


@dataclass(frozen=True, slots=True)
class Sample:
    """One test: what wrk counted, what it cost, what conntrack held meanwhile.

    `other_cpu_us` is the CPU time that the rest of the machine used in that time.
    """

    load: LoadResult
    cpu_us: int
    conntrack: int
    other_cpu_us: int = 0

    @property
    def other_cores(self) -> float:
        """How many CPUs the rest of the machine kept busy."""
        return self.other_cpu_us / self.load.duration_us

    @property
    def cpu_us_per_request(self) -> float:
        """CPU time of applications and sidecars a request, in microseconds."""
        return self.cpu_us / self.load.requests


@dataclass(frozen=True, slots=True)
class Side:
    """All samples of one way to intercept; the n-th of each side belong together."""

    name: str
    keep_alive: list[Sample]
    new_connections: list[Sample]
    rules: int
    hops: tuple[Hop, ...]


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
        self.samples: dict[str, list[Sample]] = {test: [] for test in TESTS}

    @property
    def name(self) -> str:
        return self.mesh.name

    def sample(self, load: LoadConfig) -> Sample:
        lab = self.mesh.lab
        before, machine_before = cpu_us(lab), machine_cpu_us()
        with self.mesh.watched(), running(lab.a, lab.b, load) as process:
            time.sleep(load.seconds / 2)  # connections are open now
            conntrack = conntrack_entries(lab.pods)
            result = finish(process, load)
        used = cpu_us(lab) - before
        other = max(0, machine_cpu_us() - machine_before - used)
        return Sample(result, used, conntrack, other)

    def side(self) -> Side:
        with self.mesh.watched():
            return Side(
                self.name,
                self.samples[KEEP_ALIVE],
                self.samples[NEW_CONNECTIONS],
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
        meshes = []
        for interception in (Iptables(), Beewire()):
            tell(f"starting two pods with sidecars under {interception.name}")
            lab = stack.enter_context(Lab())
            running_mesh = stack.enter_context(mesh(lab, interception))
            meshes.append(_Measured(running_mesh))
        _warm_up(meshes, config, tell)
        _measure(meshes, config, tell)
        tell("following one connection")
        iptables, beewire = (each.side() for each in meshes)
        tell("")
    return DemoResult(config, iptables, beewire)


def _warm_up(meshes: list[_Measured], config: DemoConfig, tell: Tell) -> None:
    for each in meshes:
        for close in TESTS.values():
            tell(f"warming up {each.name}")
            load = LoadConfig(
                connections=config.connections, seconds=WARM_UP_S, close=close
            )
            each.sample(load)


def _measure(meshes: list[_Measured], config: DemoConfig, tell: Tell) -> None:
    tests_left = config.rounds * len(TESTS) * len(meshes)
    for number in range(config.rounds):
        # A B, then B A: what drifts in the machine falls on both alike.
        order = meshes if number % 2 == 0 else meshes[::-1]
        for test, close in TESTS.items():
            for each in order:
                left = tests_left * config.seconds
                place = f"round {number + 1} of {config.rounds}"
                tell(f"{place}: {test} under {each.name}, {left} s left")
                load = LoadConfig(
                    connections=config.connections, seconds=config.seconds, close=close
                )
                each.samples[test].append(each.sample(load))
                tests_left -= 1
