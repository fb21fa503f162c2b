"""`ShortPath`: the programs and maps of the short path of one node, and a pod's tier.

They are loaded when the first pod wants them, and cost nothing where none does.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Self

from beewire.bpf import Loaded, collect, load, open_pinned
from beewire.bpf.author.collection import Collection
from beewire.bpf.author.pinned import outline
from beewire.bpf.kernel import AnyMap, Map, Program, attach_sockmap, running
from beewire.errors import MapError, MeshError
from beewire.mesh.config import Bypass, PodConfig
from beewire.mesh.enrol.configurations import wait_for_programs
from beewire.mesh.enrol.entries import delete_of
from beewire.mesh.programs.bypass import joining, live, message, state
from beewire.mesh.programs.bypass.live import Row
from beewire.mesh.programs.bypass.state import (
    PodTier,
    Role,
    Tier,
    TierFlag,
    Totals,
)

PROGRAMS = (
    joining.bypass_sidecar,
    joining.bypass_application,
    message.shorten,
    live.live,
)
NAME = "mesh_bypass"
PINS = "bypass"  # below the node's own

TIERS = {
    Bypass.OFF: Tier.OFF,
    Bypass.SIDECARS: Tier.SIDECARS,
    Bypass.ALL: Tier.ALL,
    Bypass.AUTO: Tier.AUTO,
}


def tier_of(config: PodConfig) -> Tier:
    """The tier that a configuration asks for; where it says nothing, OFF."""
    return TIERS[config.bypass or Bypass.OFF]


def flags_of(config: PodConfig) -> TierFlag:
    """What else it allows."""
    shortcut = TierFlag.SHORTCUT if config.shortcut else TierFlag(0)
    return shortcut | (TierFlag.SPLICE if config.splice else TierFlag(0))


class ShortPath:
    """The short path of the node whose programs are `shared`.

    `pins` is the node's directory of pins, if it has one. `limits` are constants of the
    programs that are to be others than they are: "bound", "pays", "large",
    "overdue".
    """

    def __init__(
        self,
        shared: Loaded | None,
        pins: Path | None = None,
        limits: Mapping[str, int] | None = None,
    ) -> None:
        self._shared = shared
        self._pins = pins and pins / PINS
        self._limits = limits or {}
        self._loaded: Loaded | None = None

    @classmethod
    def of(cls, loaded: Loaded) -> Self:
        """The one whose programs these are; the caller closes them."""
        made = cls(None)
        made._loaded = loaded
        return made

    @classmethod
    def at(cls, pins: Path) -> Self:
        """What is pinned below a node's directory, to be looked at and switched."""
        return cls(None, pins)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptors. Connections stay as they are."""
        if self._loaded is not None:
            self._loaded.close()
            self._loaded = None

    def found(self) -> Loaded | None:
        """The programs, if a pod has wanted them so far."""
        if self._loaded is None and self._pins is not None and self._pins.is_dir():
            self._loaded = open_pinned(PROGRAMS, str(self._pins), name=NAME)
        return self._loaded

    @property
    def loaded(self) -> Loaded:
        """The programs, loaded if need be.

        Raises:
            KernelError: The kernel refused a program, a map or a pin.
            MeshError: None are pinned, and these were to be found (`at`).
        """
        if (there := self.found()) is not None:
            return there
        if self._shared is None:
            raise MeshError(f"no pod has taken the short path: no {self._pins} here")
        with ExitStack() as stack:
            loaded = stack.enter_context(load_on(self._shared.maps, self._limits))
            if self._pins is not None:
                loaded.pin(str(self._pins))
            stack.pop_all()
        self._loaded = loaded
        return loaded

    def tier(self, netns: int) -> Tier:
        """How far a pod's connections are shortened."""
        known = self._known(netns)
        return Tier.OFF if known is None else Tier(known.tier)

    def flags(self, netns: int) -> TierFlag:
        """What else a pod allows."""
        known = self._known(netns)
        return TierFlag(0) if known is None else TierFlag(known.flags)

    def totals(self, netns: int) -> Totals:
        """What the ends of a pod's connections have sent that are closed by now."""
        known = self._known(netns)
        if (loaded := self.found()) is None or known is None:
            return Totals()
        found: Totals = loaded[state.totals][known.number]
        return found

    def rows(self) -> Iterator[Row]:
        """Every socket that was considered and is still there, of all pods.

        Raises:
            KernelError: The kernel refuses to list them.
        """
        if (loaded := self.found()) is None:
            return
        content = loaded[live.live].read(map=loaded[state.flows])
        size = len(Row().to_bytes())
        for start in range(0, len(content), size):
            yield Row.from_bytes(content[start : start + size])

    def followed(self, netns: int) -> frozenset[Role]:
        """Whose sockets of a pod the programs have to do with: until they have closed."""
        return frozenset(
            Role(row.flow.role) for row in self.rows() if row.flow.own.netns == netns
        )

    def set_tier(self, netns: int, number: int, tier: Tier, flags: TierFlag) -> None:
        """Write a pod's tier; `number` is its place among the counters.

        Connections on the short path go by TCP from now on where it is OFF. Where it is
        not, `switch` is forgotten: whoever calls this knows what is switched off.

        Raises:
            MeshError: The map is full.
        """
        known = self._known(netns)
        if tier is Tier.OFF and known is None:
            return
        loaded = self.loaded
        if known is None:
            loaded[state.totals][number] = Totals()
        loaded[state.off][number] = int(tier is Tier.OFF)
        wanted = PodTier(tier=tier, flags=flags, number=number)
        try:
            loaded[state.tiers][netns] = wanted
        except MapError as error:
            raise MeshError(f"the node's tiers are full: {error}") from error

    def withdraw(self, netns: int) -> None:
        """A pod is gone; its links have to be closed."""
        if (loaded := self.found()) is None or netns not in loaded[state.tiers]:
            return
        loaded[state.tiers].delete(netns)
        self.sweep(netns)
        delete_of(netns, loaded[state.habits])

    def sweep(self, netns: int) -> None:
        """Delete the greetings of a pod whose sockets nobody follows any more."""
        if (loaded := self.found()) is None:
            return
        wait_for_programs()
        delete_of(netns, loaded[state.greetings])

    def _known(self, netns: int) -> PodTier | None:
        loaded = self.found()
        return None if loaded is None else loaded[state.tiers].get(netns)


