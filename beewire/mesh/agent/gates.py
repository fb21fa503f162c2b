"""The gates of pods whose cgroup is not known yet: their namespaces, closed by pins."""

import contextlib
import shutil
from pathlib import Path

from beewire.bpf import Loaded, load, open_pinned
from beewire.bpf.kernel import pins
from beewire.errors import MeshError
from beewire.mesh import gate
from beewire.mesh.agent.directories import Directories

_NAME = "gate"


class Gates:
    """The gates of one node; a context manager that closes descriptors, not gates."""

    def __init__(self, directories: Directories) -> None:
        self._directories = directories
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

    def open(self, pod_id: str) -> None:
        """Open a namespace; one that is not closed stays open."""
        if not self.directory(pod_id).is_dir():
            return
        with contextlib.suppress(MeshError):  # it has no pins
            gate.Gate.from_pins(self._programs(), self.directory(pod_id)).open()
        shutil.rmtree(self.directory(pod_id), ignore_errors=True)

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
                self._loaded = open_pinned(gate.PROGRAMS, directory, name=_NAME)
            else:
                loaded = load(gate.PROGRAMS, name=_NAME)
                loaded.pin(directory)
                self._loaded = loaded
        return self._loaded
