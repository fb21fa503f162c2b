"""ObjectSpec -> a BPF object file, as clang would write it and libbpf loads it.

Its sections, in this order:

    <hook>                 instructions; programs of one hook stand one after another
    .data .bss .rodata     global variables
    .maps license          the maps (zeros: .BTF describes them), the license
    .BTF .BTF.ext          types; functions, source lines and CO-RE records
    .rel<hook>             which instruction refers to which map, variable or function
    .symtab .strtab        all of these by name

So that libbpf loads it, functions need a signature, and either all have lines or none.
"""

from collections.abc import Iterable
from typing import NamedTuple

from beewire.bpf import isa
from beewire.bpf.btf import (
    Builder,
    DataSec,
    DeclTag,
    Func,
    Int,
    Linkage,
    SectionEntry,
    Struct,
    Var,
    ext,
)
from beewire.bpf.object import elf
from beewire.bpf.object.check import check
from beewire.bpf.object.elf import Binding, RelocationType, SectionKind, SymbolKind
from beewire.bpf.object.mapdefs import map_size, map_struct
from beewire.bpf.object.sections import SUBPROGRAMS
from beewire.bpf.object.spec import (
    DataSection,
    ObjectSpec,
    ProgramSpec,
    Relocation,
    RelocationKind,
    Variable,
)
from beewire.bpf.object.tables import (
    is_table,
    map_references,
    placed_tables,
    table_content,
    table_references,
    table_sections,
    table_types,
)

_KCONFIG = ".kconfig"
_MAPS, _LICENSE = ".maps", "license"
_CODE = elf.SectionFlag.ALLOC | elf.SectionFlag.EXECINSTR
_DATA = elf.SectionFlag.ALLOC | elf.SectionFlag.WRITE
_SLOT = 8
_U32 = 0xFFFFFFFF


class _Target(NamedTuple):
    """What a relocation is written against: a symbol's number, and bytes behind it."""

    symbol: int
    offset: int = 0


class _MapPlace(NamedTuple):
    """What describes a map in BTF, and the bytes of `.maps` that stand for it."""

    struct: Struct
    offset: int
    size: int


def write(spec: ObjectSpec) -> bytes:
    """Return the object file: ELF64, little-endian, EM_BPF.

    `read` gives an equal spec back, but for what a file cannot say: the record type of
    a ring buffer, the name of an inner map, a column beyond 1023, a first source line
    that begins late. Of storage and LPM tries it has the flag and the types as well that
    the kernel insists on.

    Raises:
        SpecError: the spec contradicts itself, or says what no object file can say.
        EncodingError: an instruction, a type or a text that cannot be encoded.
    """
    check(spec)
    code: dict[str, list[ProgramSpec]] = {}
    for program in spec.programs.values():
        code.setdefault(_section(program), []).append(program)
    maps = _map_places(spec)
    tables = table_sections(spec)
    data = {n: each for n, each in spec.sections.items() if n != _KCONFIG}
    names = [*code, *data, *tables, *([_MAPS] if maps else []), _LICENSE]
    numbers = {name: number for number, name in enumerate(names, 1)}

    symbols, targets = _symbols(spec, code, maps, numbers)
    named = {each.name: number for number, each in enumerate(symbols)}
    sections, relocations = [elf.Section("", SectionKind.NULL)], []
    for name, programs in code.items():
        content, references = _code(programs, targets)
        sections.append(
            elf.Section(name, SectionKind.PROGBITS, content, _CODE, align=_SLOT)
        )
        if references:
            relocations.append(_relocation_section(name, numbers[name], references))
    sections += [_data_section(section) for section in data.values()]
    pointers = {n: table_references(each, named) for n, each in tables.items()}
    for name, each in tables.items():
        content = table_content(each)
        sections.append(
            elf.Section(name, SectionKind.PROGBITS, content, _DATA, align=_SLOT)
        )
    if maps:
        places = {name: place.offset for name, place in maps.items()}
        pointers[_MAPS] = map_references(spec, places, named)
        zeros = bytes(sum(place.size for place in maps.values()))
        sections.append(
            elf.Section(_MAPS, SectionKind.PROGBITS, zeros, _DATA, align=_SLOT)
        )
    relocations += [
        _relocation_section(name, numbers[name], references)
        for name, references in pointers.items()
        if references
    ]
    text = elf.encode_text(spec.license)
    sections.append(elf.Section(_LICENSE, SectionKind.PROGBITS, text, _DATA))
    sections += _type_sections(spec, code, maps)
    return elf.encode(sections + relocations, symbols)


