"""Calls of helpers: arguments as the generated table has them, results as values."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments, evaluated
from beewire.bpf.lang.attributes import present
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.byte_order import check_order
from beewire.bpf.lang.calls import Helper
from beewire.bpf.lang.decl import MapDecl
from beewire.bpf.lang.kernel_types import opaque
from beewire.bpf.lang.memory import (
    in_memory,
    kernel_address,
    make_struct,
    store_bytes,
    temporary,
)
from beewire.bpf.lang.ownership import acquire_socket, give_back, lean
from beewire.bpf.lang.prototypes import HelperFunction, Prototype
from beewire.bpf.lang.structs import StructType
from beewire.bpf.lang.types import (
    I32,
    I64,
    U16,
    U32,
    U64,
    ArrayType,
    CharsType,
    IntType,
)
from beewire.bpf.lang.unit import CONSTANTS
from beewire.bpf.lang.values import (
    ContextValue,
    Fields,
    Int,
    KernelField,
    KernelMemory,
    Literal,
    Memory,
    Nothing,
    Pointer,
    Socket,
    Static,
    Value,
)
from beewire.hints import Callable, FunctionType, Sequence, TypeVar
from beewire.reasons import Reason

INTEGERS = {"u64": U64, "u32": U32, "u16": U16, "i64": I64, "i32": I32}

# Helpers whose socket has to be given back (is_acquire_function in the verifier).
_ACQUIRING = ("sk_lookup_tcp", "sk_lookup_udp", "skc_lookup_tcp")

# What the language has in the place of a helper that is no plain call.
_INSTEAD = {
    "map_lookup_elem": "table.lookup(key)",
    "tail_call": "goto(program)",
    "ringbuf_reserve": "with events.reserve() as e:",
    "ringbuf_submit": "with events.reserve() as e:",
    "ringbuf_discard": "with events.reserve() as e:",
    "spin_lock": "with lock(value):",
    "spin_unlock": "with lock(value):",
    "per_cpu_ptr": "a Ksym's on_cpu(cpu)",
    "this_cpu_ptr": "a Ksym's here()",
    "get_current_task_btf": "current(task_struct)",
}


def named(b: Builder, node: ast.Call, function: FunctionType, row: Helper) -> Value:
    """A call by a name of `calls`: parameters and defaults are the function's."""
    code = function.__code__
    names = code.co_varnames[: code.co_argcount]
    defaults = function.__defaults__ or ()
    given = arguments(b, node, names, len(names) - len(defaults))
    value = _call(b, node, row.prototype, given, defaults)
    if row.narrow is not None and isinstance(value, Int):
        return Int(value.op, row.narrow)
    return value


def generic(b: Builder, node: ast.Call, called: HelperFunction) -> Value:
    """A call as `helpers.<name>(...)`: the kernel's parameters."""
    row = called.prototype
    if row.name in _INSTEAD:
        message = f"helpers.{row.name}() is no plain call"
        raise b.refuse(
            node.func, Reason.NOT_CALLABLE, message, f"write {_INSTEAD[row.name]}"
        )
    names = [_python_name(name) for name, kind in row.arguments if kind != "more"]
    more: list[ast.expr] = []
    if len(names) < len(row.arguments):
        more = node.args[len(names) :]
        node = ast.Call(node.func, node.args[: len(names)], node.keywords)
        ast.copy_location(node, node.func)
    defaults = (0,) if names and names[-1] == "flags" else ()
    given = arguments(b, node, tuple(names), len(names) - len(defaults))
    return _call(b, node, row, [*given, *more], defaults)


def _python_name(name: str) -> str:
    return "from_" if name == "from" else name


