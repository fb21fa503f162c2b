"""Other programs, and maps of another layout, under load: one link after the other, whole.

    set/       what serves the pods now
    set_new/   what is to serve them, as long as an upgrade is under way
    set_old/   what served them, until it is removed

Programs on the same maps take over link by link, and no connection notices. Where a map
has another layout, its entries are carried over while the pods are frozen, a moment in
which none of their processes runs. The new programs are tried in a pod of our own first,
and afterwards every link is looked at; if anything fails, all links get their present
programs back.
"""

import contextlib
import itertools
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from beewire.bpf import Loaded, open_maps
from beewire.bpf.kernel import AnyMap, Link, Program, ids
from beewire.bpf.object import MapKind
from beewire.errors import BeewireError, KernelError, MeshError
from beewire.mesh.agent import past, processes, records
from beewire.mesh.agent.canary import try_programs
from beewire.mesh.agent.directories import Directories
from beewire.mesh.agent.migrate import SOCKETS, carry_over, carry_over_sockets
from beewire.mesh.agent.records import ENROLLED, PodRecord
from beewire.mesh.agent.resolving import pod_of
from beewire.mesh.agent.settings import config_of
from beewire.mesh.agent.succession import ANY, Succession, changed
from beewire.mesh.agent.view import TCP, UDP, NetworkView
from beewire.mesh.enrol import PROGRAMS, Enrolment, Node
from beewire.mesh.enrol.hooks import (
    BYPASS_HOOKS,
    EVERY_HOOK,
    hooks_in,
    hooks_of_tier,
)
from beewire.mesh.enrol.links import unpin
from beewire.mesh.enrol.short_path import PINS
from beewire.mesh.lab.cgroups import Cgroup

FREEZE_TIMEOUT_S = 2.0
_POLL_S = 0.0005


class Upgraded(NamedTuple):
    """What has changed: names of programs and maps, and how many pods have them now.

    `frozen_s` is how long no process of a pod ran; 0 where every map could stay.
    """

    programs: tuple[str, ...]
    maps: tuple[str, ...]
    pods: int
    frozen_s: float


def renewed(directories: Directories) -> tuple[Node, Upgraded | None]:
    """The node with this version's programs; what has changed, or None if all is equal.

    Whoever calls this has the lock, and closes the node.

    Raises:
        MeshError: this version's programs fail; the present ones serve on.
        KernelError: the kernel refused one; the present ones serve on.
    """
    _finish(directories)
    if not directories.set.is_dir():
        return Node.load(directories.set), None
    with ExitStack() as stack:
        fitting, others = open_maps(PROGRAMS, str(directories.set))
        for live in (*fitting.values(), *others.values()):
            stack.enter_context(live)
        loaded = stack.enter_context(Node.load_on(fitting))
        bypass = stack.enter_context(Succession(directories.set / PINS, loaded))
        programs = changed(directories.set, loaded) + bypass.programs
        maps = tuple(name for name in loaded.maps if name not in fitting) + bypass.maps
        if programs or maps:
            change = _Change(directories, loaded, others, bypass)
            frozen_s, pods = change.make()
            done = Upgraded(programs, maps, pods, frozen_s)
        else:
            done = None
    return Node.load(directories.set), done


def _finish(directories: Directories) -> None:
    """Put right what somebody left who was killed between two renames."""
    if not directories.set.is_dir() and _beside(directories, "old").is_dir():
        _beside(directories, "new").rename(directories.set)
    past.recover(directories)
    past.sweep(directories)
    _remove_pins(_beside(directories, "old"))


