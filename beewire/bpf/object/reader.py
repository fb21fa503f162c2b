"""A BPF object file -> ObjectSpec: our own files, and those of clang."""

from collections.abc import Iterator
from typing import NamedTuple

from beewire.bpf import isa
from beewire.bpf.btf import DataSec, Func, Index, Kind, Var, decode, ext
from beewire.bpf.object import elf
from beewire.bpf.object.elf import Binding, SectionFlag, SectionKind, SymbolKind
from beewire.bpf.object.mapdefs import map_spec
from beewire.bpf.object.sections import parse_section
from beewire.bpf.object.spec import (
    CoreRelo,
    DataSection,
    LineInfo,
    MapSpec,
    ObjectSpec,
    ProgramSpec,
    Relocation,
    RelocationKind,
    Variable,
)
from beewire.errors import DecodingError, SpecError

_SLOT = 8
# Only a limit on what a damaged .bss can make us allocate.
_MAX_DATA = 1 << 28
_CALL = isa.call_helper(0).opcode


def read(data: bytes) -> ObjectSpec:
    """Return what an object file holds.

    What a spec has no place for is refused, not left out: pinned maps, maps with
    initial content, `.kconfig`, weak kernel symbols, pointers among the data.

    Raises:
        DecodingError: the file is no BPF object, is damaged, or holds such a thing.
    """
    file = elf.decode(data)
    contents = {section.name: section.content for section in file.sections}
    name = next((s.name for s in file.symbols if s.kind == SymbolKind.FILE), "")
    license_text = contents.get("license", b"").split(b"\0")[0]
    spec = ObjectSpec(name, license_text.decode(errors="surrogateescape"))
    index = decode(contents[".BTF"]) if ".BTF" in contents else None
    _refuse(file, contents, index)
    source = _Source(file, index, _infos(contents, index), spec)
    spec.maps = _maps(source)
    spec.sections = {each.name: each for each in _data_sections(source)}
    spec.externs = _externs(source)
    for number, section in enumerate(file.sections):
        if section.flags & SectionFlag.EXECINSTR:
            for program in _programs(source, number):
                spec.programs[program.name] = program
    return spec


class _Source(NamedTuple):
    """The parts of the file, and the spec so far."""

    file: elf.File
    btf: Index | None
    infos: dict[str, ext.SectionInfo]
    spec: ObjectSpec

    def types(self, section: str) -> DataSec | None:
        """The variables of a section, as far as BTF tells."""
        return self.btf.lookup(section, DataSec) if self.btf else None

    def place(self, name: str, number: int) -> elf.Symbol | None:
        """The symbol of this name in section `number`."""
        for symbol in self.file.symbols:
            if symbol.section == number and symbol.name == name:
                return symbol
        return None


def _refuse(file: elf.File, contents: dict[str, bytes], index: Index | None) -> None:
    if contents.get("maps"):
        raise DecodingError("maps in the section 'maps' are of before libbpf 1.0")
    if contents.get(".maps") and index is None:
        raise DecodingError("the maps have no BTF to describe them: compile with -g")
    if index is not None and index.find(".kconfig", Kind.DATASEC):
        raise DecodingError("variables in .kconfig are not supported")
    for section in file.sections:
        if section.kind == SectionKind.REL and section.content:
            target = _section(file, section.info)
            code = target.flags & SectionFlag.EXECINSTR
            if target.flags & SectionFlag.ALLOC and not code:
                message = f"section {target.name!r} holds pointers to other sections"
                raise DecodingError(f"{message}, such as a map with initial content")


def _section(file: elf.File, number: int) -> elf.Section:
    if number >= len(file.sections):
        raise DecodingError(f"the ELF file has no section {number}")
    return file.sections[number]


def _infos(
    contents: dict[str, bytes], index: Index | None
) -> dict[str, ext.SectionInfo]:
    if index is None or ".BTF.ext" not in contents:
        return {}
    return {each.name: each for each in ext.decode(contents[".BTF.ext"], index)}


def _maps(source: _Source) -> dict[str, MapSpec]:
    types = source.types(".maps")
    variables = [entry.type for entry in types.entries] if types else []
    return {each.name: map_spec(each) for each in variables if isinstance(each, Var)}


def _externs(source: _Source) -> dict[str, Func | Var]:
    types = source.types(".ksyms")
    return {entry.type.name: entry.type for entry in types.entries} if types else {}


