"""After a crash, an upgrade or a restart of the machine: what is on disk, put in order.

What can be taken over is; what belongs to nothing any more is removed. A pod that lives
is never opened meanwhile: its links stay, and missing ones are attached.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from beewire.bpf.kernel import Link
from beewire.errors import BeewireError, KernelError
from beewire.mesh import netns
from beewire.mesh.agent import places, records
from beewire.mesh.agent.directories import Directories
from beewire.mesh.agent.records import CLOSED, ENROLLED, PodRecord
from beewire.mesh.agent.resolving import still_there
from beewire.mesh.agent.view import NetworkView
from beewire.mesh.enrol import Node
from beewire.mesh.programs import state
from beewire.mesh.programs.state import PodMode

# What the programs know stays; any other configuration is another one.
_UNKNOWN = (
    "# its record was lost: how it was configured is not known\ndefaults: sidecar\n"
)


class Adopted(NamedTuple):
    """What was found: pods that are served, those that were removed, what was mended.

    `failed` are sentences: pods that could not be put in order, and are as they were.
    """

    kept: tuple[str, ...]
    removed: tuple[str, ...]
    mended: tuple[str, ...]
    failed: tuple[str, ...]


class Hands(NamedTuple):
    """What adopting needs done to a pod: withdraw it, attach what is missing, enrol it."""

    withdraw: Callable[[Node, PodRecord], None]
    mend: Callable[[Node, PodRecord], list[str]]


def adopt(directories: Directories, node: Node, hands: Hands) -> Adopted:
    """Put the pins and records of a node in order; whoever calls this has its lock."""
    kept, removed, mended = [], [], list(_broken(directories))
    failed = []
    known = records.every(directories)
    forgotten = (_as_it_acts(node, each) for each in _forgotten(directories))
    for record in (*known, *forgotten, *_behind_gates(directories)):
        try:
            found = _as_it_was(record)
            if found is None:
                hands.withdraw(node, record)
                removed.append(record.name)
                continue
            records.write(directories, found)
            mended += [f"{found.name}: {each}" for each in hands.mend(node, found)]
            kept.append(found.name)
        except (BeewireError, OSError) as error:  # others are served nevertheless
            failed.append(f"{record.name}: {error}")
    by_record = {int(record.id) for record in records.every(directories)}
    for cookie in node.cookies():
        if cookie not in by_record:
            node.forget(cookie)
            removed.append(f"entries of namespace {cookie}")
    return Adopted(tuple(kept), tuple(removed), tuple(mended), tuple(failed))


def _as_it_was(record: PodRecord) -> PodRecord | None:
    found = still_there(record)
    # A record may outlive the machine's restart; inode numbers begin anew then.
    if found is None or netns.cookie(Path(found.netns)) != int(found.id):
        return None
    return found


def _broken(directories: Directories) -> Iterator[str]:
    folder = directories.run / "pods"
    for path in (*folder.glob("*.new"), *folder.glob("*.json")):
        try:
            if path.suffix == ".new":  # written by somebody who was killed
                path.unlink()
            else:
                records.read(path)
        except BeewireError as error:
            path.unlink()
            yield str(error)


def _forgotten(directories: Directories) -> Iterator[PodRecord]:
    """Pods whose links are pinned and whose record is lost, as far as they can be told."""
    folder = directories.pins / "pods"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.isdigit() and not directories.record(path.name).exists():
            yield _told_by_links(path)


def _as_it_acts(node: Node, record: PodRecord) -> PodRecord:
    # Whether Istio's rules act in it, or are passed over: its entry in the maps tells.
    pod = node.loaded[state.pods].get(int(record.id))
    return record.but(
        shadow=pod is not None and pod.mode == PodMode.SHADOW,
        cut_over_at=time.time() if pod and pod.mode == PodMode.BESIDE else 0.0,
    )


def _told_by_links(folder: Path) -> PodRecord:
    pod, proxy, inode = _cgroup(folder / "handover"), _cgroup(folder / "original"), 0
    try:
        with Link.from_pin(str(folder / "inbound")) as link:
            inode = getattr(link.info, "netns_ino", 0)
    except KernelError:
        pass
    path = places.namespace_of(inode, pod) if inode else None
    addresses: tuple[str, ...] = ()
    if path is not None:
        with NetworkView(path) as view:
            addresses = view.addresses()
    return PodRecord(
        id=folder.name,
        name=f"pod-{folder.name}",
        state=ENROLLED,
        netns=str(path or ""),
        netns_inode=inode or -1,
        cgroup=str(pod),
        cgroup_id=pod.stat().st_ino if pod.is_dir() else 0,
        proxy_cgroup=str(proxy),
        proxy_cgroup_id=proxy.stat().st_ino if proxy.is_dir() else 0,
        addresses=addresses,
        config=_UNKNOWN,
    )


def _behind_gates(directories: Directories) -> Iterator[PodRecord]:
    """Pods that are closed, and whose record is lost: they stay closed while they live."""
    folder = directories.pins / "gates"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.isdigit() and not directories.record(path.name).exists():
            found = places.namespace_with(int(path.name))
            yield PodRecord(
                id=path.name,
                name=f"pod-{path.name}",
                state=CLOSED,
                netns=str(found or ""),
                netns_inode=found.stat().st_ino if found else -1,
                config=_UNKNOWN,
            )


def _cgroup(pin: Path) -> Path:
    try:
        with Link.from_pin(str(pin)) as link:
            return Path(getattr(link.info, "path", "") or "/nonexistent")
    except KernelError:
        return Path("/nonexistent")
