"""From programs to an ObjectSpec: what they reach, what it is called, how it is laid out.

A module of programs is a template: collecting it touches no kernel, and what comes of it
can be loaded any number of times, or written to a file.
"""

from __future__ import annotations

import sys

from beewire.bpf.btf import types as btf
from beewire.bpf.lang import (
    GlobalDecl,
    MapDecl,
    ProgramDecl,
    compile_spec,
    lay_out_globals,
)
from beewire.bpf.lang.btf_types import in_ascii, to_btf
from beewire.bpf.lang.calls import goto
from beewire.bpf.lang.decl import COUNTERS, Symbol
from beewire.bpf.lang.types import U64, is_enum
from beewire.bpf.object import (
    PLAIN,
    DataSection,
    MapSpec,
    ObjectSpec,
    ProgramSpec,
    RelocationKind,
    Target,
    Variable,
)
from beewire.bpf.object.kinds import MapKind
from beewire.bpf.object.spec import Variable as DataVariable
from beewire.errors import SpecError
from beewire.garbage import Paused
from beewire.hints import (
    TYPE_CHECKING,
    FunctionType,
    Iterable,
    Iterator,
    ModuleType,
)
from beewire.rows import Row

if TYPE_CHECKING:
    from beewire.bpf.lang.unit import Unit

Source = ModuleType | ProgramDecl | Iterable[ProgramDecl] | type
"""What can be collected: a module of programs, one, several, or a StructOps class."""


ARENA = ".addr_space.1"  # libbpf's name for the variables that an arena begins with


class Collection(ObjectSpec):
    """An ObjectSpec that knows the declarations it came from.

    `places` names the section of each global. `load` needs both; everything else sees a
    plain ObjectSpec.
    """

    __slots__ = ("places", "reached")

    def __init__(self, reached: Reached) -> None:
        super().__init__(reached.name)
        self.reached = reached
        self.places = {name: each.section for name, each in reached.globals.items()}


class Place(Row):
    """Where something was found: a name in a module."""

    name: str
    module: str


Declared = MapDecl | GlobalDecl | ProgramDecl
_WORDS = {MapDecl: "maps", GlobalDecl: "globals", ProgramDecl: "programs"}


class Reached:
    """The programs of one object, and the maps and globals that they name."""

    __slots__ = ("_found", "_seen", "globals", "maps", "name", "programs", "symbols")

    def __init__(self, name: str, programs: Iterable[ProgramDecl]) -> None:
        self.name = name
        self.programs: dict[str, ProgramDecl] = {}
        self.maps: dict[str, MapDecl] = {}
        self.globals: dict[str, GlobalDecl] = {}
        self.symbols: dict[str, Symbol] = {}
        self._seen: set[FunctionType] = set()
        self._found: dict[Declared, Place] = {}
        for program in programs:
            self._reach(program)
        self._name_all()

    def _reach(self, program: ProgramDecl) -> None:
        """Note a program, and what it names."""
        if program in self._found:
            return
        function, built = program.function, program.prebuilt
        place = Place(function.__name__, function.__module__ or "")
        self._found[program] = place
        if program.table is not None:
            table = program.table
            self._found.setdefault(table, Place(table.name, place.module))
        for variant in program.variants:
            self._reach(variant)
        if built is None:
            self._follow(function)
            return
        for name, value in built.uses():
            self._found.setdefault(value, Place(name, place.module))
        for target in built.targets():
            self._reach(target)

    def _follow(self, function: object) -> None:
        """Note every map and global that `function`, or one that it calls, names."""
        if not isinstance(function, FunctionType) or function in self._seen:
            return
        self._seen.add(function)
        named = list(_named(function))
        goes = any(value is goto for _, value in named)
        for place, value in named:
            if isinstance(value, MapDecl | GlobalDecl):
                self._found.setdefault(value, place)
            elif isinstance(value, Symbol):
                self.symbols[value.name] = value
            elif not isinstance(value, ProgramDecl):
                self._follow(value)
            elif goes:
                self._reach(value)

    def _name_all(self) -> None:
        """Name what was found, that of the first program's module first."""
        own = next((place.module for place in self._found.values()), "")
        taken: dict[str, Declared] = {}
        for is_own in (True, False):
            for value, place in self._found.items():
                if (place.module == own) is is_own:
                    value.name = _name(value, place, taken)
        for value in self._found:
            if isinstance(value, ProgramDecl):
                self.programs[value.name] = value
            elif isinstance(value, MapDecl):
                self.maps[value.name] = value
            else:
                self.globals[value.name] = value


