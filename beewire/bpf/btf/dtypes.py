"""How numpy calls the types of keys, values and records."""

from beewire.bpf.btf import types as btf
from beewire.hints import Any

_NETWORK = {"__be16": ">u2", "__be32": ">u4", "__be64": ">u8"}
_QUALIFIED = btf.Typedef | btf.Const | btf.Volatile | btf.Restrict | btf.TypeTag


def layout(type_: "btf.Type | None", size: int) -> Any:
    """What `numpy.dtype` takes for a type of `size` bytes; opaque bytes without a type.

    Structs have their fields' names, with the fields of anonymous members among them.
    Network order stays as it is (">u2"), texts become bytes without trailing NULs.
    Bit-fields, which numpy does not have, are left out.
    """
    found = _layout(type_)
    return f"V{size}" if found is None else found


def _layout(type_: "btf.Type | None") -> Any:
    while isinstance(type_, _QUALIFIED):
        if type_.name in _NETWORK:
            return _NETWORK[type_.name]
        type_ = type_.to
    match type_:
        case btf.Int(bool=True):
            return "?"
        case btf.Int() | btf.Enum() | btf.Enum64():
            return f"{'i' if type_.signed else 'u'}{type_.size}"
        case btf.Float():
            return f"f{type_.size}"
        case btf.Ptr():
            return "u8"
        case btf.Array():
            return _array(type_)
        case btf.Struct() | btf.Union():
            return _fields(type_)
        case _:
            return None


def _array(type_: btf.Array) -> Any:
    element = type_.element
    if isinstance(element, btf.Int) and element.size == 1 and element.name == "char":
        return f"S{type_.count}"
    inner = _layout(element)
    return None if inner is None else (inner, (type_.count,))


def _fields(type_: "btf.Struct | btf.Union") -> Any:
    names: list[str] = []
    formats: list[Any] = []
    offsets: list[int] = []
    for name, member, offset in _members(type_, 0):
        found = _layout(member)
        if found is not None:
            names.append(name)
            formats.append(found)
            offsets.append(offset)
    if not names:
        return f"V{type_.size}"
    return {
        "names": names,
        "formats": formats,
        "offsets": offsets,
        "itemsize": type_.size,
    }


def _members(
    type_: "btf.Struct | btf.Union", start: int
) -> "list[tuple[str, btf.Type | None, int]]":
    found: list[tuple[str, btf.Type | None, int]] = []
    for member in type_.members:
        offset = start + member.offset_bits // 8
        if member.bitfield_bits:
            continue
        if member.name:
            found.append((member.name, member.type, offset))
        elif isinstance(member.type, btf.Struct | btf.Union):
            found += _members(member.type, offset)
    return found
