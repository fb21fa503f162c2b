"""After a crash, an upgrade or a restart of the machine: what is on disk, put in order.

What can be taken over is; what belongs to nothing any more is removed. A pod that lives
is never opened meanwhile: its links stay, and missing ones are attached.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from beewire.bpf.kernel import Link
from beewire.errors import BeewireError, KernelError
from beewire.mesh.agent import processes, records
from beewire.mesh.agent.directories import Directories
from beewire.mesh.agent.records import ENROLLED, PodRecord
from beewire.mesh.agent.view import NetworkView
from beewire.mesh.enrol import Node

_NAMED = Path("/run/netns")


class Adopted(NamedTuple):
    """What was found: pods that are served, those that were removed, what was mended."""

    kept: tuple[str, ...]
    removed: tuple[str, ...]
    mended: tuple[str, ...]


class Hands(NamedTuple):
    """What adopting needs done to a pod: withdraw it, attach what is missing, enrol it."""

    withdraw: Callable[[Node, PodRecord], None]
    mend: Callable[[Node, PodRecord], list[str]]
    is_gone: Callable[[PodRecord], bool]


def adopt(directories: Directories, node: Node, hands: Hands) -> Adopted:
    """Put the pins and records of a node in order; whoever calls this has its lock."""
    kept, removed, mended = [], [], list(_broken(directories))
    for record in (*records.every(directories), *_forgotten(directories)):
        if hands.is_gone(record):
            hands.withdraw(node, record)
            removed.append(record.name)
            continue
        records.write(directories, record)
        kept.append(record.name)
        mended += [f"{record.name}: {each}" for each in hands.mend(node, record)]
    known = {int(record.id) for record in records.every(directories)}
    for cookie in node.cookies():
        if cookie not in known:
            node.forget(cookie)
            removed.append(f"entries of namespace {cookie}")
    return Adopted(tuple(kept), tuple(removed), tuple(mended))


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


def _told_by_links(folder: Path) -> PodRecord:
    pod, proxy, inode = _cgroup(folder / "handover"), _cgroup(folder / "original"), 0
    try:
        with Link.from_pin(str(folder / "inbound")) as link:
            inode = getattr(link.info, "netns_ino", 0)
    except KernelError:
        pass
    netns = namespace(inode, pod) if inode else None
    addresses: tuple[str, ...] = ()
    if netns is not None:
        with NetworkView(netns) as view:
            addresses = view.addresses()
    return PodRecord(
        id=folder.name,
        name=f"pod-{folder.name}",
        state=ENROLLED,
        netns=str(netns or ""),
        netns_inode=inode or -1,
        cgroup=str(pod),
        cgroup_id=pod.stat().st_ino if pod.is_dir() else 0,
        proxy_cgroup=str(proxy),
        proxy_cgroup_id=proxy.stat().st_ino if proxy.is_dir() else 0,
        addresses=addresses,
    )


def _cgroup(pin: Path) -> Path:
    try:
        with Link.from_pin(str(pin)) as link:
            return Path(getattr(link.info, "path", "") or "/nonexistent")
    except KernelError:
        return Path("/nonexistent")


def namespace(inode: int, cgroup: Path) -> Path | None:
    """A path to a network namespace by its inode number; None where none leads there."""
    named = _NAMED.iterdir() if _NAMED.is_dir() else iter(())
    inside = (Path(f"/proc/{pid}/ns/net") for pid in processes.pids_in(cgroup))
    for path in (*named, *inside):
        try:
            if path.stat().st_ino == inode:
                return path
        except OSError:
            continue
    return None
