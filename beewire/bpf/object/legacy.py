"""Maps of before BTF: a `struct bpf_map_def` each, in the section "maps".

    struct bpf_map_def { u32 type, key_size, value_size, max_entries, map_flags; };

libbpf took them until 1.0; clang still compiles them, and old objects are still around.
Some loaders had fields of their own behind these five, which are accepted when zero.
"""

import struct

from beewire.bpf.btf import size_of
from beewire.bpf.object.elf import SymbolKind
from beewire.bpf.object.kinds import MapKind
from beewire.bpf.object.source import Source
from beewire.bpf.object.spec import MapSpec
from beewire.errors import ObjectError, SpecError

SECTION = "maps"
_FIELDS = 5


def legacy_maps(source: Source) -> list[MapSpec]:
    """The maps that stand in the section "maps", in its order.

    Raises:
        ObjectError: the section is damaged, or says what a MapSpec cannot.
    """
    number = section_number(source)
    if not number:
        return []
    content = source.section(number).content
    symbols = sorted(
        [
            each
            for each in source.objects(number).values()
            if each.kind in (SymbolKind.OBJECT, SymbolKind.NOTYPE)
        ],
        key=lambda each: each.value,
    )
    if not symbols or len(content) % len(symbols):
        raise ObjectError("the section 'maps' has no symbol for each of its maps")
    size = len(content) // len(symbols)
    if size < 4 * _FIELDS:
        raise ObjectError(
            f"a map in the section 'maps' has {size} bytes, not 20 or more"
        )
    order = ">" if source.file.big_endian else "<"
    maps = []
    for symbol in symbols:
        body = content[symbol.value : symbol.value + size]
        if symbol.value % size or len(body) < size:
            raise ObjectError(f"map {symbol.name!r} lies amid the section 'maps'")
        if any(body[4 * _FIELDS :]):
            raise ObjectError(f"map {symbol.name!r} has fields that are not known here")
        maps.append(_map(source, symbol.name, struct.unpack_from(f"{order}5I", body)))
    return maps


def section_number(source: Source) -> int:
    """The number of the section "maps", or 0."""
    for number, section in enumerate(source.file.sections):
        if section.name == SECTION and section.content:
            return number
    return 0


def _map(source: Source, name: str, fields: tuple[int, ...]) -> MapSpec:
    kind, key_size, value_size, max_entries, flags = fields
    try:
        spec = MapSpec(
            name,
            kind=MapKind(kind),
            key_size=key_size,
            value_size=value_size,
            max_entries=max_entries,
            flags=flags,
        )
    except ValueError:
        raise ObjectError(f"map {name!r} is of the unknown kind {kind}") from None
    _add_types(source, spec)
    return spec


def _add_types(source: Source, spec: MapSpec) -> None:
    pair = source.pair(spec.name)
    if pair is None:
        return
    members = {member.name: member.type for member in pair.members}
    key, value = members.get("key"), members.get("value")
    try:
        fits = size_of(key) == spec.key_size and size_of(value) == spec.value_size
    except SpecError:
        return
    if fits:
        spec.key, spec.value = key, value
