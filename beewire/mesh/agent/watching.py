"""Changes of the pods' networks: addresses, interfaces and routes, as the kernel tells them."""

from pathlib import Path

from beewire.errors import MeshError
from beewire.mesh.agent.records import PodRecord
from beewire.mesh.network import Network


class Watching:
    """The networks of pods, two descriptors each. They keep a namespace alive: see `keep`."""

    def __init__(self) -> None:
        self._networks: dict[str, Network] = {}

    def has_changed(self, record: PodRecord) -> bool:
        """Whether a pod's network has changed since this was asked last.

        The first time it is as the pod was enrolled with, or as it is read next.
        """
        network = self._networks.get(record.id)
        if network is not None:
            return network.drain()
        try:
            network = Network.of(Path(record.netns))
        except MeshError:  # it is gone, which is told elsewhere
            return False
        network.watch()
        self._networks[record.id] = network
        return True

    def keep(self, pod_ids: set[str]) -> None:
        """Let go of the networks of all other pods."""
        for pod_id in self._networks.keys() - pod_ids:
            self._networks.pop(pod_id).close()

    def close(self) -> None:
        """Let go of all. Closing twice does nothing."""
        self.keep(set())
