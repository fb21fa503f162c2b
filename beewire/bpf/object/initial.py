"""What maps of an object file hold from the start: programs, other maps, callbacks.

The file says it by relocations: `values[2]` of a map in `.maps`, or a member of a
struct in `.struct_ops`, is a pointer to a function or to another map.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Literal

from beewire.bpf.btf import Struct, Var, size_of, strip
from beewire.bpf.object import elf
from beewire.bpf.object.kinds import MapKind
from beewire.bpf.object.source import Source
from beewire.bpf.object.spec import MapSpec
from beewire.errors import ObjectError

_MAPS = ".maps"
_LINK = 1 << 13  # BPF_F_LINK
STRUCT_OPS = (".struct_ops", ".struct_ops.link")
_OF_MAPS = (MapKind.ARRAY_OF_MAPS, MapKind.HASH_OF_MAPS)
_POINTER = 8


def fill_maps(source: Source) -> None:
    """Set `initial` of the maps that the file fills.

    Raises:
        ObjectError: something else stands where a program or a map should.
    """
    for number, section in enumerate(source.file.sections):
        if section.name == _MAPS:
            places = sorted(_places(source, number))
            starts = [first for first, *_ in places]
            for offset, reference in source.references(number).items():
                place = places[bisect_right(starts, offset) - 1] if places else None
                _fill(source, place, offset, reference)


# Where the values of a map begin and end, and its name.
_Place = tuple[int, int, str]


def _places(source: Source, number: int) -> Iterator[_Place]:
    symbols = source.objects(number)
    types = source.types(_MAPS)
    for node, offset, size in types.entries if types else ():
        struct = strip(node.type) if isinstance(node, Var) else None
        if not isinstance(struct, Struct):
            continue
        symbol = symbols.get(node.name)
        start = offset if symbol is None else symbol.value
        values = [each for each in struct.members if each.name == "values"]
        if values:
            first = start + values[0].offset_bits // 8
            end = start + max(size, symbol.size if symbol else 0)
            yield first, end, node.name


def _fill(
    source: Source, place: _Place | None, offset: int, reference: elf.Reference
) -> None:
    first, end, name = place or (0, 0, "")
    if not first <= offset < end:
        message = "refers to something, and is no value"
        raise ObjectError(f"byte {offset} of .maps {message}")
    spec = source.spec.maps[name]
    spec.initial[(offset - first) // _POINTER] = _target(source, spec, reference)


def _target(source: Source, spec: MapSpec, reference: elf.Reference) -> str:
    symbol = source.symbol(reference.symbol)
    if spec.kind is MapKind.PROG_ARRAY:
        name = source.function_at(symbol.section, symbol.value)
        if name in source.spec.programs:
            return name
        raise ObjectError(
            f"{symbol.name!r} among the values of {spec.name!r}: no program"
        )
    if spec.kind in _OF_MAPS and symbol.name in source.spec.maps:
        return symbol.name
    raise ObjectError(f"{symbol.name!r} among the values of {spec.name!r}: no map")


def struct_ops(source: Source) -> Iterator[MapSpec]:
    """The maps of the sections `.struct_ops` and `.struct_ops.link`.

    Raises:
        ObjectError: one of them is no struct, or points to what is no function.
    """
    for number, section in enumerate(source.file.sections):
        types = source.types(section.name)
        if types is None or section.name.removeprefix("?") not in STRUCT_OPS:
            continue
        symbols = source.objects(number)
        references = sorted(source.references(number).values())
        total = 0
        for node, offset, _ in types.entries:
            symbol = symbols.get(node.name)
            start = offset if symbol is None else symbol.value
            if isinstance(node, Var):
                found = _struct_ops(source, (number, start), node, references)
                # Each takes a copy of its part of the section.
                total += len(found.content)
                if total > len(section.content):
                    raise ObjectError(f"what is in {section.name!r} overlaps")
                yield found


def _struct_ops(
    source: Source,
    place: tuple[int, int],
    node: Var,
    references: list[elf.Reference],
) -> MapSpec:
    number, start = place
    section, value = source.section(number), strip(node.type)
    if not isinstance(value, Struct):
        raise ObjectError(f"{node.name!r} in {section.name!r} is no struct")
    end = start + size_of(value)
    if end > len(section.content):
        raise ObjectError(f"{node.name!r} lies beyond the end of {section.name}")
    initial: dict[int, str] = {}
    low = bisect_left(references, (start,))
    for reference in references[low : bisect_left(references, (end,))]:
        at = reference.offset - start
        addend = section.content[reference.offset : reference.offset + _POINTER]
        symbol = source.symbol(reference.symbol)
        target = symbol.value + int.from_bytes(addend, _order(source))
        name = source.function_at(symbol.section, target)
        if name is None or not source.is_code(symbol.section):
            raise ObjectError(f"byte {at} of {node.name!r} points to no function")
        initial[at] = name
    return MapSpec(
        node.name,
        kind=MapKind.STRUCT_OPS,
        key_size=4,
        value_size=size_of(value),
        max_entries=1,
        flags=_LINK if section.name.endswith(".link") else 0,
        value=value,
        initial=initial,
        content=section.content[start:end],
        autocreate=not section.name.startswith("?"),
    )


def _order(source: Source) -> Literal["big", "little"]:
    return "big" if source.file.big_endian else "little"
