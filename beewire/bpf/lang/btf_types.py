"""From the types of values to BTF."""

from beewire.bpf.btf import types as btf
from beewire.bpf.lang.structs import StructType
from beewire.bpf.lang.types import ArrayType, CharsType, IntType, ValueType

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

_made: dict[ValueType, btf.Type] = {}


def to_btf(type_: ValueType) -> btf.Type:
    """The BTF type of `type_`; the same object each time it is asked for."""
    found = _made.get(type_)
    if found is None:
        found = _made[type_] = _make(type_)
    return found


def _make(type_: ValueType) -> btf.Type:
    match type_:
        case IntType(enum=None):
            return btf.Int(
                _NAMES[type_.name], type_.size, signed=type_.signed, bool=type_.is_bool
            )
        case IntType():
            assert type_.enum is not None
            values = tuple(btf.Enumerator(m.name, int(m)) for m in type_.enum)
            return btf.Enum(type_.name, 4, values, signed=type_.signed)
        case CharsType():
            return btf.Array(btf.Int("char", 1, signed=True), type_.count)
        case ArrayType():
            return btf.Array(to_btf(type_.element), type_.count)
        case StructType():
            members = tuple(
                btf.Member(field.name, to_btf(field.type), field.offset * 8)
                for field in type_.fields.values()
            )
            return btf.Struct(type_.name, type_.size, members)
        case _:
            raise AssertionError(type_)
