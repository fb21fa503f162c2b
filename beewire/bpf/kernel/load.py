"""ObjectSpec -> Loaded: types, maps, relocations, programs."""

import errno
import os
import sys

from beewire.bpf.btf import Int
from beewire.bpf.kernel import names
from beewire.bpf.kernel.assemble import SUBPROGRAM_SECTION, Image, assemble
from beewire.bpf.kernel.attempt import Records
from beewire.bpf.kernel.loaded import Loaded
from beewire.bpf.kernel.maps import AnyCodec, AnyMap, Map
from beewire.bpf.kernel.maps.create import (
    create_map,
    is_constant,
    map_types,
    section_spec,
    section_type,
)
from beewire.bpf.kernel.program import Program
from beewire.bpf.kernel.relocate import relocate
from beewire.bpf.kernel.section import Section, initial_content
from beewire.bpf.kernel.submit import submit
from beewire.bpf.kernel.target import Hook, Target
from beewire.bpf.kernel.type_ids import TypeIds
from beewire.bpf.object import (
    DataSection,
    MapKind,
    MapSpec,
    ObjectSpec,
    ProgramKind,
    ProgramSpec,
    Relocation,
)
from beewire.errors import KernelError, SpecError
from beewire.hints import TYPE_CHECKING, Mapping

if TYPE_CHECKING:
    from beewire.bpf.isa import Insn
    from beewire.bpf.kernel.ksyms import BindSymbol
    from beewire.bpf.kernel.struct_ops import Table

_NO_MAPS: Mapping[str, AnyMap] = {}
_NO_CODECS: Mapping[str, AnyCodec] = {}
_NO_GLOBALS: Mapping[str, int | bytes] = {}
_NO_TARGETS: Mapping[str, Program | str] = {}

ARENA_SECTION = ".addr_space.1"

# One program on its way into the kernel.
_Job = tuple[ProgramSpec, Image, Records]


def load(  # noqa: PLR0913 - all that loading can be told
    spec: ObjectSpec,
    *,
    maps: Mapping[str, AnyMap] = _NO_MAPS,
    globals: Mapping[str, int | bytes] = _NO_GLOBALS,  # noqa: A002 - the word of the field
    codecs: Mapping[str, AnyCodec] = _NO_CODECS,
    pin_dir: str | None = None,
    target: Target | None = None,
    targets: Mapping[str, Program | str] = _NO_TARGETS,
) -> Loaded:
    """Create the maps and load the programs of `spec`; `spec` itself stays as it is.

    `maps` are used in the place of those with their names and stay the giver's.
    `globals` sets variables of data sections before any program runs. `codecs` says how
    Python sees keys and values. With `pin_dir` (on a bpffs; made, with mode 0700, unless
    it is there), maps pinned there under their names are used, and the others are pinned.
    When anything fails, everything created so far is closed and unpinned. Maps that ask
    to be pinned (LIBBPF_PIN_BY_NAME) are also without `pin_dir`: below /sys/fs/bpf.

    Raises:
        VerifierError: the kernel refuses a program; with its Python line and the log.
        NotPermitted: a capability is missing; the message names it.
        NotSupported: this kernel lacks what a program needs.
        SpecError: the spec contradicts itself, or a given map does not fit it.
        PolicyError: a policy of this machine does not allow it.
        KernelError: any other refusal.
    """
    _check_loadable(spec)
    _ask_policy(spec)
    contents = initial_content(spec, globals)
    _check_known(spec, maps)
    if targets:
        from beewire.bpf.kernel.replaced import retargeted  # noqa: PLC0415 - rare

        spec = retargeted(spec, targets)
    work = _Work(spec, maps, codecs, pin_dir, target or Target())
    work.targets = targets
    try:
        with TypeIds() as types:
            work.plan_struct_ops()
            jobs = _gather(spec, types)
            work.create_maps(types)
            work.create_sections(types, contents)
            work.load_programs(jobs, types)
            work.fill_maps()
    except BaseException as error:
        work.undo()
        # Not always a KernelError: what would explain it could not be imported either.
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            raise _too_many(spec, error.errno) from None
        raise
    return work.loaded


def _too_many(spec: ObjectSpec, number: int) -> KernelError:
    """The error for an object that needs more descriptors than there are."""
    parts = len(spec.maps) + len(spec.sections) + len(spec.programs)
    limit = "this process may open" if number == errno.EMFILE else "this system has"
    return KernelError(
        number,
        "load",
        f"cannot load object {spec.name!r}: it takes {parts} descriptors, one for each "
        f"map, data section and program, which are more than {limit}; raise `ulimit -n`",
    )


