"""Changes of pods, as the kernel tells them: their networks, and their containers' cgroups."""

import contextlib
import select
from collections.abc import Collection
from pathlib import Path

from beewire.errors import MeshError
from beewire.mesh.agent.cgroup_news import CgroupNews
from beewire.mesh.agent.records import PodRecord
from beewire.mesh.network import Network


class Watching:
    """The networks of pods, two descriptors each, and their cgroups.

    They keep a namespace alive: see `keep`.
    """

    def __init__(self) -> None:
        self._networks: dict[str, Network] = {}
        self._changed: set[str] = set()
        self._cgroups = CgroupNews()
        self._poll = select.epoll()
        with contextlib.suppress(OSError):  # it has none to give
            self._poll.register(self._cgroups.fileno(), select.EPOLLIN)

    def fileno(self) -> int:
        """What is readable while there is something new."""
        return self._poll.fileno()

    def has_changed(self, record: PodRecord) -> bool:
        """Whether a pod's network has changed, by the last `keep`, since this was asked.

        The first time it is as the pod was enrolled with, or as it is read next.
        """
        if record.id in self._networks:
            changed = record.id in self._changed
            self._changed.discard(record.id)
            return changed
        try:
            network = Network.of(Path(record.netns))
        except MeshError:  # it is gone, which is told elsewhere
            return False
        network.watch()
        self._poll.register(network.fileno(), select.EPOLLIN)
        self._networks[record.id] = network
        return True

    def keep(self, pods: Collection[PodRecord]) -> None:
        """Learn what is new; watch the cgroups of these pods, and let go of all others."""
        self._cgroups.keep({each.cgroup for each in pods if each.cgroup})
        self._cgroups.drain()
        for pod_id in self._networks.keys() - {each.id for each in pods}:
            network = self._networks.pop(pod_id)
            self._poll.unregister(network.fileno())
            network.close()
            self._changed.discard(pod_id)
        self._changed |= {
            pod_id for pod_id, network in self._networks.items() if network.drain()
        }

    def close(self) -> None:
        """Let go of all. Closing twice does nothing."""
        if not self._poll.closed:
            self.keep(())
            self._cgroups.close()
            self._poll.close()