def _call(
    b: Builder,
    node: ast.Call,
    row: Prototype,
    given: Sequence[ast.expr | None],
    defaults: tuple[int, ...],
) -> Value:
    kinds = [kind for _, kind in row.arguments]
    tasks = _running_tasks(b, kinds, given)
    others = [None if at in tasks else node for at, node in enumerate(given)]
    values = evaluated(b, others)
    ops: list[ir.Op] = []
    for position, (argument, value) in enumerate(zip(given, values, strict=True)):
        if position in tasks:
            ops.append(tasks[position])
            continue
        if argument is None or value is None:
            ops.append(ir.Const(defaults[position - len(given)]))
            continue
        kind = kinds[min(position, len(kinds) - 1)]
        ops.append(_argument(b, kind, argument, value))
    _check_sizes(b, row, given, values)
    yields = ir.Kind.INT if _is_number(row.result) else ir.Kind.PTR
    if row.name == "sk_release" and given[0] is not None:
        assert isinstance(values[0], Pointer)
        give_back(b, values[0], given[0], f"{ast.unparse(node.func)}()")
    op = b.call(row.number, *ops, kind=yields)
    return _result(b, node, row, op, values)


def _running_tasks(
    b: Builder, kinds: list[str], given: Sequence[ast.expr | None]
) -> dict[int, ir.Op]:
    """The running task, for each object that is written as `current(...)`."""
    if "obj" not in kinds:
        return {}
    from beewire.bpf.lang.tasks import running_task  # noqa: PLC0415 - where there are any

    found = {}
    for at, (kind, node) in enumerate(zip(kinds, given, strict=False)):
        task = running_task(b, node) if kind == "obj" and node is not None else None
        if task is not None:
            found[at] = task
    return found


def _is_number(result: str) -> bool:
    return result in INTEGERS or result == "void"


# Arguments.


def _argument(b: Builder, kind: str, node: ast.expr, value: Value) -> ir.Op:
    op = ARGUMENTS[kind](b, node, value) if kind in ARGUMENTS else _number(b, value)
    if op is None:
        wanted = _WANTED.get(kind, "an integer")
        message = f"{wanted} is needed here, not {value.describe()}"
        raise b.refuse(node, Reason.WRONG_ARGUMENT, message)
    return op


_WANTED = {
    "ctx": "the context",
    "ctx?": "the context",
    "ctxsock": "a socket",
    "sock": "a socket",
    "sock?": "a socket",
    "map": "a map",
    "mem": "memory (a Struct, an array, a text)",
    "str": "a constant text",
    "addr": "an address",
    "obj": "a kernel object",
    "func": "a function",
}


def _number(b: Builder, value: Value) -> ir.Op | None:
    if isinstance(value, Int):
        check_order(value.type, U64)
    return b.op(value) if isinstance(value, Int | Literal) else None


def _context(b: Builder, node: ast.expr, value: Value) -> ir.Op | None:
    del b, node
    return value.op if isinstance(value, ContextValue) else None


def _maybe_context(b: Builder, node: ast.expr, value: Value) -> ir.Op | None:
    return ir.Const(0) if isinstance(value, Nothing) else _context(b, node, value)


def _socket(b: Builder, node: ast.expr, value: Value) -> ir.Op | None:
    return _object(b, node, value)


def _maybe_socket(b: Builder, node: ast.expr, value: Value) -> ir.Op | None:
    if isinstance(value, Nothing):
        return ir.Const(0)
    if isinstance(value, Socket):
        return value.op
    return _socket(b, node, value)


def _context_or_socket(b: Builder, node: ast.expr, value: Value) -> ir.Op | None:
    return _context(b, node, value) or _socket(b, node, value)


def _map(b: Builder, node: ast.expr, value: Value) -> ir.Op | None:
    del b, node
    if isinstance(value, Static) and isinstance(value.obj, MapDecl):
        return ir.MapRef(value.obj.name)
    return None


def _memory(b: Builder, node: ast.expr, value: Value) -> ir.Op | None:
    """The address of something: None is a null pointer, a text goes to the stack."""
    match value:
        case Nothing():
            return ir.Const(0)
        case Memory():
            present(b, value, node)
            return b.address(value)
        case Fields():
            return make_struct(b, value).op
        case Static(obj=str() | bytes() as text):
            raw = text.encode() + b"\0" if isinstance(text, str) else text
            place = temporary(b, CharsType(max(len(raw), 1)), "text")
            store_bytes(b, place, raw)
            return place.op
        case KernelField(type=CharsType() | ArrayType()):
            return in_memory(b, value, value.type, "copy")
        case Socket() | KernelMemory():
            return _object(b, node, value)
        case _:
            return None


