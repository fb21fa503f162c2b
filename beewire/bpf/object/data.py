"""Global variables of an object file: data sections, and the kernel's configuration."""

from collections.abc import Iterator

from beewire.bpf.btf import Linkage, Type, Var, size_of
from beewire.bpf.object import elf
from beewire.bpf.object.elf import Binding, SectionFlag, SectionKind
from beewire.bpf.object.source import Source, unique
from beewire.bpf.object.spec import DataSection, Variable
from beewire.errors import ObjectError, SpecError

# Only a limit on what a damaged .bss can make us allocate.
_MAX_DATA = 1 << 26

ARENA = ".addr_space.1"
KCONFIG = ".kconfig"
_FAMILIES = (".data", ".bss", ".rodata", ARENA)


def data_sections(source: Source) -> Iterator[DataSection]:
    """Every data section that is not empty, with those of its variables that BTF names.

    Raises:
        ObjectError: a section is damaged, or of more than 64 MiB.
    """
    total = 0
    names: set[str] = set()
    for number, section in enumerate(source.file.sections):
        if not section.size or not _is_data(section):
            continue
        if section.name in names:
            raise ObjectError(f"the object has two sections {section.name!r}")
        names.add(section.name)
        total += section.size
        if total > _MAX_DATA:
            raise ObjectError(f"{section.name!r} is larger than any data: damaged?")
        if source.references(number):
            raise ObjectError(
                f"section {section.name!r} holds pointers to other sections: no loader "
                "can fill them in"
            )
        is_empty = section.kind == SectionKind.NOBITS
        content = bytearray(section.size) if is_empty else bytearray(section.content)
        yield DataSection(section.name, content, _variables(source, number))


def _is_data(section: elf.Section) -> bool:
    name = section.name
    known = any(name == each or name.startswith(f"{each}.") for each in _FAMILIES)
    return known and bool(section.flags & SectionFlag.ALLOC)


def _variables(source: Source, number: int) -> list[Variable]:
    section = source.section(number)
    types = source.types(section.name)
    symbols = source.objects(number)
    found: list[tuple[int, int, Var]] = []
    for node, offset, size in types.entries if types else ():
        if not isinstance(node, Var) or node.type is None:
            raise ObjectError(f"{node.name!r} among the data is no variable")
        # clang leaves the offsets of public variables to the loader: those of the
        # symbols count. Of static ones the offset is there, and the symbol's name is not
        # always the variable's: two functions may each have their own "count".
        symbol = None if node.linkage is Linkage.STATIC else symbols.get(node.name)
        place = offset if symbol is None else symbol.value
        if place + size > section.size:
            raise ObjectError(f"{node.name!r} lies beyond the end of {section.name}")
        found.append((place, size, node))
    tags: dict[Type | None, tuple[str, ...]] = {}
    for tag in source.tags:
        tags[tag.to] = (*tags.get(tag.to, ()), tag.name)
    taken: dict[str, int] = {}
    found.sort(key=lambda each: (each[0], each[2].linkage is Linkage.STATIC))
    return [
        Variable(
            unique(node.name, taken), place, size, node.type, tags=tags.get(node, ())
        )
        for place, size, node in found
        if node.type is not None
    ]


def kconfig(source: Source) -> DataSection | None:
    """The variables that stand for options of the kernel's configuration, all zero.

    Raises:
        ObjectError: one of them has no size.
    """
    types = source.types(KCONFIG)
    if types is None:
        return None
    symbols = source.objects(elf.UNDEFINED)
    variables, end = [], 0
    for node, *_ in types.entries:
        try:
            size = size_of(node)
        except SpecError as error:
            raise ObjectError(f"{node.name!r} in {KCONFIG}: {error}") from None
        if not isinstance(node, Var) or node.type is None or not 0 < size <= _MAX_DATA:
            raise ObjectError(f"{node.name!r} in {KCONFIG} is no option")
        offset = end + -end % min(size, 8)
        symbol = symbols.get(node.name)
        weak = symbol is not None and symbol.binding == Binding.WEAK
        variables.append(Variable(node.name, offset, size, node.type, weak))
        end = offset + size
        if end > _MAX_DATA:
            raise ObjectError(f"{KCONFIG} is larger than any data: damaged?")
    return DataSection(KCONFIG, bytearray(end), variables)
