"""What the data path does not see: older connections, kernel sockets, strangers."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from beewire.mesh.agent import places, processes
from beewire.mesh.agent.records import PodRecord
from beewire.mesh.agent.settings import config_of
from beewire.mesh.agent.view import (
    CLOSE,
    LISTEN,
    TCP,
    TIME_WAIT,
    UDP,
    NetworkView,
    SocketState,
)
from beewire.mesh.gate import Gate
from beewire.mesh.netns import LOOPBACK
from beewire.mesh.network import Network

_AT_REST = (LISTEN, TIME_WAIT, CLOSE)
_UNIVERSE = 0  # RT_SCOPE_UNIVERSE
_PROTOCOLS = {TCP: "tcp", UDP: "udp"}


class Uncaptured(NamedTuple):
    """Something that goes past the sidecar: of which kind, what, and why."""

    kind: str
    what: str
    why: str


def older_connections(view: NetworkView, proxy_cgroup: Path) -> list[SocketState]:
    """The pod's TCP connections that no program of ours saw being made.

    Asked right after the programs were attached: a connection that they did see leads to
    the loopback network, or is one of the sidecar's.
    """
    if not view.has_sockets():
        return []
    return _outward(view, proxy_cgroup, view.sockets())


def dialled(view: NetworkView, proxy_cgroup: Path) -> list[SocketState]:
    """What the pod's processes dialled, datagram sockets' connections included."""
    return _outward(view, proxy_cgroup, _all(view))


def _outward(
    view: NetworkView, proxy_cgroup: Path, sockets: Iterable[SocketState]
) -> list[SocketState]:
    sidecars = set(cgroup_ids(proxy_cgroup))
    own = set(view.addresses())
    return [
        each
        for each in sockets
        if each.state not in _AT_REST
        and each.cgroup not in sidecars
        and not (_stays_inside(each) or str(each.remote) in own)
    ]


def close_all(view: NetworkView, connections: Iterable[SocketState]) -> int:
    """End connections at once, both ends; how many there still were.

    Raises:
        MeshError: the kernel cannot.
    """
    return sum([view.destroy(each) for each in connections])


def hand_over(view: NetworkView, closed: Gate, proxy_cgroup: Path) -> int:
    """Open a namespace's gate once its pod has hooks; how many connections were ended.

    What was dialled behind the gate is ended, for it would go past the sidecar as soon as
    it is sent again; twice, for a connect() that was under way when the hooks came. The
    sidecar's own stay. Of the gate, what takes the kernel long to take away is left to
    `closed.sweep()`.

    Raises:
        MeshError: the kernel cannot end connections; the gate is closed.
    """
    ended = close_all(view, dialled(view, proxy_cgroup))
    closed.open(sweep=False)
    return ended + close_all(view, dialled(view, proxy_cgroup))


def uncaptured(record: PodRecord) -> list[Uncaptured]:
    """All that is known to go past the sidecar of a pod.

    Raises:
        MeshError: its namespace is gone.
    """
    with NetworkView(Path(record.netns)) as view:
        sockets = _all(view)
        unheld = _unheld(view, sockets)
    return [
        *_older(record, sockets),
        *_of_the_kernel(unheld),
        *_strangers(record),
        *_rules(record),
    ]


def _older(record: PodRecord, sockets: list[SocketState]) -> Iterator[Uncaptured]:
    known = set(record.older)
    for each in sockets:
        if each.cookie in known and each.state not in _AT_REST:
            yield Uncaptured(
                "older connection",
                text_of(each),
                "it was connected before the pod was enrolled; `beewire mesh up"
                " --close-existing` ends such",
            )


def _unheld(view: NetworkView, sockets: list[SocketState]) -> list[SocketState]:
    """Those that no process holds, neither at a first look nor at a second.

    Between the table of sockets and the last process some are closed, accepted, or handed
    on: what is then unheld, and is still there, is looked for once more.
    """
    # Without an inode a process closed it, and the kernel sends what is left. UDP
    # sockets that are not connected are in the state that TCP calls CLOSE.
    found = [each for each in sockets if each.inode and each.state != TIME_WAIT]
    for _ in range(2):
        held = _held_inodes(view.inode)
        there = {each.cookie for each in _all(view)}
        found = [
            each for each in found if each.inode not in held and each.cookie in there
        ]
        if not found:
            break
    return found


def _all(view: NetworkView) -> list[SocketState]:
    return [*view.sockets(TCP), *view.sockets(UDP)]


def _of_the_kernel(unheld: list[SocketState]) -> Iterator[Uncaptured]:
    for each in unheld:
        yield Uncaptured(
            "kernel socket",
            text_of(each),
            "no process holds it: tunnels and network file systems of the kernel pass"
            " no cgroup hook",
        )


def _strangers(record: PodRecord) -> Iterator[Uncaptured]:
    for pid in processes.pids_in(Path(record.cgroup)) if record.cgroup else ():
        inode = processes.netns_inode_of(pid)
        if inode and inode != record.netns_inode:
            host = places.is_host_network(inode)
            where = "on the host's network" if host else f"in network namespace {inode}"
            yield Uncaptured(
                "process elsewhere",
                f"pid {pid} {where}",
                "it runs in the pod's cgroup, but not in its namespace: what it connects"
                " is refused, what it accepts is not captured",
            )


def _rules(record: PodRecord) -> Iterator[Uncaptured]:
    """Routing rules of a pod whose interfaces are told apart by its routes."""
    with Network.of(Path(record.netns)) as network:
        rules = network.rules()
        if not rules:
            return
        own = network.addresses()
    leaving = {each.interface for each in own if each.scope == _UNIVERSE} - {LOOPBACK}
    if not config_of(record.config).exclude_interfaces and len(leaving) < 2:
        return
    for rule in rules:
        yield Uncaptured(
            "routing rule",
            rule,
            "by which interface a connection leaves is read from the main table: what this"
            " rule sends elsewhere is decided, and keeps its source, as that table has it",
        )


def host_network_pods(enrolled: Iterable[PodRecord]) -> Iterator[Uncaptured]:
    """The pods of this node that use the host's network, by what their cgroups hold."""
    known = {record.cgroup for record in enrolled}
    for place in places.pods_on_node():
        if str(place.cgroup) in known:
            continue
        inodes = {
            processes.netns_inode_of(pid) for pid in processes.pids_in(place.cgroup)
        }
        if any(places.is_host_network(inode) for inode in inodes if inode):
            yield Uncaptured(
                "host-network pod",
                place.uid,
                f"{place.cgroup} shares the host's network, as Istio's own injection leaves"
                " such pods alone",
            )


