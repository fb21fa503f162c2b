"""Declared maps by themselves: made without programs, or opened where they are pinned."""

from __future__ import annotations

from beewire.bpf import kernel
from beewire.bpf.author.bound import OnMap, bind
from beewire.bpf.author.codec import codec
from beewire.bpf.author.collection import Reached, compile_into, map_spec
from beewire.bpf.author.home import Home
from beewire.bpf.kernel.fits import check_fits
from beewire.bpf.lang import MapDecl
from beewire.hints import TypeVar

M = TypeVar("M", bound=OnMap)


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


def load_map(declared: M) -> M:
    """A new map in the kernel, as `declared` says."""
    name = declared.name or type(declared).__name__
    reached = Reached(name, ())
    reached.maps[name] = declared
    declared.name = name
    home = Alone()
    home.load(compile_into(reached, {}, kernel.running()))
    return bind(declared, home)


def open_pin(declared: M, path: str, *, read_only: bool) -> M:
    """The map that is pinned at `path`, seen as `declared` says."""
    live = kernel.Map.from_pin(path, read_only=read_only)
    return around(declared, live, f"the map pinned at {path}")


def around(declared: M, live: kernel.AnyMap, what: str) -> M:
    """`live`, which the result owns, seen as `declared` says.

    Raises:
        SpecError: it is another kind of map, or holds something else.
    """
    home = Alone(live)
    wanted = map_spec(declared)
    try:
        check_fits(wanted, live.spec, what)
    except BaseException:
        home.close()
        raise
    # The kernel does not keep the types of every map.
    live.spec.key, live.spec.value = wanted.key, wanted.value
    live.codec = kernel.default_codec(live.spec)
    live.codec = codec(declared, live)
    return bind(declared, home)