def _section(program: ProgramSpec) -> str:
    """The section as it is in a file: a "?" says that libbpf is not to load it."""
    return program.section if program.autoload else f"?{program.section}"


def _starts(programs: Iterable[ProgramSpec]) -> list[tuple[ProgramSpec, int, int]]:
    """Each program of a section with the byte at which it starts, and its length."""
    placed, start = [], 0
    for program in programs:
        length = sum([insn.slots for insn in program.insns]) * _SLOT
        placed.append((program, start, length))
        start += length
    return placed


def _symbols(
    spec: ObjectSpec,
    code: dict[str, list[ProgramSpec]],
    maps: dict[str, _MapPlace],
    numbers: dict[str, int],
) -> tuple[list[elf.Symbol], dict[str, _Target]]:
    file = elf.Symbol(spec.name, SymbolKind.FILE, Binding.LOCAL, elf.ABSOLUTE)
    local, public = [elf.Symbol("", 0, 0, 0), file], list[elf.Symbol]()
    targets = {}
    # References to functions and sections are written against symbols of sections, as
    # clang does for what is static: libbpf takes the address of a static function so.
    for name, number in numbers.items():
        targets[name] = _Target(len(local))
        local.append(elf.Symbol("", SymbolKind.SECTION, Binding.LOCAL, number))
    for name, programs in code.items():
        for program, start, length in _starts(programs):
            targets[program.name] = _Target(targets[name].symbol, start)
            static = name == SUBPROGRAMS and _is_static(program)
            binding = Binding.LOCAL if static else Binding.GLOBAL
            place = numbers[name], start, length
            symbol = elf.Symbol(program.name, SymbolKind.FUNC, binding, *place)
            (local if static else public).append(symbol)
    places = [
        (variable.name, numbers[section.name], variable.offset, variable.size)
        for section in spec.sections.values()
        if section.name != _KCONFIG
        for variable in section.variables
    ]
    places += [
        (name, numbers[_MAPS], place.offset, place.size) for name, place in maps.items()
    ]
    places += [
        (table.name, numbers[name], offset, len(table.content))
        for name, tables in table_sections(spec).items()
        for table, offset in placed_tables(tables)
    ]
    options = _options(spec)
    weak = spec.weak | {each.name for each in options if each.weak}
    externs = [*spec.externs, *[each.name for each in options]]
    places += [(name, elf.UNDEFINED, 0, 0) for name in externs]
    for name, section, offset, size in places:
        kind = SymbolKind.OBJECT if section else SymbolKind.NOTYPE
        targets[name] = _Target(len(local) + len(public))
        binding = Binding.WEAK if name in weak else Binding.GLOBAL
        public.append(elf.Symbol(name, kind, binding, section, offset, size))
    return local + public, targets


def _options(spec: ObjectSpec) -> list[Variable]:
    configuration = spec.sections.get(_KCONFIG)
    return configuration.variables if configuration else []


def _is_static(program: ProgramSpec) -> bool:
    signature = program.signature
    return signature is not None and signature.linkage is Linkage.STATIC


def _map_places(spec: ObjectSpec) -> dict[str, _MapPlace]:
    places, offset = {}, 0
    for name, each in spec.maps.items():
        if not is_table(each):
            struct = map_struct(each)
            size = map_size(each, struct)
            places[name] = _MapPlace(struct, offset, size)
            offset += size
    return places


def _code(
    programs: list[ProgramSpec], targets: dict[str, _Target]
) -> tuple[bytes, list[elf.Reference]]:
    content, references = bytearray(), []
    for program in programs:
        relocations = {each.slot: each for each in program.relocations}
        insns, slot, start = [], 0, len(content)
        for insn in program.insns:
            relocation = relocations.get(slot)
            if relocation is None:
                insns.append(insn)
            else:
                target = targets[relocation.symbol]
                insns.append(_unbound(insn, relocation, target))
                type_ = (
                    RelocationType.BPF_64_64
                    if insn.slots == 2
                    else RelocationType.BPF_64_32
                )
                offset = start + slot * _SLOT
                references.append(elf.Reference(offset, type_, target.symbol))
            slot += insn.slots
        content += isa.encode(insns)
    return bytes(content), references


