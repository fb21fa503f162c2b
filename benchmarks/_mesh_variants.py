"""The ways to connect two pods that are compared, each on a lab of its own.

none          no mesh: pod to pod
iptables      Istio's rules, by iptables-legacy: what all are compared with
iptables_nft  the same rules, by iptables-nft
redirect      Beewire's redirection, every byte by TCP
sidecars      and the short path between sidecars
all           and between applications and their sidecars
shortcut      all, and past the server's sidecar, which does nothing but pass bytes on
splice        all, and past both sidecars, which do nothing but that
"""

import contextlib
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from _mesh_peers import check_accelerated, merbridge
from _mesh_placement import SPREAD, cpus, place, spread_workers
from _mesh_workloads import (
    CLIENT,
    L4_INBOUND_PORTS,
    L4_PORTS,
    NEIGHBOUR,
    SERVER,
    WEB,
    Kind,
)

from beewire.errors import MeshError
from beewire.mesh.config import Bypass
from beewire.mesh.enrol import SIDECAR, Node
from beewire.mesh.lab import (
    Beewire,
    Interception,
    Iptables,
    Lab,
    Pod,
    Sidecar,
    SidecarConfig,
    mesh,
    nginx,
)
from beewire.mesh.lab.description import SocketMap
from beewire.mesh.lab.neighbours import neighbours
from beewire.mesh.lab.server import Server
from beewire.mesh.network import Network
from beewire.mesh.sidecar import Admin
from beewire.mesh.straight import Member, Straight, Tables, plan

BASE = "iptables"
START_TIMEOUT_S = 10


@dataclass(frozen=True)
class Rig:
    """A variant that runs: its lab and what is in it."""

    name: str
    lab: Lab
    sidecars: tuple[Sidecar, ...]
    server: Server
    interception: Interception | None
    client_cpus: set[int]

    def check(self) -> None:
        """Check that everything still runs.

        Raises:
            MeshError: a sidecar or the server has ended.
        """
        for part in (*self.sidecars, self.server):
            part.check()

    @property
    def node(self) -> Node | None:
        """The programs that the pods share, if they are Beewire's."""
        plug = self.interception
        return plug.node if isinstance(plug, Beewire) else None

    @contextlib.contextmanager
    def beside(self, count: int) -> Iterator[None]:
        """With so many idle pods more until the end of the block."""
        with neighbours(self.lab, count, self.interception, NEIGHBOUR):
            yield


Plug = AbstractContextManager[Interception | None]


class Asked(NamedTuple):
    """What the user asked for that concerns how variants run."""

    congestion: str = "reno"
    placement: str = SPREAD
    workers: int = 1
    merbridge: Path | None = None
    envoy_sockmap: str = ""


class Variant(NamedTuple):
    """A way to connect pods. `kind` says by which ports; `passes` which sidecars.

    `ready` is called with what runs, before there is load. `short` says that bytes take
    the short path.
    """

    name: str
    what: str
    interception: Callable[[Asked], Plug]
    kind: Kind = Kind.USUAL
    passes: tuple[bool, bool] = (True, True)
    ready: Callable[[Rig], None] | None = None
    short: bool = False
    socket_map: bool = False

    @contextlib.contextmanager
    def running(self, asked: Asked) -> Iterator[Rig]:
        """The variant, ready for load, until the end of the block.

        Raises:
            BeewireError: the machine lacks something, or the kernel refused it.
        """
        config = replace(Lab().config, congestion=asked.congestion)
        with contextlib.ExitStack() as stack:
            plug = stack.enter_context(self.interception(asked))
            lab = stack.enter_context(Lab(config))
            if plug is None:
                server = stack.enter_context(nginx(lab.b, WEB))
                yield Rig(self.name, lab, (), server, None, self._place(asked, lab))
                return
            client, server = self._sidecars(asked, lab)
            made = mesh(lab, plug, client, inbound=server, web=WEB)
            running = stack.enter_context(made)
            sidecars = running.a, running.b
            where = self._place(asked, lab)
            rig = Rig(self.name, lab, sidecars, running.server, plug, where)
            if self.ready is not None:
                self.ready(rig)
            yield rig

    def _place(self, asked: Asked, lab: Lab) -> set[int]:
        # Where each part runs; what the client's CPUs are, which starts with each load.
        client, *others = cpus(asked.placement, self.passes)
        for part, where in zip(
            (lab.a.proxy, lab.b.proxy, lab.b.app), others, strict=True
        ):
            place(part.cgroup.path, where)
        if asked.placement == SPREAD and asked.workers > 1:
            for pod, (first, *_) in zip(lab.pods, others[:2], strict=True):
                spread_workers(pod.proxy.cgroup.path, first)
        return client

    def _sidecars(self, asked: Asked, lab: Lab) -> tuple[SidecarConfig, SidecarConfig]:
        client = replace(CLIENT, workers=asked.workers)
        server = replace(SERVER, workers=asked.workers)
        if not self.socket_map:
            return client, server
        # Envoy says whether it has it only when it is to load something.
        program = asked.envoy_sockmap or "--envoy-sockmap"
        used = SocketMap(program, lab.run.cgroup().path)
        return replace(client, socket_map=used), replace(server, socket_map=used)


