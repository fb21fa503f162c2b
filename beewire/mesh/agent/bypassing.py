"""What each pod of a node gets of the short path: Bypassing; and what is switched off: Switch.

What is off stands in files, which every agent reads before it gives a pod its tier:

    <run>/bypass/node        all pods
    <run>/bypass/<id>        one of them
"""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from beewire.errors import BeewireError
from beewire.mesh import qualify
from beewire.mesh.agent import records
from beewire.mesh.agent.directories import Directories, private_directory
from beewire.mesh.agent.records import PodRecord
from beewire.mesh.agent.resolving import pod_of
from beewire.mesh.agent.settings import config_of
from beewire.mesh.agent.shortened import Neighbourhood
from beewire.mesh.agent.tiers import Tiering, tiering
from beewire.mesh.enrol import Node, Pod
from beewire.mesh.qualify import Standing
from beewire.mesh.qualify.standing import FILE

NODE = "node"
_FOLDER = "bypass"


class Switch:
    """What is switched off on a node."""

    def __init__(self, directories: Directories) -> None:
        self._directories = directories
        self._folder = directories.run / _FOLDER

    def off(self, pod_id: str) -> str:
        """Why a pod's short path is switched off; "" if it is not."""
        if self.is_off(NODE):
            return "switched off on this node: `beewire mesh bypass on`"
        if self.is_off(pod_id):
            return f"switched off: `beewire mesh bypass on --pod {self._name(pod_id)}`"
        return ""

    def is_off(self, which: str) -> bool:
        """Whether `which`, a pod's id or NODE, was switched off itself."""
        return (self._folder / which).exists()

    def all_off(self) -> tuple[str, ...]:
        """Whatever was switched off, and not on again."""
        if not self._folder.is_dir():
            return ()
        return tuple(sorted(each.name for each in self._folder.iterdir()))

    def set_off(self, which: str) -> None:
        """Remember that `which` is off."""
        private_directory(self._directories.run)
        private_directory(self._folder)
        (self._folder / which).touch(mode=0o600)

    def set_on(self, which: str) -> None:
        """Forget it."""
        (self._folder / which).unlink(missing_ok=True)

    def forget(self, pod_id: str) -> None:
        """A pod is gone."""
        self.set_on(pod_id)

    def _name(self, pod_id: str) -> str:
        with contextlib.suppress(BeewireError, OSError):
            return records.read(self._directories.record(pod_id)).name
        return pod_id


class Bypassing:
    """What the pods of a node get of the short path, and why not more."""

    def __init__(self, directories: Directories) -> None:
        self.switch = Switch(directories)
        self._run = directories.run
        self._standing = qualify.read(directories.run)
        self._read = _state(directories.run / FILE)

    def standing(self) -> Standing:
        """What the kernel qualified for, as it is known now."""
        state_ = _state(self._run / FILE)
        if state_ != self._read:
            self._standing, self._read = qualify.read(self._run), state_
        return self._standing

    def look_again(self) -> None:
        """Ask anew whether what is known still holds: the kernel may have changed."""
        self._standing = qualify.read(self._run)

    def tiering(self, record: PodRecord) -> Tiering:
        """What a pod gets."""
        config = config_of(record.config, record.addresses)
        return tiering(config, self.standing(), self.switch.off(record.id))

    def neighbourhood(
        self, node: Node | None, pods: Iterable[PodRecord]
    ) -> Neighbourhood:
        """The pods of the node and their connections, as they are now."""
        found = list(pods)
        tierings = {each.id: self.tiering(each) for each in found}
        return Neighbourhood.of(node, found, tierings)

    def told(self, record: PodRecord, around: Neighbourhood) -> dict[str, Any]:
        """What a pod gets, and its connections, as JSON."""
        found = self.tiering(record)
        is_enrolled = int(record.id) in around.pods
        return {
            **found.to_json(),
            "off": self.switch.off(record.id),
            "says": str(found),
            "connections": around.told(record) if is_enrolled else [],
            "closed": around.closed(record),
        }

    def pod(self, record: PodRecord) -> Pod:
        """The pod as the data path may have it."""
        pod = pod_of(record)
        return pod._replace(config=self.tiering(record).bound(pod.config))


def _state(path: Path) -> tuple[int, int] | None:
    # Of a file that is written anew and renamed: whether it is another by now.
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns
