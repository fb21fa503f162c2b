"""Everything that waits on the short path is read, before its maps go.

With its map a socket's queue goes, and with that what nobody has read. So the short path is
switched off first: from then on nothing is added, and readers empty what is there.
"""

import contextlib
import time
from typing import NamedTuple

from beewire.bpf import Loaded
from beewire.errors import KernelError, MeshError, SpecError
from beewire.mesh import bypass
from beewire.mesh.agent.directories import Directories
from beewire.mesh.bypass import Connection
from beewire.mesh.enrol import ShortPath
from beewire.mesh.enrol.configurations import wait_for_programs
from beewire.mesh.programs.bypass import state

_POLL_S = 0.05
_PATIENCE_S = 1.0  # with the readers of a pod that is withdrawn
_TOLD = 5


class Drained(NamedTuple):
    """How many connections had unread messages, and how long it took until they had none."""

    connections: int
    seconds: float


def drain(directories: Directories, at_most_s: float) -> Drained:
    """Switch the short path off, and take every connection off it when it has read all.

    Raises:
        MeshError: a reader has not read for so long, and the short path stays off; or it is
            another version's.
    """
    with ShortPath.at(directories.set) as path:
        if not _is_known(path):
            return Drained(0, 0.0)
        bypass.switch_off(path)
        wait_for_programs()
        done = _drained(path, at_most_s)
        _take_out(path.loaded)
        return done


def part(path: ShortPath, netns: int) -> None:
    """Make a pod's sockets TCP's own again, before nobody follows them any more.

    One whose reader does not read keeps what waits there, and gets the rest by TCP.
    """
    loaded = path.found()
    if loaded is None or netns not in loaded[state.tiers]:
        return
    if not any(each.peer_netns for each in bypass.connections(path, netns)):
        return
    bypass.switch_off(path, netns)
    wait_for_programs()
    with contextlib.suppress(MeshError):
        _drained(path, _PATIENCE_S, netns)
    sockets = loaded[state.peers]
    for row in path.rows():
        if row.flow.own.netns == netns and not row.waits:
            with contextlib.suppress(KeyError):  # it was none of them, or has closed
                del sockets[row.flow.own]


def give_up(directories: Directories) -> None:
    """Take every connection off the short path; what waits there is lost."""
    with ShortPath.at(directories.set) as path, contextlib.suppress(MeshError):
        if _is_known(path):
            bypass.switch_off(path)
            _take_out(path.loaded)


def _is_known(path: ShortPath) -> bool:
    try:
        return path.found() is not None
    except (SpecError, KernelError) as error:
        raise MeshError(
            f"the short path here is another version's ({error}), and whether all was"
            " read there is not known: `beewire agent --once` upgrades it, --lose-unread"
            " does without"
        ) from error


def _take_out(loaded: Loaded) -> None:
    # A socket in the map holds the program that it sends by, and that one its maps.
    sockets = loaded[state.peers]
    for end in list(sockets):
        with contextlib.suppress(KeyError):  # it has closed meanwhile
            del sockets[end]


def _drained(path: ShortPath, at_most_s: float, netns: int = 0) -> Drained:
    begun = time.monotonic()
    met: set[tuple[int, str, str]] = set()
    # A message that was judged before it was switched off may be queued after a look.
    quiet = 0
    while quiet < 2:
        waiting = [each for each in bypass.connections(path, netns) if each.waits]
        met |= {(each.netns, each.local, each.remote) for each in waiting}
        quiet = 0 if waiting else quiet + 1
        passed = time.monotonic() - begun
        if waiting and passed > at_most_s:
            raise _unread(waiting, at_most_s)
        time.sleep(_POLL_S)
    return Drained(len(met), time.monotonic() - begun if met else 0.0)


def _unread(waiting: list[Connection], seconds: float) -> MeshError:
    several = "connections have" if len(waiting) > 1 else "connection has"
    error = MeshError(
        f"{len(waiting)} {several} messages on the short path that were not read for"
        f" {seconds:g} s, and would be lost: nothing was removed, and the short path is"
        " off; end whoever does not read, wait longer (--wait S), or give them up"
        " (--lose-unread)"
    )
    for each in waiting[:_TOLD]:
        error.add_note(f"unread at {each.local}, from {each.remote}")
    if len(waiting) > _TOLD:
        error.add_note(f"and {len(waiting) - _TOLD} more")
    return error
