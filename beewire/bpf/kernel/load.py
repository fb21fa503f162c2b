"""ObjectSpec -> Loaded: types, maps, relocations, programs."""

import os

from beewire.bpf.kernel.assemble import SUBPROGRAM_SECTION, Image, assemble
from beewire.bpf.kernel.loaded import Loaded
from beewire.bpf.kernel.maps import AnyCodec, AnyMap, Map
from beewire.bpf.kernel.maps.create import (
    create_map,
    map_types,
    section_spec,
    section_type,
)
from beewire.bpf.kernel.program import Program
from beewire.bpf.kernel.relocate import relocate
from beewire.bpf.kernel.section import Section, initial_content
from beewire.bpf.kernel.submit import Records, submit
from beewire.bpf.kernel.target import Target
from beewire.bpf.kernel.type_ids import TypeIds
from beewire.bpf.object import MapSpec, ObjectSpec, ProgramSpec
from beewire.errors import SpecError
from beewire.hints import Mapping

_NO_MAPS: Mapping[str, AnyMap] = {}
_NO_CODECS: Mapping[str, AnyCodec] = {}
_NO_GLOBALS: Mapping[str, int | bytes] = {}


# One program on its way into the kernel.
_Job = tuple[ProgramSpec, Image, Records]


def load(
    spec: ObjectSpec,
    *,
    maps: Mapping[str, AnyMap] = _NO_MAPS,
    globals: Mapping[str, int | bytes] = _NO_GLOBALS,  # noqa: A002 - the word of the field
    codecs: Mapping[str, AnyCodec] = _NO_CODECS,
    pin_dir: str | None = None,
    target: Target | None = None,
) -> Loaded:
    """Create the maps and load the programs of `spec`; `spec` itself stays as it is.

    `maps` are used in the place of those with their names and stay the giver's.
    `globals` sets variables of data sections before any program runs. `codecs` says how
    Python sees keys and values. With `pin_dir` (on a bpffs), maps pinned there under
    their names are used, and the others are pinned. When anything fails, everything
    created so far is closed and unpinned.

    Raises:
        VerifierError: the kernel refuses a program; with its Python line and the log.
        NotPermitted: a capability is missing; the message names it.
        NotSupported: this kernel lacks what a program needs.
        SpecError: the spec contradicts itself, or a given map does not fit it.
        KernelError: any other refusal.
    """
    contents = initial_content(spec, globals)
    _check_known(spec, maps)
    work = _Work(spec, maps, codecs, pin_dir)
    try:
        with TypeIds() as types:
            jobs = _gather(spec, types)
            work.create_maps(types)
            work.create_sections(types, contents)
            work.load_programs(jobs, types, target or Target())
    except BaseException:
        work.undo()
        raise
    return work.loaded


def _check_known(spec: ObjectSpec, maps: Mapping[str, AnyMap]) -> None:
    unknown = maps.keys() - spec.maps.keys() - spec.sections.keys()
    if unknown:
        known = ", ".join([*spec.maps, *spec.sections]) or "none"
        raise SpecError(
            f"the object has no map {min(unknown)!r} to replace; there are: {known}"
        )


def _gather(spec: ObjectSpec, types: TypeIds) -> list[_Job]:
    """Assemble every program, and hand all types to the kernel, once for the object."""
    jobs: list[_Job] = []
    for program in spec.programs.values():
        if program.section != SUBPROGRAM_SECTION:
            image = assemble(program, spec)
            jobs.append((program, image, Records(image, types)))
    for name, each in spec.maps.items():
        described = map_types(each)
        if described is not None:
            types.describe(name, *described)
    for name, section in spec.sections.items():
        whole = section_type(section)
        if whole is not None:
            # The one map whose key has no type (array_map_check_btf).
            types.describe(name, None, whole)
    types.load(spec.name)
    return jobs


def check_fits(wanted: MapSpec, given: MapSpec) -> None:
    """Make sure that programs written for `wanted` can use the map `given`.

    Raises:
        SpecError: they differ; the message says in what.
    """
    for field in ("kind", "key_size", "value_size", "max_entries"):
        asked, found = getattr(wanted, field), getattr(given, field)
        if asked != found and not (field == "max_entries" and asked == 0):
            raise SpecError(
                f"the map given for {wanted.name!r} does not fit: {field} is "
                f"{getattr(found, 'name', found)}, the program expects "
                f"{getattr(asked, 'name', asked)}"
            )


class _Work:
    """What one `load` has done so far, so that it can be undone."""

    __slots__ = ("codecs", "given", "loaded", "pin_dir", "pinned", "spec")

    def __init__(
        self,
        spec: ObjectSpec,
        given: Mapping[str, AnyMap],
        codecs: Mapping[str, AnyCodec],
        pin_dir: str | None,
    ) -> None:
        self.spec = spec
        self.given = given
        self.codecs = codecs
        self.pin_dir = pin_dir
        self.loaded = Loaded(spec.name)
        self.pinned: list[str] = []

    def create_maps(self, types: TypeIds) -> None:
        for name, spec in self.spec.maps.items():
            found = self.given[name] if name in self.given else self._from_pin(spec)
            if found is None:
                found = Map.wrap(
                    create_map(spec, types.fields(name)), spec, self.codecs.get(name)
                )
                self.loaded.own(found)
                self._pin(found)
            check_fits(spec, found.spec)
            self.loaded.maps[name] = found

    def create_sections(
        self, types: TypeIds, contents: Mapping[str, bytearray]
    ) -> None:
        for name, section in self.spec.sections.items():
            spec = section_spec(self.spec.name, section)
            found = self.given.get(name)
            if found is None:
                found = Map.wrap(create_map(spec, types.fields(name)), spec)
                self.loaded.own(found)
                if any(contents[name]):
                    found[0] = bytes(contents[name])
                if name.startswith(".rodata"):
                    found.freeze()
            check_fits(spec, found.spec)
            self.loaded.sections[name] = Section(found, section.variables)
            self.loaded.own(self.loaded.sections[name])

    def load_programs(self, jobs: list[_Job], types: TypeIds, target: Target) -> None:
        fds = {name: found.fd for name, found in self.loaded.maps.items()}
        for name, section in self.loaded.sections.items():
            fds[name] = section.map.fd
        for spec, image, records in jobs:
            relocate(image, self.spec, fds, target.symbol)
            program = Program(submit(spec, image, records, types, target), spec)
            self.loaded.own(program)
            self.loaded.programs[spec.name] = program

    def undo(self) -> None:
        self.loaded.close()
        for path in self.pinned:
            os.unlink(path)  # noqa: PTH108 - no pathlib here

    def _from_pin(self, spec: MapSpec) -> AnyMap | None:
        if self.pin_dir is None:
            return None
        path = f"{self.pin_dir}/{spec.name}"
        if not os.path.exists(path):  # noqa: PTH110
            return None
        found = Map.from_pin(path, self.codecs.get(spec.name))
        self.loaded.own(found)
        return found

    def _pin(self, found: AnyMap) -> None:
        if self.pin_dir is not None:
            path = f"{self.pin_dir}/{found.name}"
            found.pin(path)
            self.pinned.append(path)
