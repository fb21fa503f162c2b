"""CO-RE facts: where a declared field of a kernel struct is, as the kernel finds it."""

from beewire.bpf import ir
from beewire.bpf.btf import types as btf
from beewire.bpf.lang.btf_types import to_btf
from beewire.bpf.lang.contexts import Context, Tracepoint
from beewire.bpf.lang.faults import Rule, near
from beewire.bpf.lang.structs import Embedded, Kernel, Pointer
from beewire.bpf.lang.types import ValueType
from beewire.bpf.lang.values import KernelMemory
from beewire.errors import SpecError
from beewire.reasons import Reason

# enum bpf_core_relo_kind
FIELD_BYTE_OFFSET = 0


def kernel_field(base: KernelMemory, name: str) -> tuple[ValueType, tuple[int, ...]]:
    """The type of a field, and the path of members to it from `base.root`.

    Raises:
        Rule: The class does not declare it.
    """
    fields = _declared(base.kernel)
    if name not in fields:
        hint = near(name, list(fields)) or f"declare it in class {base.kernel.__name__}"
        raise Rule(
            Reason.NO_FIELD, f"{base.kernel.__name__} has no field {name!r}", hint
        )
    return fields[name], (*base.path, list(fields).index(name))


def core_field(root: type[Kernel], path: tuple[int, ...]) -> ir.CoreField:
    """The byte offset of the member at `path`."""
    struct = kernel_struct(root)
    offset = 0
    inner: btf.Type | None = struct
    for index in path:
        assert isinstance(inner, btf.Struct)
        member = inner.members[index]
        offset += member.offset_bits // 8
        inner = member.type
    return _field(struct, path, offset)


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


def kernel_struct(cls: type[Kernel]) -> btf.Struct:
    """The minimal BTF struct of a Kernel class."""
    found = _structs.get(cls)
    if found is None:
        found = _structs[cls] = btf.Struct(cls.__name__, 0)
        _fill(found, _declared(cls))
    return found


_structs: dict[type, btf.Struct] = {}


def _declared(cls: type[Kernel]) -> dict[str, ValueType]:
    try:
        return cls.kernel_fields()
    except SpecError as error:
        raise Rule(Reason.KERNEL_CLASS, str(error)) from None


def _field(struct: btf.Struct, path: tuple[int, ...], offset: int) -> ir.CoreField:
    access = ":".join(str(index) for index in (0, *path))
    return ir.CoreField(struct, access, FIELD_BYTE_OFFSET, offset)


def _fill(struct: btf.Struct, fields: dict[str, ValueType]) -> btf.Struct:
    members = []
    offset = 0
    for name, kind in fields.items():
        type_, size, align = _member_type(kind)
        offset = -(-offset // align) * align
        members.append(btf.Member(name, type_, offset * 8))
        offset += size
    struct.members = tuple(members)
    struct.size = -(-offset // 8) * 8
    return struct


def _member_type(kind: ValueType) -> tuple[btf.Type, int, int]:
    if isinstance(kind, Pointer):
        return btf.Ptr(kernel_struct(kind.to)), 8, 8
    if isinstance(kind, Embedded):
        struct = kernel_struct(kind.of)
        return struct, struct.size, 8
    return to_btf(kind), kind.size, kind.align
