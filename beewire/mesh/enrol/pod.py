"""`Pod`: what has to be known of a pod to enrol it."""

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


def depth(cgroup: Path) -> int:
    """How many cgroups lie between `cgroup` and the cgroup2 root, which is level 0.

    Raises:
        MeshError: A cgroup namespace hides it.
    """
    # The root of the mount is the last ancestor on the same file system.
    device = cgroup.stat().st_dev
    above = [each for each in cgroup.parents if each.stat().st_dev == device]
    root = above[-1] if above else cgroup
    # Counted from elsewhere, the sidecar is never known, and captured by itself.
    if root.stat().st_ino != ROOT_ID:
        raise MeshError(
            f"{root} is not the root of cgroup2: inside a cgroup namespace, as"
            " containers have, the sidecar's depth is hidden; enrol from the host's"
        )
    return len(above)


def words(address: IPv4Address | IPv6Address) -> Address:
    """An address as the programs hold it: four words, network order."""
    packed = address.packed
    if address.version == 4:
        packed = b"\0\0\0\0\0\0\0\0\0\0\xff\xff" + packed
    return Address.from_bytes(packed)
