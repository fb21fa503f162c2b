"""Calls that are more than one call: halves of a result, byte order, printk, min."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments, required
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.byte_order import TO_HOST
from beewire.bpf.lang.call_expressions import (
    BY_NAME,
    PYTHON,
    struct_argument,
)
from beewire.bpf.lang.calls import ip4
from beewire.bpf.lang.conditions import compare_values
from beewire.bpf.lang.ints import check_literal, join
from beewire.bpf.lang.operators import boolean, operand
from beewire.bpf.lang.ownership import acquire_socket
from beewire.bpf.lang.structs import Kernel
from beewire.bpf.lang.types import (
    I64,
    NETWORK,
    U16,
    U32,
    U64,
    ArrayType,
    CharsType,
    network_type,
    swap,
)
from beewire.bpf.lang.values import (
    Comm,
    ContextValue,
    Int,
    KernelMemory,
    Literal,
    Memory,
    Socket,
    Static,
    Value,
)
from beewire.hints import Callable
from beewire.reasons import Reason

GET_CURRENT_PID_TGID = 14
GET_CURRENT_UID_GID = 15
GET_CURRENT_TASK = 35
BIND = 64
SK_LOOKUP_TCP = 84
SK_LOOKUP_UDP = 85


def _half(number: int, *, high: bool) -> Callable[[Builder, ast.Call], Value]:
    """A helper's result of which one half is wanted."""

    def lower(b: Builder, node: ast.Call) -> Value:
        arguments(b, node, ())
        both = b.call_once(number)
        if high:
            return Int(b.binary(ir.BinOp.LSHR, both, ir.Const(32)), U32)
        return Int(b.emit(ir.Extend(both, 32, signed=False)), U32)

    return lower


def _to_network(bits: int) -> Callable[[Builder, ast.Call], Value]:
    """From host to network order."""
    kind = network_type(bits, bits)

    def lower(b: Builder, node: ast.Call) -> Value:
        [argument] = required(arguments(b, node, ("value",)))
        value = b.integer(argument)
        if isinstance(value, Literal):
            return Literal(NETWORK[bits](_swapped(value, bits)))
        return Int(b.emit(ir.ByteSwap(value.op, bits)), kind)

    return lower


def _to_host(bits: int) -> Callable[[Builder, ast.Call], Value]:
    """From network to host order."""
    kind = {16: U16, 32: U32, 64: U64}[bits]

    def lower(b: Builder, node: ast.Call) -> Value:
        [argument] = required(arguments(b, node, ("value",)))
        value = b.integer(argument, ordered=True)
        if isinstance(value, Literal):
            return Literal(_swapped(value, bits))
        if value.type.is_big_endian and value.type.bits != bits:
            right = f"{TO_HOST[value.type.bits]}()"
            message = f"{ast.unparse(node.func)}() of a {value.type.name}"
            raise b.refuse(argument, Reason.BYTE_ORDER, message, f"write {right}")
        return Int(b.emit(ir.ByteSwap(value.op, bits)), kind)

    return lower


def _bswap64(b: Builder, node: ast.Call) -> Value:
    """Either way: a be64 to host order, all else to network order."""
    [argument] = required(arguments(b, node, ("value",)))
    value = b.integer(argument, ordered=True)
    if isinstance(value, Int) and value.type.is_big_endian:
        return _to_host(64)(b, node)
    if isinstance(value, Literal):
        return Literal(NETWORK[64](_swapped(value, 64)))
    return Int(b.emit(ir.ByteSwap(value.op, 64)), network_type(64, 64))


def _swapped(value: Literal, bits: int) -> int:
    check_literal(value.value, {16: U16, 32: U32, 64: U64}[bits])
    return swap(value.value, bits)


def _current_comm(b: Builder, node: ast.Call) -> Value:
    arguments(b, node, ())
    return Comm()


def _current(b: Builder, node: ast.Call) -> Value:
    [type_node] = required(arguments(b, node, ("kernel_type",)))
    task = b.call_once(GET_CURRENT_TASK, kind=ir.Kind.PTR)
    cls = _kernel_class(b, type_node)
    return KernelMemory(task, cls)


def _kernel_ptr(b: Builder, node: ast.Call) -> Value:
    address, type_node = required(arguments(b, node, ("address", "kernel_type")))
    cls = _kernel_class(b, type_node)
    value = b.expr(address)
    if isinstance(value, Int | Literal):
        return KernelMemory(_as_pointer(b, b.op(value)), cls)
    if isinstance(value, KernelMemory):
        return KernelMemory(value.op, cls, typed=value.typed, nullable=value.nullable)
    if isinstance(value, Socket):
        return KernelMemory(value.op, cls)
    raise b.refuse(
        address,
        Reason.WRONG_ARGUMENT,
        f"an address is needed here, not {value.describe()}",
    )


def _as_pointer(b: Builder, op: ir.Op) -> ir.Op:
    if isinstance(op, ir.Load) and op.size == 8:
        op.kind = ir.Kind.PTR
        return op
    local = ir.Local("address", ir.Kind.PTR)
    b.emit(ir.SetLocal(local, op))
    return b.emit(ir.GetLocal(local))


def _kernel_class(b: Builder, node: ast.expr) -> type[Kernel]:
    found = b.expr(node)
    cls = found.obj if isinstance(found, Static) else None
    if isinstance(cls, type) and issubclass(cls, Kernel):
        return cls
    raise b.refuse(
        node,
        Reason.WRONG_ARGUMENT,
        "a Kernel class is needed here",
        "class task_struct(Kernel): tgid: i32",
    )


