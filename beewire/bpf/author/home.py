"""Where declarations live: which map, program or section in the kernel each one became.

The implicit Home of the process is behind `prog.attach()` and module-level maps. It holds
what attached programs reach, and grows: a program that is attached later shares the maps
and globals that are there already, known by the declaration itself and not by its name.
"""

from __future__ import annotations

import os
from _thread import allocate_lock

from beewire.bpf import kernel
from beewire.bpf.author.codec import codec
from beewire.bpf.author.collection import Collection, Reached, compile_into
from beewire.bpf.lang import GlobalDecl, MapDecl, ProgramDecl, Ring, lay_out_globals
from beewire.bpf.lang.decl import dropped_name
from beewire.bpf.object import DataSection
from beewire.errors import AttachError, MapError
from beewire.hints import Any, Callable, Mapping, TypeVar

E = TypeVar("E", bound="kernel.Reader[Any] | kernel.UserRing")

Maps = Mapping[str, kernel.AnyMap]
Values = Mapping[str, int | bytes]
_NO_MAPS: Maps = {}
_NO_VALUES: Values = {}


class Home:
    """Declarations, and what became of them in the kernel."""

    def __init__(self) -> None:
        self.parts: list[kernel.Loaded] = []
        self._maps: dict[MapDecl, kernel.AnyMap] = {}
        self._programs: dict[ProgramDecl, kernel.Program] = {}
        self._sections: dict[GlobalDecl, kernel.Section] = {}
        self._ends: dict[MapDecl, kernel.Reader[Any] | kernel.UserRing] = {}
        self._lock = allocate_lock()

    def load(
        self,
        spec: Collection,
        *,
        maps: Maps = _NO_MAPS,
        values: Values = _NO_VALUES,
        pin_dir: str | None = None,
    ) -> kernel.Loaded:
        """Load `spec`, and remember which declaration became what."""
        target = kernel.Target()
        if spec.reached.symbols:
            kernel.check_externs(spec, target)
        part = kernel.load(
            spec,
            maps=maps,
            globals=values,
            pin_dir=pin_dir,
            target=target,
            targets=_targets(spec.reached),
        )
        self.parts.append(part)
        for name, declared in spec.reached.maps.items():
            live = part.maps[name]
            if name not in maps:
                live.codec = codec(declared, live)
            self._maps[declared] = live
        for name, program in spec.reached.programs.items():
            self._programs[program] = part.programs[name]
        for name, variable in spec.reached.globals.items():
            self._sections[variable] = part.sections[spec.places[name]]
        return part

    def found(
        self, declared: MapDecl | ProgramDecl, live: kernel.AnyMap | kernel.Program
    ) -> None:
        """Remember what `declared` is in the kernel, where it was not loaded by `load`."""
        if isinstance(declared, MapDecl):
            assert isinstance(live, kernel.Map)
            self._maps[declared] = live
        else:
            assert isinstance(live, kernel.Program)
            self._programs[declared] = live

    def found_section(self, declared: GlobalDecl, section: kernel.Section) -> None:
        """As `found`, of a global and the section that holds it."""
        self._sections[declared] = section

    def map(self, declared: MapDecl) -> kernel.AnyMap:
        """The map that `declared` became.

        Raises:
            MapError: It is not in the kernel.
        """
        found = self._maps.get(declared)
        if found is None:
            use = "" if isinstance(declared, Ring) else "[key]"
            raise MapError(self._absent(declared, use))
        return found

    def end(self, declared: MapDecl, opens: Callable[[kernel.AnyMap], E]) -> E:
        """The one end that this process has of a buffer: its reader, or its writer.

        Raises:
            MapError: It is not in the kernel.
        """
        with self._lock:  # of two readers each would take records from the other
            found = self._ends.get(declared)
            if found is None:
                found = self._ends[declared] = opens(self.map(declared))
        return found  # type: ignore[return-value]  # what `opens` made before

    def dropped(self, declared: MapDecl) -> int:
        """How many records programs could not send by `declared`.

        Raises:
            MapError: It is not in the kernel.
        """
        live, name = self.map(declared), dropped_name(declared)
        counts = [
            section.read(name)
            for part in self.parts
            if part.maps.get(declared.name) is live
            for section in part.sections.values()
            if name in section.variables
        ]
        return sum([int.from_bytes(count, "little") for count in counts])

    def program(self, declared: ProgramDecl) -> kernel.Program:
        """The program that `declared` became.

        Raises:
            AttachError: It is not in the kernel.
        """
        found = self._programs.get(declared)
        if found is None:
            raise AttachError(
                f"program {declared.name!r} was not loaded here: give it to load() "
                "together with the others"
            )
        return found

    def part_of(self, declared: ProgramDecl) -> kernel.Loaded:
        """What `declared` was loaded with.

        Raises:
            AttachError: It is not in the kernel.
        """
        live = self.program(declared)
        return next(
            part for part in self.parts if part.programs.get(declared.name) is live
        )

    def has(self, declared: GlobalDecl) -> bool:
        """Whether `declared` is in the kernel."""
        return declared in self._sections

    def missed(self, declared: ProgramDecl) -> int:
        """How many runs of it, and of what it was loaded with, found no scratch place.

        Raises:
            AttachError: It is not in the kernel.
        """
        live = self.program(declared)
        for part in self.parts:
            scratch = part.maps.get("bw_scratch")
            if scratch is not None and part.programs.get(declared.name) is live:
                word = slice(0, 8)  # of each CPU's value (codegen/scratch.py)
                return sum(int.from_bytes(each[word], "little") for each in scratch[0])
        return 0

    def section(self, declared: GlobalDecl) -> kernel.Section:
        """The section that holds `declared`.

        Raises:
            MapError: It is not in the kernel.
        """
        found = self._sections.get(declared)
        if found is None:
            raise MapError(self._absent(declared, ""))
        return found

    def close(self) -> None:
        """Close everything; links that were made stay."""
        while self._ends:
            self._ends.popitem()[1].close()
        while self.parts:
            self.parts.pop().close()

    def _absent(self, declared: MapDecl | GlobalDecl, use: str) -> str:
        kind = "global" if isinstance(declared, GlobalDecl) else type(declared).__name__
        name = declared.name or "it"
        return (
            f"{kind} {declared.name or '(not named yet)'} is not in the kernel: attach a "
            f"program that uses it first, or `loaded = load(program)` and use "
            f"`loaded[{name}]{use}`"
        )


