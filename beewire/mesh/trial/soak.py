"""Half an hour of everything: connections of every age while the node changes around them.

Requests and streams whose every byte is compared (`asking`, `streaming`), and every few
seconds one of: a sidecar restarts, tiers change, differ, or are switched off and on, the
agent is killed, the configuration changes. Only a sidecar's restart may break a connection.
Memory and entries are looked at all the while, and when everything has ended.
"""

import contextlib
import itertools
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from beewire.bpf.kernel import Map
from beewire.errors import KernelError, MeshError
from beewire.mesh.enrol import ShortPath
from beewire.mesh.lab.board import Board
from beewire.mesh.lab.place import has_ended
from beewire.mesh.programs.bypass import state
from beewire.mesh.trial import streaming
from beewire.mesh.trial.asking import Asking, ask
from beewire.mesh.trial.endurance import (
    ECHO_PORT,
    FAULTS,
    HTTP_PORT,
    TCP_PORT,
    TIERS,
)
from beewire.mesh.trial.faults import another_version
from beewire.mesh.trial.rig import CHECKOUT, Rig
from beewire.mesh.trial.streaming import Streaming, stream

PACE_S = 6.0  # between two changes
SAMPLE_S = 5.0
GRACE_S = 3.0  # after a sidecar's restart, until all have noticed
SETTLE_S = 20.0
AGES = (0, 500, 50, 5, 1)  # requests
LIVES = (0.05, 0.5, 5, 30, 300, 0)  # seconds
_MB = 1 << 20


class Soaked(NamedTuple):
    """What came of it.

    `lost` are connections and answers that ended, came late or were refused without a
    sidecar's restart; `mismatched` those with other bytes than were sent. `interrupted`
    are those that a restart broke. `leaked` entries stood in the maps after all had
    ended. `growth` is, for each thing that was sampled, its median over the last quarter
    less that over the second one.
    """

    seconds: float
    requests: int
    connections: int
    streams: int
    bytes: int
    stalls: int
    lost: int
    mismatched: int
    interrupted: int
    changes: Mapping[str, int]
    leaked: int | None
    growth: Mapping[str, float]


class Change(NamedTuple):
    """Something that is done to the node; `breaks`: connections may end of it."""

    name: str
    does: Callable[[], object]
    breaks: bool = False


Tell = Callable[[float, Mapping[str, int]], None]