def _unbound(insn: isa.Insn, relocation: Relocation, target: _Target) -> isa.Insn:
    """The instruction before relocation: its imm counts from the symbol."""
    offset = target.offset + relocation.offset
    if insn.slots == 2:
        return isa.ld_imm64(insn.dst, offset & _U32)
    if relocation.kind == RelocationKind.KFUNC:
        return isa.call_subprogram(-1)
    return isa.call_subprogram(offset // _SLOT - 1)


def _relocation_section(
    name: str, number: int, references: list[elf.Reference]
) -> elf.Section:
    return elf.Section(
        ".rel" + name,
        SectionKind.REL,
        elf.encode_references(references),
        elf.SectionFlag.INFO_LINK,
        align=8,
        info=number,
        entry_size=16,
    )


def _data_section(section: DataSection) -> elf.Section:
    flags = elf.SectionFlag.ALLOC if section.name.startswith(".rodata") else _DATA
    size = len(section.content)
    if section.name.startswith(".bss"):
        return elf.Section(
            section.name, SectionKind.NOBITS, b"", flags, size=size, align=8
        )
    content = bytes(section.content)
    return elf.Section(section.name, SectionKind.PROGBITS, content, flags, align=8)


def _type_sections(
    spec: ObjectSpec, code: dict[str, list[ProgramSpec]], maps: dict[str, _MapPlace]
) -> list[elf.Section]:
    builder = Builder()
    builder.add(Int("int", 4, signed=True))  # the kernel refuses BTF without a type
    tags = _add_types(builder, spec, maps)
    infos = [_section_info(name, programs) for name, programs in code.items()]
    extension = ext.encode(builder, infos)  # adds to the builder
    for tag in tags:
        if builder.knows(tag.to):
            builder.add(tag)
    sections = [elf.Section(".BTF", SectionKind.PROGBITS, builder.encode(), align=4)]
    if any(any(info[1:]) for info in infos):  # libbpf takes no .BTF.ext without records
        sections.append(
            elf.Section(".BTF.ext", SectionKind.PROGBITS, extension, align=4)
        )
    return sections


def _add_types(
    builder: Builder, spec: ObjectSpec, maps: dict[str, _MapPlace]
) -> list[DeclTag]:
    """Add what is described beside code; returns the tags, which come last."""
    for node in spec.types:
        builder.add(node)
    tags = list(spec.tags)
    for section in spec.sections.values():
        if section.name == _KCONFIG:
            builder.add(_option_types(section))
        elif section.variables:
            types, own = _data_types(section)
            builder.add(types)
            tags += own
    for name, tables in table_sections(spec).items():
        builder.add(table_types(name, tables))
    if maps:
        builder.add(_map_types(maps))
    if spec.externs:
        externs = [SectionEntry(extern, 0, 0) for extern in spec.externs.values()]
        builder.add(DataSec(".ksyms", 0, tuple(externs)))
    return tags


def _data_types(section: DataSection) -> tuple[DataSec, list[DeclTag]]:
    entries, tags = [], []
    for each in sorted(section.variables, key=lambda each: each.offset):
        variable = Var(each.name, each.type)
        entries.append(SectionEntry(variable, each.offset, each.size))
        tags += [DeclTag(tag, variable) for tag in each.tags]
    return DataSec(section.name, len(section.content), tuple(entries)), tags


def _option_types(section: DataSection) -> DataSec:
    """Options have no place before somebody loads them."""
    entries = [
        SectionEntry(Var(each.name, each.type, Linkage.EXTERN), 0, each.size)
        for each in section.variables
    ]
    return DataSec(section.name, 0, tuple(entries))


def _map_types(maps: dict[str, _MapPlace]) -> DataSec:
    entries = [
        SectionEntry(Var(name, place.struct), place.offset, place.size)
        for name, place in maps.items()
    ]
    return DataSec(_MAPS, sum(entry.size for entry in entries), tuple(entries))


def _section_info(name: str, programs: list[ProgramSpec]) -> ext.SectionInfo:
    funcs: list[tuple[int, Func]] = []
    lines, core_relos = [], []
    for program, start, _ in _starts(programs):
        first = start // _SLOT
        if program.signature is not None:
            funcs.append((first, program.signature))
        # The kernel wants a line for the first instruction of each function.
        slots = [0, *[each.slot for each in program.lines[1:]]]
        lines += [
            each._replace(slot=first + slot)
            for each, slot in zip(program.lines, slots, strict=False)
        ]
        core_relos += [
            each._replace(slot=first + each.slot) for each in program.core_relos
        ]
    return ext.SectionInfo(name, funcs, lines, core_relos)
