"""Declared maps by themselves: made without programs, or opened where they are pinned."""

from __future__ import annotations

from beewire.bpf import kernel
from beewire.bpf.author.codec import codec
from beewire.bpf.author.collection import ARENA, Reached, compile_into, map_spec
from beewire.bpf.author.home import Home
from beewire.bpf.kernel.fits import check_fits
from beewire.bpf.lang import MapDecl
from beewire.bpf.object import DataSection, MapKind


class Alone(Home):
    """The home of one map."""

    is_alone = True

    def __init__(self, live: kernel.AnyMap | None = None) -> None:
        super().__init__()
        self._live = live

    def map(self, declared: MapDecl) -> kernel.AnyMap:
        """The map."""
        return super().map(declared) if self._live is None else self._live

    def close(self) -> None:
        """Close the map."""
        super().close()
        if self._live is not None:
            self._live.close()


def load_map(declared: MapDecl) -> Alone:
    """The home of a new map, as `declared` says."""
    given = declared.name
    declared.name = name = given or type(declared).__name__
    reached = Reached(name, ())
    reached.maps[name] = declared
    home = Alone()
    try:
        home.load(compile_into(reached, {}, kernel.running()))
    finally:
        declared.name = given  # a program that uses it will know its variable's
    return home


def open_pin(declared: MapDecl, path: str, *, read_only: bool) -> Alone:
    """The home of the map that is pinned at `path`, seen as `declared` says."""
    live = kernel.Map.from_pin(path, read_only=read_only)
    return around(declared, live, f"the map pinned at {path}")


def around(
    declared: MapDecl, live: kernel.AnyMap, what: str, *, any_size: bool = False
) -> Alone:
    """The home of `live`, which it owns, seen as `declared` says.

    Raises:
        SpecError: it is another kind of map, or holds something else.
    """
    home = Alone(live)
    wanted = map_spec(declared)
    if any_size:
        wanted.max_entries = 0
    try:
        check_fits(wanted, live.spec, what)
    except BaseException:
        home.close()
        raise
    # The kernel does not keep the types of every map.
    live.retype(wanted.key, wanted.value)
    live.codec = codec(declared, live)
    if live.spec.kind is MapKind.ARENA and live.spec.extra:
        _map(home, live)
    return home


def _map(home: Alone, arena: kernel.AnyMap) -> None:
    """Map an arena, as loading does, at the address that it was made with."""
    from beewire.bpf.kernel.arena import map_arena  # noqa: PLC0415 - few are one

    part = kernel.Loaded(arena.name)
    start = DataSection(ARENA, bytearray(), [])
    part.sections[start.name] = map_arena({arena.name: arena}, start, b"")
    part.own(part.sections[start.name])
    home.parts.append(part)
