"""Ways past sidecars, as long as the agent runs: sidecars are read again and again.

Each is asked once a second whether its configuration is the same; where it is not, it is
read anew, and the ways follow. Asking is for threads of their own: a sidecar that does not
answer keeps nobody waiting. What is not known closes ways: a sidecar that cannot be read,
and, by the lease, an agent that does not come back.

A connection that goes past a sidecar which has something to do with it by now is ended, as
`--close-existing` ends older ones: both ends see it aborted, and dial again, through the
sidecars. One whose sidecar cannot be read any more has PATIENCE_S before. One whose pod has
only changed its mind stays.
"""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from beewire.errors import BeewireError
from beewire.mesh.agent.operations import Operations
from beewire.mesh.agent.records import ENROLLED, PodRecord
from beewire.mesh.agent.view import NetworkView
from beewire.mesh.agent.ways import Sidecar, netns_of, wanted
from beewire.mesh.enrol import Node
from beewire.mesh.sidecar import Reason
from beewire.mesh.straight import Member, Passing, Tables, plan

POLL_S = 1.0
LEASE_S = 10.0
PATIENCE_S = 30.0
LATE_S = (
    6.0  # an answer that is older than this is none: a read takes longer than it may
)
WORKERS = 4


class Straightening:
    """Keeps the ways of a node as its sidecars allow them."""

    def __init__(self, operations: Operations) -> None:
        self._pods = operations
        self._asked: dict[str, _Asked] = {}
        self._workers: ThreadPoolExecutor | None = None
        self._due = 0.0
        self._members: tuple[Member, ...] = ()
        self._unread: dict[int, float] = {}
        self._said = ""
        self._holds = False  # whether this agent has written a plan

    def close(self) -> None:
        """End what asks sidecars; ways stay until their lease ends. Twice is nothing."""
        workers, self._workers = self._workers, None
        if workers is not None:
            workers.shutdown(cancel_futures=True)
        for each in self._asked.values():
            each.sidecar.close()
        self._asked.clear()

    def look(self) -> None:
        """Ask those sidecars that are due, and let the ways follow what they say."""
        try:
            self._look()
        except (BeewireError, OSError) as error:
            if str(error) != self._said:  # it is tried again and again
                self._said = str(error)
                self._pods.log(f"ways past sidecars: {error}")

    def _look(self) -> None:
        now = time.monotonic()
        is_due = now >= self._due
        if is_due:
            self._due = now + POLL_S
            self._ask()
        if not (self._asked or self._holds):
            return
        changed = [each.take() for each in self._asked.values()]
        if is_due or any(changed):
            self._follow()

    def _ask(self) -> None:
        found = wanted(self._pods.every(), self._pods.node())
        records = {each.id: each for each in found}
        for gone in self._asked.keys() - records.keys():
            self._asked.pop(gone).end()
        for pod_id, record in records.items():
            known = self._asked.get(pod_id)
            if known is not None and known.sidecar.record != record:
                self._asked.pop(pod_id).end()
        if records and self._workers is None:
            self._workers = ThreadPoolExecutor(
                WORKERS, thread_name_prefix="beewire-sidecars"
            )
        for pod_id, record in records.items():
            if pod_id not in self._asked:
                self._asked[pod_id] = _Asked(Sidecar(record))
            assert self._workers is not None
            self._asked[pod_id].ask(self._workers)

    def _follow(self) -> None:
        node = self._pods.node()
        tables = Tables(node.loaded)
        members = tuple(self._known(node))
        if members != self._members or not self._holds:
            self._members = members
            made = plan(members, tables.live())
            with self._pods.alone():
                applied = tables.apply(made, LEASE_S)
            self._pods.ways.plan = made
            self._holds = bool(members)
            if applied.added or applied.removed:
                self._pods.log(
                    f"ways past sidecars: {applied.added} new, {applied.removed} gone"
                )
        else:
            tables.renew(LEASE_S)
        self._close_stale(tables)

    def _known(self, node: Node) -> Iterator[Member]:
        late = time.monotonic() - LATE_S
        for each in self._asked.values():
            if (found := each.sidecar.member(node, late)) is not None:
                yield found

    def _close_stale(self, tables: Tables) -> None:
        made = self._pods.ways.plan
        if made is None:
            return
        now = time.monotonic()
        unread, closing = {}, []
        for passing, whys in tables.stale(made):
            if all(why.reason is Reason.UNREADABLE for why in whys):
                since = self._unread.get(passing.cookie, now)
                unread[passing.cookie] = since
                if now - since < PATIENCE_S:
                    continue
            closing.append(passing)
        self._unread = unread
        if closing:
            closed = close(closing, self._pods.every())
            self._pods.log(f"ways past sidecars: closed {closed} connections")


class _Asked:
    """One sidecar, and the question that is under way."""

    def __init__(self, sidecar: Sidecar) -> None:
        self.sidecar = sidecar
        self._future: Future[bool] | None = None

    def ask(self, workers: ThreadPoolExecutor) -> None:
        if self._future is None:
            self._future = workers.submit(self.sidecar.read)

    def take(self) -> bool:
        """Whether an answer has come that is another than the one before."""
        if self._future is None or not self._future.done():
            return False
        done, self._future = self._future, None
        return done.result()

    def end(self) -> None:
        if self._future is None or self._future.cancel():
            self.sidecar.close()
        else:
            self._future.add_done_callback(lambda _: self.sidecar.close())


def close(connections: Iterable[Passing], records: Iterable[PodRecord]) -> int:
    """End connections at once, both ends; how many there still were.

    Raises:
        MeshError: the kernel cannot (CONFIG_INET_DIAG_DESTROY).
    """
    by_client: dict[int, set[int]] = {}
    for each in connections:
        by_client.setdefault(each.client, set()).add(each.cookie)
    closed = 0
    for record in records:
        cookies = by_client.get(netns_of(record))
        if not cookies or record.state != ENROLLED:
            continue
        with NetworkView(Path(record.netns)) as view:
            found = [each for each in view.sockets() if each.cookie in cookies]
            closed += sum(view.destroy(each) for each in found)
    return closed
