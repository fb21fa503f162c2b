"""`Enrolment`: one pod, from its entries in the maps to its links and back."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from beewire.bpf import Loaded, Program, htons
from beewire.errors import MeshError
from beewire.mesh.config import PodConfig
from beewire.mesh.decision import Rule
from beewire.mesh.enrol import plumbing, private
from beewire.mesh.enrol.configurations import Configurations, wait_for_programs
from beewire.mesh.enrol.entries import Entries, Listening, own_bits
from beewire.mesh.enrol.hooks import (
    BYPASS_HOOKS,
    EVERY_HOOK,
    FOLLOWED,
    INBOUND,
    Hook,
    Place,
    hooks_of,
    hooks_of_tier,
)
from beewire.mesh.enrol.links import Links
from beewire.mesh.enrol.neighbours import Neighbour, neighbours
from beewire.mesh.enrol.pod import Pod, depth
from beewire.mesh.enrol.scene import Scene, read
from beewire.mesh.enrol.short_path import ShortPath, flags_of, tier_of
from beewire.mesh.network import Network
from beewire.mesh.programs import inbound
from beewire.mesh.programs.bypass.state import Tier, TierFlag
from beewire.mesh.programs.lists import LIST_BITS
from beewire.mesh.programs.state import Decision, PodMode, PodState
from beewire.mesh.programs.straight import Straight


class Shared(NamedTuple):
    """What all pods of a node have in common."""

    loaded: Loaded
    configurations: Configurations
    short_path: ShortPath


class Enrolment:
    """A pod that the data path serves until `close()`; a context manager.

    `netns` is the cookie of its network namespace.
    """

    def __init__(self, shared: Shared, pod: Pod, netns: int, links: Links) -> None:
        self.pod = pod
        self.netns = netns
        self._loaded, self._configurations, self._short_path = shared
        self._entries = Entries(self._loaded, netns)
        self._links = links
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Detach everything; connections that are open stay as they are.

        Closing twice does nothing.
        """
        if not self._is_closed:
            self._is_closed = True
            self.undo()

    def undo(self) -> None:
        """Take back what `begin` has done so far."""
        self._links.close()
        self._short_path.withdraw(self.netns)
        pod = self._entries.pod
        # In whichever mode it is by now; connections that are open need it.
        if not self._entries.own_calls():
            plumbing.remove(self.pod.netns, self.netns)
        self._entries.end()
        if pod is not None:
            self._configurations.withdraw(pod)

    def keep(self) -> None:
        """Leave the pod enrolled, by its pins.

        Raises:
            MeshError: It has none.
        """
        if self._links.pins is None:
            raise MeshError(f"the pod of {self.pod.netns} was enrolled without pins")
        self._is_closed = True

    def begin(
        self,
        scene: Scene,
        listeners: Sequence[Listening],
        mode: PodMode = PodMode.ACTING,
    ) -> None:
        """Write what the programs know of the pod, then attach them."""
        with self.pod.opened() as places:
            self._begin(scene, listeners, places, mode)

    def _begin(
        self,
        scene: Scene,
        listeners: Sequence[Listening],
        places: Mapping[str, int],
        mode: PodMode,
    ) -> None:
        entries, pod = self._entries, self.pod
        known = PodState(
            number=self._configurations.take_number(),
            mode=mode,
            proxy_cgroup=os.fstat(places["proxy_cgroup"]).st_ino,
            proxy_level=depth(pod.proxy_cgroup),
            straight=straight_of(pod.config),
        )
        entries.begin()
        alone = entries.set_addresses(scene.addresses)
        config = self._configurations.acquire(pod.config)
        try:
            self._publish(known, scene, config)
        except BaseException:
            self._configurations.release(config)
            self._configurations.give_number(known.number)
            raise
        entries.set_listeners(htons(pod.config.inbound_capture_port), listeners)
        self._attach(hooks_of(mode), places, alone=alone)
        self._shorten(known, places)

    def _shorten(self, known: PodState, places: Mapping[str, int]) -> None:
        """Shorten connections as far as the configuration says; none in shadow mode."""
        config = self.pod.config
        is_acting = known.mode != PodMode.SHADOW
        tier = tier_of(config) if is_acting else Tier.OFF
        self._short_path.set_tier(self.netns, known.number, tier, flags_of(config))
        wanted = hooks_of_tier(tier)
        self._detach_unless(wanted)
        lost = [hook for hook in wanted if not self._links.has(hook.name)]
        self._attach(lost, places, alone=True)

    def _detach_unless(self, wanted: Sequence[Hook]) -> None:
        """Detach the other hooks of the short path, but for those that sockets need yet.

        Who has joined goes by TCP where the tier allows no more, and is followed to its
        end: an application's socket has to be TCP's again, and what it carried be counted.
        """
        others = [
            hook
            for hook in BYPASS_HOOKS
            if hook not in wanted and self._links.has(hook.name)
        ]
        if not others:
            return
        wait_for_programs()  # whoever joins by the tier that was, has joined
        followed = self._short_path.followed(self.netns)
        for hook in others:
            if FOLLOWED[hook] not in followed:
                self._links.remove(hook.name)

    @property
    def tier(self) -> Tier:
        """How far the pod's connections are shortened."""
        return self._short_path.tier(self.netns)

    @property
    def shortened(self) -> tuple[Tier, TierFlag]:
        """How far, and what else the pod allows."""
        return self._short_path.tier(self.netns), self._short_path.flags(self.netns)

    def _attach(
        self, hooks: Iterable[Hook], places: Mapping[str, int], *, alone: bool
    ) -> None:
        for hook in hooks:
            program = self._program(hook, alone=alone)
            self._links.add(hook.name, program.attach(places[hook.place.value]))

    def _program(self, hook: Hook, *, alone: bool) -> Program[Any]:
        if hook.name == INBOUND:
            return self._inbound(alone=alone)
        if hook in BYPASS_HOOKS:
            return self._short_path.loaded[hook.program]
        return self._loaded[hook.program]

    def resume(self) -> None:
        """Take over what `keep` left."""
        self._entries.adopt()

    def mend(self) -> list[str]:
        """Attach what is missing of a pod that `keep` left; the names of those hooks.

        Raises:
            MeshError: It has no pins.
            KernelError: The kernel refused an attachment.
        """
        with Network.of(self.pod.netns) as network:
            self._arrange(network, self.pod.config, self.mode)
        return self._attach_missing((*hooks_of(self.mode), *hooks_of_tier(self.tier)))

    def _attach_missing(self, hooks: Iterable[Hook]) -> list[str]:
        lost = [hook for hook in hooks if not self._links.has(hook.name)]
        if lost:
            self._links.prepare()
            with self.pod.opened() as places:
                self._attach(lost, places, alone=self._entries.is_alone())
        return [hook.name for hook in lost]

    def renew(self) -> None:
        """Let the programs of this node serve the pod, in the place of others.

        Each link changes its program without a gap; hooks that are new are attached.

        Raises:
            KernelError: The kernel refused one; those before it have changed.
        """
        alone = self._entries.is_alone()
        for hook in (*EVERY_HOOK, *BYPASS_HOOKS):
            if self._links.has(hook.name):
                self._links.update(hook.name, self._program(hook, alone=alone).live)
        self.mend()

    def move_proxy(self, cgroup: Path) -> None:
        """The sidecar runs in another cgroup by now: its container was started anew.

        What listens there already is for `fill`, afterwards.

        Raises:
            MeshError: There is no such cgroup, or the pod is not enrolled any more.
            KernelError: The kernel refused an attachment.
        """
        self.pod = self.pod._replace(proxy_cgroup=cgroup)
        bypass = [
            hook
            for hook in BYPASS_HOOKS
            if hook in hooks_of_tier(self.tier) or self._links.has(hook.name)
        ]
        hooks = (*EVERY_HOOK, *bypass)
        moved = [hook for hook in hooks if hook.place is Place.PROXY_CGROUP]
        with self.pod.opened() as places:
            known = self._known()
            known.proxy_cgroup = os.fstat(places["proxy_cgroup"]).st_ino
            known.proxy_level = depth(cgroup)
            for hook in moved:
                self._links.remove(hook.name)
            self._attach(moved, places, alone=True)
            self._entries.pod = known

    def fill(self, listeners: Sequence[Listening]) -> None:
        """Put sockets by which the sidecar listens already into their slots."""
        port = htons(self.pod.config.inbound_capture_port)
        self._entries.set_listeners(port, listeners)

    def update(self, config: PodConfig, listeners: Sequence[Listening] = ()) -> None:
        """Change the configuration; every connection meets the old one or the new.

        `listeners` are sockets by which the sidecar listens already where the new one has
        another port for inbound connections.

        Raises:
            MeshError: A map is full; the pod keeps its configuration.
        """
        before = self._known().settings.inbound_port
        port = htons(config.inbound_capture_port)
        if port != before:
            self._entries.set_listeners(port, listeners)
        with Network.of(self.pod.netns) as network:
            pod = self.pod._replace(config=config)
            self._arrange(network, config, self.mode)
            self._change(read(network, pod), config)
            self.pod = pod
        with self.pod.opened() as places:
            self._shorten(self._known(), places)
        if port != before:
            self._entries.drop_listeners(before)

    @property
    def mode(self) -> PodMode:
        """Whether the programs act.

        Raises:
            MeshError: It is not enrolled any more.
        """
        return PodMode(self._known().mode)

    def switch(self, mode: PodMode) -> None:
        """Act from now on, or leave everything alone: for all hooks in one step.

        Raises:
            MeshError: It is not enrolled any more.
            KernelError: The kernel refused an attachment; nothing has changed.
        """
        pod = self._known()
        wanted = hooks_of(mode)
        if mode != PodMode.ACTING:
            plumbing.remove(self.pod.netns, self.netns)
        self._attach_missing(wanted)
        pod.mode = mode
        self._entries.pod = pod
        wait_for_programs()
        for hook in EVERY_HOOK:
            if hook not in wanted:
                self._links.remove(hook.name)
        with self.pod.opened() as places:
            self._shorten(pod, places)
        if mode is PodMode.ACTING:
            with Network.of(self.pod.netns) as network:
                self._arrange(network, self.pod.config, mode)

    def _arrange(self, network: Network, config: PodConfig, mode: PodMode) -> None:
        alone = mode == PodMode.ACTING
        plumbing.arrange(network, self.pod.netns, config, alone=alone)

    def forget_compared(self) -> None:
        """Begin anew to compare with what Istio's rules do."""
        self._entries.forget_compared()

    def _known(self) -> PodState:
        if (pod := self._entries.pod) is None:
            raise MeshError(f"the pod of {self.pod.netns} is not enrolled any more")
        return pod

    def refresh(self) -> None:
        """Read the pod's addresses, interfaces and routes again.

        Raises:
            MeshError: The namespace is gone, or has no address any more.
        """
        with Network.of(self.pod.netns) as network:
            self._change(read(network, self.pod), None)

    def watch(self) -> Network:
        """The pod's network, watched: call `refresh` when it is readable.

        The caller drains and closes it; it keeps the namespace alive.
        """
        network = Network.of(self.pod.netns)
        network.watch()
        return network

    def decisions(self) -> dict[Decision, int]:
        """How often each decision was taken since enrolment."""
        return self._entries.decisions()

    def rules(self) -> dict[Rule, int]:
        """How often each rule has decided since enrolment."""
        return self._entries.rules()

    def handshakes(self) -> int:
        """How many redirected connections without alias are being set up now."""
        return self._entries.handshakes()

    def aliases(self) -> dict[str, str]:
        """Which destination each alias stands for, as "127.65.1.2": "10.0.0.1:80"."""
        return self._entries.aliases()

    def has_listener(self) -> bool:
        """Whether the sidecar's inbound listener is known."""
        return self._entries.listeners() > 0

    def neighbours(self) -> list[Neighbour]:
        """Programs of others at the pod's hooks, those that come before ours included."""
        return neighbours(self.pod, self._links.programs())

    def _change(self, scene: Scene, config: PodConfig | None) -> None:
        pod = self._known()
        old = pod.config, pod.scope
        new = old[0] if config is None else self._configurations.acquire(config)
        if config is not None:
            pod.straight = straight_of(config)
        try:
            alone = self._entries.set_addresses(scene.addresses)
            self._publish(pod, scene, new)
        except BaseException:
            if config is not None:
                self._configurations.release(new)
            raise
        if self._links.has(INBOUND):
            self._links.update(INBOUND, self._inbound(alone=alone).live)
        if config is not None:
            self._entries.forget_compared()
            self._configurations.release(old[0])
        if old[1]:
            wait_for_programs()
            self._configurations.forget(old[1])

    def _publish(self, pod: PodState, scene: Scene, config: int) -> None:
        """Write what a pod's network says, and then, in one step, the pod."""
        pod.scope, pod.flags = 0, 0
        if scene.ranges:
            pod.scope = self._configurations.new_owner()
            self._configurations.write(
                pod.scope, scene.numbers, scene.ranges, scene.sources
            )
            for listed in scene.lists:
                pod.flags |= 1 << (LIST_BITS + listed)
        pod.config, pod.settings = config, self._configurations.settings(config)
        pod.source4, pod.source6 = scene.source4, scene.source6
        pod.own_bits = own_bits(scene.addresses)
        self._entries.pod = pod

    def _inbound(self, *, alone: bool) -> Program[Any]:
        if alone:
            return self._loaded[inbound.inbound]
        return private.inbound(self._loaded, self.netns)


def straight_of(config: PodConfig) -> Straight:
    """Which ways past sidecars a pod says yes to."""
    said = {Straight.SHORTCUT: config.shortcut, Straight.SPLICE: config.splice}
    return Straight(sum(kind for kind, yes in said.items() if yes))
