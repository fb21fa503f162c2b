"""`table.for_each(visit, ctx)`: a callback for every entry."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.callbacks import called_back
from beewire.bpf.lang.decl import MapDecl
from beewire.bpf.lang.maps.common import map_ref, value_of
from beewire.bpf.lang.passing import UNKNOWN
from beewire.bpf.lang.values import Memory, Value

FOR_EACH_MAP_ELEM = 164


def for_each(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """Lower it: the callback gets key and value, and what it shares with the caller."""
    visit, shared = arguments(b, node, ("callback", "ctx"), 1)
    assert visit is not None
    assert decl.key is not None
    key = Memory(UNKNOWN, 0, decl.key, ir.Space.MEM)
    shares = not decl.per_cpu
    value = Memory(UNKNOWN, 0, value_of(decl), ir.Space.MAP, shared=shares)
    table = map_ref(decl)
    return called_back(
        b,
        visit,
        shared,
        [None, key, value],
        lambda each, own: b.call(FOR_EACH_MAP_ELEM, table, each, own, ir.Const(0)),
    )
