"""Remove everything of Beewire from a node, and prove it by looking.

Ours is what is pinned, and whatever uses one of our maps, pinned or not: a program of an
older version that somebody still holds, the copy of one that serves a single pod.
"""

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from beewire.bpf.kernel import Link, ids
from beewire.bpf.kernel.inspection import held_by_proc
from beewire.bpf.kernel.inspection.links import links as all_links
from beewire.bpf.kernel.inspection.objects import programs as all_programs
from beewire.bpf.kernel.inspection.pins import object_of
from beewire.bpf.kernel.pins import open_any
from beewire.errors import BeewireError, KernelError, MeshError
from beewire.mesh import shadow
from beewire.mesh.agent import client, cni_entries, page_lists, records
from beewire.mesh.agent.directories import Directories, agent_pid, locked
from beewire.mesh.agent.draining import Drained, drain, give_up
from beewire.mesh.agent.view import inode_of
from beewire.mesh.enrol import plumbing

WAIT_S = 30.0  # how long readers of the short path have
_STOP_TIMEOUT_S = 30.0
_GONE_TIMEOUT_S = 60.0  # programs and maps go after a grace period of the kernel's
_POLL_S = 0.02

Object = tuple[str, int]  # "program", "map" or "link", and its id


class Uninstalled(NamedTuple):
    """What was removed, how many of each; and what is left, in words: nothing, or why.

    `drained` are connections whose messages on the short path had to be read first, which
    took `drained_s` seconds.
    """

    links: int
    programs: int
    maps: int
    pins: int
    records: int
    sockets: int
    cni: tuple[str, ...]
    left: tuple[str, ...]
    drained: int = 0
    drained_s: float = 0.0


def uninstall(
    directories: Directories,
    cni: cni_entries.CniPaths,
    *,
    wait_s: float | None = WAIT_S,
) -> Uninstalled:
    """Withdraw every pod, and remove what Beewire has on the node.

    The agent is asked to stop first. Open connections stay, and lose nothing: what waits
    for a reader on the short path is read first. With `wait_s` None it is given up.

    Raises:
        MeshError: the agent does not stop; or a reader does not read for `wait_s` seconds.
    """
    sockets = int(directories.socket.exists())
    _stop_agent(directories)
    if not directories.run.is_dir():
        return _removed(directories, cni, sockets)
    with locked(directories):
        drained = Drained(0, 0.0)
        if wait_s is None:
            give_up(directories)
        else:
            drained = drain(directories, wait_s)
        done = _removed(directories, cni, sockets)
        return done._replace(drained=drained.connections, drained_s=drained.seconds)


def _stop_agent(directories: Directories) -> None:
    with contextlib.suppress(client.NoAgent):
        client.ask(directories, "stop")
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while pid := agent_pid(directories):
        if time.monotonic() > deadline:
            raise MeshError(
                f"the agent (process {pid}) does not stop: end it, and try again"
            )
        time.sleep(_POLL_S)


def _removed(
    directories: Directories, cni: cni_entries.CniPaths, sockets: int
) -> Uninstalled:
    # New pods first: until their entry is gone a runtime may call the plugin.
    entries = cni_entries.remove(cni)
    _give_rules_back(directories)
    ours = set(_ours(directories.pins))
    for kind, number in sorted(ours, reverse=True):  # outbound first
        if kind == ids.LINK:
            _detach(number)
    pins = _remove_pins(directories.pins)
    page_lists.give_back(directories)
    known = len(list((directories.run / "pods").glob("*.json")))
    shutil.rmtree(directories.run, ignore_errors=True)
    left = (*_still_there(ours), *_on_disk(directories, cni))
    count = {kind: sum(each == kind for each, _ in ours) for kind in _KINDS}
    return Uninstalled(
        count[ids.LINK],
        count[ids.PROGRAM],
        count[ids.MAP],
        pins,
        known,
        sockets,
        entries,
        left,
    )


def _give_rules_back(directories: Directories) -> None:
    # Before the programs go: a pod that was cut over has Istio's rules still.
    for record in records.every(directories):
        netns = Path(record.netns)
        if inode_of(netns) != record.netns_inode:
            continue
        if record.cut_over_at:
            shadow.give_back(netns)
        plumbing.remove(netns, int(record.id))


_KINDS = (ids.LINK, ids.PROGRAM, ids.MAP)


def _ours(pins: Path) -> Iterator[Object]:
    pinned = set(_pinned(pins))
    yield from pinned
    maps = {number for kind, number in pinned if kind == ids.MAP}
    programs = {number for kind, number in pinned if kind == ids.PROGRAM}
    for state in all_programs():
        if maps.intersection(state.map_ids):
            programs.add(state.id)
            yield from ((ids.MAP, number) for number in state.map_ids)
    yield from ((ids.PROGRAM, number) for number in programs)
    for link in all_links():
        if link.program_id in programs:
            yield ids.LINK, link.id


def _pinned(pins: Path) -> Iterator[Object]:
    for path in pins.rglob("*") if pins.is_dir() else ():
        if path.is_dir() or path.is_symlink():
            continue
        with contextlib.suppress(KernelError):
            fd = open_any(str(path))
            try:
                found = object_of(Path(f"/proc/self/fdinfo/{fd}").read_text())
            finally:
                os.close(fd)
            if found is not None:
                yield found


def _detach(number: int) -> None:
    fd = ids.try_open(ids.LINK, number)
    if fd < 0:
        return
    with Link(fd, "link", f"link {number}") as link, contextlib.suppress(BeewireError):
        link.detach()


def _remove_pins(pins: Path) -> int:
    removed = 0
    for path in sorted(pins.rglob("*"), reverse=True) if pins.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
            removed += 1
    with contextlib.suppress(FileNotFoundError):
        pins.rmdir()
    return removed


def _still_there(ours: set[Object]) -> list[str]:
    deadline = time.monotonic() + _GONE_TIMEOUT_S
    left = ours
    while left and time.monotonic() < deadline:
        left = {each for each in left if _exists(each)}
        if left:
            time.sleep(_POLL_S)
    return [_said(each) for each in sorted(left)] if left else []


def _exists(each: Object) -> bool:
    fd = ids.try_open(*each)
    if fd >= 0:
        os.close(fd)
    return fd != -errno.ENOENT


def _said(each: Object) -> str:
    kind, number = each
    holders = [
        f"process {held.pid} ({held.comm.strip()})"
        for held in held_by_proc()
        if (held.kind, held.id) == each
    ]
    why = f", held by {', '.join(holders)}" if holders else ""
    return f"{kind} {number}{why}"


def _on_disk(directories: Directories, cni: cni_entries.CniPaths) -> Iterator[str]:
    for path in (directories.pins, directories.run):
        if path.exists():
            yield f"the directory {path}"
    names = Path("/proc/net/unix").read_text()
    if str(directories.socket) in names:
        yield f"a socket that was bound to {directories.socket}"
    for path in cni_entries.entries(cni):
        yield f"the CNI entry in {path}"
