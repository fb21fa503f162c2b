"""Enrol one pod: load the data path, configure it, attach it; undo it all at the end.

    with enrol(Pod(cgroup=..., proxy_cgroup=..., netns=..., addresses=...)) as mesh:
        ...                       # start the sidecar and the application in here
        print(mesh.decisions())

The programs are attached before the sidecar listens, so that its listener is seen; until
then inbound connections are refused, and outbound ones meet a closed port.
"""

from contextlib import ExitStack
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from sys import byteorder
from typing import NamedTuple, Self

from beewire.bpf import collect, htons, load, ntohs
from beewire.bpf.author.collection import Collection
from beewire.errors import MeshError
from beewire.mesh.programs import handover, inbound, original, outbound, state, view
from beewire.mesh.programs.addresses import Address, Endpoint

PROGRAMS = (
    inbound.inbound,
    handover.handover,
    original.original_destination,
    view.peer4,
    view.peer6,
    outbound.outbound4,
    outbound.outbound6,
)

# This machine besides 127/8: connect(2) takes the first two for localhost, and ::6 is
# what the sidecar binds to when it calls the application.
LOOPBACK = ("0.0.0.0", "::", "::1", "::6")
ROOT_ID = 1  # of the cgroup2 root, always: kernfs numbers it first
TUNNEL_PORT = 15008  # HBONE; never captured (Istio: ISTIO_INBOUND's first rule)


class Pod(NamedTuple):
    """One pod as the data path sees it.

    `cgroup` holds the whole pod, `proxy_cgroup` below it the sidecar alone; both are
    directories of cgroup2. `netns` is a path that names the network namespace.
    `addresses` are the pod's own; the first of each family becomes the source of
    redirected connections. `excluded_inbound_ports` reach the application directly.
    """

    cgroup: Path
    proxy_cgroup: Path
    netns: Path
    addresses: tuple[str, ...]
    outbound_port: int = 15001
    inbound_port: int = 15006
    excluded_inbound_ports: tuple[int, ...] = (TUNNEL_PORT, 15020, 15021, 15090)


class Enrolment:
    """A pod that the data path serves until `close()`."""

    def __init__(self, pod: Pod) -> None:
        self.pod = pod
        self._stack = ExitStack()
        try:
            self._loaded = self._stack.enter_context(load(_compiled()))
            self._configure()
            self._attach()
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Detach everything; connections that are open stay as they are."""
        self._stack.close()

    def decisions(self) -> dict[state.Decision, int]:
        """How often each decision was taken since enrolment."""
        counters = self._loaded[state.decisions]
        return {decision: sum(counters[decision]) for decision in state.Decision}

    def handshakes(self) -> int:
        """How many redirected connections without alias are being set up now."""
        return len(self._loaded[state.handshakes])

    def aliases(self) -> dict[str, str]:
        """Which destination each alias stands for, as "127.65.1.2": "10.0.0.1:80"."""
        return {
            str(IPv4Address(alias.to_bytes(4, byteorder))): _text(destination)
            for alias, destination in self._loaded[state.originals].items()
        }

    def has_listener(self) -> bool:
        """Whether the sidecar's inbound listener is known."""
        return len(self._loaded[state.listeners]) > 0

    def _configure(self) -> None:
        local = self._loaded[state.local_addresses]
        for address in (*LOOPBACK, *self.pod.addresses):
            local[_words(ip_address(address))] = 1
        excluded = self._loaded[state.excluded_inbound_ports]
        for port in self.pod.excluded_inbound_ports:
            excluded[htons(port)] = 1
        # Last: until the settings are there, every connection is refused.
        self._loaded.globals["settings"] = _settings(self.pod)

    def _attach(self) -> None:
        # Inbound and the hand-over first: a redirected connection finds them in place.
        programs, keep, pod = self._loaded, self._stack.enter_context, self.pod
        keep(programs[inbound.inbound].attach(pod.netns))
        keep(programs[handover.handover].attach(pod.cgroup))
        keep(programs[original.original_destination].attach(pod.proxy_cgroup))
        keep(programs[view.peer4].attach(pod.cgroup))
        keep(programs[view.peer6].attach(pod.cgroup))
        keep(programs[outbound.outbound4].attach(pod.cgroup))
        keep(programs[outbound.outbound6].attach(pod.cgroup))


def enrol(pod: Pod) -> Enrolment:
    """Serve `pod` until the returned Enrolment is closed.

    Raises:
        MeshError: A cgroup or the namespace is missing, the pod has no address, or a
            cgroup namespace hides where the sidecar's cgroup stands.
        KernelError: The kernel refused a program, a map or an attachment.
    """
    for path in (pod.cgroup, pod.proxy_cgroup, pod.netns):
        if not path.exists():
            raise MeshError(
                f"{path} does not exist: create the pod before enrolling it"
            )
    if not pod.addresses:
        raise MeshError(f"the pod of {pod.cgroup} has no address to enrol")
    return Enrolment(pod)


@cache
def _compiled() -> Collection:
    """The programs, compiled once a process: every pod loads the same."""
    return collect(PROGRAMS, name="mesh")


def _settings(pod: Pod) -> state.Settings:
    addresses = [ip_address(text) for text in pod.addresses]
    source4 = next((a for a in addresses if a.version == 4), IPv4Address(0))
    source6 = next((a for a in addresses if a.version == 6), IPv6Address(0))
    return state.Settings(
        proxy_cgroup=pod.proxy_cgroup.stat().st_ino,
        proxy_level=_depth(pod.proxy_cgroup),
        outbound_port=htons(pod.outbound_port),
        inbound_port=htons(pod.inbound_port),
        tunnel_port=htons(TUNNEL_PORT),
        source4=int.from_bytes(source4.packed, byteorder),
        source6=_words(source6),
    )


def _depth(cgroup: Path) -> int:
    # How many cgroups lie between `cgroup` and the cgroup2 root, which is level 0.
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


def _text(destination: Endpoint) -> str:
    address = IPv4Address(destination.address.to_bytes()[-4:])
    return f"{address}:{ntohs(destination.port)}"


def _words(address: IPv4Address | IPv6Address) -> Address:
    """An address as the programs hold it: four words, network order."""
    packed = address.packed
    if address.version == 4:
        packed = b"\0\0\0\0\0\0\0\0\0\0\xff\xff" + packed
    return Address.from_bytes(packed)
