"""Calls: struct constructors, helpers by their table, and what is lowered by name."""

from beewire.bpf import ir
from beewire.bpf.lang import helper_calls
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments, required, static_type
from beewire.bpf.lang.attributes import inner_map, present
from beewire.bpf.lang.builder import Builder, handler_of, later, lowers
from beewire.bpf.lang.byte_order import network_of
from beewire.bpf.lang.calls import BUILTINS, HELPERS
from beewire.bpf.lang.decl import MapDecl, ProgramDecl, Symbol
from beewire.bpf.lang.faults import Rule, near
from beewire.bpf.lang.ints import check_range
from beewire.bpf.lang.maps import common as maps
from beewire.bpf.lang.memory import in_memory, load, snapshot
from beewire.bpf.lang.prototypes import HelperFunction
from beewire.bpf.lang.structs import Composite, StructType
from beewire.bpf.lang.types import (
    NETWORK,
    ArrayType,
    IntType,
    ObjectType,
    ValueType,
    array,
    array_of,
    chars,
    find_value_type,
    is_enum,
    swap,
    text_of,
)
from beewire.bpf.lang.values import (
    Content,
    ContextValue,
    Fields,
    InnerMap,
    Int,
    Literal,
    Memory,
    Pointer,
    Static,
    Value,
    is_sequence,
)
from beewire.hints import Any, Callable, FunctionType
from beewire.reasons import Reason

# What is lowered by name: current_pid, printk, ...
BY_NAME: dict[str, Callable[[Builder, ast.Call], Value]] = {}
# What contexts with a packet offer: at, read, ...
CONTEXT_METHODS: dict[str, Callable[[Builder, ast.Call, ContextValue], Value]] = {}
# What is called, or has operations, besides functions, maps and values, by its class.
CALLABLES: dict[type, Callable[[Builder, ast.Call, Any], Value]] = {}
METHODS: dict[type, Callable[[Builder, ast.Call, Any], Value]] = {}
CALLABLES[HelperFunction] = helper_calls.generic
# Python's own functions that programs have: min, max, ...
PYTHON: dict[object, Callable[[Builder, ast.Call], Value]] = {}


@lowers(ast.Call)
def call(b: Builder, node: ast.Call) -> Value:
    """`f(...)` and `value.operation(...)`."""
    for argument in node.args:
        if isinstance(argument, ast.Starred):
            raise b.refuse(
                argument,
                Reason.CONSTRUCT,
                "* is not part of programs",
                "pass one by one",
            )
    for keyword in node.keywords:
        if keyword.arg is None:
            raise b.refuse(
                keyword.value,
                Reason.CONSTRUCT,
                "** is not part of programs",
                "name each",
            )
    if isinstance(node.func, ast.Attribute):
        owner = b.expr(node.func.value)
        if isinstance(owner, Static) and isinstance(owner.obj, Symbol):
            later("symbol_calls")
        if isinstance(owner, Static) and type(owner.obj) in METHODS:
            return METHODS[type(owner.obj)](b, node, owner.obj)
        if not isinstance(owner, Static) or isinstance(owner.obj, MapDecl):
            return _operation(b, node, node.func, owner)
    callee = b.expr(node.func)
    if not isinstance(callee, Static):
        raise b.refuse(
            node.func, Reason.NOT_CALLABLE, f"{callee.describe()} cannot be called"
        )
    return _call_object(b, node, callee.obj)


def _call_object(b: Builder, node: ast.Call, obj: Any) -> Value:
    if isinstance(obj, FunctionType):
        return _call_function(b, node, obj)
    if isinstance(obj, Symbol):
        later("symbol_calls")
    if (lower := CALLABLES.get(type(obj))) is not None:
        return lower(b, node, obj)
    if isinstance(obj, ProgramDecl):
        raise b.refuse(
            node,
            Reason.NOT_CALLABLE,
            f"{obj.name!r} is a program: only the kernel calls it",
            "move what both need into a plain function",
        )
    handler = handler_of(PYTHON, obj) if callable(obj) and _hashable(obj) else None
    if handler is not None:
        return handler(b, node)
    made = _call_type(b, node, obj)
    if made is not None:
        return made
    raise b.refuse(
        node.func,
        Reason.NOT_CALLABLE,
        f"{Static(obj).describe()} cannot be called in programs",
        "call plain functions with annotations, or helpers of beewire.bpf",
    )


