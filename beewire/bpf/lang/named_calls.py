"""Calls that are more than one call: halves of a result, what runs now, addresses."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments, required
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.call_expressions import (
    BY_NAME,
)
from beewire.bpf.lang.memory import PROBE_READ_KERNEL, kernel_address
from beewire.bpf.lang.structs import Kernel
from beewire.bpf.lang.types import (
    U32,
    U64,
)
from beewire.bpf.lang.values import (
    Comm,
    Int,
    KernelMemory,
    Literal,
    Socket,
    Static,
    Value,
)
from beewire.hints import Callable
from beewire.reasons import Reason

GET_CURRENT_PID_TGID = 14
GET_CURRENT_UID_GID = 15
GET_CURRENT_TASK = 35


def _half(number: int, *, high: bool) -> Callable[[Builder, ast.Call], Value]:
    """A helper's result of which one half is wanted."""

    def lower(b: Builder, node: ast.Call) -> Value:
        arguments(b, node, ())
        both = b.call_once(number)
        if high:
            return Int(b.binary(ir.BinOp.LSHR, both, ir.Const(32)), U32)
        return Int(b.emit(ir.Extend(both, 32, signed=False)), U32)

    return lower


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
        op = kernel_address(b, value)
        return KernelMemory(op, cls, typed=value.typed, nullable=value.nullable)
    if isinstance(value, Socket):
        return KernelMemory(_as_number(b, value.op), cls)
    raise b.refuse(
        address,
        Reason.WRONG_ARGUMENT,
        f"an address is needed here, not {value.describe()}",
    )


def _kernel_address(b: Builder, node: ast.Call) -> Value:
    [asked] = required(arguments(b, node, ("pointer",)))
    value = b.expr(asked)
    if isinstance(value, KernelMemory):
        local = ir.Local("address", ir.Kind.INT)
        b.emit(ir.SetLocal(local, kernel_address(b, value)))
        return Int(b.emit(ir.GetLocal(local)), U64)
    if isinstance(value, Socket):
        return Int(_as_number(b, value.op), U64)
    raise b.refuse(
        asked,
        Reason.WRONG_ARGUMENT,
        f"a kernel struct or a socket is needed here, not {value.describe()}",
    )


def _as_pointer(b: Builder, op: ir.Op) -> ir.Op:
    if isinstance(op, ir.Load) and op.size == 8:
        op.kind = ir.Kind.PTR
        return op
    local = ir.Local("address", ir.Kind.PTR)
    b.emit(ir.SetLocal(local, op))
    return b.emit(ir.GetLocal(local))


def _as_number(b: Builder, socket: ir.Op) -> ir.Op:
    # The verifier lets nobody add to a socket's address. Read as data it is a number, of
    # which it knows nothing, and which probe_read_kernel takes as it takes any.
    held = b.temporary("socket", 8)
    b.emit(ir.Store(held, 0, 8, socket, space=ir.Space.STACK))
    number = b.temporary("address", 8)
    b.call(PROBE_READ_KERNEL, number, ir.Const(8), held)
    return b.emit(ir.Load(number, 0, 8, space=ir.Space.STACK, kind=ir.Kind.PTR))


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
    "kernel_address": _kernel_address,
    "kernel_ptr": _kernel_ptr,
}