def _data_sections(source: _Source) -> Iterator[DataSection]:
    total = 0
    for number, section in enumerate(source.file.sections):
        family = section.name.split(".")[1:2]
        if family not in (["data"], ["bss"], ["rodata"]) or not section.size:
            continue
        total += section.size
        if total > _MAX_DATA:
            raise DecodingError(f"{section.name!r} is larger than any data: damaged?")
        is_empty = section.kind == SectionKind.NOBITS
        content = bytearray(section.size) if is_empty else bytearray(section.content)
        yield DataSection(section.name, content, _variables(source, number))


def _variables(source: _Source, number: int) -> list[Variable]:
    section = source.file.sections[number]
    types = source.types(section.name)
    variables = []
    for node, offset, size in types.entries if types else ():
        # clang leaves the offsets in BTF to the loader: those of the symbols count.
        symbol = source.place(node.name, number)
        if not isinstance(node, Var) or node.type is None:
            raise DecodingError(f"{node.name!r} among the data is no variable")
        place = offset if symbol is None else symbol.value
        if place + size > section.size:
            raise DecodingError(f"{node.name!r} lies beyond the end of {section.name}")
        variables.append(Variable(node.name, place, size, node.type))
    return sorted(variables, key=lambda each: each.offset)


def _programs(source: _Source, number: int) -> Iterator[ProgramSpec]:
    section = source.file.sections[number]
    functions = _functions(source.file, number)
    _refuse_gaps(section, functions)
    if not functions:
        return
    try:
        hook = parse_section(section.name)
    except SpecError as error:
        raise DecodingError(str(error)) from None
    references = _references(source.file, number)
    info = source.infos.get(section.name) or ext.SectionInfo(section.name)
    _refuse_strays(section, info)
    for function in functions:
        first, end = function.value // _SLOT, (function.value + function.size) // _SLOT
        body = section.content[function.value : function.value + function.size]
        insns, relocations = _bind(source, function, isa.decode(body), references)
        signature = next((node for at, node in info.funcs if at == first), None)
        yield ProgramSpec(
            function.name,
            kind=hook.kind,
            section=section.name,
            insns=insns,
            attach_kind=hook.attach_kind,
            attach_to=hook.attach_to,
            relocations=relocations,
            lines=tuple(
                [
                    LineInfo(line[0] - first, *line[1:])
                    for line in info.lines
                    if first <= line[0] < end
                ]
            ),
            core_relos=tuple(
                [
                    CoreRelo(relo[0] - first, *relo[1:])
                    for relo in info.core_relos
                    if first <= relo[0] < end
                ]
            ),
            signature=signature if isinstance(signature, Func) else None,
            license=source.spec.license,
            flags=hook.flags,
        )
    if references:
        message = f"{section.name!r} has no instruction that a relocation fits"
        raise DecodingError(f"{message}: byte {min(references)}")


def _refuse_gaps(section: elf.Section, functions: list[elf.Symbol]) -> None:
    end = 0
    for function in functions:
        if function.value != end or not function.size:
            break
        end += function.size
    else:
        if end == len(section.content):
            return
    raise DecodingError(
        f"{section.name!r} has instructions outside of functions: at byte {end}"
    )


def _refuse_strays(section: elf.Section, info: ext.SectionInfo) -> None:
    end = len(section.content) // _SLOT
    for records in (info.funcs, info.lines, info.core_relos):
        last = max([record[0] for record in records], default=0)
        if last >= end:
            message = f".BTF.ext speaks of slot {last} of {section.name!r}"
            raise DecodingError(f"{message}, which has {end}")


def _functions(file: elf.File, number: int) -> list[elf.Symbol]:
    functions = [
        symbol
        for symbol in file.symbols
        if symbol.section == number and symbol.kind == SymbolKind.FUNC
    ]
    return sorted(functions, key=lambda symbol: symbol.value)


def _references(file: elf.File, number: int) -> dict[int, elf.Reference]:
    """The relocations of section `number` by the byte they stand at."""
    found: dict[int, elf.Reference] = {}
    for section in file.sections:
        if section.kind == SectionKind.REL and section.info == number:
            for reference in elf.decode_references(section.content):
                if found.setdefault(reference.offset, reference) is not reference:
                    message = f"two relocations at byte {reference.offset}"
                    raise DecodingError(f"{section.name!r} has {message}")
    return found