def _call_function(b: Builder, node: ast.Call, function: FunctionType) -> Value:
    if function is array or function is chars:
        return _made_sequence(b, node, function)
    if function in BUILTINS:
        return _by_name(b, node, BUILTINS[function])
    if function in HELPERS:
        return helper_calls.named(b, node, function, HELPERS[function])
    from beewire.bpf.lang import inline  # noqa: PLC0415 - where there are any

    return inline.call(b, node, function)


def _call_type(b: Builder, node: ast.Call, obj: Any) -> Value | None:
    """A struct, a conversion; None where `obj` is no type."""
    if isinstance(obj, type):
        if issubclass(obj, Composite):
            return _constructor(b, node, obj.__layout__)
        return _to_flags(b, node, obj) if is_enum(obj) else None
    type_ = find_value_type(obj)
    return _convert(b, node, type_) if isinstance(type_, IntType) else None


def _by_name(b: Builder, node: ast.Call, name: str) -> Value:
    handler = handler_of(BY_NAME, name)
    if handler is None:
        message = f"{name}() stands in a 'with' statement only"
        raise b.refuse(node, Reason.WITH, message, f"with {ast.unparse(node)}:")
    return handler(b, node)


def _hashable(obj: object) -> bool:
    return type(obj).__hash__ is not None


def _operation(b: Builder, node: ast.Call, func: ast.Attribute, owner: Value) -> Value:
    if isinstance(owner, Static):
        return maps.operation(b, owner.obj, func)(b, owner.obj, node)
    if isinstance(owner, InnerMap):
        table = inner_map(b, owner, func.value)
        return maps.operation(b, table, func)(b, table, node)
    if isinstance(owner, Pointer):
        present(b, owner, func.value)
    if isinstance(owner, ContextValue):
        method = handler_of(CONTEXT_METHODS, func.attr)
        if method is not None:
            return method(b, node, owner)
    if isinstance(owner, Memory) and isinstance(owner.type, ObjectType):
        # Few have any.
        home = __import__(f"{__package__}.object_calls", fromlist=("method",))
        result: Value = home.method(b, node, func, owner)
        return result
    if isinstance(owner, Memory) and func.attr == "copy":
        return _copy(b, node, owner)
    if func.attr == "startswith" and is_sequence(owner):
        return _startswith(b, node, owner)
    hint = "methods of structs run in user space only" if func.attr else ""
    raise b.refuse(
        func,
        Reason.NO_SUCH_CALL,
        f"{owner.describe()} has no {func.attr}() in programs",
        hint,
    )


def _startswith(b: Builder, node: ast.Call, owner: Value) -> Value:
    """`text.startswith("ng")`."""
    from beewire.bpf.lang.sequences import compare_bytes, in_place  # noqa: PLC0415 - rare

    [argument] = required(arguments(b, node, ("prefix",)))
    prefix = b.expr(argument)
    if not isinstance(prefix, Static) or not isinstance(prefix.obj, str | bytes):
        raise b.refuse(argument, Reason.NOT_CONSTANT, "startswith() takes a constant")
    raw = prefix.obj.encode() if isinstance(prefix.obj, str) else prefix.obj
    place = in_place(b, owner)
    if not raw or len(raw) > place.type.size or b"\0" in raw:
        message = f"{place.type.name} never starts with {prefix.obj!r}"
        raise b.refuse(argument, Reason.LENGTH, message)
    return b.decided(lambda then, orelse: compare_bytes(b, place, raw, then, orelse))


def _made_sequence(b: Builder, node: ast.Call, obj: Any) -> Value:
    """`array(u32, 8)`, `chars(16)`: an array or a text of the program's own."""
    given = ("element", "count") if obj is array else ("count",)
    *first, count_node, content = arguments(b, node, (*given, "default"), len(given))
    assert count_node is not None
    count = b.integer(count_node)
    if not isinstance(count, Literal) or count.value <= 0:
        raise b.refuse(
            count_node, Reason.NOT_CONSTANT, "the length is a constant, 1 or more"
        )
    kind: ValueType = text_of(count.value)
    if obj is array:
        assert first[0] is not None
        kind = array_of(static_type(b, first[0]), count.value)
    return Content(kind, None if content is None else b.deferred(content))


