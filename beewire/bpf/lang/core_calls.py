"""What programs ask of the kernel's types: exists, sizeof, type_matches, enum_value, ...

    if exists(task_struct.start_boottime):
        started = task.start_boottime

The answers are numbers that the kernel writes into the program when it is loaded (CO-RE);
what an `if` rules out that way may read fields that this kernel does not have.
"""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments, required, static_type
from beewire.bpf.lang.builder import Builder, later
from beewire.bpf.lang.call_expressions import BY_NAME
from beewire.bpf.lang.decl import Symbol
from beewire.bpf.lang.faults import Rule
from beewire.bpf.lang.kernel_types import (
    CoreKind,
    core_enum,
    core_field,
    core_type,
    declared_field,
)
from beewire.bpf.lang.memory import kernel_address, read_kernel
from beewire.bpf.lang.structs import Embedded, Kernel, Pointer, Several
from beewire.bpf.lang.types import (
    BOOL,
    I64,
    U32,
    U64,
    ArrayType,
    CharsType,
    ValueType,
    is_enum,
)
from beewire.bpf.lang.values import (
    Int,
    KernelField,
    KernelMemory,
    Literal,
    TextAt,
    Value,
)
from beewire.bpf.lang.variables import find, static_object
from beewire.hints import TYPE_CHECKING, Callable
from beewire.reasons import Reason
from beewire.rows import Row

if TYPE_CHECKING:
    from enum import IntEnum

PROBE_READ_USER_STR = 114
PROBE_READ_KERNEL_STR = 115


class _Place(Row):
    """A kernel struct, or a field of one, that is spoken of without being read."""

    root: type[Kernel]
    path: tuple[int, ...]
    type: ValueType | None  # None: the struct `root` itself


def _exists(b: Builder, node: ast.Call) -> Value:
    [asked] = required(arguments(b, node, ("what",)))
    if (member := _enum_member(b, asked)) is not None:
        return _answer(b, core_enum(*member, CoreKind.ENUMVAL_EXISTS))
    found = static_object(b, asked)
    if isinstance(found, Symbol):
        later("symbol_calls")
    if (symbol := SYMBOLS.get(type(found))) is not None:
        return symbol(b, found)
    place = _place(b, asked)
    if place.type is None:
        return _answer(b, core_type(place.root, CoreKind.TYPE_EXISTS))
    field = core_field(place.root, place.path, CoreKind.FIELD_EXISTS)
    return _answer(b, field)


# How existence is asked of what is no type: kernel functions and variables.
SYMBOLS: dict[type, Callable[[Builder, object], Value]] = {}


def _sizeof(b: Builder, node: ast.Call) -> Value:
    [asked] = required(arguments(b, node, ("type",)))
    place = _place_or_none(b, asked)
    if place is None:
        return Literal(static_type(b, asked).size)
    if place.type is None:
        record = core_type(place.root, CoreKind.TYPE_SIZE)
    else:
        record = core_field(place.root, place.path, CoreKind.FIELD_BYTE_SIZE)
    return Int(b.emit(ir.CoreValue(record)), U32)


def _type_matches(b: Builder, node: ast.Call) -> Value:
    return _answer(b, core_type(_class(b, node), CoreKind.TYPE_MATCHES))


def _type_id(b: Builder, node: ast.Call) -> Value:
    record = core_type(_class(b, node), CoreKind.TYPE_ID_TARGET)
    return Int(b.emit(ir.CoreValue(record)), U32)


def _class(b: Builder, node: ast.Call) -> type[Kernel]:
    [asked] = required(arguments(b, node, ("kernel_type",)))
    found = _place(b, asked)
    if found.type is not None:
        raise b.refuse(asked, Reason.WRONG_ARGUMENT, "a Kernel class is needed here")
    return found.root


