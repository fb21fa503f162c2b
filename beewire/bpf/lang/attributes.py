"""`a.b` and `a[i]`: fields of structs, contexts, sockets and kernel memory; constants."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.builder import Builder, later, lowers
from beewire.bpf.lang.contexts import (
    AnyMember,
    Context,
    KernelMember,
    PacketContext,
    RawTracepoint,
    Record,
    SocketMember,
    Tracepoint,
    XdpContext,
)
from beewire.bpf.lang.decl import GlobalDecl, MapDecl, PerCpuDecl, Symbol
from beewire.bpf.lang.faults import Rule, near
from beewire.bpf.lang.flow import Variable
from beewire.bpf.lang.kernel_reads import kernel_element, kernel_member
from beewire.bpf.lang.kernel_types import opaque, record_field
from beewire.bpf.lang.memory import (
    constant_index,
    element,
    known_number,
    load,
    load_word,
)
from beewire.bpf.lang.structs import StructType
from beewire.bpf.lang.types import U8, U32, IntType, array_of
from beewire.bpf.lang.values import (
    ContextValue,
    ContextWords,
    InnerMap,
    Int,
    KernelField,
    KernelMemory,
    Literal,
    Memory,
    PacketBytes,
    Pointer,
    Socket,
    Static,
    Tuple,
    Value,
)
from beewire.bpf.lang.variables import (
    enum_member,
    find,
    global_memory,
    name_declaration,
    wrap,
)
from beewire.hints import Any, Callable, ModuleType
from beewire.reasons import Reason

_VARIABLE_INDEX = (
    Reason.VARIABLE_INDEX,
    "a constant table takes constant indices only",
    "put the table into an Array map",
)


# Fields of what is declared, besides maps and globals, by its class.
FIELDS: dict[type, Callable[[Builder, Any, str], Value]] = {}


@lowers(ast.Attribute)
def attribute(b: Builder, node: ast.Attribute) -> Value:
    """`value.attr`, read."""
    base = b.expr(node.value)
    if isinstance(base, Static):
        return _static(b, node, base.obj)
    if isinstance(base, Pointer):
        present(b, base, node.value)
    match base:
        case Memory():
            return load(b, field(b, base, node.attr))
        case ContextValue():
            return _context_member(b, base, node.attr)
        case Socket():
            return _member(b, base.op, base.cls, node.attr, ir.Space.KERNEL)
        case KernelMemory():
            return kernel_member(b, base, node.attr)
        case Literal() if node.attr == "value":
            # Color.RED.value
            return base
        case _:
            raise Rule(Reason.NO_FIELD, f"{base.describe()} has no fields")


@lowers(ast.Subscript)
def subscript(b: Builder, node: ast.Subscript) -> Value:
    """`value[index]`, read."""
    base = b.expr(node.value)
    if isinstance(base, Static):
        return _static_item(b, node, base.obj)
    if isinstance(base, Pointer):
        present(b, base, node.value)
    if isinstance(base, PacketBytes):
        return _packet_slice(b, node, base)
    if isinstance(node.slice, ast.Slice) and isinstance(base, Memory):
        from beewire.bpf.lang.sequences import part_of  # noqa: PLC0415 - where there are any

        return part_of(b, base, node.slice)
    index = b.integer(node.slice)
    match base:
        case Memory():
            return load(b, element(b, base, index))
        case ContextWords():
            return load_word(b, base, words_index(base, index))
        case KernelField():
            return kernel_element(b, base, index)
        case Tuple() if isinstance(index, Literal):
            return base.items[constant_index(index.value, len(base.items))]
        case Tuple():
            raise Rule(*_VARIABLE_INDEX)
        case _:
            raise Rule(Reason.NO_ELEMENTS, f"{base.describe()} has no elements")


def _packet_slice(b: Builder, node: ast.Subscript, base: PacketBytes) -> Value:
    """`ctx.data[low:high]`: a reference to bytes, None past the packet's end."""
    if not isinstance(node.slice, ast.Slice):
        hint = f"x = {ast.unparse(node.value)}[i : i + 1], or ctx.at(i, u8)"
        raise Rule(Reason.NO_ELEMENTS, "a byte of a packet may be missing", hint)
    if node.slice.upper is None:
        raise Rule(Reason.NOT_CONSTANT, "a slice of a packet needs an end", "[0:4]")
    from beewire.bpf.lang.packet_memory import MOST, reference  # noqa: PLC0415 - rare
    from beewire.bpf.lang.sequences import bounds  # noqa: PLC0415 - rare

    low, count = bounds(b, node.slice, MOST)
    return reference(b, base.context, low, array_of(U8, count))