def _name(value: Declared, place: Place, taken: dict[str, Declared]) -> str:
    """What `value` is called in an object: as its variable, else with its module too.

    Raises:
        SpecError: It was given a name that something else has, or that is not ASCII.
    """
    name = value.name or place.name
    if isinstance(value, ProgramDecl) and not value.is_named:
        name = place.name
    in_ascii(name)
    if taken.setdefault(name, value) is value:
        return name
    if value.is_named:
        words = (word for kind, word in _WORDS.items() if isinstance(value, kind))
        raise SpecError(
            f"two {next(words)} are called {name!r}: give one of them a name of its own"
        )
    # Modules do not know of each other's names.
    module = place.module.rpartition(".")[2] or "other"
    name, count = f"{module}_{place.name}", 1
    while taken.setdefault(name, value) is not value:
        count += 1
        name = f"{module}_{place.name}_{count}"
    return name


def collect(
    source: Source, *, name: str = "", target: Target = PLAIN, optimize: str = ""
) -> Collection:
    """Compile the programs of `source`, with the maps and globals that they use.

    `source` is a module (every program in its namespace), a program, or several. A map
    is named after the variable that holds it, unless it was given a name. The object is
    for kernels that have what `target` says; without one, for v3 and Linux 5.17 on.
    `optimize="llvm"` has LLVM generate the code, which pays for large programs.

    Raises:
        CompileError: A program cannot be compiled; it says where and why.
        SpecError: There is no program, or two things bear one name.
    """
    return build(reach(source, name), target, optimize)


def reach(source: Source, name: str = "") -> Reached:
    """The programs of `source` and what they use, before they are compiled."""
    if isinstance(source, ModuleType):
        found = list(_programs(source))
        if not found:
            raise SpecError(
                f"module {source.__name__} has no programs: mark a function with the "
                "hook that runs it, as in @tracepoint('sched:sched_process_exec')"
            )
        return Reached(name or source.__name__.rpartition(".")[2], found)
    if isinstance(source, type) and (found := _declared(source)):
        return Reached(name or source.__name__, found)
    if isinstance(source, str) or not isinstance(source, ProgramDecl | Iterable):
        raise _no_program(source)
    programs = [source] if isinstance(source, ProgramDecl) else list(source)
    if not programs:
        raise SpecError("there is no program to collect")
    for program in programs:
        if not isinstance(program, ProgramDecl):
            raise _no_program(program)
    return Reached(name or programs[0].name, programs)


def _no_program(given: object) -> SpecError:
    return SpecError(
        f"{given!r} is no program: give a module, or functions marked with the hook "
        "that runs them, as in @tracepoint('sched:sched_process_exec')"
    )


def build(reached: Reached, target: Target = PLAIN, optimize: str = "") -> Collection:
    """Compile what was reached, by the back end that `optimize` names."""
    sections = lay_out_globals(reached.globals) if reached.globals else {}
    return compile_into(reached, sections, target, optimize)


def compile_into(
    reached: Reached,
    sections: dict[str, DataSection],
    target: Target,
    optimize: str = "",
) -> Collection:
    """As `build`, with globals that have their places in `sections` already."""
    spec = Collection(reached)
    spec.sections = sections
    for map_name, declared in reached.maps.items():
        spec.maps[map_name] = map_spec(declared)
        if declared.kind == MapKind.ARENA:
            _begin_arena(spec, declared)
    if "beewire.bpf.lang.objects" in sys.modules:
        from beewire.bpf.lang.object_btf import describe  # noqa: PLC0415 - few have any

        spec.tags, spec.types = describe(reached.maps.values())
    with Paused():
        to_compile = []
        for program in reached.programs.values():
            if program.prebuilt is None:
                to_compile.append(program)
            else:
                program.prebuilt.add_to(spec)
        if to_compile:
            _compile(spec, to_compile, target, optimize)
    return spec


