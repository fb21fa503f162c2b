"""What all maps have in common in user space: the way to the map in the kernel."""

from __future__ import annotations

from beewire.bpf.lang import MapDecl, ProgramDecl
from beewire.errors import MapError
from beewire.hints import TYPE_CHECKING, NoReturn, Self, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

    from beewire.bpf.author.home import Home
    from beewire.bpf.kernel import AnyMap
    from beewire.bpf.kernel.maps.info import MapInfo

D = TypeVar("D", bound="MapDecl | ProgramDecl")


class OnMap(MapDecl):
    """A declared map that can be found in the kernel.

    A module-level map is the one that `attach()` made for this process; `loaded[table]`
    is the same declaration, bound to a Loaded.
    """

    home: Home | None = None
    origin: MapDecl | None = None

    @property
    def live(self) -> AnyMap:
        """The map in the kernel, with keys and values as declared.

        Raises:
            MapError: It is not there: nothing that uses it was attached yet.
        """
        return home_of(self).map(self.origin or self)

    def pin(self, path: str) -> None:
        """Keep the map alive under `path` on a BPF file system.

        Raises:
            KernelError: The path exists, or lies on no BPF file system.
        """
        self.live.pin(path)

    def load(self) -> Self:
        """A new map in the kernel that is no program's yet: `with table.load() as t:`.

        It is there until it is closed, and longer where something else holds it: a
        program, a pin, a map of maps.

        Raises:
            NotPermitted: A capability is missing.
            KernelError: The kernel refuses.
        """
        from beewire.bpf.author.alone import load_map  # noqa: PLC0415 - loads the kernel room

        return bind(self, load_map(self))

    def open(self, path: str, *, read_only: bool = False) -> Self:
        """The map that is pinned at `path`, with keys and values as declared.

        Raises:
            SpecError: It is another kind of map, or another size, or has other types; a
                `max_entries` of 0 fits any.
            KernelError: Nothing is pinned there, or it is no map.
        """
        from beewire.bpf.author.alone import open_pin  # noqa: PLC0415 - loads the kernel room

        return bind(self, open_pin(self, path, read_only=read_only))

    def close(self) -> None:
        """Close a map that `load` or `open` gave. Closing twice does nothing.

        Raises:
            MapError: It belongs to programs, and goes with them.
        """
        if not getattr(self.home, "is_alone", False) or self.home is None:
            name = self.name or "the map"
            raise MapError(
                f"{name} belongs to the programs that use it: close their Loaded; a map "
                "of your own comes from load() or open()"
            )
        self.home.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def info(self) -> MapInfo:
        """What the kernel knows of it: id, sizes, flags, memory, whether it is frozen."""
        return self.live.info

    def freeze(self) -> None:
        """Forbid user space to write, for good; programs may write on (Linux 5.2)."""
        self.live.freeze()

    def __eq__(self, other: object) -> bool:
        # As mappings two maps would compare their content, which needs the kernel.
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name or 'without a name yet'}>"

    def in_programs(self, operation: str, instead: str = "") -> NoReturn:
        """Refuse an operation that only programs have."""
        advice = f"; in user space write {instead}" if instead else ""
        name = self.name or "the map"
        raise MapError(f"{name}.{operation}() works in programs only{advice}")


def home_of(declared: object) -> Home:
    """The Home that `declared` is bound to, else the implicit one of the process."""
    found: Home | None = getattr(declared, "home", None)
    if found is not None:
        return found
    from beewire.bpf.author.home import implicit  # noqa: PLC0415 - loads the kernel room

    return implicit()


def bind(declared: D, home: Home) -> D:
    """A copy of a declaration that finds itself in `home`."""
    bound = object.__new__(type(declared))
    bound.__dict__.update(declared.__dict__)
    bound.__dict__["home"] = home
    bound.__dict__["origin"] = declared
    return bound