def _constructor(b: Builder, node: ast.Call, layout: StructType) -> Value:
    if node.args:
        hint = f"{layout.name}({next(iter(layout.fields), 'field')}=...)"
        raise b.refuse(
            node.args[0], Reason.FIELDS, f"{layout.name}() takes fields by name", hint
        )
    items: dict[str, Value] = {}
    for keyword in node.keywords:
        assert keyword.arg is not None
        if keyword.arg not in layout.fields:
            known = list(layout.fields)
            hint = near(keyword.arg, known) or f"it has {', '.join(known)}"
            message = f"{layout.name} has no field {keyword.arg!r}"
            raise b.refuse(keyword.value, Reason.FIELDS, message, hint)
        value = b.deferred(keyword.value)
        if isinstance(value, Pointer):
            present(b, value, keyword.value)
        if isinstance(value, Fields) and keyword is not node.keywords[-1]:
            # What follows may change what a copy is made of.
            value = snapshot(b, value)
        items[keyword.arg] = value
    _check_union(b, node, layout, items)
    return Fields(layout, items)


def _check_union(
    b: Builder, node: ast.Call, layout: StructType, items: dict[str, Value]
) -> None:
    places = [tuple(layout.fields)] if layout.is_union else layout.groups.values()
    for names in places:
        given = [name for name in names if name in items]
        if len(given) > 1:
            raise b.refuse(
                node,
                Reason.FIELDS,
                f"{layout.name} holds one of {' and '.join(given)}, not both",
                "assign the one that is meant",
            )


def _convert(b: Builder, node: ast.Call, type_: IntType) -> Value:
    [argument] = required(arguments(b, node, ("value",)))
    value = b.integer(argument, ordered=True)
    if isinstance(value, Literal) and not type_.is_bool:
        try:
            check_range(value.value, type_)
        except Rule as rule:
            raise b.refuse(argument, rule.code, rule.message, rule.hint) from None
    if type_.is_big_endian:
        return _to_network(b, argument, value, type_)
    if isinstance(value, Literal):
        return Literal(type_.wrap(value.value))
    return b.narrow(value, type_)


def _to_network(
    b: Builder, node: ast.expr, value: Int | Literal, type_: IntType
) -> Value:
    """`be16(x)`: the low bits of `x`, in network order."""
    network = network_of(value.type if isinstance(value, Int) else value.value)
    if network:
        message = f"{ast.unparse(node)} is in network order already"
        raise b.refuse(node, Reason.BYTE_ORDER, message, "leave the conversion out")
    bits = type_.bits
    if isinstance(value, Literal):
        return Literal(NETWORK[bits](swap(value.value, bits)))
    return Int(b.emit(ir.ByteSwap(value.op, bits)), type_)


def _to_flags(b: Builder, node: ast.Call, cls: type) -> Value:
    """`Flags(x)`; other enums raise for strangers, which programs cannot."""
    type_ = find_value_type(cls)
    if not isinstance(type_, IntType) or not type_.is_flags:
        name = cls.__name__
        raise b.refuse(
            node.func,
            Reason.NOT_CALLABLE,
            f"{name}() raises for a number that it has no member for",
            f"compare the number, or declare it so: Annotated[{name}, u8]",
        )
    return _convert(b, node, type_)


def _copy(b: Builder, node: ast.Call, owner: Memory) -> Value:
    arguments(b, node, ())
    if isinstance(owner.type, ArrayType):
        return Content(owner.type, owner)
    if not isinstance(owner.type, StructType):
        raise b.refuse(node, Reason.NO_SUCH_CALL, f"{owner.describe()} has no copy()")
    return _fields(b, owner, owner.type)


def _fields(b: Builder, place: Memory, kind: StructType) -> Fields:
    """The fields of a struct, and of those inside it: padding is not copied."""
    items: dict[str, Value] = {}
    for name, field in kind.fields.items():
        part = place.part(field.offset, field.type)
        inner = field.type
        if isinstance(inner, StructType) and not inner.is_union:
            items[name] = _fields(b, part, inner)
        else:
            items[name] = load(b, part)
    return Fields(kind, items)


def struct_argument(b: Builder, node: ast.expr, name: str) -> tuple[ir.Op, int]:
    """The address and size of a struct that is passed to a helper."""
    value = b.expr(node)
    if isinstance(value, Pointer):
        present(b, value, node)
    if not isinstance(value, Memory) or not isinstance(value.type, StructType):
        raise b.refuse(
            node,
            Reason.WRONG_ARGUMENT,
            f"a Struct is needed here, not {value.describe()}",
        )
    return in_memory(b, value, value.type, name), value.type.size