def _compile(
    spec: Collection, programs: list[ProgramDecl], target: Target, optimize: str
) -> None:
    """Compile `programs` into `spec`, with the functions that they call."""
    from beewire.bpf.lang.linking import subprograms  # noqa: PLC0415 - the compiler
    from beewire.bpf.lang.unit import CONSTANTS, Unit  # noqa: PLC0415 - the compiler

    reached = spec.reached
    unit = Unit((*reached.programs, *reached.maps, *reached.globals), optimize)
    unit.counters = next(name for name in COUNTERS if name not in spec.sections)
    for program in programs:
        spec.programs[program.name] = compile_spec(program, target, unit)
    if any(made.scratch is not None for made in spec.programs.values()):
        _share_scratch(spec, reached, target, unit)
    for made in subprograms(unit, spec.programs.values()):
        spec.programs[made.name] = made
    for made in spec.programs.values():
        _note_externs(spec, made)
    spec.tags += unit.tags(spec.programs)
    for array, targets in unit.targets.items():
        spec.maps[array] = _program_array(array, targets)
    if unit.constants:
        spec.sections[CONSTANTS] = _constant_section(CONSTANTS, bytes(unit.constants))
    if unit.dropped:
        spec.sections[unit.counters] = _drop_counters(unit)
    if reached.symbols:
        _add_externs(spec, reached)


def _constant_section(name: str, content: bytes) -> DataSection:
    """The constant texts of the compiled programs."""
    text = btf.Array(btf.Int("char", 1, signed=True), len(content))
    variable = DataVariable("constant_texts", 0, len(content), text)
    return DataSection(name, bytearray(content), [variable])


def _drop_counters(unit: Unit) -> DataSection:
    """What counts the records that found their buffer full."""
    counters = [
        DataVariable(name, 8 * place, 8, to_btf(U64))
        for place, name in enumerate(unit.dropped)
    ]
    return DataSection(unit.counters, bytearray(8 * len(counters)), counters)


def _share_scratch(
    spec: ObjectSpec, reached: Reached, target: Target, unit: Unit
) -> None:
    """Give the programs whose locals do not fit one map of places, as large for all."""
    from beewire.bpf.lang.scratch import place_size  # noqa: PLC0415 - few need it

    maps = [made.scratch for made in spec.programs.values() if made.scratch]
    largest = max(maps, key=lambda scratch: scratch.value_size)
    for name, made in spec.programs.items():
        if made.scratch and made.scratch.value_size < largest.value_size:
            unit.place_size = place_size(largest)
            spec.programs[name] = compile_spec(reached.programs[name], target, unit)
    if spec.maps.setdefault(largest.name, largest) is not largest:
        raise SpecError(
            f"{largest.name!r} is the map for big locals: name yours otherwise"
        )


def _note_externs(spec: ObjectSpec, made: ProgramSpec) -> None:
    """Declare the kernel functions that its loops and its objects need."""
    if any(relo.kind == RelocationKind.KFUNC for relo in made.relocations):
        from beewire.bpf.lang import iterators, kfuncs  # noqa: PLC0415 - few need them

        spec.externs.update(iterators.externs(made.relocations))
        spec.externs.update(kfuncs.externs(made.relocations))


def _program_array(name: str, programs: list[ProgramDecl]) -> MapSpec:
    """The array that goto() goes through, with its programs in it from the start."""
    return MapSpec(
        name,
        kind=MapKind.PROG_ARRAY,
        key_size=4,
        value_size=4,
        max_entries=len(programs),
        initial={index: program.name for index, program in enumerate(programs)},
    )