class _Change:
    """One upgrade: what was before is known, and can be put back."""

    def __init__(
        self,
        directories: Directories,
        loaded: Loaded,
        others: dict[str, AnyMap],
        bypass: Succession,
    ) -> None:
        self._directories = directories
        self._loaded = loaded
        self._bypass = bypass
        self._others = {
            name: live for name, live in others.items() if name in loaded.maps
        }
        self._pods = [
            each for each in records.every(directories) if each.state == ENROLLED
        ]

    def make(self) -> tuple[float, int]:
        """Do it: for how long pods were frozen, in seconds, and how many there are."""
        fresh = _beside(self._directories, "new")
        _remove_pins(fresh)  # of an upgrade that somebody was killed in
        self._loaded.pin(str(fresh))
        self._bypass.pin(fresh / PINS)
        before = _programs_of_links(self._directories)
        left = self._bypass.left
        aside = None if left is None else past.Aside(self._directories, left)
        try:
            # On maps of their own: nothing of a pod's is touched.
            with Node.load() as trial:
                try_programs(trial)
            # What takes long is done before, pod by pod; what has come since, in the
            # moment in which none of them runs.
            carried = self._carry_ahead()
            with _frozen(self._pods if self._others else ()) as frozen:
                self._carry_entries()
                self._carry_sockets(self._pods, map(_pids_of, self._pods), carried)
                self._bypass.carry()
                if aside is not None:
                    aside.step()
                node = Node(self._loaded, self._bypass.short_path())
                for record in self._pods:
                    self._switch(node, record)
                self._verify(node)
                self._bypass.take_over()
        except BaseException:
            if aside is not None:
                aside.back()
            _put_back(before, self._directories)
            self._bypass.put_back()
            _remove_pins(fresh)
            raise
        old = _beside(self._directories, "old")
        self._directories.set.rename(old)
        fresh.rename(self._directories.set)
        _remove_pins(old)
        _remove_other_hooks(self._directories)
        return frozen[0] if frozen else 0.0, len(self._pods)

    def _carry_entries(self) -> None:
        for name, old in self._others.items():
            # Slots are filled from processes, storage from their sockets.
            if old.spec.kind not in (*SOCKETS, MapKind.SK_STORAGE):
                carry_over(old, self._loaded.maps[name])

    def _storage(self) -> list[tuple[AnyMap, AnyMap]]:
        # What is stored in sockets: the map that was, and the one that is to be.
        return [
            (old, self._loaded.maps[name])
            for name, old in self._others.items()
            if old.spec.kind is MapKind.SK_STORAGE
        ]

    def _carry_ahead(self) -> set[int]:
        """Copy what is stored in all sockets there are; their inodes.

        Of a socket that is closed while there is a copy, epoll still tells, by a number
        that may be another's by then (epoll(7)). So a pod is frozen while it is looked
        into. Sockets may be handed to processes of no pod, too: few are.
        """
        done: set[int] = set()
        if self._storage():
            for each in self._pods:
                with _frozen([each]):
                    done |= self._carry_sockets([each], [_pids_of(each)], done)
            done |= self._carry_sockets(self._pods, [processes.all_pids()], done)
        return done

    def _carry_sockets(
        self,
        pods: Iterable[PodRecord],
        holders: Iterable[Iterable[int]],
        done: set[int],
    ) -> set[int]:
        """Copy what is stored in those sockets of pods that processes hold; their inodes.

        Those in `done` are left alone.
        """
        storage = self._storage()
        wanted = _inodes(pods) - done if storage else set()
        found = set(wanted)
        for pid in itertools.chain.from_iterable(holders):
            if not wanted:
                break
            for socket in _copies(pid, wanted):
                for old, new in storage:
                    carry_over_sockets(old, new, [socket])
        return found - wanted

    def _switch(self, node: Node, record: PodRecord) -> None:
        enrolment = node.find(
            pod_of(record), int(record.id), self._directories.links(record.id)
        )
        if "listeners" in self._others:
            _fill(enrolment, record)
        enrolment.renew()
        enrolment.keep()

    def _verify(self, node: Node) -> None:
        known = set(node.cookies())
        hooks = {hook.name: node.loaded[hook.program] for hook in EVERY_HOOK}
        if (bypass := node.short_path.found()) is not None:
            hooks |= {hook.name: bypass[hook.program] for hook in BYPASS_HOOKS}
        wanted = {name: program.live.info().id for name, program in hooks.items()}
        for record in self._pods:
            if int(record.id) not in known:
                raise MeshError(f"{record.name} is not known to the new programs")
            links = self._directories.links(record.id)
            tier = hooks_of_tier(node.short_path.tier(int(record.id)))
            for hook in (*hooks_in(links), *(each.name for each in tier)):
                number = wanted[hook]
                with Link.from_pin(str(links / hook)) as link:
                    runs = link.info.program_id
                # A pod whose address another has, too, has a copy to itself.
                if runs != number and hook != "inbound":
                    raise MeshError(
                        f"{record.name}: program {runs} runs at {hook!r}, not {number}"
                    )


