r"""What programs do with their context beyond its fields.

What iterators write (`seq_printf(meta.seq, f"{task.pid}\n")`, `seq_write`), the context
itself, and the cookie of the attachment that runs the program.
"""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments, required
from beewire.bpf.lang.attributes import present
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.call_expressions import BY_NAME
from beewire.bpf.lang.contexts import Context
from beewire.bpf.lang.memory import make_struct, store_bytes, temporary
from beewire.bpf.lang.printk import formatted
from beewire.bpf.lang.types import I64, U64, CharsType, IntType
from beewire.bpf.lang.values import (
    ContextValue,
    Fields,
    Int,
    KernelMemory,
    Memory,
    Static,
    Value,
)
from beewire.reasons import Reason

GET_ATTACH_COOKIE = 174
SEQ_PRINTF = 126
SEQ_WRITE = 127


def _seq_printf(b: Builder, node: ast.Call) -> Value:
    seq, text = required(arguments(b, node, ("seq", "text")))
    to = _sequence(b, seq)
    template, ops = formatted(b, text, "seq_printf()")
    raw = template.encode() + b"\0"
    place = temporary(b, CharsType(len(raw)), "format")
    store_bytes(b, place, raw)
    size = 8 * len(ops)
    values: ir.Op = b.temporary("values", size) if ops else ir.Const(0)
    for number, op in enumerate(ops):
        b.emit(ir.Store(values, 8 * number, 8, op, space=ir.Space.STACK))
    length = ir.Const(len(raw))
    result = b.call(SEQ_PRINTF, to, place.op, length, values, ir.Const(size))
    return Int(result, I64)


def _seq_write(b: Builder, node: ast.Call) -> Value:
    seq, what = required(arguments(b, node, ("seq", "data")))
    to = _sequence(b, seq)
    value = b.expr(what)
    if isinstance(value, Fields):
        value = make_struct(b, value)
    if isinstance(value, Static) and isinstance(value.obj, bytes) and value.obj:
        text = value.obj
        value = temporary(b, CharsType(len(text)), "text")
        store_bytes(b, value, text)
    if not isinstance(value, Memory) or isinstance(value.type, IntType):
        message = f"a Struct or bytes are needed here, not {value.describe()}"
        raise b.refuse(what, Reason.WRONG_ARGUMENT, message)
    present(b, value, what)
    size = ir.Const(value.type.size)
    return Int(b.call(SEQ_WRITE, to, b.address(value), size), I64)


def _sequence(b: Builder, node: ast.expr) -> ir.Op:
    value = b.expr(node)
    if isinstance(value, KernelMemory):
        return value.op
    message = f"an iterator's seq is needed here, not {value.describe()}"
    raise b.refuse(node, Reason.WRONG_ARGUMENT, message, "write meta.seq")


def _context(b: Builder, node: ast.Call) -> Value:
    arguments(b, node, ())
    named = any(isinstance(each, ContextValue) for each in b.frame.bound.values())
    if b.context is not None and not named:
        return ContextValue(b.context, Context)
    raise b.refuse(
        node,
        Reason.NOT_CALLABLE,
        "context() is for programs whose parameters are arguments",
        "use the parameter",
    )


def _attach_cookie(b: Builder, node: ast.Call) -> Value:
    arguments(b, node, ())
    if b.context is None:
        message = (
            "attach_cookie() is for programs: a function of its own has no context"
        )
        hint = "pass it as a number"
        raise b.refuse(node, Reason.NOT_CALLABLE, message, hint)
    return Int(b.call(GET_ATTACH_COOKIE, b.context), U64)


BY_NAME |= {
    "attach_cookie": _attach_cookie,
    "seq_printf": _seq_printf,
    "seq_write": _seq_write,
    "context": _context,
}
