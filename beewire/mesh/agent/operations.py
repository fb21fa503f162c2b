"""What can be done with pods: enrol, change, withdraw, tell. Each is done whole, or not.

Every operation works on the pins and records of one node, and takes its lock: whether
the agent calls it, or a command that runs once.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from beewire.errors import MeshError, UsageError
from beewire.mesh.agent import older, places, processes, records, status
from beewire.mesh.agent.adopting import Adopted, Hands, adopt
from beewire.mesh.agent.directories import Directories, agent_pid, locked
from beewire.mesh.agent.processes import Listener
from beewire.mesh.agent.records import CLOSED, ENROLLED, PodRecord
from beewire.mesh.agent.settings import config_of
from beewire.mesh.agent.target import Target
from beewire.mesh.agent.view import NetworkView, inode_of
from beewire.mesh.config import PodConfig
from beewire.mesh.enrol import Enrolment, Node, Pod

Log = Callable[[str], None]


def silent(_: str) -> None:
    """A log that nobody reads."""


class Operations:
    """The pods of one node; a context manager that closes what it opened of them."""

    def __init__(self, directories: Directories, log: Log = silent) -> None:
        self.directories = directories
        self.log = log
        self.is_agent = False
        self._node: Node | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close programs and maps; pods stay enrolled. Closing twice does nothing."""
        node, self._node = self._node, None
        if node is not None:
            node.close()

    @contextlib.contextmanager
    def alone(self) -> Iterator[Node]:
        """Be the only one that changes the node; yields what there is to change.

        Raises:
            MeshError: an agent has come meanwhile, which keeps an account of its own.
        """
        self.directories.prepare()
        with locked(self.directories):
            if not self.is_agent and (pid := agent_pid(self.directories)):
                raise MeshError(
                    f"process {pid} has become this node's agent: try again"
                )
            yield self.node()

    def node(self) -> Node:
        """The programs and maps of this node, loaded where they are not yet."""
        if self._node is None:
            self._node = Node.load(self.directories.set)
        return self._node

    # One pod.

    def up(self, target: Target) -> PodRecord:
        """Enrol a pod, or give one that is enrolled the configuration that is asked for.

        A sidecar that listens already is found before any program acts.

        Raises:
            MeshError: it cannot be done; nothing has changed.
        """
        with self.alone() as node:
            wanted = resolve(self.directories, target)
            with NetworkView(Path(wanted.netns)) as view:
                wanted = _seen(wanted, view, target.addresses)
                before = self._record(wanted.id)
                if before is not None and before.state == ENROLLED:
                    record = self._changed(node, before, wanted)
                    if target.close_existing:
                        record = self._close_older(view, record)
                        records.write(self.directories, record)
                    return record
                config = config_of(wanted.config)
                sockets = existing_listeners(view, wanted, config, target)
                try:
                    record = self._enrol(node, view, wanted, sockets, target)
                finally:
                    processes.close_all(sockets)
        self.log(f"{record.name}: enrolled, id {record.id}")
        return record

    def _enrol(
        self,
        node: Node,
        view: NetworkView,
        wanted: PodRecord,
        sockets: list[Listener],
        target: Target,
    ) -> PodRecord:
        pins = self.directories.links(wanted.id)
        listening = [(each.family, each.fd) for each in sockets]
        enrolment = node.enrol(pod_of(wanted), pins=pins, listeners=listening)
        try:
            found = older.older_connections(view, Path(wanted.proxy_cgroup))
            record = wanted.but(
                state=ENROLLED,
                enrolled_at=time.time(),
                older=tuple(each.cookie for each in found),
            )
            if target.close_existing:
                record = self._close_older(view, record)
            records.write(self.directories, record)
        except BaseException:
            enrolment.close()
            raise
        enrolment.keep()
        return record

    def _close_older(self, view: NetworkView, record: PodRecord) -> PodRecord:
        known = set(record.older)
        found = [each for each in view.sockets() if each.cookie in known]
        closed = older.close_all(view, found)
        self.log(f"{record.name}: closed {closed} older connections")
        return record.but(older=())

    def _changed(self, node: Node, before: PodRecord, wanted: PodRecord) -> PodRecord:
        for field in ("cgroup", "proxy_cgroup"):
            now, asked = getattr(before, field), getattr(wanted, field)
            if now != asked:
                raise MeshError(
                    f"{before.name} is enrolled with {field} {now}, not {asked}: `beewire"
                    f" mesh down {before.name}` first"
                )
        if before.config == wanted.config:
            return before
        return self._update(node, before, wanted.config)

    def update(self, name: str, config: Mapping[str, object]) -> PodRecord:
        """Change a pod's configuration: every connection meets the old one or the new.

        Raises:
            MeshError: there is no such pod, or the maps are full; nothing has changed.
            UsageError: the configuration is not one.
        """
        with self.alone() as node:
            return self._update(node, records.get(self.directories, name), config)

    def _update(
        self, node: Node, before: PodRecord, config: Mapping[str, object]
    ) -> PodRecord:
        record = before.but(config=dict(config))
        if before.state == ENROLLED:
            enrolment = self._found(node, before)
            try:
                enrolment.update(config_of(config))
            finally:
                enrolment.keep()
        records.write(self.directories, record)
        self.log(f"{record.name}: configured anew")
        return record

    def down(self, name: str) -> PodRecord:
        """Withdraw a pod: its connections go their own way again, open ones stay.

        Raises:
            MeshError: there is no such pod.
        """
        with self.alone() as node:
            record = records.get(self.directories, name)
            self._withdraw(node, record)
        self.log(f"{record.name}: withdrawn")
        return record

    def _withdraw(self, node: Node, record: PodRecord) -> None:
        if record.state == ENROLLED:
            self._found(node, record).close()
        records.remove(self.directories, record.id)

    def _found(self, node: Node, record: PodRecord) -> Enrolment:
        return node.find(
            pod_of(record), int(record.id), self.directories.links(record.id)
        )

    def _record(self, pod_id: str) -> PodRecord | None:
        try:
            return records.read(self.directories.record(pod_id))
        except FileNotFoundError:
            return None

    # All pods.

    def every(self) -> list[PodRecord]:
        """The pods that are enrolled, and those that wait behind a closed gate."""
        return list(records.every(self.directories))

    def look(self) -> bool:
        """Withdraw pods that are gone; True while one waits for its cgroup."""
        waiting = False
        for record in self.every():
            if is_gone(record):
                with self.alone() as node:
                    self._withdraw(node, record)
                self.log(f"{record.name}: gone")
            waiting = waiting or record.state == CLOSED
        return waiting

    def status(self, name: str = "") -> dict[str, Any]:
        """How a pod is, or without a name the node and all its pods, as JSON.

        Raises:
            MeshError: there is no such pod.
        """
        node = self._node or status.opened(self.directories)
        try:
            if name:
                record = records.get(self.directories, name)
                return status.of_pod(self.directories, node, record)
            return status.of_node(self.directories, node, self.every())
        finally:
            if node is not None and node is not self._node:
                node.close()

    def adopt(self) -> Adopted:
        """Put in order what another agent, or a machine that went down, left behind."""
        with self.alone() as node:
            found = adopt(self.directories, node, self._hands())
        for name in found.removed:
            self.log(f"{name}: gone, removed")
        for text in found.mended:
            self.log(f"{text}: mended")
        return found

    def _hands(self) -> Hands:
        return Hands(self._withdraw, self._mend, is_gone)

    def _mend(self, node: Node, record: PodRecord) -> list[str]:
        enrolment = self._found(node, record)
        try:
            return enrolment.mend()
        finally:
            enrolment.keep()

    def hello(self) -> dict[str, object]:
        """Who answers."""
        return {"pid": os.getpid(), "agent": self.is_agent}


