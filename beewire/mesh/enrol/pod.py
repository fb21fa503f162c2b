"""`Pod`: what has to be known of a pod to enrol it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import NamedTuple

from beewire.errors import MeshError
from beewire.mesh.config import ALL, PodConfig
from beewire.mesh.programs.addresses import Address

ROOT_ID = 1  # of the cgroup2 root, always: kernfs numbers it first

# What Istio's injector asks for when a pod has no annotations.
SIDECAR = PodConfig(
    inbound_ports_include=ALL,
    inbound_ports_exclude=(15020, 15021, 15090),
    outbound_ip_ranges_include=ALL,
    enable_ipv6=True,
)


class Pod(NamedTuple):
    """One pod as the data path sees it.

    `cgroup` holds the whole pod, `proxy_cgroup` below it the sidecar alone; both are
    directories of cgroup2. `netns` is a path that names the network namespace. Its
    addresses are read from it; `addresses` are more of them, or come first: the first
    one of each family becomes the source of redirected connections.
    """

    cgroup: Path
    proxy_cgroup: Path
    netns: Path
    addresses: tuple[str, ...] = ()
    config: PodConfig = SIDECAR

    def check(self) -> None:
        """Make sure that there is such a pod.

        Raises:
            MeshError: A cgroup or the namespace is missing.
        """
        for path in (self.cgroup, self.proxy_cgroup, self.netns):
            if not path.exists():
                raise MeshError(
                    f"{path} does not exist: create the pod before enrolling it"
                )

    @contextmanager
    def opened(self) -> Iterator[dict[str, int]]:
        """Descriptors of its cgroups and its namespace, by the names of the fields.

        Raises:
            MeshError: One cannot be opened, or a cgroup is none of cgroup2.
        """
        fds: dict[str, int] = {}
        try:
            for name in ("cgroup", "proxy_cgroup", "netns"):
                fds[name] = _open(getattr(self, name))
            for name in ("cgroup", "proxy_cgroup"):
                _check_cgroup(fds[name], getattr(self, name))
            yield fds
        finally:
            for fd in fds.values():
                os.close(fd)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise MeshError(f"{path} cannot be opened: {error.strerror}") from error


def _check_cgroup(fd: int, path: Path) -> None:
    # Every cgroup2 directory has this file, and no other file system does.
    if not os.access("cgroup.controllers", os.F_OK, dir_fd=fd):
        raise MeshError(f"{path} is not a directory of cgroup2")


def depth(cgroup: Path) -> int:
    """How many cgroups lie between `cgroup` and the cgroup2 root, which is level 0.

    Raises:
        MeshError: A cgroup namespace hides it.
    """
    root = _root(cgroup)
    # Counted from elsewhere, the sidecar is never known, and captured by itself.
    if root.stat().st_ino != ROOT_ID:
        raise MeshError(
            f"{root} is not the root of cgroup2: inside a cgroup namespace, as"
            " containers have, the sidecar's depth is hidden; enrol from the host's"
        )
    return len(cgroup.relative_to(root).parts)


_roots: list[Path] = []  # found so far: a thousand pods have one


def _root(cgroup: Path) -> Path:
    known = next((each for each in _roots if cgroup.is_relative_to(each)), None)
    if known is None:
        # The root of the mount is the last ancestor on the same file system.
        device = cgroup.stat().st_dev
        above = [each for each in cgroup.parents if each.stat().st_dev == device]
        known = above[-1] if above else cgroup
        _roots.append(known)
    return known


def words(address: IPv4Address | IPv6Address) -> Address:
    """An address as the programs hold it: four words, network order."""
    packed = address.packed
    if address.version == 4:
        packed = b"\0\0\0\0\0\0\0\0\0\0\xff\xff" + packed
    return Address.from_bytes(packed)
