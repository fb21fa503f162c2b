"""From what is asked for to what is known of a pod: found out, checked, or refused."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from beewire.errors import MeshError, UsageError
from beewire.mesh.agent import places, processes, records
from beewire.mesh.agent.directories import Directories
from beewire.mesh.agent.processes import Listener
from beewire.mesh.agent.records import CLOSED, ENROLLED, PodRecord
from beewire.mesh.agent.settings import changed, config_of, with_resolvers
from beewire.mesh.agent.target import Target
from beewire.mesh.agent.view import NetworkView, inode_of
from beewire.mesh.config import PodConfig
from beewire.mesh.enrol import Pod
from beewire.mesh.enrol.entries import Listening


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
    config = changed(target.config or (known.config if known else ""), target.change)
    proxy = target.proxy_cgroup or str(sidecar_of(Path(cgroup), config_of(config)))
    check_cgroup(Path(proxy))
    if not Path(proxy).is_relative_to(cgroup) or proxy == cgroup:
        raise MeshError(
            f"the sidecar's cgroup {proxy} is not below the pod's, {cgroup}"
        )
    netns = netns or str(places.netns_of(Path(cgroup)))
    base = known or PodRecord(id="", name="", state=CLOSED, netns=netns, netns_inode=0)
    return base.but(
        name=records.check_name(name or base.name or Path(cgroup).name),
        netns=netns,
        cgroup=cgroup,
        cgroup_id=Path(cgroup).stat().st_ino,
        proxy_cgroup=proxy,
        proxy_cgroup_id=Path(proxy).stat().st_ino,
        config=with_resolvers(config, Path(proxy)),
        uid=uid,
    )


def sidecar_of(cgroup: Path, config: PodConfig) -> Path:
    """The cgroup of the container that runs as the sidecar's user.

    Raises:
        MeshError: none does.
    """
    found = places.proxy_in(cgroup, config)
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
    proxy = Path(wanted.proxy_cgroup)
    pids = processes.pids_in(proxy) if processes.is_populated(proxy) else []
    port = config.inbound_capture_port
    found = processes.listeners_of(view, pids, port)
    if pids and not found and not target.sidecar_later:
        raise MeshError(
            f"the sidecar runs in {wanted.proxy_cgroup}, and does not listen on port"
            f" {port}: enrolled now, the pod would refuse every connection; wait for it, or"
            " say --sidecar-later"
        )
    return found


@contextlib.contextmanager
def listening_in(
    record: PodRecord, proxy: Path, config: PodConfig
) -> Iterator[list[Listening]]:
    """The sockets of a cgroup by which a sidecar takes inbound connections.

    Raises:
        MeshError: the pod's namespace is gone, or a socket cannot be copied.
    """
    with NetworkView(Path(record.netns)) as view:
        pids = processes.pids_in(proxy)
        sockets = processes.listeners_of(view, pids, config.inbound_capture_port)
    try:
        yield [(each.family, each.fd) for each in sockets]
    finally:
        processes.close_all(sockets)


def pod_of(record: PodRecord) -> Pod:
    """The pod as the data path takes it."""
    return Pod(
        cgroup=Path(record.cgroup),
        proxy_cgroup=Path(record.proxy_cgroup),
        netns=Path(record.netns),
        addresses=record.named,
        config=config_of(record.config, record.addresses),
    )


def has_moved(record: PodRecord) -> bool:
    """Whether the sidecar's cgroup is there no more, or is another's by now."""
    try:
        return Path(record.proxy_cgroup).stat().st_ino != record.proxy_cgroup_id
    except FileNotFoundError:
        return True


def still_there(record: PodRecord) -> PodRecord | None:
    """The record, with a path that leads to its namespace.

    None: its cgroup or namespace is there no more, or is another's by now.
    """
    if record.state == ENROLLED:
        try:
            if Path(record.cgroup).stat().st_ino != record.cgroup_id:
                return None
        except FileNotFoundError:
            return None
    if inode_of(Path(record.netns)) == record.netns_inode:
        return record
    if not record.cgroup:
        return None
    # It was known by a process that has ended; others may be there.
    found = places.namespace_of(record.netns_inode, Path(record.cgroup))
    return None if found is None else record.but(netns=str(found))


def seen(wanted: PodRecord, view: NetworkView, named: tuple[str, ...]) -> PodRecord:
    """With what the namespace says: its id and addresses, after those that are `named`.

    Raises:
        MeshError: it is the host's.
    """
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
