"""Maps of sockets: by index, by key, and to be chosen among (SO_REUSEPORT)."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments, required
from beewire.bpf.lang.attributes import present
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.decl import MapDecl
from beewire.bpf.lang.maps.common import (
    Operation,
    context_op,
    find_value,
    key_pointer,
    map_ref,
    number,
)
from beewire.bpf.lang.maps.keyed import MAP_UPDATE_ELEM, delete
from beewire.bpf.lang.ownership import acquire_socket
from beewire.bpf.lang.socket_contexts import (
    SkMsg,
    SockOps,
)
from beewire.bpf.lang.types import I64, U32
from beewire.bpf.lang.values import ContextValue, Int, Literal, Socket, Value
from beewire.bpf.object.kinds import MapKind
from beewire.reasons import Reason

BPF_F_INGRESS = 1
SK_SELECT_REUSEPORT = 82

# Helpers that add the socket of a sock_ops event.
_ADD = {MapKind.SOCKMAP: 53, MapKind.SOCKHASH: 70}
# Helpers that redirect: of a message, of a packet.
_REDIRECT = {MapKind.SOCKMAP: (60, 52), MapKind.SOCKHASH: (71, 72)}


def lookup(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`socks.lookup(key)`: a socket that has to be given back."""
    [key] = required(arguments(b, node, ("key",)))
    return acquire_socket(b, find_value(b, decl, key_pointer(b, decl, key)))


def update(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`socks.update(ctx, key)`."""
    context, key, flags = arguments(b, node, ("ctx", "key", "flags"), 2)
    assert context is not None
    assert key is not None
    what = b.expr(context)
    key_op = key_pointer(b, decl, key)
    flags_op = number(b, flags)
    if isinstance(what, ContextValue) and issubclass(what.cls, SockOps):
        helper = _ADD[decl.kind]
        return Int(b.call(helper, what.op, map_ref(decl), key_op, flags_op), I64)
    if isinstance(what, Socket):
        present(b, what, context)
        op = b.call(MAP_UPDATE_ELEM, map_ref(decl), key_op, what.op, flags_op)
        return Int(op, I64)
    raise b.refuse(
        context,
        Reason.WRONG_ARGUMENT,
        f"a sock_ops context is needed here, not {what.describe()}",
    )


def redirect(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`socks.redirect(ctx, key, ingress=True)`."""
    names = ("ctx", "key", "ingress")
    context, key, ingress = arguments(b, node, names, 2)
    assert context is not None
    assert key is not None
    ctx = b.expr(context)
    if not isinstance(ctx, ContextValue):
        raise b.refuse(
            context,
            Reason.WRONG_ARGUMENT,
            f"the context is needed here, not {ctx.describe()}",
        )
    helper = _REDIRECT[decl.kind][not issubclass(ctx.cls, SkMsg)]
    if decl.kind is MapKind.SOCKMAP:
        index = b.integer(key)
        where = b.op(index)
    else:
        where = key_pointer(b, decl, key)
    flags: ir.Op = ir.Const(0)
    if ingress is not None:
        wanted = b.integer(ingress)
        if not isinstance(wanted, Literal):
            raise b.refuse(
                ingress, Reason.NOT_CONSTANT, "ingress is True or False, written out"
            )
        flags = ir.Const(BPF_F_INGRESS if wanted.value else 0)
    return Int(b.call(helper, ctx.op, map_ref(decl), where, flags), U32)


def select(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`group.select(ctx, key)`: the socket that gets the connection."""
    context, key, flags = arguments(b, node, ("ctx", "key", "flags"), 2)
    assert context is not None
    assert key is not None
    args = (context_op(b, context), map_ref(decl), key_pointer(b, decl, key))
    return Int(b.call(SK_SELECT_REUSEPORT, *args, number(b, flags)), I64)


OPERATIONS: dict[str, Operation] = {
    "lookup": lookup,
    "update": update,
    "delete": delete,
    "redirect": redirect,
    "select": select,
}