def _plain(plug: Interception | None) -> Callable[[Asked], Plug]:
    return lambda _: contextlib.nullcontext(plug)


def _beewire(name: str, tier: Bypass, **more: bool) -> Callable[[Asked], Plug]:
    @contextlib.contextmanager
    def interception(_: Asked) -> Iterator[Interception]:
        config = replace(SIDECAR, bypass=tier, **more)
        with Node.load() as node:
            yield Beewire(config, node=node, name=name)

    return interception


def _past_sidecars(kind: Straight, ports: Collection[int]) -> Callable[[Rig], None]:
    # What the agent does: ask the sidecars, judge, write. They may still be reading what
    # they are to do.
    def ready(rig: Rig) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            found = plan([_member(pod, kind) for pod in rig.lab.pods])
            closed = [
                f"port {each.port}: {each.refusals[0]}"
                for each in found.judged
                if each.port in ports and each.server.name == "b" and each.refusals
            ]
            if not closed:
                break
            if time.monotonic() > deadline:
                raise MeshError(f"there is no way past the sidecars, {closed[0]}")
            time.sleep(0.1)
        Tables(rig.node.loaded).apply(found)

    return ready


def _member(pod: Pod, kind: Straight) -> Member:
    addresses = tuple(map(ip_address, pod.addresses))
    with Network.of(pod.namespace.path) as network, Admin(pod.namespace.path) as admin:
        return Member(pod.name, network.cookie, addresses, kind, admin.dump())


VARIANTS = {
    each.name: each
    for each in (
        Variant("none", "no mesh", _plain(None), passes=(False, False)),
        Variant(BASE, "Istio's rules, iptables-legacy", _plain(Iptables())),
        Variant("iptables_nft", "the same, iptables-nft", _plain(Iptables(nft=True))),
        Variant("redirect", "Beewire, all by TCP", _beewire("redirect", Bypass.OFF)),
        Variant(
            "sidecars",
            "Beewire, short path between sidecars",
            _beewire("sidecars", Bypass.SIDECARS),
            short=True,
        ),
        Variant(
            "all",
            "Beewire, short path on every leg",
            _beewire("all", Bypass.ALL),
            short=True,
        ),
        Variant(
            "shortcut",
            "as all, past the server's sidecar, which is L4-only",
            _beewire("shortcut", Bypass.ALL, shortcut=True),
            kind=Kind.L4_INBOUND,
            passes=(True, False),
            ready=_past_sidecars(Straight.SHORTCUT, L4_INBOUND_PORTS),
            short=True,
        ),
        Variant(
            "splice",
            "as all, past both sidecars, which are L4-only",
            _beewire("splice", Bypass.ALL, splice=True),
            kind=Kind.L4,
            passes=(False, False),
            ready=_past_sidecars(Straight.SPLICE, L4_PORTS),
            short=True,
        ),
        Variant(
            "merbridge",
            "merbridge's programs",
            lambda asked: merbridge(asked.merbridge),
            ready=lambda rig: rig.interception.start(),
        ),
        Variant(
            "envoy_sockmap",
            "Istio's rules, and Envoy's own sockmap",
            _plain(Iptables()),
            ready=lambda rig: check_accelerated(rig.sidecars),
            socket_map=True,
        ),
    )
}