def _bind(
    source: _Source,
    function: elf.Symbol,
    insns: tuple[isa.Insn, ...],
    references: dict[int, elf.Reference],
) -> tuple[tuple[isa.Insn, ...], tuple[Relocation, ...]]:
    """Take the function's relocations out of `references`, and its calls' targets."""
    bound, relocations = [], []
    start = slot = function.value // _SLOT
    end = start + function.size // _SLOT
    for insn in insns:
        reference = references.pop(slot * _SLOT, None)
        found = None
        if reference is not None:
            if insn.slots == 1 and insn.opcode != _CALL:
                place = f"slot {slot - start} of {function.name!r}"
                message = f"{place} has a relocation, but is no call or LD_IMM64"
                raise DecodingError(message)
            found = _resolve(source, insn, reference, slot - start)
        elif insn.opcode == _CALL and insn.src == isa.CALL_SUBPROGRAM:
            # Within one section the compiler knows the distance: no relocation.
            target = slot + 1 + insn.imm
            if not start <= target < end:
                found = _call(source, function.section, target, slot - start)
        if found is not None:
            insn = _pseudo(insn, found.kind)  # noqa: PLW2901 - the same, named
            relocations.append(found)
        bound.append(insn)
        slot += insn.slots
    return tuple(bound), tuple(relocations)


def _resolve(
    source: _Source, insn: isa.Insn, reference: elf.Reference, slot: int
) -> Relocation:
    symbols = source.file.symbols
    if reference.symbol >= len(symbols):
        raise DecodingError(f"the ELF file has no symbol {reference.symbol}")
    symbol = symbols[reference.symbol]
    wide = insn.slots == 2
    if symbol.section == elf.UNDEFINED:
        if symbol.name not in source.spec.externs:
            raise DecodingError(f"{symbol.name!r} is declared nowhere, not even __ksym")
        if symbol.binding == Binding.WEAK:
            message = f"{symbol.name!r} may be missing in the kernel (it is weak)"
            raise DecodingError(f"{message}, which is not supported")
        kind = RelocationKind.KSYM if wide else RelocationKind.KFUNC
        return Relocation(slot, kind, symbol.name)
    section = _section(source.file, symbol.section)
    if section.flags & SectionFlag.EXECINSTR:
        distance = _signed(insn.imm) // _SLOT if wide else insn.imm + 1
        target = symbol.value // _SLOT + distance
        return _call(source, symbol.section, target, slot)
    offset = _signed(insn.imm)
    if section.name == ".maps" and wide:
        name = _map_at(source, symbol.section, symbol.value + offset)
        return Relocation(slot, RelocationKind.MAP, name)
    if section.name in source.spec.sections and wide:
        return _global(source, symbol, section.name, offset, slot)
    raise DecodingError(f"an instruction refers to section {section.name!r}")


def _global(
    source: _Source, symbol: elf.Symbol, section: str, offset: int, slot: int
) -> Relocation:
    variables = source.spec.sections[section].variables
    if any(symbol.name == variable.name for variable in variables):
        return Relocation(slot, RelocationKind.GLOBAL, symbol.name, offset)
    return Relocation(slot, RelocationKind.GLOBAL, section, symbol.value + offset)


def _signed(imm: int) -> int:
    """The low half of a LD_IMM64, where an addend stands."""
    return (imm & 0xFFFFFFFF ^ 1 << 31) - (1 << 31)


def _call(source: _Source, number: int, target: int, slot: int) -> Relocation:
    for function in _functions(source.file, number):
        if function.value == target * _SLOT:
            return Relocation(slot, RelocationKind.SUBPROGRAM, function.name)
    raise DecodingError(f"a call in slot {slot} leads to no function")


def _map_at(source: _Source, number: int, offset: int) -> str:
    for symbol in source.file.symbols:
        here = symbol.section == number and symbol.value == offset
        if here and symbol.name in source.spec.maps:
            return symbol.name
    raise DecodingError(f"an instruction refers to byte {offset} of .maps: no map")


def _pseudo(insn: isa.Insn, kind: str) -> isa.Insn:
    """The instruction as a spec has it while what it refers to has no number."""
    match kind:
        case RelocationKind.MAP:
            return isa.ld_map_fd(insn.dst, 0)
        case RelocationKind.GLOBAL:
            return isa.ld_map_value(insn.dst, 0, 0)
        case RelocationKind.KSYM:
            return isa.ld_btf_id(insn.dst, 0)
        case RelocationKind.KFUNC:
            return isa.call_kfunc(-1)
        case _:
            wide = insn.slots == 2
            return isa.ld_func(insn.dst, 0) if wide else isa.call_subprogram(-1)
