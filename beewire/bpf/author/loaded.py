"""`load`: a module of programs as a template, loaded any number of times side by side.

    with load(programs, globals={"settings": Settings(port=80)}) as loaded:
        loaded[table][key] = 1
        with loaded[outbound].attach(cgroup="/sys/fs/cgroup/pod"):
            ...

Two Loaded share a map only where it is given: `load(programs, maps={"table": map})`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from beewire.bpf import kernel
from beewire.bpf.author.bound import OnMap, bind
from beewire.bpf.author.codec import encoder
from beewire.bpf.author.collection import Collection, Source, collect
from beewire.bpf.author.home import Home
from beewire.bpf.author.program import Program
from beewire.bpf.author.variable import Variable, View, read, write
from beewire.bpf.kernel import AnyMap, Map, running
from beewire.bpf.lang import GlobalDecl, MapDecl
from beewire.errors import SpecError

T = TypeVar("T")

PROGRAMS, MAPS = "programs", "maps"  # directories of pins

_NO_MAPS: Mapping[str, AnyMap | MapDecl] = {}
_NO_VALUES: Mapping[str, object] = {}


class Globals(Mapping[str, Any]):
    """The globals of one Loaded by name; to be read, and to be set."""

    def __init__(self, home: Home, declared: Mapping[str, GlobalDecl]) -> None:
        self._home = home
        self._declared = declared

    def __getitem__(self, name: str) -> Any:
        return read(self._home, self._declared[name])

    def __setitem__(self, name: str, value: object) -> None:
        """Set the whole of a global.

        Raises:
            KeyError: There is none of that name.
            EncodingError: The value does not fit.
        """
        write(self._home, self._declared[name], "value", value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._declared)

    def __len__(self) -> int:
        return len(self._declared)


class Loaded:
    """What was loaded together; a context manager that closes it.

    `programs`, `maps` and `globals` are found by name. `loaded[table]`,
    `loaded[outbound]` and `loaded[settings]` are the declared objects as they are in
    this Loaded, with their types. Links that `attach` gave stay attached after `close`.
    """

    def __init__(self, spec: Collection, home: Home) -> None:
        self.name = spec.name
        self._home = home
        reached = spec.reached
        self._bound: dict[int, object] = {}
        self.programs: dict[str, Program[Any]] = {}
        for name, program in reached.programs.items():
            assert isinstance(program, Program)
            self.programs[name] = self._keep(program, bind(program, home))
        self.maps: dict[str, AnyMap] = {}
        for name, declared in reached.maps.items():
            self.maps[name] = home.map(declared)
            self._keep(declared, bind(declared, home))
        self.globals = Globals(home, reached.globals)
        for variable in reached.globals.values():
            assert isinstance(variable, Variable)
            self._keep(variable, View(home, variable))

    def _keep(self, declared: object, bound: T) -> T:
        self._bound[id(declared)] = bound
        return bound

    def __repr__(self) -> str:
        return f"<Loaded {self.name!r}: {', '.join([*self.programs, *self.maps])}>"

    def __getitem__(self, declared: T) -> T:
        """A declared map, program or global as it is in this Loaded.

        Raises:
            KeyError: It is no part of it.
        """
        found = self._bound.get(id(declared))
        if found is None:
            raise KeyError(f"{declared!r} is no part of {self!r}")
        # The same declaration, bound; or a global's fields, which a checker sees as one.
        return found  # type: ignore[return-value]

    def pin(self, directory: str) -> None:
        """Pin every program and map below `directory`, which is made (0700).

        `open_pinned` finds them there. When one pin fails, the others are taken away.

        Raises:
            KernelError: A name is taken, or the parent of `directory` lies on no BPF
                file system.
        """
        from beewire.bpf.kernel import pins  # noqa: PLC0415 - not on the start-up path

        made: list[str] = []
        try:
            for folder in (directory, f"{directory}/{PROGRAMS}", f"{directory}/{MAPS}"):
                pins.ensure_directory(folder)
            for place, pinned in self._pinnable():
                pinned.pin(path := f"{directory}/{place}")
                made.append(path)
        except BaseException:
            for path in made:
                os.unlink(path)  # noqa: PTH108 - no pathlib in the toolkit
            raise

    def _pinnable(self) -> Iterator[tuple[str, Map[Any, Any] | kernel.Program]]:
        for name, program in self.programs.items():
            yield f"{PROGRAMS}/{name}", program.live
        for name, live in self.maps.items():
            yield f"{MAPS}/{name}", live
        for part in self._home.parts:
            for name, section in part.sections.items():
                yield f"{MAPS}/{section_pin(name)}", section.map

    def close(self) -> None:
        """Close programs, maps and readers. Closing twice does nothing."""
        self._home.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def section_pin(name: str) -> str:
    """What a section of globals is pinned as: a name on a BPF file system has no dot."""
    return f"section_{name.lstrip('.').replace('.', '_')}"


def load(
    source: Source | Collection,
    *,
    maps: Mapping[str, AnyMap | MapDecl] = _NO_MAPS,
    globals: Mapping[str, object] = _NO_VALUES,  # noqa: A002 - the word of the field
    pin_dir: str | None = None,
    name: str = "",
) -> Loaded:
    """Compile and load the programs of `source` together, with maps of their own.

    `source` is what `collect` takes, or what it gave: collect once to load often. What
    `load` compiles itself uses all that the running kernel has.
    `maps` are used in the place of those with their names, and stay open when this
    Loaded is closed. `globals` are set before any program runs. With `pin_dir` (on a
    bpffs) maps pinned there under their names are used, and the others are pinned.

    Raises:
        CompileError: A program cannot be compiled.
        VerifierError: The kernel refuses a program.
        NotPermitted: A capability is missing.
        NotSupported: This kernel lacks what a program needs.
        SpecError: A name that is not there, or a map that does not fit.
    """
    spec = (
        source
        if isinstance(source, Collection)
        else collect(source, name=name, target=running())
    )
    home = Home()
    given = {key: _live(key, found) for key, found in maps.items()}
    home.load(spec, maps=given, values=_encoded(spec, globals), pin_dir=pin_dir)
    return Loaded(spec, home)


def _live(name: str, found: object) -> AnyMap:
    if isinstance(found, OnMap):
        return found.live
    if isinstance(found, MapDecl):
        raise SpecError(
            f"map {found.name!r} has no place in the kernel to share it from"
        )
    if not isinstance(found, Map):
        raise SpecError(f"{found!r} was given for map {name!r}, and is no map")
    return found


def _encoded(spec: Collection, values: Mapping[str, object]) -> dict[str, int | bytes]:
    known = spec.reached.globals
    for key in values:
        if key not in known:
            names = ", ".join(sorted(known)) or "none"
            raise SpecError(f"there is no global {key!r} here; there are: {names}")
    return {key: encoder(known[key].type)(value) for key, value in values.items()}
