"""Where a pod's cgroups and namespace are, found from what a person, or CNI, knows of it."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from beewire.bpf.kernel.places import cgroup2_mount
from beewire.errors import MeshError
from beewire.mesh import netns
from beewire.mesh.agent import containers, processes
from beewire.mesh.config import InterceptionMode, PodConfig

# What container runtimes call a pod's cgroup: kubelet with cgroupfs, with systemd, and
# podman with either.
_POD = re.compile(
    r"(?:kubepods[\w-]*-)?pod(?P<uid>[0-9a-fA-F][0-9a-fA-F_-]{31,})(?:\.slice)?"
    r"|libpod_pod_(?P<libpod>[0-9a-f]{64})"
    r"|machine-libpod_pod_(?P<systemd>[0-9a-f]{64})\.slice"
    r"|(?P<plain>[0-9a-f]{64})"
)

_NAMED = Path("/run/netns")


class PodPlace(NamedTuple):
    """A pod's cgroup and what its runtime calls it."""

    cgroup: Path
    uid: str


def mount() -> Path:
    """Where cgroup2 is mounted.

    Raises:
        MeshError: it is not.
    """
    found = cgroup2_mount()
    if not found:
        raise MeshError(
            "cgroup2 is not mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified"
        )
    return Path(found)


def pods_on_node() -> Iterator[PodPlace]:
    """Every cgroup that a container runtime would have made for a pod."""
    for folder, names, _ in os.walk(mount()):
        for name in list(names):
            if (uid := uid_in(name, Path(folder).name)) is not None:
                names.remove(name)  # what is below are its containers
                yield PodPlace(Path(folder, name), uid)


def uid_in(name: str, parent: str) -> str | None:
    """The pod that a cgroup of this name belongs to; None if it is no pod's."""
    match = _POD.fullmatch(name)
    if match is None:
        return None
    if match["plain"] and not parent.startswith("libpod_parent"):
        return None
    found = match["uid"] or match["libpod"] or match["systemd"] or match["plain"]
    return found.replace("_", "-").lower()


def find_pod(uid: str) -> PodPlace:
    """The cgroup of the pod with this UID, or id of its runtime.

    Raises:
        MeshError: there is none.
    """
    wanted = uid.replace("_", "-").lower()
    for place in pods_on_node():
        if place.uid == wanted or (len(wanted) >= 12 and place.uid.startswith(wanted)):
            return place
    raise MeshError(
        f"no cgroup below {mount()} is that of a pod {uid!r}: give --cgroup, --netns and"
        " --proxy-cgroup, or its UID (kubernetes) or id (podman)"
    )


def netns_of(cgroup: Path) -> Path:
    """The network namespace that the processes of a pod's cgroup are in.

    Raises:
        MeshError: nothing runs there, or its processes are in different ones.
    """
    inodes: dict[int, int] = {}
    for pid in processes.pids_in(cgroup):
        if inode := processes.netns_inode_of(pid):
            inodes.setdefault(inode, pid)
    if not inodes:
        raise MeshError(
            f"nothing runs in {cgroup} that would tell the pod's network namespace: give"
            " --netns"
        )
    if len(inodes) > 1:
        pids = ", ".join(map(str, inodes.values()))
        raise MeshError(
            f"the processes of {cgroup} are in {len(inodes)} network namespaces (see"
            f" {pids}): give --netns"
        )
    return Path(f"/proc/{next(iter(inodes.values()))}/ns/net")


def proxy_in(cgroup: Path, config: PodConfig) -> Path | None:
    """The container below a pod's cgroup that runs as one of the sidecar's users.

    Under TPROXY Istio has it run as root: there it is known by its group. Containers that
    the runtime calls otherwise than Istio's are none, whoever runs in them.
    """
    tproxy = config.inbound_interception_mode is InterceptionMode.TPROXY
    gids = config.proxy_gid if tproxy else ()
    for child in sorted(cgroup.iterdir()) if cgroup.is_dir() else []:
        if not child.is_dir() or not containers.may_be_sidecar(child):
            continue
        for uid, gid in map(processes.owner_of, processes.pids_in(child)):
            if uid in config.proxy_uid or gid in gids:
                return child
    return None


def cgroup_with(netns_inode: int) -> Path | None:
    """The pod's cgroup of the processes in a network namespace; None while there are none.

    It is the directory above the containers' own.
    """
    for pid in processes.all_pids():
        if processes.netns_inode_of(pid) != netns_inode:
            continue
        path = processes.cgroup_of(pid)
        if path.count("/") < 2:
            continue  # a runtime's helper, on its way into a cgroup
        for folder in Path(path).parents:
            if uid_in(folder.name, folder.parent.name) is not None:
                return mount() / str(folder).lstrip("/")
    return None


def cgroup_of_pod(uid: str, netns_inode: int) -> Path | None:
    """The cgroup of a pod by its UID, or by who is in its namespace; None: not yet."""
    if uid:
        for place in pods_on_node():
            if place.uid == uid.lower():
                return place.cgroup
    return cgroup_with(netns_inode)


def namespace_of(inode: int, cgroup: Path) -> Path | None:
    """A path to a namespace with this inode number, by a name or by who is in the cgroup."""
    inside = (Path(f"/proc/{pid}/ns/net") for pid in processes.pids_in(cgroup))
    for path in (*_named_namespaces(), *inside):
        try:
            if path.stat().st_ino == inode:
                return path
        except OSError:
            continue
    return None


def namespace_with(cookie: int) -> Path | None:
    """A path to the namespace that programs know by this cookie; None where none leads."""
    everyone = (Path(f"/proc/{pid}/ns/net") for pid in processes.all_pids())
    seen: set[int] = set()
    for path in (*_named_namespaces(), *everyone):
        try:
            inode = path.stat().st_ino
            if inode not in seen and netns.cookie(path) == cookie:
                return path
        except (MeshError, OSError):
            continue
        seen.add(inode)
    return None


def _named_namespaces() -> list[Path]:
    return sorted(_NAMED.iterdir()) if _NAMED.is_dir() else []


def is_host_network(netns_inode: int) -> bool:
    """Whether a namespace is the machine's own: that of its first process, or ours."""
    return netns_inode in {
        processes.netns_inode_of(1),
        processes.netns_inode_of(os.getpid()),
    }
