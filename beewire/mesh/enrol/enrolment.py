"""`Enrolment`: what the maps say of one pod, and its links."""

from contextlib import ExitStack
from ipaddress import IPv4Address, ip_address
from sys import byteorder
from typing import Self

from beewire.bpf import Loaded, ntohs
from beewire.errors import MeshError
from beewire.mesh.config import PodConfig
from beewire.mesh.enrol.configurations import Configurations
from beewire.mesh.enrol.hooks import HOOKS
from beewire.mesh.enrol.pod import Pod, depth, sources, words
from beewire.mesh.netns import cookie
from beewire.mesh.programs import state
from beewire.mesh.programs.addresses import Address, Endpoint
from beewire.mesh.programs.state import Decision, PodAddress, PodState


class Enrolment:
    """A pod that the data path serves until `close()`."""

    def __init__(
        self, loaded: Loaded, configurations: Configurations, pod: Pod
    ) -> None:
        pod.check()
        self.pod = pod
        self.netns = cookie(pod.netns)
        self._loaded = loaded
        self._configurations = configurations
        if self.netns in loaded[state.pods]:
            raise MeshError(f"the pod of {pod.netns} is enrolled already")
        self._stack = ExitStack()
        try:
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
        config = self._configurations.acquire(self.pod.config)
        self._stack.callback(self._release)
        self._config = config
        source4, source6 = sources(self.pod.addresses)
        # Last: until it is there, every connection is refused.
        loaded[state.pods][netns] = PodState(
            config=config,
            proxy_cgroup=self.pod.proxy_cgroup.stat().st_ino,
            proxy_level=depth(self.pod.proxy_cgroup),
            source4=source4,
            source6=source6,
        )

    def _add_address(self, address: Address) -> None:
        self._loaded[state.addresses][PodAddress(netns=self.netns, address=address)] = 1
        owners = self._loaded[state.owners]
        if owners.setdefault(address, self.netns) != self.netns:
            raise MeshError(
                f"another pod of this node has the address {address.to_bytes().hex(':')}"
            )

    def _attach(self) -> None:
        for hook in HOOKS:
            where = getattr(self.pod, hook.place.value)
            self._stack.enter_context(self._loaded[hook.program].attach(where))

    def _release(self) -> None:
        pod = self._loaded[state.pods].get(self.netns)
        self._loaded[state.pods].delete(self.netns)
        self._configurations.release(pod.config if pod else self._config)

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
        loaded[state.alias_counts].delete(netns)
        loaded[state.counts].delete(netns)


def _text(destination: Endpoint) -> str:
    address = IPv4Address(destination.address.to_bytes()[-4:])
    return f"{address}:{ntohs(destination.port)}"
