"""Programs that were compiled elsewhere: `beewire build --skeleton` writes such modules.

A skeleton declares what its module declared, with programs that have no body, and ends
with `prebuilt(__name__, OBJECT)`. From then on everything is as in the module that it
was made from: `attach`, `load`, maps and globals with their types; but nothing is
compiled, and the compiler is not even imported.
"""

from __future__ import annotations

import sys
from base64 import b85decode, b85encode
from zlib import compress, decompress, error

from beewire.bpf.lang import GlobalDecl, MapDecl, ProgramDecl
from beewire.bpf.object import (
    DataSection,
    ObjectSpec,
    ProgramSpec,
    Relocation,
    RelocationKind,
)
from beewire.errors import SpecError
from beewire.hints import Iterator

Declaration = MapDecl | GlobalDecl


def pack_object(content: bytes) -> str:
    """The text of an object file, for `prebuilt`."""
    return b85encode(compress(content, 9)).decode()


def prebuilt(module: str, packed: str) -> None:
    """Give the programs that the module named `module` declares their instructions.

    Raises:
        SpecError: `packed` is damaged, or lacks a program or what it refers to.
    """
    from beewire.bpf.object import read  # noqa: PLC0415 - skeletons only

    try:
        spec = read(decompress(b85decode(packed)))
    except (ValueError, error) as fault:
        raise SpecError(f"the object in {module} is damaged: {fault}") from None
    declared = Declared(vars(sys.modules[module]))
    for section in spec.sections.values():
        for variable in section.variables:
            if variable.name in declared.globals:
                declared.globals[variable.name].fixed = section
    for program in declared.programs:
        if program.name not in spec.programs:
            raise SpecError(f"the object in {module} has no program {program.name!r}")
        program.prebuilt = Prebuilt(program.name, spec, declared)


class Declared:
    """What a module declares, by the names that the object has."""

    def __init__(self, namespace: dict[str, object]) -> None:
        self.programs: list[ProgramDecl] = []
        self.maps: dict[str, MapDecl] = {}
        self.globals: dict[str, GlobalDecl] = {}
        for name, value in namespace.items():
            if isinstance(value, ProgramDecl):
                self.programs.append(value)
            elif isinstance(value, MapDecl):
                value.name = value.name or name
                self.maps[value.name] = value
            elif isinstance(value, GlobalDecl):
                value.name = value.name or name
                self.globals[value.name] = value


class Prebuilt:
    """One program of an object, and what it refers to."""

    def __init__(self, name: str, spec: ObjectSpec, declared: Declared) -> None:
        self._name = name
        self._spec = spec
        self._declared = declared

    def uses(self) -> Iterator[tuple[str, Declaration]]:
        """(name, declaration) of every map and global that the program refers to."""
        for program in self._parts():
            for relocation in program.relocations:
                if relocation.symbol in self._declared.maps:
                    yield relocation.symbol, self._declared.maps[relocation.symbol]
                elif relocation.kind == RelocationKind.GLOBAL:
                    for variable in self._spec.sections[relocation.symbol].variables:
                        if variable.name in self._declared.globals:
                            yield variable.name, self._declared.globals[variable.name]

    def targets(self) -> Iterator[ProgramDecl]:
        """The programs that it goes to."""
        arrays = [
            self._spec.maps[relocation.symbol].initial.values()
            for program in self._parts()
            for relocation in program.relocations
            if relocation.symbol in self._spec.maps
        ]
        names = {name for array in arrays for name in array}
        for declared in self._declared.programs:
            if declared.name in names:
                yield declared

    def add_to(self, spec: ObjectSpec) -> None:
        """Put the program into `spec`, with the functions that it calls.

        The sections of its globals may have got other names since.
        """
        for program in self._parts():
            spec.programs[program.name] = self._placed(program)
            for relocation in program.relocations:
                self._add(relocation.symbol, spec)

    def _add(self, symbol: str, spec: ObjectSpec) -> None:
        """What no module declares: kernel functions; maps, sections of the compiler."""
        if symbol in self._spec.externs:
            spec.externs[symbol] = self._spec.externs[symbol]
        if symbol in self._spec.maps and symbol not in spec.maps:
            spec.maps[symbol] = self._spec.maps[symbol]
        if symbol in self._spec.sections and self._is_ours(symbol):
            section = self._spec.sections[symbol]
            name = self._own(symbol)
            parts = name, bytearray(section.content), section.variables
            if name not in spec.sections:
                spec.sections = {**spec.sections, name: DataSection(*parts)}

    def _own(self, section: str) -> str:
        """What a section of the compiler is called beside those of other objects."""
        return f"{section}.{self._spec.name}"

    def _is_ours(self, section: str) -> bool:
        """Whether the compiler made a section: no module declares what is in it."""
        first = self._spec.sections[section].variables[0]
        return first.name not in self._declared.globals

    def _parts(self) -> list[ProgramSpec]:
        found: dict[str, ProgramSpec] = {}
        waiting = [self._name]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found[name] = program = self._spec.programs[name]
                waiting += [
                    each.symbol
                    for each in program.relocations
                    if each.kind == RelocationKind.SUBPROGRAM
                ]
        return list(found.values())

    def _placed(self, program: ProgramSpec) -> ProgramSpec:
        copy = ProgramSpec.__new__(ProgramSpec)
        for field in ProgramSpec.__slots__:
            setattr(copy, field, getattr(program, field))
        copy.relocations = tuple(map(self._moved, program.relocations))
        return copy

    def _moved(self, relocation: Relocation) -> Relocation:
        """The relocation with the name that its section has by now."""
        if relocation.kind != RelocationKind.GLOBAL:
            return relocation
        if self._is_ours(relocation.symbol):
            return relocation._replace(symbol=self._own(relocation.symbol))
        first = self._spec.sections[relocation.symbol].variables[0]
        return relocation._replace(symbol=self._declared.globals[first.name].section)
