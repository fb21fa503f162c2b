"""Another version's short path takes over: connections that have joined lose no byte.

Sockets keep the sk_msg program that they met when they joined, for as long as they live. So
there are two ways:

- All of `KIN` have the layout that they had. Then the new programs share them: who has
  joined goes on under the old program, who joins meets the new one, and the switch serves
  both.
- One has another layout. Then all of them are new, and the old ones are switched off:
  connections that have joined go by TCP from then on, what waits being read first. The old
  hooks stay beside the new ones until the last of their sockets has gone (`past`).

What else there is (tiers, habits, totals) is shared or carried over in any case.
"""

import contextlib
from pathlib import Path
from types import TracebackType
from typing import Self

from beewire.bpf import Loaded, open_maps
from beewire.bpf.kernel import AnyMap, Map, Program
from beewire.bpf.object import ProgramKind, ProgramSpec
from beewire.errors import KernelError
from beewire.mesh.agent.migrate import carry_over
from beewire.mesh.enrol import short_path
from beewire.mesh.programs.bypass.switching import EVERY_POD

# What the two ends of a connection and the programs that follow it have in common.
_ENDS = ("peers", "flows", "unread", "greetings")
KIN = (*_ENDS, "off")

# What a program is that is only put into a link's place, or looked at.
ANY = ProgramSpec("present", kind=ProgramKind.UNSPEC, section="", insns=())


def changed(pins: Path, loaded: Loaded) -> tuple[str, ...]:
    """The programs that are others than those pinned, by what the kernel makes of them."""
    return tuple(
        name
        for name, program in loaded.programs.items()
        if _tag(pins / "programs" / name) != program.live.info().tag
    )


def _tag(pin: Path) -> str:
    try:
        with Program.from_pin(str(pin), ANY) as program:
            return program.info().tag
    except KernelError:
        return ""


class Succession:
    """This version's programs in the place of those pinned at `pins`.

    `shared` are this version's maps of the node. A context manager, which closes what was
    opened; `loaded` is None where no pod has wanted the short path so far.
    """

    def __init__(self, pins: Path, shared: Loaded) -> None:
        self._pins = pins
        self._old: dict[str, AnyMap] = {}
        self._kept: dict[str, AnyMap] = {}
        self._are_kin = True
        self.loaded: Loaded | None = None
        if not pins.is_dir():
            return
        fitting, others = open_maps(
            short_path.PROGRAMS, str(pins), name=short_path.NAME
        )
        self._are_kin = all(name in fitting for name in KIN)
        for name, live in (fitting | others).items():
            if name in shared.maps:
                live.close()  # the node's, which it carries over itself
                continue
            self._old[name] = live
            if name in fitting and (self._are_kin or name not in KIN):
                self._kept[name] = live
        try:
            self.loaded = short_path.load_on({**shared.maps, **self._kept})
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close what was opened. Closing twice does nothing."""
        if self.loaded is not None:
            self.loaded.close()
            self.loaded = None
        while self._old:
            self._old.popitem()[1].close()

    def short_path(self) -> short_path.ShortPath | None:
        """For the node that serves pods by the new programs."""
        return None if self.loaded is None else short_path.ShortPath.of(self.loaded)

    @property
    def programs(self) -> tuple[str, ...]:
        """The names of programs that are others, by what the kernel makes of them."""
        if self.loaded is None:
            return ()
        return changed(self._pins, self.loaded)

    @property
    def maps(self) -> tuple[str, ...]:
        """The names of maps that are new."""
        if self.loaded is None:
            return ()
        return tuple(name for name in self._old if name not in self._kept)

    @property
    def left(self) -> AnyMap | None:
        """The sockets that new programs cannot serve, if there may be any."""
        return None if self._are_kin else self._old.get("peers")

    def pin(self, directory: Path) -> None:
        """Pin the new programs and maps.

        Raises:
            KernelError: A pin was refused.
        """
        if self.loaded is not None:
            self.loaded.pin(str(directory))

    def carry(self) -> None:
        """Copy what new maps have to know before the new programs run.

        Raises:
            MeshError: A map has not the room.
        """
        if self.loaded is None:
            return
        for name in self.maps:
            if name not in _ENDS:
                carry_over(self._old[name], self.loaded.maps[name])

    def take_over(self) -> None:
        """Let new connections meet the new programs, and old ones go by TCP if they must."""
        if self.loaded is None:
            return
        short_path.attach(self.loaded)
        if "off" in self._old and "off" not in self._kept:
            with Map.from_pin(f"{self._pins}/maps/off") as off:
                off[EVERY_POD] = 1

    def put_back(self) -> None:
        """Let new connections meet the old programs again."""
        if self.loaded is None or "peers" not in self._kept:
            return
        with contextlib.suppress(KernelError):
            short_path.attach_pinned(self._pins)
