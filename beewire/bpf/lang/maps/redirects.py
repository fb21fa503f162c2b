"""Where XDP sends packets: to devices, CPUs and AF_XDP sockets."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.decl import MapDecl
from beewire.bpf.lang.flow import Target
from beewire.bpf.lang.maps.common import (
    Operation,
    find_value,
    key_pointer,
    map_ref,
    number,
)
from beewire.bpf.lang.types import U32
from beewire.bpf.lang.values import Int, Value

REDIRECT_MAP = 51


def redirect(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`ports.redirect(key)`: what the program returns then."""
    key, flags = arguments(b, node, ("key", "flags"), 1)
    where, how = number(b, key), number(b, flags)
    return Int(b.call(REDIRECT_MAP, map_ref(decl), where, how), U32)


def contains(
    b: Builder, decl: MapDecl, key: ast.expr, then: Target, orelse: Target
) -> None:
    """`key in ports`."""
    found = find_value(b, decl, key_pointer(b, decl, key))
    b.branch(ir.CmpOp.NE, found, ir.Const(0), then, orelse)


OPERATIONS: dict[str, Operation] = {"redirect": redirect}