def text_of(each: SocketState) -> str:
    """A socket in one line: "tcp 10.0.0.1:40000 -> 10.0.0.2:80"."""
    local = f"{_host(each.local)}:{each.local_port}"
    protocol = _PROTOCOLS[each.protocol]
    if each.remote_port == 0:
        return f"{protocol} {local}"
    return f"{protocol} {local} -> {_host(each.remote)}:{each.remote_port}"


def _host(address: object) -> str:
    return f"[{address}]" if ":" in str(address) else str(address)


def _stays_inside(each: SocketState) -> bool:
    return any(_is_loopback(address) for address in (each.local, each.remote))


def _is_loopback(address: object) -> bool:
    plain = getattr(address, "ipv4_mapped", None) or address
    return bool(getattr(plain, "is_loopback", False))


def cgroup_ids(cgroup: Path) -> Iterator[int]:
    """The ids of a cgroup and of those below it."""
    for folder in (cgroup, *cgroup.rglob("*/")):
        try:
            yield folder.stat().st_ino
        except OSError:
            continue


def _held_inodes(netns_inode: int) -> set[int]:
    # A socket may be held by a process that has left the namespace, or was handed it.
    held: set[int] = set()
    for pid in sorted(
        processes.all_pids(),
        key=lambda pid: processes.netns_inode_of(pid) != netns_inode,
    ):
        held.update(processes.sockets_of(pid))
    return held
