"""`ctx.at`, `ctx.read`, `ctx.write`, `ctx.pull`: what contexts with a packet offer."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments, required, static_type
from beewire.bpf.lang.attributes import present
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.call_expressions import CONTEXT_METHODS
from beewire.bpf.lang.contexts import (
    CopiedPacket,
    PacketContext,
)
from beewire.bpf.lang.faults import Rule
from beewire.bpf.lang.memory import in_memory
from beewire.bpf.lang.packet_memory import MOST, maybe, reference
from beewire.bpf.lang.socket_contexts import (
    SkBuff,
    SkMsg,
)
from beewire.bpf.lang.types import I64
from beewire.bpf.lang.values import (
    ContextValue,
    Fields,
    Int,
    Literal,
    Memory,
    Pointer,
    Value,
)
from beewire.reasons import Reason

SKB_STORE_BYTES = 9
SKB_LOAD_BYTES = 26
SKB_PULL_DATA = 39
MSG_PULL_DATA = 63
XDP_LOAD_BYTES = 189
XDP_STORE_BYTES = 190


def at(b: Builder, node: ast.Call, owner: ContextValue) -> Value:
    """`ctx.at(offset, T)`: a reference that is None past the packet's end."""
    offset_node, type_node = required(arguments(b, node, ("offset", "type")))
    if not issubclass(owner.cls, PacketContext):
        raise b.refuse(node, Reason.NO_SUCH_CALL, f"{owner.describe()} has no packet")
    type_ = static_type(b, type_node)
    offset = b.integer(offset_node)
    try:
        return reference(b, owner, offset, type_)
    except Rule as rule:
        raise b.refuse(offset_node, rule.code, rule.message, rule.hint) from None


def read(b: Builder, node: ast.Call, owner: ContextValue) -> Value:
    """`ctx.read(offset, T)`: a copy on the stack, None past the packet's end."""
    offset_node, type_node = required(arguments(b, node, ("offset", "type")))
    _check_copied(b, node, owner, "ctx.at(offset, T)")
    type_ = static_type(b, type_node)
    offset = b.integer(offset_node)
    number = SKB_LOAD_BYTES if issubclass(owner.cls, SkBuff) else XDP_LOAD_BYTES
    slot = b.slot("copy", type_.size)
    where = _helper_offset(b, offset_node, offset)
    failed = b.call(number, owner.op, where, slot, ir.Const(type_.size))
    inside, past = b.target("inside"), b.target("past")
    b.branch(ir.CmpOp.EQ, failed, ir.Const(0), inside, past)
    return maybe(b, (inside, slot), past, type_, ir.Space.STACK)


def write(b: Builder, node: ast.Call, owner: ContextValue) -> Value:
    """`ctx.write(offset, value)`: whether the packet had room for it."""
    offset_node, value_node = required(arguments(b, node, ("offset", "value")))
    _check_copied(b, node, owner, "x = ctx.at(offset, T), and assign to it")
    offset = b.integer(offset_node)
    value = b.expr(value_node)
    if isinstance(value, Pointer):
        present(b, value, value_node)
    if not isinstance(value, Memory | Fields):
        message = f"write() takes a struct or an array, not {value.describe()}"
        hint = "put the number into a struct"
        raise b.refuse(value_node, Reason.WRONG_ARGUMENT, message, hint)
    source = in_memory(b, value, value.type, "bytes")
    where = _helper_offset(b, offset_node, offset)
    args = [owner.op, where, source, ir.Const(value.type.size)]
    if issubclass(owner.cls, SkBuff):
        failed = b.call(SKB_STORE_BYTES, *args, ir.Const(0))
        _drop_references(b, "ctx.write()")
    else:
        failed = b.call(XDP_STORE_BYTES, *args)
    return b.decided(
        lambda then, orelse: b.branch(ir.CmpOp.EQ, failed, ir.Const(0), then, orelse)
    )


def pull(b: Builder, node: ast.Call, owner: ContextValue) -> Value:
    """`ctx.pull(length)`: let `at` see so many bytes; 0, or a negative error."""
    [length_node] = required(arguments(b, node, ("length",)))
    length = b.op(b.integer(length_node))
    if issubclass(owner.cls, SkMsg):
        args = (owner.op, ir.Const(0), length, ir.Const(0))
        result = b.call(MSG_PULL_DATA, *args)
    elif issubclass(owner.cls, SkBuff):
        result = b.call(SKB_PULL_DATA, owner.op, length)
    else:
        message = f"{owner.describe()} has no pull() in programs"
        raise b.refuse(node.func, Reason.NO_SUCH_CALL, message)
    _drop_references(b, "ctx.pull()")
    return Int(result, I64)


def _check_copied(
    b: Builder, node: ast.Call, owner: ContextValue, instead: str
) -> None:
    if not issubclass(owner.cls, CopiedPacket):
        assert isinstance(node.func, ast.Attribute)
        message = f"{owner.describe()} has no {node.func.attr}() in programs"
        raise b.refuse(node.func, Reason.NO_SUCH_CALL, message, f"write {instead}")


def _helper_offset(b: Builder, node: ast.expr, offset: Int | Literal) -> ir.Op:
    if isinstance(offset, Literal):
        if not 0 <= offset.value <= MOST:
            message = f"a packet has bytes 0 to {MOST}"
            raise b.refuse(node, Reason.INDEX, message, "count from its start")
        return ir.Const(offset.value)
    if offset.type.bits > 32 or offset.type.signed:
        # The helpers take 32 bits of it: what is more is past every end.
        local = ir.Local("offset", ir.Kind.INT)
        far, near, done = b.target("far"), b.target("near"), b.target("offset")
        b.branch(ir.CmpOp.UGT, offset.op, ir.Const(MOST), far, near)
        for target, value in ((near, offset.op), (far, ir.Const(MOST + 1))):
            b.start(target)
            b.emit(ir.SetLocal(local, value))
            b.jump(done)
        b.start(done)
        return b.emit(ir.GetLocal(local))
    return offset.op


def _drop_references(b: Builder, by: str) -> None:
    """The packet may have moved: what referred to it refers to nothing."""
    for variables in b.variables.values():
        for variable in variables.values():
            held = variable.template
            if isinstance(held, Memory) and held.space is ir.Space.PACKET:
                what = f"{variable.name!r} is gone: {by} may have moved the packet"
                variable.gone = what
                b.flow = b.flow.drop(variable)


CONTEXT_METHODS |= {"at": at, "read": read, "write": write, "pull": pull}
