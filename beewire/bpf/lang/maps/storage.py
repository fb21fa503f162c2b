"""Local storage: values that live in sockets, tasks, files and cgroups."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments, required
from beewire.bpf.lang.attributes import present
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.decl import MapDecl
from beewire.bpf.lang.maps.common import Operation, map_ref, value_memory
from beewire.bpf.lang.memory import kernel_address
from beewire.bpf.lang.tasks import running_task
from beewire.bpf.lang.types import I64
from beewire.bpf.lang.values import ContextValue, Int, KernelMemory, Socket, Value
from beewire.bpf.object.kinds import MapKind
from beewire.reasons import Reason

GET_LOCAL_STORAGE = 81
STORAGE_GET_F_CREATE = 1

# Helpers that get and delete a storage map's value.
_HELPERS = {
    MapKind.SK_STORAGE: (107, 108),
    MapKind.INODE_STORAGE: (145, 146),
    MapKind.TASK_STORAGE: (156, 157),
    MapKind.CGRP_STORAGE: (210, 211),
}
# What the others' values lie in.
_STRUCTS = {
    MapKind.INODE_STORAGE: "inode",
    MapKind.TASK_STORAGE: "task_struct",
    MapKind.CGRP_STORAGE: "cgroup",
}


def get(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`state.get(sk)`."""
    return _storage_get(b, decl, node, 0)


def get_or_create(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`state.get_or_create(sk)`."""
    return _storage_get(b, decl, node, STORAGE_GET_F_CREATE)


def delete(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`state.delete(sk)`."""
    [owner] = required(arguments(b, node, ("owner",)))
    number = _HELPERS[decl.kind][1]
    return Int(b.call(number, map_ref(decl), _owner(b, decl, owner)), I64)


def _storage_get(b: Builder, decl: MapDecl, node: ast.Call, flags: int) -> Value:
    [owner] = required(arguments(b, node, ("owner",)))
    op = _owner(b, decl, owner)
    number = _HELPERS[decl.kind][0]
    args = (map_ref(decl), op, ir.Const(0), ir.Const(flags))
    return value_memory(decl, b.call(number, *args, kind=ir.Kind.PTR), nullable=True)


def _owner(b: Builder, decl: MapDecl, node: ast.expr) -> ir.Op:
    task = running_task(b, node) if decl.kind is MapKind.TASK_STORAGE else None
    if task is not None:
        return task
    value = b.expr(node)
    struct = _STRUCTS.get(decl.kind)
    if struct is None and isinstance(value, Socket):
        present(b, value, node)
        return value.op
    if isinstance(value, KernelMemory) and value.kernel.__name__ == struct:
        if value.typed:
            present(b, value, node)
            return kernel_address(b, value)
        message = f"the kernel does not trust this address of a {struct}"
        hint = "it takes what it passed itself, and current(task_struct)"
        raise b.refuse(node, Reason.WRONG_ARGUMENT, message, hint)
    what = f"a {struct}" if struct else "a socket"
    has_one = isinstance(value, ContextValue) and value.cls.member("sk")
    hint = f"pass {ast.unparse(node)}.sk" if has_one and not struct else ""
    message = f"{what} is needed here, not {value.describe()}"
    raise b.refuse(node, Reason.WRONG_ARGUMENT, message, hint)


def here(b: Builder, decl: MapDecl, node: ast.Call) -> Value:
    """`counts.here()`: it is made when the program is attached, so it is there."""
    arguments(b, node, ())
    args = (map_ref(decl), ir.Const(0))
    op = b.call(GET_LOCAL_STORAGE, *args, kind=ir.Kind.PTR)
    return value_memory(decl, op, nullable=False)


OPERATIONS: dict[str, Operation] = {
    "get": get,
    "get_or_create": get_or_create,
    "delete": delete,
    "here": here,
}