def _beside(directories: Directories, which: str) -> Path:
    return directories.pins / f"set_{which}"


def _programs_of_links(directories: Directories) -> dict[Path, Program]:
    """The program of every pinned link, held so that it can be put back."""
    held: dict[Path, Program] = {}
    for path in (directories.pins / "pods").glob("*/*"):
        with contextlib.suppress(KernelError), Link.from_pin(str(path)) as link:
            fd = ids.try_open(ids.PROGRAM, link.info.program_id)
            if fd >= 0:
                held[path] = Program(fd, ANY)
    return held


def _put_back(before: dict[Path, Program], directories: Directories) -> None:
    for path in (directories.pins / "pods").glob("*/*"):
        with contextlib.suppress(BeewireError), Link.from_pin(str(path)) as link:
            if path in before:
                link.update(before[path])
            else:  # a hook that the present version does not have
                link.detach()
                path.unlink()


def _remove_other_hooks(directories: Directories) -> None:
    """Detach what this version has no hook for any more."""
    known = {hook.name for hook in (*EVERY_HOOK, *BYPASS_HOOKS)}
    for path in (directories.pins / "pods").glob("*/*"):
        if path.name not in known and not past.is_past(path):
            unpin(path)


def _remove_pins(directory: Path) -> None:
    for path in (
        sorted(directory.rglob("*"), reverse=True) if directory.is_dir() else ()
    ):
        path.rmdir() if path.is_dir() else path.unlink()
    with contextlib.suppress(FileNotFoundError):
        directory.rmdir()


@contextlib.contextmanager
def _frozen(pods: Iterable[PodRecord]) -> Iterator[list[float]]:
    """Let no process of these pods run; for how long, in seconds, once it is over."""
    cgroups = [Cgroup(Path(each.cgroup)) for each in pods]
    held: list[float] = []
    begun = time.monotonic()
    try:
        for each in cgroups:
            with contextlib.suppress(MeshError):  # it is gone
                each.freeze()
        deadline = begun + FREEZE_TIMEOUT_S
        for each in cgroups:
            while _is_thawed(each.path) and time.monotonic() < deadline:
                time.sleep(_POLL_S)
        yield held
    finally:
        for each in cgroups:
            with contextlib.suppress(MeshError):
                each.thaw()
        if cgroups:
            held.append(time.monotonic() - begun)


def _is_thawed(cgroup: Path) -> bool:
    try:
        return "frozen 0" in (cgroup / "cgroup.events").read_text()
    except OSError:
        return False


def _inodes(pods: Iterable[PodRecord]) -> set[int]:
    """The inodes of all TCP and UDP sockets in the pods' namespaces."""
    found: set[int] = set()
    for record in pods:
        with (
            contextlib.suppress(MeshError),  # it is gone
            NetworkView(Path(record.netns)) as view,
        ):
            found.update(each.inode for each in view.sockets(TCP))
            found.update(each.inode for each in view.sockets(UDP))
    return found - {0}


def _pids_of(record: PodRecord) -> list[int]:
    return processes.pids_in(Path(record.cgroup))


def _copies(pid: int, wanted: set[int]) -> Iterator[int]:
    """A copy of each of those sockets that a process holds; they are wanted no more."""
    for inode, number in processes.sockets_of(pid).items():
        if inode in wanted:
            with contextlib.suppress(MeshError):  # closed meanwhile
                copy = processes.copy_of(pid, number)
                wanted.discard(inode)
                try:
                    yield copy
                finally:
                    os.close(copy)


def _fill(enrolment: Enrolment, record: PodRecord) -> None:
    port = config_of(record.config).inbound_capture_port
    pids = processes.pids_in(Path(record.proxy_cgroup))
    with NetworkView(Path(record.netns)) as view:
        found = processes.listeners_of(view, pids, port)
    try:
        enrolment.fill([(each.family, each.fd) for each in found])
    finally:
        processes.close_all(found)
