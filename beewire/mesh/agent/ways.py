"""Sidecars of enrolled pods, and what is told of the ways past them."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from beewire.errors import MeshError
from beewire.mesh.agent.carrying import Bytes, so_far
from beewire.mesh.agent.older import cgroup_ids
from beewire.mesh.agent.records import ENROLLED, PodRecord
from beewire.mesh.agent.settings import config_of
from beewire.mesh.agent.view import NetworkView
from beewire.mesh.enrol import Node
from beewire.mesh.sidecar import ADMIN_PORT, Reader, Reading, UnreadableError
from beewire.mesh.straight import (
    Carried,
    Judged,
    Member,
    Passing,
    Plan,
    Straight,
    Tables,
    addresses_of,
    kinds_of,
    plan,
)


def netns_of(record: PodRecord) -> int:
    """The cookie of a pod's namespace."""
    return int(record.id)


class Sidecar:
    """One enrolled pod's sidecar, as it is read; `close` ends it."""

    def __init__(self, record: PodRecord) -> None:
        self.record = record
        self._view: NetworkView | None = None
        self._ports: frozenset[int] = frozenset()
        self._reader = Reader(Path(record.netns), ADMIN_PORT, self._check)
        self._said: tuple[Reading, frozenset[int]] | None = None
        self._at = 0.0

    def close(self) -> None:
        """Let go of its namespace. Closing twice does nothing."""
        self._reader.close()
        view, self._view = self._view, None
        if view is not None:
            view.close()

    def read(self) -> bool:
        """Ask it; whether it says something else than before, or its pod listens elsewhere."""
        said = self._reader.read(), self._ports
        changed, self._said = said != self._said, said
        self._at = time.monotonic()
        return changed

    def member(self, node: Node, late: float) -> Member | None:
        """The pod as a plan has it; an answer from before `late` is none.

        None as long as it was never asked.
        """
        if self._said is None:
            return None
        (dump, problem, _), ports = self._said
        if self._at < late:
            dump, problem = None, "it takes too long to answer"
        netns = netns_of(self.record)
        config = config_of(self.record.config)
        return Member(
            name=self.record.name,
            netns=netns,
            addresses=addresses_of(node, netns),
            kinds=kinds_of(node, netns),
            dump=dump,
            problem=problem,
            ports=ports,
            inbound_port=config.inbound_capture_port,
            outbound_port=config.proxy_port,
        )

    def _check(self) -> None:
        """See who listens in the pod: the application, and on the sidecar's port nobody else."""
        try:
            if self._view is None:
                self._view = NetworkView(Path(self.record.netns))
            listening = list(self._view.sockets(listening=True))
        except (MeshError, OSError) as error:
            raise UnreadableError(str(error)) from error
        own = set(cgroup_ids(Path(self.record.proxy_cgroup)))
        for each in listening:
            # Before Linux 5.9 the kernel does not tell whose a socket is.
            is_other = each.cgroup and each.cgroup not in own
            if each.local_port == ADMIN_PORT and is_other:
                raise UnreadableError(
                    f"port {ADMIN_PORT}, Envoy's administration interface, is somebody"
                    " else's than the sidecar's"
                )
        self._ports = frozenset(
            each.local_port
            for each in listening
            if each.cgroup not in own and not each.local.is_loopback
        )


def wanted(records: Iterable[PodRecord], node: Node) -> list[PodRecord]:
    """The pods whose sidecars have to be read: they say yes, or something is open there."""
    live = Tables(node.loaded).live()
    going = {netns for _, client, server in live for netns in (client, server)}
    return [
        record
        for record in records
        if record.state == ENROLLED
        and (netns_of(record) in going or kinds_of(node, netns_of(record)))
    ]


def survey(records: Iterable[PodRecord], node: Node) -> Plan:
    """Read all sidecars that matter now, one after the other, and judge."""
    members = []
    for record in wanted(records, node):
        sidecar = Sidecar(record)
        try:
            sidecar.read()
            if (found := sidecar.member(node, 0.0)) is not None:
                members.append(found)
        finally:
            sidecar.close()
    return plan(members, Tables(node.loaded).live())


class Ways:
    """What is told of the ways past the sidecars of a node.

    `plan` is what the agent goes by; None where none runs in this process, which then
    reads the sidecars when it is asked.
    """

    def __init__(self) -> None:
        self.plan: Plan | None = None

    def begin(self) -> None:
        """Be an agent's: there is a plan from now on, if without ways."""
        self.plan = Plan((), ())

    def told(self, node: Node, records: list[PodRecord]) -> dict[str, dict[str, Any]]:
        """By the id of each pod: its ways, those that there are not, what they carry."""
        made = survey(records, node) if self.plan is None else self.plan
        return {each.id: _told(node, each, records, made) for each in records}


def _told(
    node: Node, record: PodRecord, records: list[PodRecord], made: Plan
) -> dict[str, Any]:
    netns, tables = netns_of(record), Tables(node.loaded)
    kinds = kinds_of(node, netns)
    traffic = [each for each in tables.carried() if _concerns(netns, each)]
    told: dict[str, Any] = {
        "says_yes": [_name(kind) for kind in kinds],
        "holds": tables.holds(),
        "ways": [],
        "refused": [],
        "traffic": [],
    }
    about = [
        each
        for each in made.judged
        if netns in (each.client.netns, each.server.netns) and each.agreed
    ]
    passing = [each for each in tables.passing() if _concerns(netns, each)]
    carried = so_far(node, passing, records)
    names = {netns_of(each): each.name for each in records}
    told["ways"] = [_way(each) for each in about if each.is_open]
    told["refused"] = [_refused(each) for each in about if not each.is_open]
    told["traffic"] = [_traffic(each, passing, carried, names) for each in traffic]
    return told


def _concerns(netns: int, each: Carried | Passing) -> bool:
    return netns in (each.client, each.server)


def _name(kind: Straight) -> str:
    return (kind.name or "").lower()


def _way(each: Judged) -> dict[str, Any]:
    address, port = each.leads_to or (each.address, each.port)
    return {
        "kind": _name(each.kind),
        "client": each.client.name,
        "server": each.server.name,
        "address": str(each.address),
        "port": each.port,
        "leads_to": {"address": str(address), "port": port},
        "mtls": each.mtls.value if each.mtls else None,
    }


def _refused(each: Judged) -> dict[str, Any]:
    return {
        "kind": _name(each.kind),
        "client": each.client.name,
        "server": each.server.name,
        "address": str(each.address) if each.address else None,
        "port": each.port or None,
        "reasons": [
            {"reason": why.reason.value, "where": why.where, "says": why.says}
            for why in each.refusals
        ],
    }


def _traffic(
    each: Carried,
    passing: list[Passing],
    carried: dict[int, Bytes],
    names: dict[int, str],
) -> dict[str, Any]:
    pair = each.kind, each.client, each.server, each.port
    now = [
        carried.get(one.cookie, Bytes())
        for one in passing
        if one.is_open and (one.kind, one.client, one.server, one.target[1]) == pair
    ]
    return {
        "kind": _name(each.kind),
        "client": names.get(each.client, str(each.client)),
        "server": names.get(each.server, str(each.server)),
        "port": each.port,
        "opened": each.opened,
        "closed": each.closed,
        "open": len(now),
        "sent": each.sent + sum(one.sent for one in now),
        "received": each.received + sum(one.received for one in now),
    }