def load_on(
    maps: Mapping[str, AnyMap], limits: Mapping[str, int] | None = None
) -> Loaded:
    """Load the programs on these maps, and on new ones where one is missing.

    What sockets send that join in new `peers` is theirs to see; given ones keep whose
    they are until `attach`.

    Raises:
        KernelError: The kernel refused a program or a map.
    """
    spec = _compiled()
    shared = {name: maps[name] for name in spec.maps if name in maps}
    loaded = load(spec, maps=shared, globals=limits or {})
    try:
        if state.peers.name not in shared:
            attach(loaded)
    except BaseException:
        loaded.close()
        raise
    return loaded


def attach(loaded: Loaded) -> None:
    """Let this `shorten` see what sockets send that join from now on.

    The map holds it, not a link: it goes when nobody has the map any more. Sockets that
    have joined keep the program that they have.
    """
    program, sockets = loaded[message.shorten], loaded[state.peers]
    os.close(program.attach(sockets, as_link=False, replace=True).release())


def attach_pinned(pins: Path) -> None:
    """Let the `shorten` that is pinned see them again, whatever version has pinned it.

    Raises:
        KernelError: It is not there, or the kernel refused it.
    """
    shorten, peers = message.shorten, state.peers.name
    with (
        Program.from_pin(
            f"{pins}/programs/{shorten.name}", outline(shorten)
        ) as program,
        Map.from_pin(f"{pins}/maps/{peers}") as sockets,
    ):
        link = attach_sockmap(program, sockets, as_link=False, replace=True)
        os.close(link.release())


@cache
def _compiled() -> Collection:
    return collect(PROGRAMS, name=NAME, target=running())
