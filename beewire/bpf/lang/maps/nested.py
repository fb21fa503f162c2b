"""Maps of maps: a lookup gives a map, on which the operations of its kind work."""

from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments, required
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.decl import MapDecl
from beewire.bpf.lang.maps.common import Operation, find_value, key_pointer
from beewire.bpf.lang.values import InnerMap, Value


def lookup(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`tenants.lookup(key)`: the map there, or None."""
    [key] = required(arguments(b, node, ("key",)))
    assert decl.inner is not None
    op = find_value(b, decl, key_pointer(b, decl, key))
    return InnerMap(op, decl.inner, nullable=True)


OPERATIONS: dict[str, Operation] = {"lookup": lookup}