def resolve(directories: Directories, target: Target) -> PodRecord:
    """All that can be found out about a target without looking into its namespace.

    Raises:
        MeshError: it cannot be found, or does not fit together.
    """
    known = records.find(directories, target.pod) if target.pod else None
    name, uid = target.name, known.uid if known else ""
    cgroup = target.cgroup or (known.cgroup if known else "")
    netns = target.netns or (known.netns if known else "")
    if not cgroup and known is not None:
        found = places.cgroup_with(known.netns_inode)
        cgroup = str(found) if found else ""
    if not cgroup and target.pod:
        place = places.find_pod(target.pod)
        cgroup, uid = str(place.cgroup), place.uid
        name = name or f"pod-{uid[:12]}"
    if not cgroup:
        raise UsageError(
            "which pod is it? give --pod, or --cgroup with --netns and --proxy-cgroup"
        )
    check_cgroup(Path(cgroup))
    config = dict(target.config) or (known.config if known else {})
    proxy = target.proxy_cgroup or str(sidecar_of(Path(cgroup), config_of(config)))
    check_cgroup(Path(proxy))
    if not Path(proxy).is_relative_to(cgroup) or proxy == cgroup:
        raise MeshError(
            f"the sidecar's cgroup {proxy} is not below the pod's, {cgroup}"
        )
    netns = netns or str(places.netns_of(Path(cgroup)))
    base = known or PodRecord(
        id="", name="", state=CLOSED, netns=netns, netns_inode=0, config={}
    )
    return base.but(
        name=records.check_name(name or base.name or Path(cgroup).name),
        netns=netns,
        cgroup=cgroup,
        cgroup_id=Path(cgroup).stat().st_ino,
        proxy_cgroup=proxy,
        config=config,
        uid=uid,
    )