class ImplicitHome(Home):
    """The Home of the process, which loads a program when it is first asked for it."""

    def __init__(self) -> None:
        super().__init__()
        self._loading = allocate_lock()
        # A thread of the parent's that loads just then is not there in the child.
        os.register_at_fork(after_in_child=self._forked)
        self._places: dict[GlobalDecl, DataSection] = {}

    def program(self, declared: ProgramDecl) -> kernel.Program:
        """The program that `declared` became; loads it unless it is there."""
        if declared.target is not None:
            # It is loaded first, by itself: the lock is taken once.
            declared.target.live  # type: ignore[attr-defined]  # noqa: B018 - a Program
        with self._loading:
            if declared not in self._programs:
                self._grow(declared)
            return self._programs[declared]

    def loaded(self, declared: ProgramDecl) -> kernel.Program | None:
        """The program that `declared` became here, if it did."""
        return self._programs.get(declared)

    def _forked(self) -> None:
        self._lock, self._loading = allocate_lock(), allocate_lock()

    def _grow(self, program: ProgramDecl) -> None:
        table = program.table
        together = [program] if table is None else table.programs  # type: ignore[attr-defined]  # a StructOpsTable
        reached = Reached(program.name, together)
        sections = self._lay_out(reached.globals)
        maps = {
            name: self._maps[declared]
            for name, declared in reached.maps.items()
            if declared in self._maps
        }
        maps |= {
            self._places[declared].name: section.map
            for declared, section in self._sections.items()
            if self._places[declared].name in sections
        }
        self.load(compile_into(reached, sections, kernel.running()), maps=maps)

    def _lay_out(self, wanted: dict[str, GlobalDecl]) -> dict[str, DataSection]:
        """The sections with the globals that a program uses, by name.

        Those that are in the kernel keep their places; new ones get sections of their
        own, for a section cannot grow.
        """
        fresh = {n: g for n, g in wanted.items() if g not in self._places}
        taken = {section.name for section in self._places.values()}
        for section in lay_out_globals(fresh).values() if fresh else ():
            inside = [g for g in fresh.values() if g.section == section.name]
            if section.name in taken:
                section.name += f".{len(taken)}"
            for declared in inside:
                self._places[declared] = section
        for name, declared in wanted.items():
            section = self._places[declared]
            # Collecting the same module by itself may have laid it out otherwise.
            declared.section = section.name
            declared.offset = next(
                v.offset for v in section.variables if v.name == name
            )
        return {self._places[g].name: self._places[g] for g in wanted.values()}


def _targets(reached: Reached) -> dict[str, kernel.Program | str]:
    """Of programs that replace functions: of which program, here or loaded before."""
    found: dict[str, kernel.Program | str] = {}
    for name, program in reached.programs.items():
        if program.target is not None:
            here = program.target in reached.programs.values()
            found[name] = program.target.name if here else _loaded(program.target)
    return found


def _loaded(target: ProgramDecl) -> kernel.Program:
    found = _implicit.loaded(target)
    return found or target.live  # type: ignore[attr-defined]  # a Program


_implicit = ImplicitHome()


def implicit() -> ImplicitHome:
    """The implicit Home of this process."""
    return _implicit
