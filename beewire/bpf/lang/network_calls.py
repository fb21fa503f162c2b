"""Calls for networks: byte order, addresses, sockets that are looked up."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments, required
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.byte_order import TO_HOST
from beewire.bpf.lang.call_expressions import BY_NAME, struct_argument
from beewire.bpf.lang.calls import ip4
from beewire.bpf.lang.ints import check_literal
from beewire.bpf.lang.ownership import acquire_socket
from beewire.bpf.lang.types import I64, NETWORK, U16, U32, U64, network_type, swap
from beewire.bpf.lang.values import ContextValue, Int, Literal, Static, Value
from beewire.hints import Callable
from beewire.reasons import Reason

BIND = 64
SK_LOOKUP_TCP = 84
SK_LOOKUP_UDP = 85


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


BY_NAME |= {
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