def sidecar_of(cgroup: Path, config: PodConfig) -> Path:
    """The cgroup of the container that runs as the sidecar's user.

    Raises:
        MeshError: none does.
    """
    found = places.proxy_in(cgroup, config.proxy_uid)
    if found is None:
        users = ", ".join(map(str, config.proxy_uid))
        raise MeshError(
            f"no container in {cgroup} runs as the sidecar's user ({users}): give"
            " --proxy-cgroup"
        )
    return found


def check_cgroup(path: Path) -> None:
    """Make sure that a path is a directory of cgroup2.

    Raises:
        MeshError: it is not.
    """
    if not path.is_dir():
        raise MeshError(
            f"there is no cgroup {path}: create the pod before enrolling it"
        )
    if not (path / "cgroup.controllers").exists():
        raise MeshError(
            f"{path} is not a cgroup2 directory: use one below {places.mount()}"
        )


def existing_listeners(
    view: NetworkView, wanted: PodRecord, config: PodConfig, target: Target
) -> list[Listener]:
    """Copies of the sidecar's listening sockets; none where it does not run yet.

    Raises:
        MeshError: it runs, and listens on no port that captures.
    """
    pids = processes.pids_in(Path(wanted.proxy_cgroup))
    port = config.inbound_capture_port
    found = processes.listeners_of(view, pids, port) if pids else []
    if pids and not found and not target.sidecar_later:
        raise MeshError(
            f"the sidecar runs in {wanted.proxy_cgroup}, and does not listen on port"
            f" {port}: enrolled now, the pod would refuse every connection; wait for it, or"
            " say --sidecar-later"
        )
    return found


def pod_of(record: PodRecord) -> Pod:
    """The pod as the data path takes it."""
    return Pod(
        cgroup=Path(record.cgroup),
        proxy_cgroup=Path(record.proxy_cgroup),
        netns=Path(record.netns),
        addresses=record.named,
        config=config_of(record.config),
    )


def is_gone(record: PodRecord) -> bool:
    """Whether a pod's cgroup or namespace is there no more, or is another's by now."""
    if record.state == ENROLLED:
        try:
            if Path(record.cgroup).stat().st_ino != record.cgroup_id:
                return True
        except FileNotFoundError:
            return True
    return inode_of(Path(record.netns)) != record.netns_inode


def _seen(wanted: PodRecord, view: NetworkView, named: tuple[str, ...]) -> PodRecord:
    if places.is_host_network(view.inode):
        raise MeshError(
            f"{wanted.netns} is the host's own network: a pod there shares every address"
            " and port with the node, and is left alone, as Istio's injection leaves it"
        )
    found = dict.fromkeys((*named, *view.addresses()))
    return wanted.but(
        id=str(view.cookie),
        netns_inode=view.inode,
        addresses=tuple(found),
        named=named or wanted.named,
    )
