"""`ctx.arg(0)`: the arguments of static probes, where the note of the probe says.

Each variant of a program is for places whose arguments are at the same operands, so that
reading one takes no more than a load, or a probe read.
"""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments, static_type
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.call_expressions import CONTEXT_METHODS
from beewire.bpf.lang.faults import Rule
from beewire.bpf.lang.ints import wide
from beewire.bpf.lang.registers import HIGH_BYTES, offset_of
from beewire.bpf.lang.trace_contexts import Usdt
from beewire.bpf.lang.types import I8, I16, I32, I64, U8, U16, U32, U64, IntType
from beewire.bpf.lang.values import ContextValue, Int, Literal, Value
from beewire.reasons import Reason
from beewire.symbols.stapsdt import Operand

PROBE_READ_USER = 112
_TYPES = {
    (1, True): I8, (2, True): I16, (4, True): I32, (8, True): I64,
    (1, False): U8, (2, False): U16, (4, False): U32, (8, False): U64,
}  # fmt: skip


def arg(b: Builder, node: ast.Call, owner: ContextValue) -> Value:
    """`ctx.arg(index, T)`: an argument, of 64 bits where no type is asked for."""
    index_node, type_node = arguments(b, node, ("index", "type"), 1)
    assert index_node is not None
    if not issubclass(owner.cls, Usdt):
        message = f"{owner.describe()} has no arg(): static probes have"
        raise b.refuse(
            node.func, Reason.NO_SUCH_CALL, message, "annotate it: ctx: Usdt"
        )
    index = b.integer(index_node)
    if not isinstance(index, Literal):
        message = "the number of an argument has to be known here"
        raise b.refuse(index_node, Reason.NOT_CONSTANT, message, "write ctx.arg(0)")
    try:
        found = argument(b, owner.cls, owner.op, index.value)
    except Rule as rule:
        raise b.refuse(node, rule.code, rule.message, rule.hint) from None
    if type_node is None:
        return Int(found.op, wide(found.type))
    type_ = static_type(b, type_node)
    if not isinstance(type_, IntType):
        message = "an argument of a probe is an integer"
        hint = "read what it points to: user_str(ctx.arg(0))"
        raise b.refuse(type_node, Reason.WRONG_ARGUMENT, message, hint)
    return b.narrow(found, type_)


def argument(b: Builder, cls: type[Usdt], context: ir.Op, index: int) -> Int:
    """An argument with the size and sign that the probe's note tells.

    Raises:
        Rule: the probe has no such argument, or one that programs cannot read.
    """
    if cls.problem:
        raise Rule(Reason.SIGNATURE, cls.problem)
    count = len(cls.operands)
    if not 0 <= index < count:
        many = f"{count} argument" + "s" * (count != 1)
        raise Rule(
            Reason.SIGNATURE, f"the probe passes {many}: there is no number {index}"
        )
    operand = cls.operands[index]
    type_ = _TYPES.get((operand.size, operand.signed), U64)
    match operand.kind:
        case "constant":
            return Int(ir.Const(_wrapped(operand.value, type_)), type_)
        case "register":
            return _narrowed(b, _register(b, context, operand.register, operand), type_)
        case "memory":
            return _memory(b, context, operand, type_)
        case _:
            raise _unreadable(operand)


def _memory(b: Builder, context: ir.Op, operand: Operand, type_: IntType) -> Int:
    address: ir.Op = ir.Const(operand.value)
    if operand.register:
        base = _register(b, context, operand.register, operand)
        address = b.binary(ir.BinOp.ADD, base, address)
    if operand.index_register:
        scaled = _register(b, context, operand.index_register, operand)
        if operand.scale > 1:
            scaled = b.binary(ir.BinOp.MUL, scaled, ir.Const(operand.scale))
        address = b.binary(ir.BinOp.ADD, scaled, address)
    slot = b.temporary("argument", 8)
    b.emit(ir.Store(slot, 0, 8, ir.Const(0), space=ir.Space.STACK))
    b.call(PROBE_READ_USER, slot, ir.Const(operand.size), address)
    return b.load(slot, 0, type_, ir.Space.STACK)


def _register(b: Builder, context: ir.Op, name: str, operand: Operand) -> ir.Op:
    offset = offset_of(name)
    if offset is None:
        raise _unreadable(operand)
    value = b.load(context, offset, U64, ir.Space.CTX).op
    if name in HIGH_BYTES:
        return b.binary(ir.BinOp.LSHR, value, ir.Const(8))
    return value


def _narrowed(b: Builder, value: ir.Op, type_: IntType) -> Int:
    if type_.bits == 64:
        return Int(value, type_)
    return Int(b.emit(ir.Extend(value, type_.bits, signed=type_.signed)), type_)


def _wrapped(value: int, type_: IntType) -> int:
    value &= (1 << type_.bits) - 1
    return (
        value - (1 << type_.bits) if type_.signed and value >> type_.bits - 1 else value
    )


def _unreadable(operand: Operand) -> Rule:
    message = f"this argument is in {operand.text!r}, which programs cannot read"
    hint = "floating point and addresses of variables are out of reach"
    return Rule(Reason.SIGNATURE, message, hint)


CONTEXT_METHODS["arg"] = arg