def present(b: Builder, value: Pointer, node: ast.expr) -> None:
    """Refuse a reference that may be None."""
    if not value.nullable:
        return
    text = ast.unparse(node)
    if isinstance(node, ast.NamedExpr):
        text = node.target.id
    if isinstance(node, ast.Name | ast.NamedExpr):
        message = f"{text!r} may be None here"
        variable = find(b.frame, text)
        if variable is not None and variable in b.flow.none:
            message = f"{text!r} is None here"
        raise b.refuse(
            node,
            Reason.MAYBE_NONE,
            message,
            f"test it first: if {text} is None: return",
        )
    raise b.refuse(
        node,
        Reason.MAYBE_NONE,
        f"{text!r} may be None",
        f"give it a name and test that: if (x := {text}) is None: return",
    )


def inner_map(b: Builder, value: Value, node: ast.expr) -> MapDecl:
    """The map that was found in a map of maps, as an operand of operations.

    Raises:
        Refused: It may be None.
    """
    assert isinstance(value, InnerMap)
    present(b, value, node)
    decl = value.decl
    bound = object.__new__(type(decl))
    bound.__dict__.update(decl.__dict__)
    bound.__dict__["operand"] = value.op
    return bound


def field(b: Builder, base: Memory, name: str) -> Memory:
    """The place of `base.name`.

    Raises:
        Rule: It has no such field.
    """
    del b
    kind = base.type
    if isinstance(kind, StructType):
        found = kind.fields.get(name)
        if found is None:
            hint = near(name, list(kind.fields)) or f"it has {', '.join(kind.fields)}"
            raise Rule(Reason.NO_FIELD, f"{kind.name} has no field {name!r}", hint)
        return base.part(found.offset, found.type)
    if name == "value":
        return base
    hint = "write .value" if isinstance(kind, IntType) else ""
    raise Rule(Reason.NO_FIELD, f"{base.describe()} has no field {name!r}", hint)


def words_index(words: ContextWords, index: Int | Literal) -> int:
    """A constant index into an array of the context.

    Raises:
        Rule: It is not constant, or past the end.
    """
    known = known_number(index)
    if known is not None:
        return constant_index(known, words.member.count)
    raise Rule(
        Reason.VARIABLE_INDEX,
        f"{words.describe()} takes constant indices only",
        "the kernel rewrites each access: write one for each index",
    )


def _static(b: Builder, node: ast.Attribute, obj: Any) -> Value:
    if isinstance(obj, Symbol):
        later("symbol_calls")
    if (fields := FIELDS.get(type(obj))) is not None:
        return fields(b, obj, node.attr)
    if isinstance(obj, GlobalDecl):
        return load(b, field(b, global_memory(obj), node.attr))
    if isinstance(obj, PerCpuDecl) and node.attr == "value":
        from beewire.bpf.lang.exits import running_cpu  # noqa: PLC0415 - few need it

        return load(b, running_cpu(b, obj))
    if isinstance(obj, MapDecl):
        raise Rule(
            Reason.MAP_VALUE,
            f"{obj.name}.{node.attr} is not a value",
            "operations of a map are called: lookup(key), update(key, value)",
        )
    if isinstance(obj, type):
        member = enum_member(obj, node.attr)
        if member is not None:
            return Literal(member)
    if isinstance(obj, ModuleType | type):
        return _python_attribute(obj, node.attr)
    if isinstance(obj, int):
        return _python_attribute(obj, node.attr)
    raise Rule(Reason.NO_FIELD, f"{Static(obj).describe()} has no fields in programs")


def _python_attribute(obj: Any, name: str) -> Value:
    missing = object()
    found = getattr(obj, name, missing)
    if found is missing:
        hint = near(name, dir(obj))
        owner = getattr(obj, "__name__", type(obj).__name__)
        raise Rule(Reason.NO_FIELD, f"{owner!r} has no attribute {name!r}", hint)
    return wrap(name_declaration(found, name))


