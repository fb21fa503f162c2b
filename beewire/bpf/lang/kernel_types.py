"""CO-RE facts: where a declared field of a kernel struct is, as the kernel finds it."""

from beewire.bpf import ir
from beewire.bpf.btf import types as btf
from beewire.bpf.lang.btf_types import to_btf
from beewire.bpf.lang.contexts import Context, Tracepoint
from beewire.bpf.lang.faults import Rule, near
from beewire.bpf.lang.structs import (
    Address,
    Embedded,
    Kernel,
    KernelBits,
    Pointer,
    Several,
)
from beewire.bpf.lang.types import ValueType, value_type
from beewire.bpf.lang.values import KernelMemory
from beewire.enums import WireEnum
from beewire.errors import SpecError
from beewire.hints import TYPE_CHECKING, TypeVar
from beewire.reasons import Reason

if TYPE_CHECKING:
    from enum import IntEnum


class CoreKind(WireEnum):
    """`enum bpf_core_relo_kind`: what a CO-RE record asks of the kernel's types."""

    FIELD_BYTE_OFFSET = 0
    FIELD_BYTE_SIZE = 1
    FIELD_EXISTS = 2
    FIELD_SIGNED = 3
    FIELD_LSHIFT_U64 = 4
    FIELD_RSHIFT_U64 = 5
    TYPE_ID_LOCAL = 6
    TYPE_ID_TARGET = 7
    TYPE_EXISTS = 8
    TYPE_SIZE = 9
    ENUMVAL_EXISTS = 10
    ENUMVAL_VALUE = 11
    TYPE_MATCHES = 12


def kernel_field(base: KernelMemory, name: str) -> tuple[ValueType, tuple[int, ...]]:
    """The type of a field, and the path of members to it from `base.root`.

    Raises:
        Rule: The class does not declare it.
    """
    kind, index = declared_field(base.kernel, name)
    return kind, (*base.path, index)


def declared_field(cls: type[Kernel], name: str) -> tuple[ValueType, int]:
    """The type of a field of `cls`, and its number.

    Raises:
        Rule: The class does not declare it.
    """
    fields = _declared(cls)
    if name not in fields:
        hint = near(name, list(fields)) or f"declare it in class {cls.__name__}"
        raise Rule(Reason.NO_FIELD, f"{cls.__name__} has no field {name!r}", hint)
    return fields[name], list(fields).index(name)


def core_field(
    root: type[Kernel],
    path: tuple[int, ...],
    kind: CoreKind = CoreKind.FIELD_BYTE_OFFSET,
) -> ir.CoreField:
    """What the kernel says of the member at `path`; by default its byte offset."""
    struct = kernel_struct(root)
    offset = 0
    inner: btf.Type | None = struct
    for index in path:
        if isinstance(inner, btf.Array):
            inner = inner.element
            offset += index * _size(inner)
            continue
        assert isinstance(inner, btf.Composite)
        member = inner.members[index]
        offset += member.offset_bits // 8
        inner = member.type
    if kind is CoreKind.FIELD_BYTE_OFFSET:
        return _field(struct, path, offset)
    # The shifts that libbpf's macros leave in an instruction until it is patched.
    shifts = (CoreKind.FIELD_LSHIFT_U64, CoreKind.FIELD_RSHIFT_U64)
    answer = _size(inner) if kind is CoreKind.FIELD_BYTE_SIZE else 1
    if kind in shifts:
        answer = 64 - member_bits(struct, path)
    return _field(struct, path, answer, kind)


def member_bits(struct: btf.Composite, path: tuple[int, ...]) -> int:
    """The width of the bit-field at `path`."""
    inner: btf.Type | None = struct
    bits = 0
    for index in path:
        if isinstance(inner, btf.Composite):
            bits, inner = inner.members[index].bitfield_bits, inner.members[index].type
    return bits


def core_type(cls: type[Kernel], kind: CoreKind) -> ir.CoreField:
    """What the kernel says of a struct: its existence, size, or type id."""
    struct = kernel_struct(cls)
    local = struct.size if kind is CoreKind.TYPE_SIZE else 1
    return ir.CoreField(struct, "0", kind, local)