def _check_loadable(spec: ObjectSpec) -> None:
    if spec.big_endian != (sys.byteorder == "big"):
        orders = ("big", "little") if spec.big_endian else ("little", "big")
        raise SpecError(
            f"object {spec.name!r} is {orders[0]}-endian, this machine {orders[1]}-endian: "
            "it can be looked at, but not be loaded here"
        )
    for program in spec.programs.values():
        is_entry = program.autoload and program.section != SUBPROGRAM_SECTION
        if is_entry and program.kind is ProgramKind.UNSPEC:
            raise SpecError(
                f"program {program.name!r} is in section {program.section!r}, which is "
                "no hook: set its kind, or autoload = False"
            )


def _ask_policy(spec: ObjectSpec) -> None:
    """Let the machine's policy decide; where there is none, that is one failed stat."""
    try:
        os.lstat(names.POLICY)
    except FileNotFoundError:
        if "BEEWIRE_POLICY" not in os.environ:
            return
    except OSError:
        pass  # it cannot be looked at, which is told below
    from beewire.bpf.kernel.policy.enforce import enforce  # noqa: PLC0415 - where there is one

    enforce(spec)


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
    skipped = _unused(spec)
    for program in spec.programs.values():
        is_entry = program.autoload and program.section != SUBPROGRAM_SECTION
        if is_entry and program.name not in skipped:
            image = assemble(program, spec)
            jobs.append((program, image, Records(image, types)))
    for name, each in spec.maps.items():
        described = map_types(each.inner or each)
        if described is not None:
            types.describe(name, *described)
    for name, section in spec.sections.items():
        whole = section_type(section)
        if whole is not None:
            # The one map whose key has no type (array_map_check_btf).
            types.describe(name, None, whole[0])
            types.tag(whole[1])
    for node in spec.types:
        types.add(node)
    if _has_struct_ops(spec):
        types.add(Int("int", 4, signed=True))
    types.tag(spec.tags)
    types.load(spec.name)
    return jobs


def _unused(spec: ObjectSpec) -> set[str]:
    if not _has_struct_ops(spec):
        return set()
    from beewire.bpf.kernel.struct_ops import unused_programs  # noqa: PLC0415 - rare

    return unused_programs(spec)


def _has_struct_ops(spec: ObjectSpec) -> bool:
    return any(each.kind is MapKind.STRUCT_OPS for each in spec.maps.values())


