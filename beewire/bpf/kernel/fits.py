"""Whether a map that is there already is the one that programs were written for."""

from beewire.bpf.btf import types as btf
from beewire.bpf.kernel.maps.create import flags_of, size_of
from beewire.bpf.object import MapKind, MapSpec
from beewire.errors import SpecError
from beewire.hints import Iterator

RDONLY_PROG = 0x80  # BPF_F_RDONLY_PROG
# The kernel sets RDONLY_PROG on these by itself.
_MARKED = (MapKind.DEVMAP, MapKind.DEVMAP_HASH, MapKind.INSN_ARRAY)


def check_fits(wanted: MapSpec, found: MapSpec, what: str) -> None:
    """Make sure that programs written for `wanted` can use `found`, which is `what`.

    A size of 0 in `wanted` fits any. Types are compared where both are known.

    Raises:
        SpecError: they differ; the message says in what.
    """
    for difference in _differences(wanted, found):
        raise SpecError(f"{what} does not fit {wanted.name!r}: {difference}")


def _differences(wanted: MapSpec, found: MapSpec) -> Iterator[str]:
    if wanted.kind is not found.kind:
        yield _differs("kind", wanted.kind.name, found.kind.name)
    for field in ("key_size", "value_size"):
        yield from _unequal(field, getattr(wanted, field), getattr(found, field))
    if size_of(wanted):
        yield from _unequal("max_entries", size_of(wanted), found.max_entries)
    mark = RDONLY_PROG if found.kind in _MARKED else 0
    flags, has = flags_of(wanted) | mark, flags_of(found) | mark
    yield from _unequal("map_flags", hex(flags), hex(has))
    if wanted.kind is not MapKind.ARENA:  # an address, which is the kernel's choice
        yield from _unequal("map_extra", wanted.extra, found.extra)
    for part in ("key", "value"):
        one, other = getattr(wanted, part), getattr(found, part)
        if one is not None and other is not None:
            yield from _layouts(f"the {part}", one, other)


def _unequal(what: str, wanted: object, found: object) -> Iterator[str]:
    if wanted != found:
        yield _differs(what, wanted, found)


def _differs(what: str, wanted: object, found: object) -> str:
    return f"{what} is {found}, the program expects {wanted}"


def _layouts(
    place: str, wanted: btf.Type | None, found: btf.Type | None
) -> Iterator[str]:
    """Where two types differ in memory; names of types and signs do not count."""
    wanted, found = _plain(wanted), _plain(found)
    asked, given = _shape(wanted), _shape(found)
    if asked != given:
        yield _differs(place, asked, given)
    elif isinstance(wanted, btf.Array) and isinstance(found, btf.Array):
        yield from _layouts(f"an element of {place}", wanted.element, found.element)
    elif isinstance(wanted, btf.Composite) and isinstance(found, btf.Composite):
        yield from _fields(place, wanted, found)


def _fields(place: str, wanted: btf.Composite, found: btf.Composite) -> Iterator[str]:
    ours, theirs = _named(wanted), _named(found)
    for name, member in ours.items():
        other = theirs.get(name)
        if other is None:
            yield f"{place} has no field {name!r}; it has {', '.join(theirs)}"
            continue
        field = f"field {name!r} of {place}"
        yield from _unequal(f"the place of {field}", _place(member), _place(other))
        yield from _layouts(field, member.type, other.type)
    for name in theirs:
        if name not in ours:
            yield f"{place} has a field {name!r} that the program does not know"


def _named(type_: btf.Composite) -> dict[str, btf.Member]:
    """Members by name, with those of anonymous members among them."""
    found: dict[str, btf.Member] = {}
    for member in type_.members:
        if member.name:
            found[member.name] = member
        elif isinstance(member.type, btf.Composite):
            for name, inner in _named(member.type).items():
                offset = member.offset_bits + inner.offset_bits
                found[name] = inner._replace(offset_bits=offset)
    return found


def _place(member: btf.Member) -> str:
    whole, rest = divmod(member.offset_bits, 8)
    if member.bitfield_bits:
        return f"byte {whole}, {member.bitfield_bits} bits from bit {rest}"
    return f"byte {whole}"


def _plain(type_: btf.Type | None) -> btf.Type | None:
    while isinstance(type_, btf.Typedef | btf.Const | btf.Volatile | btf.TypeTag):
        type_ = type_.to
    return type_


def _shape(type_: btf.Type | None) -> str:
    """What a type is in memory, in words."""
    match type_:
        case btf.Int() | btf.Enum():
            return f"an integer of {type_.size} bytes"
        case btf.Array():
            return f"an array of {type_.count} elements"
        case btf.Struct():
            return f"a struct of {type_.size} bytes"
        case btf.Union():
            return f"a union of {type_.size} bytes"
        case None:
            return "nothing"
        case _:
            return f"a {type_.kind.name.lower()}"
