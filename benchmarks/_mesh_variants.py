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
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import NamedTuple

from _mesh_workloads import CLIENT, NEIGHBOUR, SERVER, WEB, Kind, Workload

from beewire.mesh.config import Bypass
from beewire.mesh.enrol import SIDECAR, Node
from beewire.mesh.lab import (
    Beewire,
    Interception,
    Iptables,
    Lab,
    Sidecar,
    mesh,
    nginx,
)
from beewire.mesh.lab.neighbours import neighbours
from beewire.mesh.lab.server import Server

BASE = "iptables"


@dataclass(frozen=True)
class Rig:
    """A variant that runs: its lab and what is in it."""

    name: str
    lab: Lab
    sidecars: tuple[Sidecar, ...]
    server: Server
    interception: Interception | None

    def check(self) -> None:
        """Check that everything still runs.

        Raises:
            MeshError: a sidecar or the server has ended.
        """
        for part in (*self.sidecars, self.server):
            part.check()

    @contextlib.contextmanager
    def beside(self, count: int) -> Iterator[None]:
        """With so many idle pods more until the end of the block."""
        with neighbours(self.lab, count, self.interception, NEIGHBOUR):
            yield


class Variant(NamedTuple):
    """A way to connect pods. `kind` says by which ports; `passes` which sidecars."""

    name: str
    what: str
    interception: Callable[[], AbstractContextManager[Interception | None]]
    kind: Kind = Kind.USUAL
    passes: tuple[bool, bool] = (True, True)

    def port(self, workload: Workload) -> int | None:
        """The port of `workload` that this variant is for, if there is one."""
        return workload.ports.get(self.kind)

    @contextlib.contextmanager
    def running(self, congestion: str) -> Iterator[Rig]:
        """The variant, ready for load, until the end of the block.

        Raises:
            BeewireError: the machine lacks something, or the kernel refused it.
        """
        config = replace(Lab().config, congestion=congestion)
        with contextlib.ExitStack() as stack:
            plug = stack.enter_context(self.interception())
            lab = stack.enter_context(Lab(config))
            if plug is None:
                server = stack.enter_context(nginx(lab.b, WEB))
                yield Rig(self.name, lab, (), server, None)
                return
            made = mesh(lab, plug, CLIENT, inbound=SERVER, web=WEB)
            running = stack.enter_context(made)
            yield Rig(self.name, lab, (running.a, running.b), running.server, plug)


def _plain(plug: Interception | None) -> Callable[[], AbstractContextManager]:
    return lambda: contextlib.nullcontext(plug)


def _beewire(name: str, tier: Bypass, **more: bool) -> Callable:
    @contextlib.contextmanager
    def interception() -> Iterator[Interception]:
        config = replace(SIDECAR, bypass=tier, **more)
        with Node.load() as node:
            yield Beewire(config, node=node, name=name)

    return interception


VARIANTS = {
    each.name: each
    for each in (
        Variant("none", "no mesh", _plain(None), passes=(False, False)),
        Variant(BASE, "Istio's rules, iptables-legacy", _plain(Iptables())),
        Variant("iptables_nft", "the same, iptables-nft", _plain(Iptables(nft=True))),
        Variant("redirect", "Beewire, all by TCP", _beewire("redirect", Bypass.OFF)),
    )
}