class _Work:
    """What one `load` has done so far, so that it can be undone."""

    __slots__ = (
        "_binder",
        "codecs",
        "given",
        "hooks",
        "loaded",
        "pin_dir",
        "pinned",
        "spec",
        "tables",
        "target",
        "targets",
    )

    def __init__(
        self,
        spec: ObjectSpec,
        given: Mapping[str, AnyMap],
        codecs: Mapping[str, AnyCodec],
        pin_dir: str | None,
        target: Target,
    ) -> None:
        self.spec = spec
        self.given = given
        self.codecs = codecs
        self.pin_dir = pin_dir
        self.target = target
        self.loaded = Loaded(spec.name, spec)
        self.pinned: list[str] = []
        self._binder: BindSymbol | None = None
        self.tables: dict[str, Table] = {}
        self.hooks: dict[str, Hook] = {}
        self.targets = _NO_TARGETS

    def plan_struct_ops(self) -> None:
        if _has_struct_ops(self.spec):
            from beewire.bpf.kernel.struct_ops import plan  # noqa: PLC0415 - rare

            self.tables, self.hooks = plan(self.spec, self.target)

    def create_maps(self, types: TypeIds) -> None:
        for name, spec in self.spec.maps.items():
            if not spec.autocreate:
                continue
            if spec.kind is MapKind.STRUCT_OPS:
                self._create_table(name, types)
                continue
            found = self._given(name, spec) or self._from_pin(spec)
            if found is None:
                found = Map.wrap(
                    create_map(spec, types.fields(name)), spec, self.codecs.get(name)
                )
                self.loaded.own(found)
                self._pin(found)
            self.loaded.maps[name] = found

    def create_sections(
        self, types: TypeIds, contents: Mapping[str, bytearray]
    ) -> None:
        for name, section in self.spec.sections.items():
            if name == ARENA_SECTION:
                self._fill_arena(contents[name])
                continue
            spec = section_spec(self.spec.name, section)
            found = self._given(name, spec)
            if found is None:
                found = Map.wrap(create_map(spec, types.fields(name)), spec)
                self.loaded.own(found)
                if any(contents[name]):
                    found[0] = bytes(contents[name])
                if is_constant(name):
                    found.freeze()
            self.loaded.sections[name] = Section(found, section.variables)
            self.loaded.own(self.loaded.sections[name])

    def load_programs(self, jobs: list[_Job], types: TypeIds) -> None:
        self._give_arenas_an_address()
        fds = {name: found.fd for name, found in self.loaded.maps.items()}
        for name, section in self.loaded.sections.items():
            fds[name] = section.map.fd
        # What hooks a program of the same object is loaded after it.
        for spec, image, records in sorted(
            jobs, key=lambda j: j[0].name in self.targets
        ):
            relocate(image, self.spec, fds, self._bind_symbol)
            hook = self.hooks.get(spec.name) or self._replaced(spec)
            fd = submit(spec, image, records, types, self.target, hook)
            program = Program(fd, spec)
            program.maps = self.loaded.maps
            self.loaded.own(program)
            self.loaded.programs[spec.name] = program

    def fill_maps(self) -> None:
        """Put the maps and programs that the object names into the maps that hold them."""
        for name, spec in self.spec.maps.items():
            if spec.kind is MapKind.STRUCT_OPS or name in self.given:
                continue
            for index, held in spec.initial.items():
                found = self.loaded.maps.get(held) or self.loaded.programs.get(held)
                if found is not None:  # else a program with autoload off
                    self.loaded.maps[name][index] = found

    def undo(self) -> None:
        self.loaded.close()
        for path in self.pinned:
            os.unlink(path)  # noqa: PTH108 - no pathlib here

    def _bind_symbol(
        self, insn: "Insn", relo: Relocation, module_fds: list[int]
    ) -> "Insn":
        if self._binder is None:
            from beewire.bpf.kernel.ksyms import symbol_binder  # noqa: PLC0415 - some programs only

            self._binder = symbol_binder(self.spec, self.target)
        return self._binder(insn, relo, module_fds)

    def _replaced(self, spec: ProgramSpec) -> Hook | None:
        """What a program hooks that is for a function of another program."""
        found = self.targets.get(spec.name)
        if found is None and spec.kind is not ProgramKind.EXT:
            return None
        from beewire.bpf.kernel.replaced import hook_in  # noqa: PLC0415 - rare

        named = self.loaded.programs.get(found) if isinstance(found, str) else found
        return hook_in(spec, named)

    def _create_table(self, name: str, types: TypeIds) -> None:
        from beewire.bpf.kernel.maps.struct_ops import create_table  # noqa: PLC0415 - rare

        found = create_table(self.tables[name], self.loaded.programs, types.fd)
        self.loaded.own(found)
        self.loaded.maps[name] = found

    def _give_arenas_an_address(self) -> None:
        wanted = ARENA_SECTION in self.spec.sections
        for found in self.loaded.maps.values():
            if found.spec.kind is MapKind.ARENA and not wanted:
                from beewire.bpf.kernel.arena import map_arena  # noqa: PLC0415 - rare

                empty = DataSection(ARENA_SECTION, bytearray(), [])
                map_arena({found.name: found}, empty, b"").close()

    def _fill_arena(self, content: bytearray) -> None:
        from beewire.bpf.kernel.arena import map_arena  # noqa: PLC0415 - rare

        section = self.spec.sections[ARENA_SECTION]
        found = map_arena(self.loaded.maps, section, bytes(content))
        self.loaded.own(found)
        self.loaded.sections[ARENA_SECTION] = found

    def _given(self, name: str, spec: MapSpec) -> AnyMap | None:
        found = self.given.get(name)
        if found is not None:
            self._check(spec, found, f"the map given for {name!r}")
        return found

    def _check(self, spec: MapSpec, found: AnyMap, what: str) -> None:
        from beewire.bpf.kernel.fits import check_fits  # noqa: PLC0415 - where any are shared

        check_fits(spec, found.spec, what)

    def _pin_path(self, spec: MapSpec) -> str | None:
        if self.pin_dir is None and not spec.pinned:
            return None
        from beewire.bpf.kernel.pins import BPFFS  # noqa: PLC0415 - where any are pinned

        return f"{self.pin_dir or BPFFS}/{spec.name}"

    def _from_pin(self, spec: MapSpec) -> AnyMap | None:
        path = self._pin_path(spec)
        if path is None or not os.path.exists(path):  # noqa: PTH110
            return None
        found = Map.from_pin(path, self.codecs.get(spec.name))
        self.loaded.own(found)
        self._check(spec, found, f"the map pinned at {path}")
        return found

    def _pin(self, found: AnyMap) -> None:
        path = self._pin_path(found.spec)
        if path is not None:
            if self.pin_dir is not None:
                from beewire.bpf.kernel.pins import ensure_directory  # noqa: PLC0415 - as above

                ensure_directory(self.pin_dir)
            found.pin(path)
            self.pinned.append(path)