def _static_item(b: Builder, node: ast.Subscript, obj: Any) -> Value:
    if isinstance(obj, MapDecl):
        text = ast.unparse(node.slice)
        raise Rule(
            Reason.MAP_READ,
            f"{obj.name}[...] cannot be read in programs: the key may be missing",
            f"look it up and test: if (x := {obj.name}.lookup({text})) is None: return",
        )
    if isinstance(node.slice, ast.Slice) and isinstance(obj, str | bytes):
        from beewire.bpf.lang.sequences import bounds  # noqa: PLC0415 - where there are any

        low, count = bounds(b, node.slice, len(obj))
        if isinstance(low, Literal):
            return Static(obj[low.value : low.value + count])
        raise Rule(*_VARIABLE_INDEX)
    index = b.integer(node.slice)
    if isinstance(obj, tuple | list | str | bytes) and isinstance(index, Literal):
        return wrap(obj[constant_index(index.value, len(obj))])
    if isinstance(obj, tuple | list | bytes):
        raise Rule(*_VARIABLE_INDEX)
    raise Rule(
        Reason.NO_ELEMENTS, f"{Static(obj).describe()} has no elements in programs"
    )


def _context_member(b: Builder, base: ContextValue, name: str) -> Value:
    cls = base.cls
    if issubclass(cls, Tracepoint):
        return _record_member(b, base, name)
    if issubclass(cls, XdpContext) and name == "length":
        return _packet_length(b, base)
    if issubclass(cls, PacketContext) and name == "data":
        return PacketBytes(base)
    return _member(b, base.op, cls, name, ir.Space.CTX)


def _packet_length(b: Builder, base: ContextValue) -> Value:
    from beewire.bpf.lang.packet_memory import bounds_of  # noqa: PLC0415 - where there are any

    data, end = bounds_of(b, base)
    length = b.binary(ir.BinOp.SUB, end, data)
    return Int(length, U32)


def _record_member(b: Builder, base: ContextValue, name: str) -> Value:
    kind, core = record_field(base.cls, name)
    address = b.emit(ir.FieldAddress(base.op, core))
    if not isinstance(kind, IntType):
        return KernelField(address, kind)
    return b.load(address, 0, kind, ir.Space.CTX)


def context_member(cls: type[Context], name: str) -> AnyMember:
    """A field of a context.

    Raises:
        Rule: There is none of this name.
    """
    found = cls.member(name)
    if found is not None:
        return found
    hint = near(name, cls.member_names())
    if not hint and issubclass(cls, RawTracepoint):
        hint = "read arguments by number: ctx.args[0]"
    raise Rule(Reason.NO_FIELD, f"{cls.__name__} has no field {name!r}", hint)


def _member(
    b: Builder, op: ir.Op, cls: type[Context], name: str, space: ir.Space
) -> Value:
    found = context_member(cls, name)
    if isinstance(found, SocketMember):
        load_pointer = ir.Load(op, found.offset, 8, space=space, kind=ir.Kind.PTR)
        return Socket(b.emit(load_pointer), nullable=found.nullable)
    if isinstance(found, Record | KernelMember):
        return _pointed(b, op, found)
    if found.count:
        return ContextWords(op, found, space)
    kind = found.type
    assert isinstance(kind, IntType)
    return b.load(op, found.offset, kind, space)


def _pointed(b: Builder, op: ir.Op, found: "Record[Any] | KernelMember") -> Value:
    place = ir.Load(op, found.offset, 8, space=ir.Space.CTX, kind=ir.Kind.PTR)
    pointer = b.emit(place)
    if isinstance(found, KernelMember):
        return KernelMemory(pointer, opaque(found.struct), typed=True)
    return Memory(pointer, 0, found.struct.__layout__, ir.Space.MEM)


def variable_of(b: Builder, node: ast.expr) -> Variable | None:
    """The variable that a test of `node` tells something about."""
    if isinstance(node, ast.NamedExpr):
        node = node.target
    if isinstance(node, ast.Name) and node.id not in b.frame.bound:
        return find(b.frame, node.id)
    return None
