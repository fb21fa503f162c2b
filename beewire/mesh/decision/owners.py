"""Who the sidecar is: its cgroup, or users and groups."""

from beewire.mesh.config import InterceptionMode, PodConfig, ProxyIdentity
from beewire.mesh.decision.vocabulary import Connection


class Owners:
    """The sidecar's owners, in order.

    Istio has rules for each of them, users first, and the rules of one know nothing of
    the others. A sidecar that is known by its cgroup is the first of them, but under TPROXY:
    Istio has it run as root then, and its rules know it by its group.
    """

    def __init__(self, config: PodConfig) -> None:
        self._cgroup = config.proxy_identity is ProxyIdentity.CGROUP
        self._uids = {uid: f"uid {uid}" for uid in config.proxy_uid}
        self._gids = {gid: f"gid {gid}" for gid in config.proxy_gid}
        tproxy = config.inbound_interception_mode is InterceptionMode.TPROXY
        self._as_group = self._cgroup and tproxy and bool(self._gids)
        self._first = next(iter([*self._uids.values(), *self._gids.values()]), None)

    def of(self, connection: Connection) -> str | None:
        """The first owner among the sidecar's that `connection` has."""
        if self._cgroup:
            return "sidecar" if connection.in_proxy else None
        return self._uids.get(connection.uid) or self._gids.get(connection.gid)

    def is_first(self, connection: Connection) -> bool:
        """Whether the owner whose rules come first made `connection`."""
        if self._cgroup:
            return connection.in_proxy and not (self._as_group and self._uids)
        return self._first in (
            self._uids.get(connection.uid, ""),
            self._gids.get(connection.gid, ""),
        )

    def is_group(self, owner: str) -> bool:
        """Whether it is by a group that `owner` is known to the rules."""
        return self._as_group or owner[:3] == "gid"

    def __bool__(self) -> bool:
        return self._cgroup or self._first is not None