def _enum_value(b: Builder, node: ast.Call) -> Value:
    [asked] = required(arguments(b, node, ("member",)))
    member = _enum_member(b, asked)
    if member is None:
        raise b.refuse(
            asked,
            Reason.WRONG_ARGUMENT,
            "a member of an enum is needed here",
            "enum_value(Color.RED), where Color is an IntEnum with the kernel's name",
        )
    signed = any(value < 0 for value in member[0])
    record = core_enum(*member, CoreKind.ENUMVAL_VALUE)
    return Int(b.emit(ir.CoreValue(record)), I64 if signed else U64)


def _answer(b: Builder, record: ir.CoreField) -> Value:
    return Int(b.emit(ir.CoreValue(record)), BOOL)


def _enum_member(b: Builder, node: ast.expr) -> "tuple[type[IntEnum], str] | None":
    if not isinstance(node, ast.Attribute):
        return None
    owner = static_object(b, node.value)
    if isinstance(owner, type) and is_enum(owner) and node.attr in owner.__members__:
        return owner, node.attr
    return None


def _place(b: Builder, node: ast.expr) -> _Place:
    found = _place_or_none(b, node)
    if found is None:
        raise b.refuse(
            node,
            Reason.WRONG_ARGUMENT,
            f"{ast.unparse(node)} is no kernel struct, nor a field of one",
            "exists(task_struct), exists(task.tgid), exists(task_struct.tgid)",
        )
    return found


def _place_or_none(b: Builder, node: ast.expr) -> _Place | None:
    """What `node` speaks of, without compiling it; None where that is no kernel type."""
    if isinstance(node, ast.Attribute):
        owner = _place_or_none(b, node.value)
        if owner is not None:
            return _member(b, owner, node)
    if isinstance(node, ast.Name):
        held = b.frame.bound.get(node.id)
        variable = find(b.frame, node.id)
        if held is None and variable is not None:
            held = variable.template
        if isinstance(held, KernelMemory):
            path = held.path
            return _Place(held.root, path, Embedded(held.kernel) if path else None)
    found = static_object(b, node)
    if isinstance(found, type) and issubclass(found, Kernel):
        return _Place(found, (), None)
    return None


def _member(b: Builder, owner: _Place, node: ast.Attribute) -> _Place:
    try:
        return _field(b, owner, node)
    except Rule as rule:
        raise b.refuse(node, rule.code, rule.message, rule.hint) from None


def _field(b: Builder, owner: _Place, node: ast.Attribute) -> _Place:
    match owner.type:
        case None:
            kind, index = declared_field(owner.root, node.attr)
            return _Place(owner.root, (index,), kind)
        case Pointer(to=to):
            kind, index = declared_field(to, node.attr)
            return _Place(to, (index,), kind)
        case Embedded(of=of):
            kind, index = declared_field(of, node.attr)
            return _Place(owner.root, (*owner.path, index), kind)
        case _:
            message = f"{ast.unparse(node.value)} has no fields"
            raise b.refuse(node, Reason.NO_FIELD, message)


def _text(helper: int) -> Callable[[Builder, ast.Call], Value]:
    """A text that ends with a NUL, at an address of the kernel or of the process."""

    def lower(b: Builder, node: ast.Call) -> Value:
        [asked] = required(arguments(b, node, ("address",)))
        value = b.deferred(asked)
        if isinstance(value, KernelField) and isinstance(
            value.type, CharsType | ArrayType | Several
        ):
            return TextAt(value.address, helper)
        if isinstance(value, KernelMemory):
            return TextAt(kernel_address(b, value), helper)
        if isinstance(value, KernelField):
            value = read_kernel(b, value)
        if isinstance(value, Int | Literal):
            return TextAt(b.op(value), helper)
        message = f"an address is needed here, not {value.describe()}"
        raise b.refuse(asked, Reason.WRONG_ARGUMENT, message)

    return lower


BY_NAME |= {
    "exists": _exists,
    "sizeof": _sizeof,
    "type_matches": _type_matches,
    "kernel_type_id": _type_id,
    "enum_value": _enum_value,
    "kernel_str": _text(PROBE_READ_KERNEL_STR),
    "user_str": _text(PROBE_READ_USER_STR),
}
