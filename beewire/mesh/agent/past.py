"""A short path of another layout, which its last sockets still need.

They go by TCP from the upgrade on. But an application's has to become TCP's own again, and
its owner to be told of what lies unread there (`programs.bypass.parting`, `waking`), which
takes the programs that know what is stored with it. So these stay attached beside the new
ones, until no socket is left that has joined by them:

    <pins>/past/<n>              those sockets, the older `peers`; n is the map's id
    <pins>/pods/<id>/<hook>_<n>  the older hooks of each pod
"""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from beewire.bpf.kernel import AnyMap, Map
from beewire.mesh.agent.directories import Directories
from beewire.mesh.enrol.hooks import BYPASS_HOOKS
from beewire.mesh.enrol.links import unpin
from beewire.mesh.enrol.short_path import PINS
from beewire.mesh.programs.bypass.state import peers

_NAMES = tuple(hook.name for hook in BYPASS_HOOKS)


class Aside:
    """The hooks of all pods that serve `sockets`, in the way of those that come."""

    def __init__(self, directories: Directories, sockets: AnyMap) -> None:
        self._folder = directories.pins / "past"
        self._number = sockets.info.id
        self._sockets = sockets
        self._pods = directories.pins / "pods"

    def step(self) -> None:
        """Give up the hooks' names; they stay attached.

        Raises:
            KernelError: A pin was refused.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._sockets.pin(str(self._folder / str(self._number)))
        for path in _hooks(self._pods, _NAMES):
            path.rename(path.with_name(f"{path.name}_{self._number}"))

    def back(self) -> None:
        """Take the names again, and what is attached by them away."""
        for name in _NAMES:
            for path in _hooks(self._pods, (f"{name}_{self._number}",)):
                unpin(path.with_name(name))
                path.rename(path.with_name(name))
        (self._folder / str(self._number)).unlink(missing_ok=True)


def recover(directories: Directories) -> None:
    """Let the present hooks have their names, after somebody was killed in an upgrade."""
    sockets = directories.set / PINS / "maps" / peers.name
    if sockets.exists() and (directories.pins / "past").is_dir():
        with Map.from_pin(str(sockets)) as found:
            Aside(directories, found).back()


def is_past(pin: Path) -> bool:
    """Whether a link in a pod's directory is one that older sockets need."""
    hook, _, number = pin.name.rpartition("_")
    return hook in _NAMES and number.isdigit()


def is_left(directories: Directories) -> bool:
    """Whether there may be something to sweep."""
    return (directories.pins / "past").is_dir()


def sweep(directories: Directories) -> None:
    """Detach what no socket needs any more; whoever calls this has the node's lock."""
    folder, pods = directories.pins / "past", directories.pins / "pods"
    for sockets in list(folder.iterdir()) if folder.is_dir() else ():
        if not _has_entries(sockets):
            for path in _hooks(pods, [f"{name}_{sockets.name}" for name in _NAMES]):
                unpin(path)
            sockets.unlink()
    with contextlib.suppress(OSError):  # one is needed yet, or there is none
        folder.rmdir()


def _has_entries(pin: Path) -> bool:
    with Map.from_pin(str(pin)) as found:
        return next(iter(found), None) is not None


def _hooks(pods: Path, names: Iterable[str]) -> Iterator[Path]:
    for name in names:
        yield from pods.glob(f"*/{name}")