def _add_externs(spec: Collection, reached: Reached) -> None:
    """Say what the programs take from the kernel; weak is what they ask for first."""
    from beewire.bpf.lang.symbol_calls import extern_types  # noqa: PLC0415 - the compiler

    for name, declared in reached.symbols.items():
        for found in extern_types(declared):
            spec.externs.setdefault(found.name, found)
        if declared.weak:
            spec.weak.add(name)


def _begin_arena(spec: ObjectSpec, declared: MapDecl) -> None:
    """The start of an arena is a variable, by which programs find it."""
    if ARENA in spec.sections:
        raise SpecError(f"a second arena, {declared.name!r}: an object has one")
    start = Variable(f"{declared.name}_start", 0, 8, to_btf(U64))
    spec.sections = {**spec.sections, ARENA: DataSection(ARENA, bytearray(8), [start])}


def map_spec(declared: MapDecl) -> MapSpec:
    """What the kernel, or an object file, is told of a declared map.

    Raises:
        SpecError: Its types are missing, or have no fixed size.
    """
    if declared.kind is MapKind.STRUCT_OPS:
        return declared.map_spec()  # type: ignore[attr-defined,no-any-return]  # a StructOpsTable
    key, value = declared.stored
    inner = declared.inner
    if inner is not None:
        inner.name = inner.name or f"{declared.name}.inner"
    return MapSpec(
        declared.name,
        kind=declared.kind,
        key_size=key.size if key else 0,
        value_size=value.size if value else 0,
        max_entries=declared.max_entries,
        flags=declared.flags,
        key=to_btf(key) if key else None,
        value=to_btf(value) if value else None,
        inner=None if inner is None else map_spec(inner),
        extra=declared.extra,
        pinned=declared.pinned,
    )


def _programs(module: ModuleType) -> Iterator[ProgramDecl]:
    # One program under two names is one program.
    seen: set[int] = set()
    for value in vars(module).values():
        for program in _declared(value):
            if id(program) not in seen:
                seen.add(id(program))
                yield program


def _declared(value: object) -> list[ProgramDecl]:
    """The programs that an object of a module is, or has."""
    if isinstance(value, ProgramDecl):
        return [value]
    table = vars(value).get("table") if isinstance(value, type) else None
    if isinstance(table, MapDecl) and table.kind is MapKind.STRUCT_OPS:
        return table.programs  # type: ignore[attr-defined,no-any-return]  # a StructOpsTable
    return []


def _named(function: FunctionType) -> Iterator[tuple[Place, object]]:
    """(place, value) of every outer variable that the function's code names."""
    names = function.__code__.co_names
    waiting = list(_outer(function))
    seen: set[int] = set()
    while waiting:
        place, value = waiting.pop(0)
        if not isinstance(value, ModuleType | type):
            yield place, value
        elif id(value) not in seen:
            # In `state.table` both words are names of the code.
            seen.add(id(value))
            module = value.__name__ if isinstance(value, ModuleType) else place.module
            waiting[:0] = [
                (Place(inner, module), member)
                for inner in names
                if (member := _member(value, inner)) is not None
            ]


def _outer(function: FunctionType) -> Iterator[tuple[Place, object]]:
    code = function.__code__
    module = function.__globals__.get("__name__", "")
    for name in code.co_names:
        yield Place(name, module), function.__globals__.get(name)
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield Place(name, module), cell.cell_contents
        except ValueError:  # not assigned yet; the compiler will say so
            continue
    defaults = dict(function.__kwdefaults__ or {})
    given = function.__defaults__ or ()
    positional = code.co_varnames[: code.co_argcount]
    defaults |= zip(positional[len(positional) - len(given) :], given, strict=True)
    for name, value in defaults.items():
        yield Place(name, module), value


def _member(owner: ModuleType | type, name: str) -> object:
    # getattr() of a module may import what is handed on from elsewhere.
    if isinstance(owner, ModuleType):
        return vars(owner).get(name)
    # An enum has nothing but its members.
    return None if is_enum(owner) else getattr(owner, name, None)
