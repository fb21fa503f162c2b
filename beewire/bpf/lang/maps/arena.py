"""Arenas: memory that is named by offsets, and pages that come and go."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments, required, static_type
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.decl import MapDecl
from beewire.bpf.lang.maps.common import Operation, map_ref, number
from beewire.bpf.lang.types import I64
from beewire.bpf.lang.values import Int, Memory, Nothing, Value
from beewire.bpf.object.kinds import ProgramKind
from beewire.reasons import Reason

# Where user space has the arena: libbpf's name for the section of its variables.
SECTION = ".addr_space.1"
ENOMEM = 12
NUMA_NO_NODE = -1
# Kinds of programs that may be sleepable (can_be_sleepable in the verifier).
_MAY_SLEEP = frozenset({
    ProgramKind.SYSCALL,
    ProgramKind.TRACING,
    ProgramKind.LSM,
    ProgramKind.KPROBE,
    ProgramKind.STRUCT_OPS,
})  # fmt: skip


def at(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`heap.at(offset, T)`: a reference; it is there, whatever the offset."""
    del decl
    offset, type_node = required(arguments(b, node, ("offset", "type")))
    where = b.binary(ir.BinOp.ADD, _start(), number(b, offset))
    type_ = static_type(b, type_node)
    op = b.emit(ir.ArenaAddress(where))
    return Memory(op, 0, type_, ir.Space.MEM, shared=True)


def alloc(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`heap.alloc(pages)`: the offset of new pages, or a negative error."""
    _check_sleepable(b, node)
    [pages] = arguments(b, node, ("pages",), 0)
    zero, anywhere = ir.Const(0), ir.Const(NUMA_NO_NODE)
    count = number(b, pages, 1)
    args = (map_ref(decl), zero, count, anywhere, zero)
    found = b.kfunc("bpf_arena_alloc_pages", *args)
    result = ir.Local("offset", ir.Kind.INT)
    some, none, done = b.target("allocated"), b.target("full"), b.target("alloc")
    b.branch(ir.CmpOp.EQ, found, zero, none, some)
    b.start(some)
    b.emit(ir.SetLocal(result, b.binary(ir.BinOp.SUB, found, _start())))
    b.jump(done)
    b.start(none)
    b.emit(ir.SetLocal(result, ir.Const(-ENOMEM)))
    b.jump(done)
    b.start(done)
    return Int(b.emit(ir.GetLocal(result)), I64)


def free(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`heap.free(offset, pages)`."""
    _check_sleepable(b, node)
    offset, pages = arguments(b, node, ("offset", "pages"), 1)
    where = b.binary(ir.BinOp.ADD, _start(), number(b, offset))
    b.kfunc("bpf_arena_free_pages", map_ref(decl), where, number(b, pages, 1))
    return Nothing()


def _start() -> ir.Op:
    return ir.GlobalRef(SECTION, 0)


def _check_sleepable(b: Builder, node: ast.Call) -> None:
    if b.program is None or b.program[0] in _MAY_SLEEP:
        return
    message = f"{ast.unparse(node.func)}() works in sleepable programs only"
    hint = "let user space make the pages: it writes where they are wanted"
    raise b.refuse(node, Reason.MAP_OPERATION, message, hint)


OPERATIONS: dict[str, Operation] = {"at": at, "alloc": alloc, "free": free}
