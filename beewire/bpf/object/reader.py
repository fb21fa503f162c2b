"""A BPF object file -> ObjectSpec: our own files, and those of clang."""

from beewire.bpf.btf import DeclTag, Func, Struct, Type, Var, decode, ext
from beewire.bpf.object import elf
from beewire.bpf.object.code import MAPS, programs
from beewire.bpf.object.data import data_sections, kconfig
from beewire.bpf.object.elf import Binding, SymbolKind
from beewire.bpf.object.initial import fill_maps, struct_ops
from beewire.bpf.object.legacy import legacy_maps
from beewire.bpf.object.mapdefs import map_spec
from beewire.bpf.object.source import Source
from beewire.bpf.object.spec import MapSpec, ObjectSpec
from beewire.errors import DecodingError, ObjectError, SpecError


def read(data: bytes) -> ObjectSpec:
    """Return what an object file holds, of either byte order.

    What a spec has no place for is refused, not left out. A static function that stands
    in the section of a hook comes as one of `.text`; functions or variables of one name
    are told apart by numbers behind it, as in "count__2".

    Raises:
        ObjectError: the file is no BPF object, is damaged, or holds what we do not know.
    """
    try:
        return _read(data)
    except ObjectError:
        raise
    except (DecodingError, SpecError) as error:
        raise ObjectError(str(error)) from None
    except RecursionError:
        raise ObjectError("the object's types are nested too deeply") from None


def _read(data: bytes) -> ObjectSpec:
    file = elf.decode(data)
    contents = {section.name: section.content for section in file.sections}
    name = next((s.name for s in file.symbols if s.kind == SymbolKind.FILE), "")
    license_text = contents.get("license", b"").split(b"\0")[0]
    spec = ObjectSpec(name, license_text.decode(errors="surrogateescape"))
    spec.big_endian = file.big_endian
    spec.origin = bytes(data)
    index = decode(contents[".BTF"]) if contents.get(".BTF") else None
    source = Source(file, index, spec)
    if index is not None and ".BTF.ext" in contents:
        infos = ext.decode(contents[".BTF.ext"], index)
        source.infos = {each.name: each for each in infos}
    spec.maps = _maps(source, contents)
    spec.sections = {each.name: each for each in data_sections(source)}
    spec.externs = _externs(source)
    spec.weak = _weak(source)
    configuration = kconfig(source)
    if configuration is not None:
        spec.sections[configuration.name] = configuration
        source.options = {each.name for each in configuration.variables}
    for each in struct_ops(source):
        spec.maps[each.name] = each
    _note_holders(source)
    for number, section in enumerate(file.sections):
        if source.is_code(number) and section.content:
            for program in programs(source, number):
                spec.programs[program.name] = program
    spec.tags = _tags(source)
    spec.types = _named_types(source)
    fill_maps(source)
    return spec


def _maps(source: Source, contents: dict[str, bytes]) -> dict[str, MapSpec]:
    if contents.get(".maps") and source.btf is None:
        raise ObjectError("the maps have no BTF to describe them: compile with -g")
    types = source.types(".maps")
    variables = [entry.type for entry in types.entries] if types else []
    maps = [map_spec(each) for each in variables if isinstance(each, Var)]
    return {each.name: each for each in [*maps, *legacy_maps(source)]}


def _note_holders(source: Source) -> None:
    """Where maps and variables lie, for instructions that refer to them by address."""
    spec = source.spec
    for number, section in enumerate(source.file.sections):
        data = spec.sections.get(section.name)
        known = {each.name for each in data.variables} if data else spec.maps.keys()
        if data is None and section.name not in MAPS:
            continue
        for symbol in source.objects(number).values():
            if symbol.name in known:
                source.holders[number, symbol.value] = symbol.name


def _externs(source: Source) -> dict[str, Func | Var]:
    types = source.types(".ksyms")
    return {entry.type.name: entry.type for entry in types.entries} if types else {}


def _weak(source: Source) -> set[str]:
    return {
        symbol.name
        for symbol in source.objects(elf.UNDEFINED).values()
        if symbol.binding == Binding.WEAK and symbol.name in source.spec.externs
    }


def _tags(source: Source) -> tuple[DeclTag, ...]:
    """The tags of functions, structs and typedefs; those of variables are with these."""
    tags = []
    for tag in source.tags:
        target = source.renamed.get(tag.to) if isinstance(tag.to, Func) else None
        if target is not None:
            tag = DeclTag(tag.name, target, tag.component)  # noqa: PLW2901 - moved over
        if not isinstance(tag.to, Var):
            tags.append(tag)
    return tuple(tags)


def _named_types(source: Source) -> tuple[Type, ...]:
    """The structs that tags name: "contains:node:link" is of a list of `node`s."""
    names = [tag.name.split(":") for tag in source.tags]
    found = {
        parts[1]: source.btf.lookup(parts[1], Struct)
        for parts in names
        if source.btf is not None and len(parts) == 3 and parts[0] == "contains"
    }
    return tuple([node for node in found.values() if node is not None])
