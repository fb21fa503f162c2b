"""Measure meshes under load: one alone, or two at once that take turns.

Other programs, and other machines on the same hardware, change what a CPU gets done
within a second. Two sides that take turns of a twentieth meet the same conditions, and
their ratio is some five times steadier than that of two measurements in a row. A request
that waits for its side's turn waits long: latencies are measured alone.
"""

import os
import select
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from beewire.errors import MeshError
from beewire.mesh.lab.cgroups import Cgroup
from beewire.mesh.lab.load import GRACE_S, LoadConfig, LoadResult, finish, running
from beewire.mesh.lab.measure import conntrack_entries, cpu_us, machine_cpu_us
from beewire.mesh.lab.mesh import Mesh

TURN_S = 0.05  # below TCP's shortest time-out: nothing is sent twice meanwhile


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: what wrk counted, what it cost, what conntrack held meanwhile.

    `ran_us` is how long the mesh could run, `other_cpu_us` the CPU time that the rest of
    the machine used.
    """

    load: LoadResult
    ran_us: int
    cpu_us: int
    conntrack: int
    other_cpu_us: int = 0

    @property
    def requests_per_s(self) -> float:
        """Responses a second of the time that the mesh could run."""
        return self.load.requests / self.ran_us * 1e6

    @property
    def cpu_us_per_request(self) -> float:
        """CPU time of applications and sidecars a request, in microseconds."""
        return self.cpu_us / self.load.requests

    @property
    def other_cores(self) -> float:
        """How many CPUs the rest of the machine kept busy."""
        return self.other_cpu_us / self.load.duration_us


def alone(mesh: Mesh, load: LoadConfig) -> Sample:
    """Put `mesh` under load.

    Raises:
        MeshError: a part of the mesh or wrk ended, or wrk has no result.
    """
    lab = mesh.lab
    before, machine_before = cpu_us(lab), machine_cpu_us()
    with mesh.watched(), running(lab.a, lab.b, load) as process:
        time.sleep(load.seconds / 2)  # connections are open now
        conntrack = conntrack_entries(lab.pods)
        result = finish(process, load)
    used = cpu_us(lab) - before
    other = max(0, machine_cpu_us() - machine_before - used)
    return Sample(result, result.duration_us, used, conntrack, other)


def in_turns(meshes: Sequence[Mesh], load: LoadConfig) -> list[Sample]:
    """Put all `meshes` under load at once, each for `load.seconds` in turns.

    While one has its turn, the other's wrk is frozen: its last requests are answered, and
    then nothing happens there.

    Raises:
        MeshError: as for `alone`, or this kernel cannot freeze cgroups, or the machine
            stood still meanwhile.
    """
    labs = [mesh.lab for mesh in meshes]
    long = replace(load, seconds=load.seconds * len(meshes))
    before, machine_before = [cpu_us(lab) for lab in labs], machine_cpu_us()
    with ExitStack() as stack:
        for mesh in meshes:
            stack.enter_context(mesh.watched())
        players = []
        for lab in labs:
            process = stack.enter_context(running(lab.a, lab.b, long))
            # Whatever happens: what is frozen does not hear that it is to end.
            stack.callback(lab.a.app.cgroup.thaw)
            lab.a.app.cgroup.freeze()
            players.append(_Player(lab.a.app.cgroup, process))
            stack.callback(players[-1].close)
        entries: list[int] = []
        _take_turns(
            players,
            long.seconds,
            lambda: entries.extend(conntrack_entries(lab.pods) for lab in labs),
        )
        results = [finish(player.wrk, long) for player in players]
        if not entries:  # nobody looked at what was open half way
            raise MeshError("the machine stood still for half of a measurement")
    used = [cpu_us(lab) - start for lab, start in zip(labs, before, strict=True)]
    other = max(0, machine_cpu_us() - machine_before - sum(used))
    rows = zip(results, players, used, entries, strict=True)
    return [
        Sample(result, round(player.ran_s * 1e6), cpu, conntrack, other)
        for result, player, cpu, conntrack in rows
    ]


class _Player:
    # One mesh's wrk, whose end is the end of its turns.

    def __init__(self, cgroup: Cgroup, wrk: "subprocess.Popen[bytes]") -> None:
        self.wrk = wrk
        self.ran_s = 0.0
        self.is_over = False
        self._cgroup = cgroup
        self._end = os.pidfd_open(wrk.pid)

    def play(self) -> None:
        start = time.monotonic()
        self._cgroup.thaw()
        self.is_over = bool(select.select([self._end], [], [], TURN_S)[0])
        self._cgroup.freeze()
        self.ran_s += time.monotonic() - start

    def close(self) -> None:
        os.close(self._end)


def _take_turns(
    players: Sequence[_Player], seconds: int, half_way: Callable[[], None]
) -> None:
    # `half_way` looks at what stands still then, with its connections open.
    start, is_first_half = time.monotonic(), True
    while playing := [player for player in players if not player.is_over]:
        passed = time.monotonic() - start
        if passed > seconds + GRACE_S:
            raise MeshError("wrk does not end")
        if is_first_half and passed > seconds / 2:
            is_first_half = False
            half_way()
        for player in playing:
            player.play()
