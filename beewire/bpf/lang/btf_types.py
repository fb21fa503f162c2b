"""From the types of values to BTF."""

from beewire.bpf.btf import types as btf
from beewire.bpf.lang.layout import BitsType, Field
from beewire.bpf.lang.structs import StructType
from beewire.bpf.lang.types import (
    ArrayType,
    BigEndianType,
    CharsType,
    IntType,
    ObjectType,
    ValueType,
)
from beewire.errors import SpecError

# C's names, as bpftool and the kernel's own BTF spell them.
_NAMES = {
    "u8": "unsigned char",
    "u16": "unsigned short",
    "u32": "unsigned int",
    "u64": "unsigned long long",
    "i8": "signed char",
    "i16": "short",
    "i32": "int",
    "i64": "long long",
    "bool": "_Bool",
}


def in_ascii(name: str) -> str:
    """A name as the kernel takes it, btf_name_valid_identifier(): ASCII.

    Raises:
        SpecError: It is not.
    """
    if not name.isascii():
        raise SpecError(f"the kernel takes ASCII names only: call {name!r} otherwise")
    return name


_made: dict[ValueType, btf.Type] = {}


def to_btf(type_: ValueType) -> btf.Type:
    """The BTF type of `type_`; the same object each time it is asked for."""
    found = _made.get(type_)
    if found is None:
        found = _made[type_] = _make(type_)
    return found


def _make(type_: ValueType) -> btf.Type:
    match type_:
        case BitsType():
            return to_btf(type_.base)
        case BigEndianType():
            plain = f"u{type_.bits}"
            return btf.Typedef(f"__{type_.name}", btf.Int(_NAMES[plain], type_.size))
        case IntType(enum=None):
            return btf.Int(
                _NAMES[type_.name], type_.size, signed=type_.signed, bool=type_.is_bool
            )
        case IntType():
            return _enum(type_)
        case CharsType():
            return btf.Array(btf.Int("char", 1, signed=True), type_.count)
        case ArrayType():
            return btf.Array(to_btf(type_.element), type_.count)
        case StructType():
            return _composite(type_)
        case ObjectType():
            # Few have any.
            home = __import__(f"{__package__}.object_btf", fromlist=("object_type",))
            made: btf.Type = home.object_type(type_)
            return made
        case _:
            raise AssertionError(type_)


def _enum(type_: IntType) -> btf.Type:
    assert type_.enum is not None
    values = tuple(btf.Enumerator(in_ascii(m.name), int(m)) for m in type_.enum)
    made = btf.Enum64 if type_.size == 8 else btf.Enum
    return made(in_ascii(type_.name), type_.size, values, signed=type_.signed)


def _composite(type_: StructType) -> btf.Type:
    if type_.is_union:
        members = [_member(field, 0) for field in type_.fields.values()]
        return btf.Union(in_ascii(type_.name), type_.size, _with_widths(members))
    shared = {name for names in type_.groups.values() for name in names}
    members = []
    for name, field in type_.fields.items():
        if name in type_.groups:
            members.append(_anonymous(type_, type_.groups[name], field.offset))
        elif name not in shared:
            members.append(_member(field, 0))
    return btf.Struct(in_ascii(type_.name), type_.size, _with_widths(members))


def _with_widths(members: list[btf.Member]) -> tuple[btf.Member, ...]:
    """Where there are bit-fields, enums say their width: the kernel takes 32 bits else.

    btf_enum_check_kflag_member() would find a small enum at the end to pass the end.
    """
    if not any(member.bitfield_bits for member in members):
        return tuple(members)
    return tuple(
        member._replace(bitfield_bits=member.type.size * 8)
        if isinstance(member.type, btf.Enum) and member.type.size < 4
        else member
        for member in members
    )


def _anonymous(type_: StructType, names: tuple[str, ...], start: int) -> btf.Member:
    """The fields that share the place at `start`, as a union without a name."""
    fields = [type_.fields[name] for name in names]
    align = max(field.type.align for field in fields)
    size = -(-max(field.type.size for field in fields) // align) * align
    members = [_member(field, start) for field in fields]
    return btf.Member("", btf.Union("", size, _with_widths(members)), start * 8)


def _member(field: Field, start: int) -> btf.Member:
    name, kind = in_ascii(field.name), field.type
    place = (field.offset - start) * 8
    if isinstance(kind, BitsType):
        return btf.Member(name, to_btf(kind), place + kind.shift, kind.bits)
    return btf.Member(name, to_btf(kind), place)