def _bind(b: Builder, node: ast.Call) -> Value:
    context, address = required(arguments(b, node, ("ctx", "addr")))
    ctx = _context(b, context)
    op, size = struct_argument(b, address, "addr")
    return Int(b.call(BIND, ctx, op, ir.Const(size)), I64)


def _socket_lookup(number: int) -> Callable[[Builder, ast.Call], Value]:
    def lower(b: Builder, node: ast.Call) -> Value:
        names = ("ctx", "tuple", "netns")
        context, tuple_, netns = arguments(b, node, names, 2)
        assert context is not None
        assert tuple_ is not None
        ctx = _context(b, context)
        op, size = struct_argument(b, tuple_, "tuple")
        where = ir.Const(-1) if netns is None else b.op(b.integer(netns))
        found = b.call(
            number, ctx, op, ir.Const(size), where, ir.Const(0), kind=ir.Kind.PTR
        )
        return acquire_socket(b, found)

    return lower


def _context(b: Builder, node: ast.expr) -> ir.Op:
    value = b.expr(node)
    if isinstance(value, ContextValue):
        return value.op
    raise b.refuse(
        node,
        Reason.WRONG_ARGUMENT,
        f"the context is needed here, not {value.describe()}",
    )


def _ip4(b: Builder, node: ast.Call) -> Value:
    [argument] = required(arguments(b, node, ("address",)))
    value = b.expr(argument)
    if not isinstance(value, Static) or not isinstance(value.obj, str):
        raise b.refuse(
            argument,
            Reason.NOT_CONSTANT,
            "ip4() takes a constant text",
            'ip4("10.0.0.1")',
        )
    try:
        return Literal(ip4(value.obj))
    except ValueError as error:
        raise b.refuse(argument, Reason.NOT_CONSTANT, str(error)) from None


def _extreme(op: ast.cmpop) -> Callable[[Builder, ast.Call], Value]:
    """`min` and `max` of two or more integers."""

    def lower(b: Builder, node: ast.Call) -> Value:
        if len(node.args) < 2 or node.keywords:
            raise b.refuse(
                node,
                Reason.ARGUMENTS,
                f"{ast.unparse(node.func)}() takes two numbers or more",
            )
        best = b.integer(node.args[0])
        for argument in node.args[1:]:
            best = _choose(b, op, best, b.integer(argument))
        if isinstance(best, Int):
            b.types[node] = best.type
        return best

    return lower


def _choose(
    b: Builder, op: ast.cmpop, left: Int | Literal, right: Int | Literal
) -> Int | Literal:
    if isinstance(left, Literal) and isinstance(right, Literal):
        pick = min if isinstance(op, ast.Lt) else max
        return Literal(pick(left.value, right.value))
    kind = join(operand(left), operand(right))
    result = ir.Local("best", ir.Kind.INT)
    first, second, done = b.target("first"), b.target("second"), b.target("best")
    b.emit(ir.SetLocal(result, b.op(left)))
    compare_values(b, op, left, right, first, second)
    b.start(second)
    b.emit(ir.SetLocal(result, b.op(right)))
    b.jump(done)
    b.start(first)
    b.jump(done)
    b.start(done)
    return Int(b.emit(ir.GetLocal(result)), kind)


def _bool(b: Builder, node: ast.Call) -> Value:
    [argument] = required(arguments(b, node, ("value",)))
    return boolean(b, argument)


def _int(b: Builder, node: ast.Call) -> Value:
    [argument] = required(arguments(b, node, ("value",)))
    return b.integer(argument)


def _len(b: Builder, node: ast.Call) -> Value:
    [argument] = required(arguments(b, node, ("value",)))
    value = b.expr(argument)
    if isinstance(value, Memory) and isinstance(value.type, ArrayType | CharsType):
        return Literal(value.type.count)
    if isinstance(value, Static) and isinstance(value.obj, str | bytes | tuple | list):
        return Literal(len(value.obj))
    raise b.refuse(argument, Reason.NO_SUCH_CALL, f"{value.describe()} has no length")


def _range(b: Builder, node: ast.Call) -> Value:
    raise b.refuse(node, Reason.RANGE, "range() stands in 'for' and after 'in' only")


def _print(b: Builder, node: ast.Call) -> Value:
    raise b.refuse(
        node, Reason.PRINTK, "print() is not part of programs", 'write printk(f"...")'
    )


def _loop(b: Builder, node: ast.Call) -> Value:
    from beewire.bpf.lang import callbacks  # noqa: PLC0415 - where there are any

    return callbacks.loop(b, node)


def _goto(b: Builder, node: ast.Call) -> Value:
    from beewire.bpf.lang import tail_calls  # noqa: PLC0415 - where there are any

    return tail_calls.goto(b, node)


BY_NAME |= {
    "goto": _goto,
    "loop": _loop,
    "current_pid": _half(GET_CURRENT_PID_TGID, high=False),
    "current_tgid": _half(GET_CURRENT_PID_TGID, high=True),
    "current_uid": _half(GET_CURRENT_UID_GID, high=False),
    "current_gid": _half(GET_CURRENT_UID_GID, high=True),
    "current_comm": _current_comm,
    "current": _current,
    "kernel_ptr": _kernel_ptr,
    "bind": _bind,
    "sk_lookup_tcp": _socket_lookup(SK_LOOKUP_TCP),
    "sk_lookup_udp": _socket_lookup(SK_LOOKUP_UDP),
    "htons": _to_network(16),
    "ntohs": _to_host(16),
    "htonl": _to_network(32),
    "ntohl": _to_host(32),
    "bswap64": _bswap64,
    "ip4": _ip4,
}
PYTHON |= {
    min: _extreme(ast.Lt()),
    max: _extreme(ast.Gt()),
    bool: _bool,
    int: _int,
    len: _len,
    range: _range,
    print: _print,
}
