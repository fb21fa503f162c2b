"""Programs whose parameters are arguments: of a function, a tracepoint, a member.

    @fentry("tcp_connect")
    def on_connect(sk: sock) -> None: ...

Each is read out of the context where the program begins. What the kernel passes is
checked against the annotations when the program is loaded: `Argument` tells it.
"""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.annotations import Wanted, wanted
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.contexts import Arguments, Context
from beewire.bpf.lang.decl import ProgramDecl
from beewire.bpf.lang.memory import PROBE_READ_KERNEL
from beewire.bpf.lang.structs import Kernel
from beewire.bpf.lang.trace_contexts import REGISTERS, SyscallArguments, Usdt
from beewire.bpf.lang.types import U64, IntType
from beewire.bpf.lang.values import KernelMemory, Value
from beewire.bpf.lang.variables import assign, declare
from beewire.bpf.object.kinds import AttachKind
from beewire.bpf.object.spec import Argument
from beewire.reasons import Reason


def enter_arguments(
    b: Builder, decl: ProgramDecl, context: ir.Param, params: list[ast.arg]
) -> None:
    """Bind the parameters of `decl` to what its hook passes.

    Raises:
        Refused: An annotation means nothing here, or there are too many parameters.
    """
    cls = decl.context
    assert issubclass(cls, Arguments)
    told: list[Argument] = []
    for index, param in enumerate(params):
        asked = wanted(b.frame, param.arg)
        if asked is None:
            raise _refused(b, param, f"parameter {param.arg!r} has no annotation")
        if issubclass(cls, Usdt):
            _bind_operand(b, cls, param, asked, (context, index))
            told.append(argument(param.arg, asked))
            continue
        try:
            offset = cls.place(index)
        except IndexError:
            message = f"{decl.section} passes no argument number {index + 1} here"
            raise _refused(b, param, message) from None
        if issubclass(cls, SyscallArguments):
            _bind_passed(b, param, asked, (context, offset))
        else:
            _bind(b, decl, param, asked, (context, offset))
        told.append(argument(param.arg, asked))
    decl.arguments = tuple(told)


def passes_arguments(b: Builder, params: list[ast.arg]) -> bool:
    """Whether the parameters are arguments, and none of them the context."""
    asked = wanted(b.frame, params[0].arg) if len(params) == 1 else None
    kind = None if asked is None else asked.type
    return not (isinstance(kind, type) and issubclass(kind, Context))


def argument(name: str, asked: Wanted) -> Argument:
    """What is told of a parameter to whoever loads the program."""
    kind = asked.type
    if isinstance(kind, IntType):
        return Argument(name, "", kind.size, kind.signed, asked.nullable)
    return Argument(name, kind.__name__, 8, False, asked.nullable)


def _bind(
    b: Builder,
    decl: ProgramDecl,
    param: ast.arg,
    asked: Wanted,
    place: tuple[ir.Op, int],
) -> None:
    op, offset = place
    kind = asked.type
    if isinstance(kind, IntType) and not asked.nullable:
        _bind_integer(b, param, b.load(op, offset, kind, ir.Space.CTX), kind)
        return
    if isinstance(kind, type) and issubclass(kind, Kernel):
        if decl.attach_kind is AttachKind.TRACE_ITER and not asked.nullable:
            _check_iterated(b, param, kind)
        typed = decl.context.typed  # type: ignore[attr-defined]  # it is one of Arguments
        pointer = ir.Load(op, offset, 8, space=ir.Space.CTX, kind=ir.Kind.PTR)
        found = KernelMemory(
            b.emit(pointer), kind, typed=typed, nullable=asked.nullable and typed
        )
        if found.nullable or param.arg in b.frame.stored:
            assign(b, param.arg, found)
            return
        b.frame.bound[param.arg] = found
        return
    raise _refused(b, param, f"{param.arg!r} cannot be {asked.name}")


def _bind_operand(
    b: Builder,
    cls: type[Usdt],
    param: ast.arg,
    asked: Wanted,
    place: tuple[ir.Op, int],
) -> None:
    """Bind a parameter to an argument of a static probe."""
    from beewire.bpf.lang import usdt_calls  # noqa: PLC0415 - static probes only

    kind = _integer(b, param, asked, "static probes pass")
    _bind_integer(b, param, b.narrow(usdt_calls.argument(b, cls, *place), kind), kind)


def _bind_passed(
    b: Builder, param: ast.arg, asked: Wanted, place: tuple[ir.Op, int]
) -> None:
    """Bind a parameter to an argument of a system call, behind the first register."""
    context, offset = place
    kind = _integer(b, param, asked, "system calls take")
    passed = b.load(context, REGISTERS.parameters[0], U64, ir.Space.CTX).op
    slot = b.temporary("passed", 8)
    address = b.binary(ir.BinOp.ADD, passed, ir.Const(offset))
    b.call(PROBE_READ_KERNEL, slot, ir.Const(8), address)
    value = b.narrow(b.load(slot, 0, U64, ir.Space.STACK), kind)
    _bind_integer(b, param, value, kind)


def _integer(b: Builder, param: ast.arg, asked: Wanted, who: str) -> IntType:
    kind = asked.type
    if isinstance(kind, IntType) and not asked.nullable:
        return kind
    message = f"{param.arg!r} cannot be {asked.name}: {who} integers"
    raise _refused(b, param, message)


def _bind_integer(b: Builder, param: ast.arg, value: Value, kind: IntType) -> None:
    if param.arg in b.frame.stored:
        declare(b, param.arg, kind)
        assign(b, param.arg, value)
        return
    b.frame.bound[param.arg] = value


def _check_iterated(b: Builder, param: ast.arg, kind: type[Kernel]) -> None:
    """Refuse an iterator's object that is not `| None`; its meta data is always there."""
    if kind.__name__ == "bpf_iter_meta":
        return
    raise b.refuse(
        param,  # type: ignore[arg-type]  # an arg has a place like an expression
        Reason.SIGNATURE,
        "an iterator runs once more with None, at its end",
        f"annotate it: {param.arg}: {kind.__name__} | None",
    )


def _refused(b: Builder, param: ast.arg, message: str) -> Exception:
    return b.refuse(
        param,  # type: ignore[arg-type]  # an arg has a place like an expression
        Reason.SIGNATURE,
        message,
        "an argument is an integer type, a Kernel class, or a Kernel class | None",
    )
