"""The parts of an object file while it is read, and who is where in them."""

from beewire.bpf.btf import DataSec, DeclTag, Func, Index, Struct, Type, ext
from beewire.bpf.object import elf
from beewire.bpf.object.elf import Binding, SectionFlag, SectionKind, SymbolKind
from beewire.bpf.object.spec import ObjectSpec
from beewire.errors import ObjectError

SLOT = 8
_PAIR = "____btf_map_"


class Source:
    """The file, its types, and the spec so far; symbols by where they are."""

    __slots__ = (
        "_data",
        "_functions",
        "_names",
        "_objects",
        "_pairs",
        "_references",
        "btf",
        "file",
        "holders",
        "infos",
        "options",
        "renamed",
        "spec",
        "tags",
    )

    def __init__(self, file: elf.File, btf: Index | None, spec: ObjectSpec) -> None:
        self.file = file
        self.btf = btf
        self.spec = spec
        self.infos: dict[str, ext.SectionInfo] = {}
        nodes = _nodes(btf) if btf else []
        self.tags = tuple([node for node in nodes if isinstance(node, DeclTag)])
        self._pairs = {
            node.name: node
            for node in nodes
            if isinstance(node, Struct) and node.name.startswith(_PAIR)
        }
        self._data = {node.name: node for node in nodes if isinstance(node, DataSec)}
        # What an address in a section means: a map, or a variable.
        self.holders: dict[tuple[int, int], str] = {}
        # The names of variables in .kconfig.
        self.options: set[str] = set()
        # Functions whose signature in the spec is not the one in the file.
        self.renamed: dict[Func, Func] = {}
        self._functions: dict[int, list[elf.Symbol]] = {}
        self._objects: dict[int, dict[str, elf.Symbol]] = {}
        for symbol in file.symbols:
            if symbol.kind == SymbolKind.FUNC:
                self._functions.setdefault(symbol.section, []).append(symbol)
            elif symbol.kind != SymbolKind.SECTION:
                self._objects.setdefault(symbol.section, {})[symbol.name] = symbol
        for functions in self._functions.values():
            # Of two names for one function, the public one comes first.
            functions.sort(key=lambda each: (each.value, each.binding == Binding.LOCAL))
        self._names = self._unique_names()
        self._references = self._all_references()

    def section(self, number: int) -> elf.Section:
        """Section `number`.

        Raises:
            ObjectError: the file has none.
        """
        if number >= len(self.file.sections):
            raise ObjectError(f"the ELF file has no section {number}")
        return self.file.sections[number]

    def is_code(self, number: int) -> bool:
        """Whether section `number` holds instructions."""
        return bool(self.section(number).flags & SectionFlag.EXECINSTR)

    def symbol(self, number: int) -> elf.Symbol:
        """Symbol `number`.

        Raises:
            ObjectError: the file has none.
        """
        if number >= len(self.file.symbols):
            raise ObjectError(f"the ELF file has no symbol {number}")
        return self.file.symbols[number]

    def types(self, section: str) -> DataSec | None:
        """The variables of a section, as far as BTF tells."""
        return self._data.get(section)

    def pair(self, map_name: str) -> Struct | None:
        """The struct by which BPF_ANNOTATE_KV_PAIR says the types of a legacy map."""
        return self._pairs.get(f"{_PAIR}{map_name}")

    def objects(self, number: int) -> dict[str, elf.Symbol]:
        """What symbols other than of functions there are in section `number`, by name."""
        return self._objects.get(number, {})

    def functions(self, number: int) -> list[elf.Symbol]:
        """The functions of section `number`, in order of place."""
        return self._functions.get(number, [])

    def function_at(self, number: int, offset: int) -> str | None:
        """The name, in the spec, of the function that begins at this byte."""
        return self._names.get((number, offset))

    def references(self, number: int) -> dict[int, elf.Reference]:
        """The relocations of section `number`, by the byte they stand at."""
        return self._references.get(number, {})

    def _unique_names(self) -> dict[tuple[int, int], str]:
        """A name for each function: of static ones several may bear the same."""
        names: dict[tuple[int, int], str] = {}
        taken: dict[str, int] = {}
        everyone = [
            (each.binding == Binding.LOCAL, number, each)
            for number, functions in self._functions.items()
            for each in functions
        ]
        everyone.sort(key=lambda found: found[0])
        for _, number, each in everyone:
            if (number, each.value) not in names:
                names[number, each.value] = unique(each.name, taken)
        return names

    def _all_references(self) -> dict[int, dict[int, elf.Reference]]:
        found: dict[int, dict[int, elf.Reference]] = {}
        for section in self.file.sections:
            if section.kind == SectionKind.RELA and self._is_loaded(section.info):
                raise ObjectError(
                    f"{section.name!r}: BPF has no relocations of this form"
                )
            if section.kind != SectionKind.REL or not self._is_loaded(section.info):
                continue
            table = found.setdefault(section.info, {})
            for reference in elf.decode_references(
                section.content, big_endian=self.file.big_endian
            ):
                if table.setdefault(reference.offset, reference) is not reference:
                    message = f"two relocations at byte {reference.offset}"
                    raise ObjectError(f"{section.name!r} has {message}")
        return found

    def _is_loaded(self, number: int) -> bool:
        return bool(self.section(number).flags & SectionFlag.ALLOC)


def _nodes(index: Index) -> list[Type | None]:
    return [index.type(number) for number in range(1, len(index))]


def unique(name: str, taken: dict[str, int]) -> str:
    """Return `name`, or one like it that is not yet taken, and take it.

    `taken` counts how often each was asked for.
    """
    found = name
    while found in taken:
        taken[name] += 1
        found = f"{name}__{taken[name]}"
    taken[found] = 1
    return found
