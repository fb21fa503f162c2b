"""Pointers in an object file: values of maps, and the tables of `.struct_ops`.

The other way round it is told in `initial`.
"""

from beewire.bpf.btf import DataSec, SectionEntry, Struct, Var
from beewire.bpf.object import elf
from beewire.bpf.object.elf import RelocationType
from beewire.bpf.object.kinds import MapKind
from beewire.bpf.object.mapdefs import map_struct
from beewire.bpf.object.spec import MapSpec, ObjectSpec
from beewire.errors import SpecError

_LINK = 1 << 13  # BPF_F_LINK
_POINTER = 8


def is_table(spec: MapSpec) -> bool:
    """Whether the map is described by `.struct_ops`, and not by `.maps`."""
    return spec.kind is MapKind.STRUCT_OPS


def table_sections(spec: ObjectSpec) -> dict[str, list[MapSpec]]:
    """The struct_ops maps by the sections that they stand in."""
    sections: dict[str, list[MapSpec]] = {}
    for each in spec.maps.values():
        if is_table(each):
            name = ".struct_ops.link" if each.flags & _LINK else ".struct_ops"
            name = name if each.autocreate else f"?{name}"
            sections.setdefault(name, []).append(each)
    return sections


def placed_tables(tables: list[MapSpec]) -> list[tuple[MapSpec, int]]:
    """Each table of a section with the byte at which it begins."""
    placed, at = [], 0
    for each in tables:
        placed.append((each, at))
        at += len(each.content) + -len(each.content) % _POINTER
    return placed


def table_content(tables: list[MapSpec]) -> bytes:
    """The content of a section of tables; pointers are zero."""
    return b"".join(
        [each.content + bytes(-len(each.content) % _POINTER) for each in tables]
    )


def table_types(section: str, tables: list[MapSpec]) -> DataSec:
    """The DATASEC of a section of tables.

    Raises:
        SpecError: a table whose value is no struct.
    """
    entries = []
    for each, offset in placed_tables(tables):
        if not isinstance(each.value, Struct):
            raise SpecError(
                f"the struct_ops map {each.name!r} has no struct for a value"
            )
        entries.append(
            SectionEntry(Var(each.name, each.value), offset, each.value.size)
        )
    return DataSec(section, len(table_content(tables)), tuple(entries))


def table_references(
    tables: list[MapSpec], symbols: dict[str, int]
) -> list[elf.Reference]:
    """The relocations of a section of tables; `symbols` are numbers by name."""
    return [
        _pointer(offset + at, program, symbols, each)
        for each, offset in placed_tables(tables)
        for at, program in sorted(each.initial.items())
    ]


def map_references(
    spec: ObjectSpec, places: dict[str, int], symbols: dict[str, int]
) -> list[elf.Reference]:
    """The relocations of `.maps`: what `values` point to."""
    references = []
    for name, start in places.items():
        each = spec.maps[name]
        for member in map_struct(each).members[-1:] if each.initial else ():
            first = start + member.offset_bits // 8
            references += [
                _pointer(first + index * _POINTER, held, symbols, each)
                for index, held in sorted(each.initial.items())
            ]
    return references


def _pointer(
    offset: int, name: str, symbols: dict[str, int], spec: MapSpec
) -> elf.Reference:
    if name not in symbols:
        raise SpecError(
            f"map {spec.name!r} holds {name!r}, which the object does not have"
        )
    return elf.Reference(offset, RelocationType.BPF_64_ABS64, symbols[name])
