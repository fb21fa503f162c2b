"""The gates of pods whose cgroup is not known yet: their namespaces, closed by pins."""

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

from beewire.bpf import Loaded, load, open_pinned
from beewire.bpf.kernel import pins
from beewire.errors import MeshError
from beewire.mesh import gate
from beewire.mesh.agent import older
from beewire.mesh.agent.directories import Directories
from beewire.mesh.agent.view import NetworkView
from beewire.mesh.enrol import Node

_NAME = "gate"


class Gates:
    """The gates of one node; a context manager that closes descriptors, not gates.

    They count and tell what they refuse where the `node`'s other programs do.
    """

    def __init__(self, directories: Directories, node: Callable[[], Node]) -> None:
        self._directories = directories
        self._node = node
        self._loaded: Loaded | None = None

    def close(self) -> None:
        """Close the programs' descriptors. Closing twice does nothing."""
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded.close()

    def shut(self, pod_id: str, netns: Path) -> None:
        """Close a namespace beyond this process; one that is closed stays so.

        Raises:
            MeshError: there is no such namespace.
            KernelError: the kernel refused; then nothing has changed.
        """
        directory = self.directory(pod_id)
        if self.is_shut(pod_id):
            return
        pins.ensure_directory(str(directory.parent))
        closed = gate.close_namespace(self._programs(), netns)
        try:
            closed.pin(directory)
        except BaseException:
            closed.open()
            raise
        closed.close()

    def open(self, pod_id: str, netns: Path) -> None:
        """Open a namespace; one that is not closed stays open."""
        if (found := self._found(pod_id, netns)) is not None:
            found.open()
        shutil.rmtree(self.directory(pod_id), ignore_errors=True)

    def hand_over(self, pod_id: str, view: NetworkView, proxy_cgroup: Path) -> int:
        """Open the namespace of a pod that has hooks; how many connections were ended.

        Raises:
            MeshError: what was dialled behind the gate cannot be ended; it stays closed.
        """
        ended = 0
        if (found := self._found(pod_id, view.path)) is not None:
            ended = older.hand_over(view, found, proxy_cgroup)
            found.sweep()
        shutil.rmtree(self.directory(pod_id), ignore_errors=True)
        return ended

    def _found(self, pod_id: str, netns: Path) -> gate.Gate | None:
        directory = self.directory(pod_id)
        if not directory.is_dir():
            return None
        with contextlib.suppress(MeshError):  # it has no pins
            return gate.Gate.from_pins(self._programs(), directory, netns)
        return None

    def is_shut(self, pod_id: str) -> bool:
        """Whether a namespace is closed by a gate of ours."""
        directory = self.directory(pod_id)
        return directory.is_dir() and any(directory.iterdir())

    def directory(self, pod_id: str) -> Path:
        """Where a gate's links are pinned."""
        return self._directories.pins / "gates" / pod_id

    def every(self) -> list[str]:
        """The ids of the pods that are behind a gate."""
        folder = self._directories.pins / "gates"
        return [path.name for path in folder.iterdir()] if folder.is_dir() else []

    def _programs(self) -> Loaded:
        if self._loaded is None:
            directory = str(self._directories.pins / _NAME)
            if Path(directory).is_dir():
                self._loaded = open_pinned(gate.programs(), directory, name=_NAME)
            else:
                shared = self._node().loaded.maps
                maps = {name: shared[name] for name in ("events", "tallies")}
                loaded = load(gate.programs(), name=_NAME, maps=maps)
                loaded.pin(directory)
                self._loaded = loaded
        return self._loaded