def core_enum(cls: "type[IntEnum]", member: str, kind: CoreKind) -> ir.CoreField:
    """What the kernel says of a member of an enum: its existence, or its value."""
    index = list(cls.__members__).index(member)
    local = 1 if kind is CoreKind.ENUMVAL_EXISTS else int(cls[member])
    return ir.CoreField(to_btf(value_type(cls)), str(index), kind, local)


def record_field(cls: type[Context], name: str) -> tuple[ValueType, ir.CoreField]:
    """A field of a tracepoint's record.

    Raises:
        Rule: The class does not declare it.
    """
    assert issubclass(cls, Tracepoint)
    try:
        fields = cls.record_fields()
    except SpecError as error:
        raise Rule(Reason.KERNEL_CLASS, str(error)) from None
    if name not in fields:
        hint = near(name, list(fields)) or (
            "name the fields that are read in a subclass: "
            f"class sched_process_fork(Tracepoint): {name}: u32"
        )
        raise Rule(Reason.NO_FIELD, f"{cls.__name__} has no field {name!r}", hint)
    struct = _structs.get(cls)
    if struct is None:
        struct = btf.Struct(f"trace_event_raw_{cls.__name__}", 0)
        _structs[cls] = _fill(struct, fields)
    index = list(fields).index(name)
    offset = struct.members[index].offset_bits // 8
    return fields[name], _field(struct, (index,), offset)


def kernel_struct(cls: type[Kernel]) -> btf.Composite:
    """The minimal BTF struct, or union, of a Kernel class."""
    found = _structs.get(cls)
    if found is None:
        made = btf.Union if cls.is_union else btf.Struct
        # Noted before it is filled: structs point to each other.
        found = _structs[cls] = made(cls.__name__, 0)
        try:
            _fill(found, _declared(cls))
        except Rule:
            del _structs[cls]
            raise
    return found


_structs: dict[type, btf.Composite] = {}


def opaque(name: str) -> type[Kernel]:
    """A kernel struct of which no field is declared: `kernel_ptr` gives it a class."""
    if name not in _opaque:
        _opaque[name] = type(name, (Kernel,), {})
    return _opaque[name]


_opaque: dict[str, type[Kernel]] = {}


def _declared(cls: type[Kernel]) -> dict[str, ValueType]:
    try:
        return cls.kernel_fields()
    except SpecError as error:
        raise Rule(Reason.KERNEL_CLASS, str(error)) from None


def _field(
    struct: btf.Composite,
    path: tuple[int, ...],
    local: int,
    kind: CoreKind = CoreKind.FIELD_BYTE_OFFSET,
) -> ir.CoreField:
    access = ":".join(str(index) for index in (0, *path))
    return ir.CoreField(struct, access, kind, local)


C = TypeVar("C", bound=btf.Composite)


def _fill(struct: C, fields: dict[str, ValueType]) -> C:
    members = []
    offset = end = 0
    for name, kind in fields.items():
        type_, size, align = _member_type(kind)
        offset = 0 if isinstance(struct, btf.Union) else -(-end // align) * align
        bits = kind.width if isinstance(kind, KernelBits) else 0
        members.append(btf.Member(name, type_, offset * 8, bits))
        end = max(end, offset + size)
    struct.members = tuple(members)
    struct.size = -(-end // 8) * 8
    return struct


def _member_type(kind: ValueType) -> tuple[btf.Type, int, int]:
    if isinstance(kind, Pointer):
        return btf.Ptr(kernel_struct(kind.to)), 8, 8
    if isinstance(kind, Address):
        return btf.Ptr(None), 8, 8
    if isinstance(kind, Embedded):
        struct = kernel_struct(kind.of)
        return struct, struct.size, 8
    if isinstance(kind, Several):
        element, size, align = _member_type(kind.element)
        return btf.Array(element, kind.count), size * kind.count, align
    if isinstance(kind, KernelBits):
        kind = kind.base
    return to_btf(kind), kind.size, kind.align


def _size(found: btf.Type | None) -> int:
    """Bytes of a type as declared here."""
    if isinstance(found, btf.Array):
        return found.count * _size(found.element)
    return 8 if isinstance(found, btf.Ptr) else getattr(found, "size", 0)
