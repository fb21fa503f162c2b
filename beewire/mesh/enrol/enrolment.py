"""`Enrolment`: what the maps say of one pod, and its links."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from sys import byteorder
from typing import Self

from beewire.bpf import Loaded, htons, ntohs
from beewire.bpf.kernel import Link
from beewire.errors import MeshError
from beewire.mesh.config import PodConfig
from beewire.mesh.enrol.configurations import Configurations
from beewire.mesh.enrol.hooks import HOOKS
from beewire.mesh.enrol.pod import Pod, depth, sources, words
from beewire.mesh.programs import state
from beewire.mesh.programs.addresses import AF_INET, AF_INET6, Address, Endpoint
from beewire.mesh.programs.state import Decision, PodAddress, PodState, Slot


class Enrolment:
    """A pod that the data path serves until `close()`; with `pins`, also past the process.

    `netns` is the cookie of its namespace. Made by `Node.enrol` or `Node.find`.
    """

    def __init__(
        self,
        loaded: Loaded,
        configurations: Configurations,
        pod: Pod,
        netns: int,
        pins: Path | None = None,
    ) -> None:
        self.pod = pod
        self.netns = netns
        self._loaded = loaded
        self._configurations = configurations
        self._pins = pins
        self.links: dict[str, Link] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Detach everything; connections that are open stay as they are."""
        self._stack.close()

    def keep(self) -> None:
        """Leave the pod enrolled, by its pins, and give the descriptors back.

        Raises:
            MeshError: It has none.
        """
        if self._pins is None:
            raise MeshError(f"the pod of {self.pod.netns} was enrolled without pins")
        for link in self.links.values():
            link.close()
        self._stack.pop_all()

    def begin(self, listeners: Sequence[tuple[int, int]] = ()) -> None:
        """Write what the programs know of the pod, then attach them.

        `listeners` are sockets by which the sidecar listens already: family, descriptor.

        Raises:
            MeshError: It is enrolled already, or another pod has its address.
            KernelError: The kernel refused an attachment. Either way nothing is left.
        """
        if self.netns in self._loaded[state.pods]:
            raise MeshError(f"the pod of {self.pod.netns} is enrolled already")
        try:
            self._configure()
            self._fill(listeners)
            self._attach()
        except BaseException:
            self._stack.close()
            raise

    def resume(self) -> None:
        """Take over what `keep` left: `close` withdraws it."""
        assert self._pins is not None
        self._stack.callback(self._forget)
        self._stack.callback(self._release)
        self._stack.callback(self._pins.rmdir)
        try:
            for path in sorted(self._pins.iterdir()):
                self._keep(path.name, Link.from_pin(str(path)))
        except FileNotFoundError:  # only its entries are left
            self._pins.mkdir(mode=0o700)

    def update(self, config: PodConfig) -> None:
        """Change the pod's configuration; every connection meets the old or the new.

        Raises:
            MeshError: A map is full; the pod keeps its configuration.
        """
        pods = self._loaded[state.pods]
        new = self._configurations.acquire(config)
        pod = pods[self.netns]
        old, pod.config = pod.config, new
        pods[self.netns] = pod
        self._configurations.release(old)
        self.pod = self.pod._replace(config=config)

    def decisions(self) -> dict[Decision, int]:
        """How often each decision was taken since enrolment."""
        counted = self._loaded[state.counts][self.netns]
        return {
            decision: sum(cpu.decisions[decision] for cpu in counted)
            for decision in Decision
        }

    def handshakes(self) -> int:
        """How many redirected connections without alias are being set up now."""
        return sum(each.netns == self.netns for each in self._loaded[state.handshakes])

    def aliases(self) -> dict[str, str]:
        """Which destination each alias stands for, as "127.65.1.2": "10.0.0.1:80"."""
        return {
            str(IPv4Address(alias.ip.to_bytes(4, byteorder))): _text(destination)
            for alias, destination in self._loaded[state.originals].items()
            if alias.netns == self.netns
        }

    def has_listener(self) -> bool:
        """Whether the sidecar's inbound listener is known."""
        return any(slot.netns == self.netns for slot in self._loaded[state.listeners])

    def _configure(self) -> None:
        loaded, netns = self._loaded, self.netns
        self._stack.callback(self._forget)
        loaded[state.counts][netns] = state.Counts()
        loaded[state.alias_counts][netns] = 0
        for text in self.pod.addresses:
            self._add_address(words(ip_address(text)))
        source4, source6 = sources(self.pod.addresses)
        entry = PodState(
            proxy_cgroup=self.pod.proxy_cgroup.stat().st_ino,
            proxy_level=depth(self.pod.proxy_cgroup),
            source4=source4,
            source6=source6,
        )
        entry.config = self._configurations.acquire(self.pod.config)
        try:
            # Last: until it is there, every connection is refused.
            loaded[state.pods][netns] = entry
        except BaseException:
            self._configurations.release(entry.config)
            raise
        self._stack.callback(self._release)

    def _add_address(self, address: Address) -> None:
        self._loaded[state.addresses][PodAddress(netns=self.netns, address=address)] = 1
        owners = self._loaded[state.owners]
        if owners.setdefault(address, self.netns) != self.netns:
            raise MeshError(
                f"another pod of this node has the address {address.to_bytes().hex(':')}"
            )

    def _fill(self, listeners: Sequence[tuple[int, int]]) -> None:
        slots = self._slots()
        for family, fd in listeners:
            self._loaded[state.listeners][next(slots[family])] = fd

    def _slots(self) -> dict[int, Iterator[Slot]]:
        port = htons(self.pod.config.inbound_capture_port)
        return {
            family: (
                Slot(netns=self.netns, port=port, family=family, number=number)
                for number in range(state.WORKERS)
            )
            for family in (AF_INET, AF_INET6)
        }

    def _attach(self) -> None:
        if self._pins is not None:
            self._pins.mkdir(mode=0o700)
            self._stack.callback(self._pins.rmdir)
        for hook in HOOKS:
            where = getattr(self.pod, hook.place.value)
            link = self._keep(hook.name, self._loaded[hook.program].attach(where))
            if self._pins is not None:
                link.pin(f"{self._pins}/{hook.name}")

    def _keep(self, name: str, link: Link) -> Link:
        self.links[name] = self._stack.enter_context(link)
        # A pinned link ends with its last holder: the pin goes before us.
        if self._pins is not None:
            self._stack.callback((self._pins / name).unlink, missing_ok=True)
        return link

    def _release(self) -> None:
        pod = self._loaded[state.pods].get(self.netns)
        if pod is not None:
            del self._loaded[state.pods][self.netns]
            self._configurations.release(pod.config)

    def _forget(self) -> None:
        loaded, netns = self._loaded, self.netns
        for address in [key for key in loaded[state.addresses] if key.netns == netns]:
            loaded[state.addresses].delete(address)
            if loaded[state.owners].get(address.address) == netns:
                loaded[state.owners].delete(address.address)
        for named in [key for key in loaded[state.aliases] if key.netns == netns]:
            loaded[state.aliases].delete(named)
        for alias in [key for key in loaded[state.originals] if key.netns == netns]:
            loaded[state.originals].delete(alias)
        for slot in [slot for some in self._slots().values() for slot in some]:
            loaded[state.listeners].delete(slot)
        loaded[state.alias_counts].delete(netns)
        loaded[state.counts].delete(netns)


def _text(destination: Endpoint) -> str:
    address = IPv4Address(destination.address.to_bytes()[-4:])
    return f"{address}:{ntohs(destination.port)}"