def _constant(b: Builder, node: ast.expr, value: Value) -> ir.Op | None:
    """A text that the kernel wants in read-only memory."""
    del node
    if not isinstance(value, Static) or not isinstance(value.obj, str):
        return None
    raw, constants = value.obj.encode() + b"\0", b.unit.constants
    offset = constants.find(raw)
    if offset < 0:
        offset = len(constants)
        constants += raw
    return ir.GlobalRef(CONSTANTS, offset)


def _address(b: Builder, node: ast.expr, value: Value) -> ir.Op | None:
    match value:
        case Int() | Literal():
            return b.op(value)
        case KernelField():
            return value.address
        case Memory():
            return b.address(value)
        case KernelMemory():
            return _object(b, node, value)
        case Pointer():
            present(b, value, node)
            return value.op
        case _:
            return None


def _object(b: Builder, node: ast.expr, value: Value) -> ir.Op | None:
    if isinstance(value, KernelMemory | Socket):
        present(b, value, node)
        return value.op if isinstance(value, Socket) else kernel_address(b, value)
    return None


def _function(b: Builder, node: ast.expr, value: Value) -> ir.Op | None:
    del b, node, value
    return None


ARGUMENTS: dict[str, Callable[[Builder, ast.expr, Value], ir.Op | None]] = {
    "ctx": _context,
    "ctx?": _maybe_context,
    "ctxsock": _context_or_socket,
    "sock": _socket,
    "sock?": _maybe_socket,
    "map": _map,
    "mem": _memory,
    "str": _constant,
    "addr": _address,
    "obj": _object,
    "func": _function,
}


def _check_sizes(
    b: Builder,
    row: Prototype,
    given: Sequence[ast.expr | None],
    values: Sequence[Value | None],
) -> None:
    """Refuse a constant size that goes past the memory before it."""
    for place in range(len(row.arguments) - 1):
        (_, kind), (name, next_kind) = row.arguments[place : place + 2]
        memory, size = values[place : place + 2]
        node = given[place + 1]
        is_size = "size" in name or "len" in name or "sz" in name
        if kind != "mem" or next_kind not in INTEGERS or not is_size or node is None:
            continue
        if isinstance(memory, Memory) and isinstance(size, Literal):
            holds = memory.type.size
            if size.value > holds:
                message = f"{name} is {size.value}, {memory.describe()} has {holds}"
                raise b.refuse(node, Reason.WRONG_ARGUMENT, f"{message} bytes")


# Results.


def _result(
    b: Builder,
    node: ast.Call,
    row: Prototype,
    op: ir.Op,
    values: Sequence[Value | None],
) -> Value:
    if row.result in INTEGERS:
        return Int(op, INTEGERS[row.result])
    if row.result == "void":
        return Nothing()
    if row.result == "bpf_sock":
        if row.name in _ACQUIRING:
            return acquire_socket(b, op)
        return _leaning(Socket(op, nullable=True), values)
    if row.result == "bpf_tcp_sock":
        from beewire.bpf.lang.tcp_sock import TcpSocket  # noqa: PLC0415 - rare

        return _leaning(TcpSocket(op, nullable=True), values)
    if row.result == "ptr":
        return _value(b, node, row, op, values)
    found = KernelMemory(op, opaque(row.result), nullable=True, typed=True)
    return _leaning(found, values)


P = TypeVar("P", bound=Pointer)


def _leaning(made: P, values: Sequence[Value | None]) -> P:
    # A socket, or object, that is found by another is good as long as that one.
    first = values[0] if values else None
    return lean(made, first) if isinstance(first, Pointer) else made


def _value(
    b: Builder,
    node: ast.Call,
    row: Prototype,
    op: ir.Op,
    values: Sequence[Value | None],
) -> Value:
    """What a helper finds in a map."""
    for value in values:
        if isinstance(value, Static) and isinstance(value.obj, MapDecl):
            type_ = value.obj.value
            if isinstance(type_, IntType | StructType | ArrayType | CharsType):
                # Cgroup storage is made before the program runs: it is always there.
                nullable = row.name != "get_local_storage"
                return Memory(
                    op, 0, type_, ir.Space.MAP, nullable=nullable, shared=True
                )
    message = f"helpers.{row.name}() gives a pointer that programs cannot use"
    raise b.refuse(node, Reason.NOT_CALLABLE, message, "there is a form of its own")
