"""What can be done with pods: enrol, change, withdraw, tell. Each is done whole, or not.

Every operation works on the pins and records of one node, and takes its lock: whether
the agent calls it, or a command that runs once.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from beewire.errors import MeshError
from beewire.mesh import shadow
from beewire.mesh.agent import notices, older, past, places, processes, records, status
from beewire.mesh.agent.adopting import Adopted, Hands, adopt
from beewire.mesh.agent.bypassing import Bypassing
from beewire.mesh.agent.directories import Directories, agent_pid, locked
from beewire.mesh.agent.draining import part
from beewire.mesh.agent.gates import Gates
from beewire.mesh.agent.processes import Listener
from beewire.mesh.agent.records import CLOSED, ENROLLED, PodRecord
from beewire.mesh.agent.resolving import (
    existing_listeners,
    listening_in,
    resolve,
    seen,
)
from beewire.mesh.agent.settings import changed, config_of, with_resolvers
from beewire.mesh.agent.target import Attachment, Target
from beewire.mesh.agent.upgrade import Upgraded, renewed
from beewire.mesh.agent.view import NetworkView, inode_of
from beewire.mesh.agent.ways import Ways
from beewire.mesh.config import InterceptionMode, PodConfig
from beewire.mesh.enrol import Enrolment, Node
from beewire.mesh.enrol.entries import Listening
from beewire.mesh.shadow import PodMode

Log = Callable[[str], None]


def silent(_: str) -> None:
    """A log that nobody reads."""


class Operations:
    """The pods of one node; a context manager that closes what it opened of them."""

    def __init__(self, directories: Directories, log: Log = silent) -> None:
        self.directories = directories
        self.log = log
        self.is_agent = False
        self.gates = Gates(directories, self.node)
        self.bypass = Bypassing(directories)
        self.ways = Ways()
        self._node: Node | None = None
        self._opened = 0  # the inode of the programs' directory

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close programs and maps; pods stay enrolled. Closing twice does nothing."""
        node, self._node = self._node, None
        if node is not None:
            node.close()
        self.gates.close()

    @contextlib.contextmanager
    def alone(self) -> Iterator[Node]:
        """Be the only one that changes the node; yields what there is to change.

        Raises:
            MeshError: an agent has come meanwhile, which keeps an account of its own.
        """
        with self._locked():
            yield self.node()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if self._node is None:
            self.directories.prepare()
        with locked(self.directories):
            if not self.is_agent and (pid := agent_pid(self.directories)):
                raise MeshError(
                    f"process {pid} is this node's agent: ask it, or stop it first"
                )
            if self._is_stale():
                self.close()
            yield

    def node(self) -> Node:
        """The programs and maps of this node, loaded where they are not yet."""
        if self._node is None:
            self._node = status.opened(self.directories)
        if self._node is None:
            self._node = Node.load(self.directories.set)
        self._opened = inode_of(self.directories.set)
        return self._node

    def _is_stale(self) -> bool:
        # An agent that has come and gone may have upgraded the node meanwhile.
        return self._node is not None and self._opened != inode_of(self.directories.set)

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
                wanted = seen(wanted, view, target.addresses)
                before = self._record(wanted.id)
                if before is not None and before.state == ENROLLED:
                    self._check_mode(node, before, target)
                    record = self._changed(node, before, wanted)
                    if target.name and record.name != target.name:
                        record = record.but(name=target.name)
                        records.write(self.directories, record)
                    if target.close_existing:
                        record = self._close_older(view, record)
                        records.write(self.directories, record)
                    return record
                config = config_of(wanted.config, wanted.addresses)
                _check_rules(wanted, target, config)
                sockets = existing_listeners(view, wanted, config, target)
                try:
                    record = self._enrol(node, view, wanted, sockets, target)
                finally:
                    processes.close_all(sockets)
        self.log(f"{record.name}: enrolled, id {record.id}")
        if self.bypass.tiering(record).why:
            self._tell_tier(record)
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
        mode = PodMode.SHADOW if target.shadow else PodMode.ACTING
        if wanted.cut_over_at:
            mode = PodMode.BESIDE
        enrolment = node.enrol(
            self.bypass.pod(wanted), pins=pins, listeners=listening, mode=mode
        )
        try:
            if not sockets:
                # It may have begun to listen before the programs knew its cgroup.
                proxy = Path(wanted.proxy_cgroup)
                with listening_in(wanted, proxy, enrolment.pod.config) as come:
                    enrolment.fill(come)
            # In shadow mode Istio's rules have seen them, as they see all.
            found = (
                []
                if target.shadow
                else older.older_connections(view, Path(wanted.proxy_cgroup))
            )
            record = wanted.but(
                state=ENROLLED,
                shadow=target.shadow,
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
        # Only now: the hooks see whatever the pod does from here on.
        self._open_gate(view, record)
        return record

    def _open_gate(self, view: NetworkView, record: PodRecord) -> None:
        proxy = Path(record.proxy_cgroup)
        if ended := self.gates.hand_over(record.id, view, proxy):
            self.log(
                f"{record.name}: ended {ended} connections dialled behind its gate"
            )

    def _close_older(self, view: NetworkView, record: PodRecord) -> PodRecord:
        known = set(record.older)
        found = [each for each in view.sockets() if each.cookie in known]
        closed = older.close_all(view, found)
        self.log(f"{record.name}: closed {closed} older connections")
        return record.but(older=(), closed=record.closed + closed)

    def _check_mode(self, node: Node, before: PodRecord, target: Target) -> None:
        acts = self.mode(node, before) is not PodMode.SHADOW
        if acts and target.shadow:
            raise MeshError(
                f"Beewire acts in {before.name} already: `beewire mesh rollback"
                f" {before.name}` lets Istio's rules act again, if there are any"
            )
        if not acts and not target.shadow:
            raise MeshError(
                f"{before.name} is in shadow mode: `beewire mesh cutover {before.name}`"
                " makes Beewire act, and with --shadow it is configured anew"
            )

    def mode(self, node: Node, record: PodRecord) -> PodMode:
        """Whether the programs act in a pod, or Istio's rules do.

        Raises:
            MeshError: the programs do not know it.
        """
        with self.found(node, record) as enrolment:
            return enrolment.mode

    def _changed(self, node: Node, before: PodRecord, wanted: PodRecord) -> PodRecord:
        if before.cgroup != wanted.cgroup:
            raise MeshError(
                f"{before.name} is enrolled with the cgroup {before.cgroup}, not"
                f" {wanted.cgroup}: `beewire mesh down {before.name}` first"
            )
        if before.proxy_cgroup_id != wanted.proxy_cgroup_id:
            before = self.move(node, before, Path(wanted.proxy_cgroup))
        self._mend(node, before)
        if before.config == wanted.config:
            return before
        return self._update(node, before, wanted.config)

    def update(self, name: str, config: str, change: str = "") -> PodRecord:
        """Change a pod's configuration: every connection meets the old one or the new.

        Without `config` it is the pod's own, in which `change` has the last word.

        Raises:
            MeshError: there is no such pod, or the maps are full; nothing has changed.
            UsageError: the configuration is not one.
        """
        with self._locked():
            before = records.get(self.directories, name)
            node = self.node()
            config = changed(config or before.config, change)
            if before.proxy_cgroup:
                config = with_resolvers(config, Path(before.proxy_cgroup))
            return self._update(node, before, config)

    def _update(self, node: Node, before: PodRecord, config: str) -> PodRecord:
        record = before.but(config=config)
        if before.state == ENROLLED:
            wanted = self.bypass.pod(record).config
            with contextlib.ExitStack() as stack:
                enrolment = stack.enter_context(self.found(node, before))
                port = enrolment.pod.config.inbound_capture_port
                listening: list[Listening] = []
                if wanted.inbound_capture_port != port:
                    proxy = Path(record.proxy_cgroup)
                    listening = stack.enter_context(listening_in(record, proxy, wanted))
                enrolment.update(wanted, listening)
        records.write(self.directories, record)
        self.log(f"{record.name}: configured anew")
        return record

    def down(self, name: str) -> PodRecord:
        """Withdraw a pod: its connections go their own way again, open ones stay.

        Raises:
            MeshError: there is no such pod.
        """
        with self._locked():
            record = records.get(self.directories, name)
            self.withdraw(self.node(), record)
        self.log(f"{record.name}: withdrawn")
        return record

    def withdraw(self, node: Node, record: PodRecord) -> None:
        """Detach a pod, or open its gate, and forget it."""
        if record.state == ENROLLED:
            if record.cut_over_at and inode_of(Path(record.netns)):
                shadow.give_back(Path(record.netns))
            part(node.short_path, int(record.id))
            self._found(node, record).close()
        self.gates.open(record.id, Path(record.netns))
        self.bypass.switch.forget(record.id)
        records.remove(self.directories, record.id)

    def _found(self, node: Node, record: PodRecord) -> Enrolment:
        pod, links = self.bypass.pod(record), self.directories.links(record.id)
        return node.find(pod, int(record.id), links)

    @contextlib.contextmanager
    def found(self, node: Node, record: PodRecord) -> Iterator[Enrolment]:
        """A pod's enrolment, which stays when the block ends."""
        enrolment = self._found(node, record)
        try:
            yield enrolment
        finally:
            enrolment.keep()

    def _record(self, pod_id: str) -> PodRecord | None:
        try:
            return records.read(self.directories.record(pod_id))
        except FileNotFoundError:
            return None

    # All pods.

    def every(self) -> list[PodRecord]:
        """The pods that are enrolled, and those that wait behind a closed gate."""
        return list(records.every(self.directories))

    def move(self, node: Node, record: PodRecord, proxy: Path) -> PodRecord:
        """Take it that a pod's sidecar runs in another cgroup by now.

        Raises:
            MeshError: there is no such cgroup.
        """
        with self.found(node, record) as enrolment:
            enrolment.move_proxy(proxy)
            # Looked for when the programs know the cgroup: they see who comes later.
            with listening_in(record, proxy, enrolment.pod.config) as listening:
                enrolment.fill(listening)
        changed = record.but(
            proxy_cgroup=str(proxy), proxy_cgroup_id=proxy.stat().st_ino
        )
        records.write(self.directories, changed)
        self.log(f"{record.name}: its sidecar runs in {proxy} by now")
        return changed

    # What a container runtime asks for (CNI).

    def add(self, attachment: Attachment) -> PodRecord:
        """Close a new pod's namespace until its cgroups are known.

        Raises:
            MeshError: there is no such namespace, or it is the host's.
        """
        netns = Path(attachment.netns)
        with self.alone(), NetworkView(netns) as view:
            if places.is_host_network(view.inode):
                raise MeshError(f"{netns} is the host's own network, and stays open")
            config_of(attachment.config)
            pod_id = str(view.cookie)
            before = self._record(pod_id)
            if before is not None and before.state == ENROLLED:
                return before
            record = PodRecord(
                id=pod_id,
                name=records.check_name(attachment.name or attachment.sandbox),
                state=CLOSED,
                netns=attachment.netns,
                netns_inode=view.inode,
                config=attachment.config,
                sandbox=attachment.sandbox,
                interface=attachment.interface,
                network=attachment.network,
                uid=attachment.uid,
            )
            # First what adopting finds, so that a gate never outlives its record.
            records.write(self.directories, record)
            self.gates.shut(pod_id, netns)
        self.log(f"{record.name}: closed until its cgroups are known")
        return record

    def delete(self, sandbox: str, interface: str) -> bool:
        """Forget a pod's attachment; whether there was one."""
        found = self.attached(sandbox, interface)
        if found is not None:
            with self.alone() as node:
                self.withdraw(node, found)
            self.log(f"{found.name}: deleted")
        return found is not None

    def attached(self, sandbox: str, interface: str) -> PodRecord | None:
        """The pod that a runtime announced by these names."""
        for record in self.every():
            if (record.sandbox, record.interface) == (sandbox, interface):
                return record
        return None

    def check(self, sandbox: str, interface: str) -> list[str]:
        """What is wrong with a pod that a runtime announced; nothing if all is well.

        Raises:
            MeshError: it is not known.
        """
        record = self.attached(sandbox, interface)
        if record is None:
            raise MeshError(f"no pod is known by {sandbox} and {interface}")
        if record.state == CLOSED:
            return [] if self.gates.is_shut(record.id) else ["its gate is open"]
        links = status.link_states(self.directories.links(record.id))
        return [f"{name} is {how}" for name, how in links.items() if how != "attached"]

    def collect_garbage(self, network: str, valid: set[tuple[str, str]]) -> list[str]:
        """Forget the pods of a network that are not in `valid`: (sandbox, interface)."""
        stale = [
            each
            for each in self.every()
            if each.sandbox
            and each.network == network
            and (each.sandbox, each.interface) not in valid
        ]
        for record in stale:
            with self.alone() as node:
                self.withdraw(node, record)
        return [each.name for each in stale]

    def retier(self) -> list[str]:
        """Give every pod the tier that it may have by now; the names of those that changed.

        Raises:
            MeshError: an agent has come meanwhile.
        """
        with self.alone() as node:
            return [
                record.name
                for record in self.every()
                if record.state == ENROLLED and self._retier(node, record)
            ]

    def sweep(self) -> None:
        """Detach what an older version's connections needed until now."""
        if past.is_left(self.directories):
            with self._locked():
                past.sweep(self.directories)

    def wants_judging(self) -> bool:
        """Whether a pod would have more of the short path if the kernel had been judged."""
        return not self.bypass.standing().is_current and any(
            self.bypass.tiering(each).why and not self.bypass.switch.off(each.id)
            for each in self.every()
            if each.state == ENROLLED
        )

    def _retier(self, node: Node, record: PodRecord) -> bool:
        wanted = self.bypass.tiering(record)
        with self.found(node, record) as enrolment:
            if enrolment.shortened == wanted.shortened:
                return False
            enrolment.update(self.bypass.pod(record).config)
        self._tell_tier(record)
        return True

    def _tell_tier(self, record: PodRecord) -> None:
        found = self.bypass.tiering(record)
        self.log(f"{record.name}: {found}")
        notices.add(self.directories, record.name, str(found))

    def status(self, name: str = "") -> dict[str, Any]:
        """How a pod is, or without a name the node and all its pods, as JSON.

        Raises:
            MeshError: there is no such pod.
        """
        fresh = self._node is None or self._is_stale()
        node = status.opened(self.directories) if fresh else self._node
        try:
            pods = self.every()
            ways = self.ways.told(node, pods) if node is not None else {}
            if name:
                record = records.get(self.directories, name)
                around = self.bypass.neighbourhood(node, pods)
                place = self.directories
                told = status.of_pod(place, node, record, self.bypass, around)
                return told | {"straight": ways.get(record.id)}
            told = status.of_node(self.directories, node, pods, self.bypass)
            for each in told["pods"]:
                each["straight"] = ways.get(each["id"])
            return told
        finally:
            if node is not None and node is not self._node:
                node.close()

    def renew(self) -> Upgraded | None:
        """Let this version's programs serve the pods; None where they do already.

        Raises:
            MeshError: they fail; the present ones serve on.
        """
        with self._locked():
            self.close()
            self._node, done = renewed(self.directories)
            self._opened = inode_of(self.directories.set)
        if done is not None:
            names = ", ".join((*done.programs, *done.maps))
            held = f", frozen for {done.frozen_s * 1e3:.0f} ms" if done.frozen_s else ""
            self.log(f"upgraded for {done.pods} pods{held}: {names}")
        return done

    def adopt(self) -> Adopted:
        """Put in order what another agent, or a machine that went down, left behind."""
        with self.alone() as node:
            found = adopt(self.directories, node, self._hands())
        for name in found.removed:
            self.log(f"{name}: gone, removed")
        for text in found.mended:
            self.log(f"{text}: mended")
        for text in found.failed:
            self.log(f"cannot be put in order: {text}")
        return found

    def _hands(self) -> Hands:
        return Hands(self.withdraw, self._mend)

    def _mend(self, node: Node, record: PodRecord) -> list[str]:
        if record.state == CLOSED:
            shut = self.gates.is_shut(record.id)
            self.gates.shut(record.id, Path(record.netns))
            return [] if shut else ["gate"]
        if int(record.id) not in node.cookies():
            return self._enrol_anew(node, record)
        with self.found(node, record) as enrolment:
            mended = enrolment.mend()
        # Of an agent that ended between enrolling the pod and opening its gate.
        if self.gates.is_shut(record.id):
            with NetworkView(Path(record.netns)) as view:
                self._open_gate(view, record)
        return mended

    def _enrol_anew(self, node: Node, record: PodRecord) -> list[str]:
        # Its pins went, and with them the maps' entries: bpffs was mounted anew. Who acted
        # before acts again, and where nothing is known of that, Istio's rules if they do.
        self._found(node, record).close()
        acts = not (record.cut_over_at or record.shadow)
        shadowed = record.shadow or (acts and shadow.rules_act(Path(record.netns)))
        target = Target(sidecar_later=True, shadow=shadowed)
        with NetworkView(Path(record.netns)) as view:
            config = config_of(record.config)
            sockets = existing_listeners(view, record, config, target)
            try:
                self._enrol(node, view, record, sockets, target)
            finally:
                processes.close_all(sockets)
        return ["all of it"]

    def hello(self) -> dict[str, object]:
        """Who answers."""
        return {"pid": os.getpid(), "agent": self.is_agent}


def _check_rules(wanted: PodRecord, target: Target, config: PodConfig) -> None:
    # Whether who is to act, Istio's rules or Beewire, is what stands in the namespace.
    netns = Path(wanted.netns)
    if target.shadow:
        shadow.check_rules(netns)
        return
    if not shadow.rules_act(netns):
        return
    if config.inbound_interception_mode is InterceptionMode.TPROXY:
        raise MeshError(
            f"Istio's rules act in {netns}, and by TPROXY nobody can beside them: --shadow"
            " enrols the pod, and `beewire mesh cutover` takes over"
        )
    if not target.beside_rules:
        raise MeshError(
            f"Istio's rules act in {netns}: --shadow enrols the pod beside them, and"
            " `beewire mesh cutover` takes over; --beside-rules has both act"
        )
