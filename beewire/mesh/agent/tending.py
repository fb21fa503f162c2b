"""What the agent does for pods without being asked, each time it looks after them."""

from pathlib import Path

from beewire.errors import BeewireError, MeshError, UsageError
from beewire.mesh import shadow
from beewire.mesh.agent import places, records
from beewire.mesh.agent.operations import Operations
from beewire.mesh.agent.records import CLOSED, PodRecord
from beewire.mesh.agent.resolving import has_moved, still_there
from beewire.mesh.agent.settings import config_of
from beewire.mesh.agent.target import Target
from beewire.mesh.agent.view import NetworkView
from beewire.mesh.agent.watching import Watching


class Tending:
    """Looks after the pods that `operations` knows; a network is watched from its first look."""

    def __init__(self, operations: Operations) -> None:
        self._pods = operations
        self._watching = Watching()
        self._said: dict[str, str] = {}

    def close(self) -> None:
        """Let go of the pods' networks. Closing twice does nothing."""
        self._watching.close()

    def fileno(self) -> int:
        """What is readable when it is time to look: a network or a container has changed."""
        return self._watching.fileno()

    def look(self) -> bool:
        """Withdraw pods that are gone, enrol those whose cgroups are known by now.

        Sidecars whose containers were started anew are followed, and networks that have
        changed are read again. True while a pod waits for its cgroup, or its sidecar's.
        """
        found = self._pods.every()
        self._watching.keep(found)
        settled = [self._is_settled(record) for record in found]
        return not all(settled)

    def _is_settled(self, record: PodRecord) -> bool:
        try:
            return self._look_after(record)
        except (BeewireError, OSError) as error:
            self._say_once(record, str(error))
            return True

    def _look_after(self, record: PodRecord) -> bool:
        found = still_there(record)
        if found is None:
            with self._pods.alone() as node:
                self._pods.withdraw(node, record)
            self._pods.log(f"{record.name}: gone")
            return True
        if found != record:
            with self._pods.alone():
                records.write(self._pods.directories, found)
            record = found
        if record.state == CLOSED:
            return self._enrol(record)
        if has_moved(record):
            return self._follow_sidecar(record)
        if self._watching.has_changed(record):
            self._refresh(record)
        return True

    def _say_once(self, record: PodRecord, text: str) -> None:
        # It is tried again and again.
        if self._said.get(record.id) != text:
            self._said[record.id] = text
            self._pods.log(f"{record.name}: {text}")

    def _enrol(self, record: PodRecord) -> bool:
        cgroup = places.cgroup_of_pod(record.uid, record.netns_inode)
        config = config_of(record.config)
        proxy = places.proxy_in(cgroup, config) if cgroup else None
        if cgroup is None or proxy is None:
            return False
        try:
            # It was closed from its first moment: whenever its sidecar listens, it is seen.
            target = Target(
                pod=record.id,
                cgroup=str(cgroup),
                proxy_cgroup=str(proxy),
                sidecar_later=True,
                shadow=shadow.rules_act(Path(record.netns)),
            )
            self._pods.up(target)
        except (MeshError, UsageError) as error:
            self._say_once(record, f"stays closed: {error}")
            return False
        self._said.pop(record.id, None)
        if target.shadow:
            self._pods.log(
                f"{record.name}: in shadow mode, for Istio's rules act there"
            )
        return True

    def _follow_sidecar(self, record: PodRecord) -> bool:
        """Find a sidecar whose container was started anew; its pod is closed meanwhile."""
        config = config_of(record.config)
        proxy = places.proxy_in(Path(record.cgroup), config)
        if proxy is None:
            return False
        with self._pods.alone() as node:
            self._pods.move(node, record, proxy)
        return True

    def _refresh(self, record: PodRecord) -> None:
        """Read a pod's addresses, interfaces and routes again."""
        with self._pods.alone() as node, NetworkView(Path(record.netns)) as view:
            with self._pods.found(node, record) as enrolment:
                enrolment.refresh()
            now = tuple(dict.fromkeys((*record.named, *view.addresses())))
            if now != record.addresses:
                records.write(self._pods.directories, record.but(addresses=now))
                told = ", ".join(now)
                self._pods.log(f"{record.name}: its addresses are {told} by now")