class Soak:
    """One soak; `found` says at any time what came of it so far."""

    def __init__(self, rig: Rig, counts: Board) -> None:
        self.rig = rig
        self.counts = counts
        self.changes: dict[str, int] = {}
        self.samples: list[dict[str, float]] = []
        self.leaked: int | None = None
        self._children: dict[int, str] = {}
        self._begun = time.monotonic()

    def found(self) -> Soaked:
        """What came of it so far."""
        total = self.counts.total
        return Soaked(
            seconds=time.monotonic() - self._begun,
            requests=total("requests"),
            connections=total("connections"),
            streams=total("streams"),
            bytes=total("bytes") + total("streamed"),
            stalls=total("stalls"),
            lost=sum(total(each) for each in FAULTS if each != "mismatched"),
            mismatched=total("mismatched"),
            interrupted=total("interrupted"),
            changes=dict(self.changes),
            leaked=self.leaked,
            growth=growth(self.samples),
        )

    def run(self, seconds: float, tell: Tell) -> None:
        """Soak for so long; `tell` hears how it goes.

        Raises:
            MeshError: something ended by itself.
        """
        self._begun = time.monotonic()
        changes = itertools.cycle(self._changes())
        with self._load():
            change_at = sample_at = 0.0
            while (passed := time.monotonic() - self._begun) < seconds:
                if passed >= sample_at:
                    sample_at = passed + SAMPLE_S
                    self.samples.append(self._sample())
                    tell(passed, self.changes)
                if passed >= change_at:
                    self._change(next(changes))
                    change_at = time.monotonic() - self._begun + PACE_S
                time.sleep(0.1)
                self._check()
            self._end_streams()
        self.leaked = self._left()

    def _check(self) -> None:
        # What is no part of the mesh must not be taken for its fault.
        self.rig.check()
        for child, name in self._children.items():
            if has_ended(child):
                raise MeshError(f"the {name} has ended by itself, see above")

    @contextlib.contextmanager
    def _load(self) -> Iterator[None]:
        lab, counts = self.rig.lab, self.counts
        log = lab.run.state / "faults.log"
        with contextlib.ExitStack() as stack:
            serve = lab.b.app.running(lambda: streaming.echo("0.0.0.0", ECHO_PORT))
            self._children[stack.enter_context(serve)] = "echo"
            time.sleep(1)  # the echo begins to listen
            asks = [
                Asking(lab.b.address, HTTP_PORT, log, 0, 8, AGES, 0.02, True, 1),
                Asking(lab.b.address, TCP_PORT, log, 0, 8, AGES, 0.02, False, 2),
            ]
            for place, wanted in enumerate(asks):
                # Bound here: a loop's variable would be another by then.
                def run(wanted: Asking = wanted, place: int = place) -> None:
                    ask(wanted, counts, place, "restarting")

                asking = stack.enter_context(lab.a.app.running(run))
                self._children[asking] = "client that asks"
            streams = Streaming(lab.b.address, ECHO_PORT, log, ages=LIVES)
            streaming_ = lab.a.app.running(
                lambda: stream(streams, counts, 2, "restarting")
            )
            self._children[stack.enter_context(streaming_)] = "client that streams"
            yield

    def _end_streams(self) -> None:
        # To their very last bytes; requests are ended wherever they are.
        self.counts["ended"][2] = 1
        self.counts.expect(
            lambda: self.counts["ended"][2] == 2, 120.0, "ending the streams"
        )

    def _changes(self) -> list[Change]:
        rig, mesh = self.rig, self.rig.mesh
        pod_a, pod_b = (f"lab/{pod.name}" for pod in rig.lab.pods)

        def give(first: str, second: str = "") -> Callable[[], None]:
            def change() -> None:
                for pod, tier in ((pod_a, first), (pod_b, second or first)):
                    mesh.update(pod, change=tier)

            return change

        tier = {name: each.change for name, each in TIERS.items()}
        auto, none = 'bypass: {tier: "auto"}\n', 'bypass: {tier: "off"}\n'
        ranges = "outbound: {exclude_ranges: [192.168.0.0/16]}\n"
        return [
            Change("tier_all", give(tier["all"])),
            Change("switched_off", mesh.bypass_off),
            Change("switched_on", mesh.bypass_on),
            Change("sidecar_restarted", self._restart(1), breaks=True),
            Change("pod_switched_off", lambda: mesh.bypass_off(pod_b)),
            Change("configured", give(ranges)),
            Change("pod_switched_on", lambda: mesh.bypass_on(pod_b)),
            Change("tiers_mixed", give(tier["all"], tier["sidecars"])),
            Change("agent_killed", self._without_agent),
            Change("sidecar_restarted", self._restart(0), breaks=True),
            Change("tier_splice", give(tier["splice"])),
            Change("tier_sidecars", give(tier["sidecars"])),
            Change("tier_auto", give(auto)),
            Change("tier_all", give(tier["all"])),
            Change("agent_upgraded", self._upgrade),
            Change("tier_shortcut", give(tier["shortcut"])),
            Change("tier_off", give(none)),
        ]

    def _change(self, change: Change) -> None:
        if change.breaks:
            self.counts["restarting"][0] = 1
        change.does()
        if change.breaks:
            time.sleep(GRACE_S)
            self.counts["restarting"][0] = 0
        self.changes[change.name] = self.changes.get(change.name, 0) + 1

    def _restart(self, number: int) -> Callable[[], None]:
        def change() -> None:
            pod = self.rig.lab.pods[number]
            self.rig.stop_sidecar(pod)
            self.rig.start_sidecar(pod)

        return change

    def _upgrade(self) -> None:
        # To other programs and another layout of maps, which nobody has judged, and back.
        other = another_version(self.rig.lab.run.state / "version")
        for tree in (other, CHECKOUT):
            self.rig.stop_agent()
            self.rig.start_agent(tree)
            time.sleep(1)

    def _without_agent(self) -> None:
        # Off and on by whoever is there, while no agent is.
        self.rig.stop_agent(signal.SIGKILL)
        self.rig.mesh.bypass_off()
        time.sleep(1)
        self.rig.mesh.bypass_on()
        self.rig.start_agent()

    def _sample(self) -> dict[str, float]:
        rig = self.rig
        agent = rig.agent.pid if rig.agent else 0
        found = {
            "slab_mb": meminfo("SUnreclaim") / _MB,
            "tcp_memory_mb": tcp_memory() / _MB,
            "map_memory_kb": map_memory(rig.directories.set) / 1024,
            "server_rss_mb": sum(map(rss, rig.lab.b.app.cgroup.pids())) / _MB,
            "client_rss_mb": sum(map(rss, rig.lab.a.app.cgroup.pids())) / _MB,
            "agent_rss_mb": rss(agent) / _MB,
        }
        return found | {"entries": float(entries(rig))}

    def _left(self) -> int:
        # What has just been closed may take a moment.
        for pod in self.rig.lab.pods:
            self.rig.stop_sidecar(pod)
        deadline = time.monotonic() + SETTLE_S
        while (left := entries(self.rig)) and time.monotonic() < deadline:
            time.sleep(0.2)
        return left


def growth(samples: list[dict[str, float]]) -> dict[str, float]:
    """For each thing, its median over the last quarter less that over the second."""
    quarter = len(samples) // 4
    if not quarter:
        return {}
    second, last = samples[quarter : 2 * quarter], samples[-quarter:]
    return {
        name: statistics.median(each[name] for each in last)
        - statistics.median(each[name] for each in second)
        for name in samples[0]
    }


def entries(rig: Rig) -> int:
    """How many ends of connections, and greetings, the short path's maps hold."""
    with ShortPath.at(rig.directories.set) as path:
        loaded = path.found()
        if loaded is None:
            return 0
        return len(loaded[state.greetings]) + len(loaded[state.peers])


def meminfo(name: str) -> int:
    """A line of /proc/meminfo, in bytes."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def tcp_memory() -> int:
    """Memory of all TCP sockets of the machine, in bytes (/proc/net/sockstat)."""
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        words = line.split()
        if words[0] == "TCP:":
            return int(words[words.index("mem") + 1]) * 4096
    return 0


def rss(pid: int) -> int:
    """What a process has in memory, in bytes; 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0


def map_memory(pins: Path) -> int:
    """What the maps that are pinned below `pins` take, in bytes."""
    total = 0
    for path in pins.rglob("maps/*"):
        with contextlib.suppress(KernelError), Map.from_pin(str(path)) as table:
            text = Path(f"/proc/self/fdinfo/{table.fileno()}").read_text()
            words = dict(
                line.split(":", 1) for line in text.splitlines() if ":" in line
            )
            total += int(words.get("memlock", "0"))
    return total
