"""Plain functions are compiled into the program that calls them."""

from types import FunctionType

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang import source
from beewire.bpf.lang.annotations import Wanted, wanted
from beewire.bpf.lang.arguments import arguments, evaluated
from beewire.bpf.lang.builder import ADVICE, CONDITIONS, Builder, Frame
from beewire.bpf.lang.calls import BUILTINS, HELPERS
from beewire.bpf.lang.conditions import truth_of
from beewire.bpf.lang.faults import Follows, Rule
from beewire.bpf.lang.flow import Target, Variable
from beewire.bpf.lang.ints import check_literal
from beewire.bpf.lang.operators import boolean
from beewire.bpf.lang.ownership import transfer
from beewire.bpf.lang.types import BOOL, IntType, ValueType
from beewire.bpf.lang.values import (
    ContextValue,
    Fields,
    Int,
    KernelMemory,
    Literal,
    Memory,
    Nothing,
    Pointer,
    Socket,
    Value,
)
from beewire.bpf.lang.variables import assign, declare, read, static_object, wrap
from beewire.reasons import Reason

RESULT = "the return value"
_ASYNC = 0x80 | 0x200  # CO_COROUTINE, CO_ASYNC_GENERATOR of inspect, which costs 5 ms


def call(b: Builder, node: ast.Call, function: FunctionType) -> Value:
    """Compile `function` where it is called."""
    frame = _frame(b, node, function)
    caller = b.frame
    b.enter(frame)
    try:
        _bind(b, frame, node, caller)
        if _returns_once(frame.definition):
            return _straight(b, frame)
        frame.exit = b.target(f"{function.__name__}_done")
        b.statements(frame.definition.body)
        _end(b, frame, node, caller)
        b.start(frame.exit)
    finally:
        b.frame = caller
    return _result(b, frame)


def condition(b: Builder, node: ast.Call, then: Target, orelse: Target) -> None:
    """A call that decides: each `return` of a bool goes straight to where it leads."""
    function = _plain_function(b, node)
    frame = _frame(b, node, function) if function is not None else None
    if frame is None or frame.wanted != Wanted(BOOL):
        truth_of(b, node, b.expr(node), then, orelse)
        return
    caller = b.frame
    b.enter(frame)
    frame.condition = (then, orelse)
    try:
        _bind(b, frame, node, caller)
        b.statements(frame.definition.body)
        _end(b, frame, node, caller)
    finally:
        b.frame = caller


def return_(b: Builder, node: ast.Return) -> None:
    """`return` in an inlined function."""
    frame = b.frame
    name = frame.definition.name
    if frame.wanted.is_none:
        if node.value is not None and not isinstance(b.expr(node.value), Nothing):
            hint = f"annotate what it returns: -> u32, instead of {name}() -> None"
            raise b.refuse(node, Reason.RESULT, f"{name}() is annotated -> None", hint)
    elif node.value is None:
        hint = "return one, or annotate it -> None"
        raise b.refuse(node, Reason.RESULT, f"{name}() must return a value here", hint)
    elif frame.condition is not None:
        _return_condition(b, frame, node.value, *frame.condition)
        b.start(b.target("dead"))
        return
    else:
        _keep(b, frame, node.value)
    for cleanup in reversed(frame.cleanups):
        cleanup()
    assert frame.exit is not None
    b.jump(frame.exit)
    b.start(b.target("dead"))


def _frame(b: Builder, node: ast.Call, function: FunctionType) -> Frame:
    outer_frame: Frame | None = b.frame
    while outer_frame is not None:
        if outer_frame.function.__code__ is function.__code__:
            raise b.refuse(
                node,
                Reason.RECURSION,
                f"{function.__name__}() calls itself",
                "write a bounded loop",
            )
        outer_frame = outer_frame.parent
    if function.__code__.co_flags & _ASYNC:
        raise b.refuse(
            node,
            Reason.CONSTRUCT,
            f"{function.__name__}() is async",
            "write a plain def",
        )
    if function.__name__ == "<lambda>":
        raise b.refuse(node, Reason.CONSTRUCT, *ADVICE[ast.Lambda])
    found, definition = source.find(function)
    spec = definition.args
    if spec.vararg or spec.kwarg:
        star = f"*{spec.vararg.arg}" if spec.vararg else "**"
        raise b.refuse(
            node,
            Reason.CONSTRUCT,
            f"{function.__name__}() takes {star}",
            "name each parameter",
        )
    frame = Frame(function, found, definition, b.frame)
    returned = wanted(frame, "return")
    if returned is None:
        message = f"{function.__name__}() does not say what it returns"
        raise b.refuse(
            node, Reason.RESULT, message, "annotate it: -> u32, -> bool, -> None"
        )
    frame.wanted = returned
    return frame


def _bind(b: Builder, frame: Frame, node: ast.Call, caller: Frame) -> None:
    """Evaluate the arguments in the caller, and name them in the callee."""
    spec = frame.definition.args
    positional = [arg.arg for arg in (*spec.posonlyargs, *spec.args)]
    names = (*positional, *(arg.arg for arg in spec.kwonlyargs))
    given_defaults = frame.function.__defaults__ or ()
    first = len(positional) - len(given_defaults)
    defaults = dict(zip(positional[first:], given_defaults, strict=True))
    defaults |= frame.function.__kwdefaults__ or {}
    b.frame = caller
    nodes = arguments(b, node, names, len(names) - len(defaults))
    values = [
        wrap(defaults[name]) if value is None else value
        for name, value in zip(names, evaluated(b, nodes), strict=True)
    ]
    b.frame = frame
    for name, argument, value in zip(names, nodes, values, strict=True):
        try:
            _bind_one(b, frame, name, value)
        except Rule as rule:
            b.frame = caller
            called = f"{frame.definition.name}(): {rule.message}"
            raise b.refuse(argument or node, rule.code, called, rule.hint) from None


def _bind_one(b: Builder, frame: Frame, name: str, value: Value) -> None:
    asked = wanted(frame, name)
    if asked is None:
        raise Rule(
            Reason.ANNOTATION,
            f"parameter {name!r} has no annotation",
            f"{name}: u32, say",
        )
    _check_kind(value, asked, f"parameter {name!r}")
    may_be_none = isinstance(value, Pointer) and value.nullable
    if isinstance(value, Int | Literal) and isinstance(asked.type, IntType):
        bind_integer(b, name, value, asked.type)
    elif name in frame.stored or may_be_none:
        if isinstance(value, Pointer):
            # A parameter is a second name as long as the call lasts.
            value.fresh = True
        assign(b, name, value)
    else:
        frame.bound[name] = value


def bind_integer(b: Builder, name: str, value: Int | Literal, type_: IntType) -> None:
    """Name an argument of the function that `b` is in."""
    if name in b.frame.stored:
        declare(b, name, type_)
        assign(b, name, value)
    else:
        b.frame.bound[name] = _typed(b, value, type_)


def _typed(b: Builder, value: Int | Literal, type_: IntType) -> Int:
    if isinstance(value, Literal):
        check_literal(value.value, type_)
    return b.narrow(value, type_)


def _check_kind(value: Value, asked: Wanted, what: str) -> None:
    if not _fits(value, asked.type):
        raise Rule(
            Reason.WRONG_ARGUMENT, f"{what} is {asked.name}, not {value.describe()}"
        )
    if isinstance(value, Pointer) and value.nullable and not asked.nullable:
        raise Rule(
            Reason.MAYBE_NONE,
            f"{what} is {asked.name}, and this may be None",
            "test it first",
        )


def _fits(value: Value, asked: object) -> bool:
    match value:
        case Int() | Literal():
            return isinstance(asked, IntType) or asked is int
        case Memory() | Fields():
            same = isinstance(asked, ValueType) and asked.name == value.type.name
            return same and not isinstance(asked, IntType)
        case ContextValue():
            return isinstance(asked, type) and issubclass(value.cls, asked)
        case Socket():
            return isinstance(asked, type) and asked.__name__ == "BpfSock"
        case KernelMemory():
            return isinstance(asked, type) and issubclass(value.kernel, asked)
        case Nothing():
            return True
        case _:
            return asked is object


def _returns_once(definition: ast.FunctionDef) -> bool:
    # Nothing but straight code before its only return: no block to return to is needed.
    *rest, last = definition.body
    if not isinstance(last, ast.Return) or last.value is None:
        return False
    return not any(isinstance(inner, ast.Return) for s in rest for inner in ast.walk(s))


def _straight(b: Builder, frame: Frame) -> Value:
    *rest, last = frame.definition.body
    assert isinstance(last, ast.Return)
    assert last.value is not None
    b.statements(rest)
    if frame.wanted.is_none:
        return_none = b.expr(last.value)
        if not isinstance(return_none, Nothing):
            name = frame.definition.name
            hint = f"annotate what it returns: -> u32, instead of {name}() -> None"
            raise b.refuse(last, Reason.RESULT, f"{name}() is annotated -> None", hint)
        return return_none
    value = b.deferred(last.value)
    return _checked_result(b, frame, last.value, value)


def _checked_result(b: Builder, frame: Frame, node: ast.expr, value: Value) -> Value:
    asked = frame.wanted
    try:
        _check_kind(value, asked, f"{frame.definition.name}() returns what")
        if isinstance(value, Int | Literal) and isinstance(asked.type, IntType):
            return _typed(b, value, asked.type)
    except Rule as rule:
        raise b.refuse(node, rule.code, rule.message, rule.hint) from None
    if isinstance(value, Pointer):
        transfer(b, value)
    if isinstance(value, Memory) and _is_own(frame, value):
        # Its name ends with the call.
        return Memory(value.op, value.offset, value.type, value.space, unnamed=True)
    return value


def _is_own(frame: Frame, value: Memory) -> bool:
    """Whether it is a struct that the function made, no argument."""
    own = [variable.template for variable in frame.variables.values()]
    return any(isinstance(t, Memory) and t.on_stack and t.op is value.op for t in own)


def _keep(b: Builder, frame: Frame, node: ast.expr) -> None:
    """Assign the variable that the result is read from."""
    value = _checked_result(b, frame, node, b.deferred(node))
    if isinstance(value, Memory) and value.on_stack and not value.unnamed:
        message = f"{frame.definition.name}() returns a struct that it did not make"
        raise b.refuse(node, Reason.RESULT, message, "return a copy: .copy()")
    if frame.result is None:
        frame.result = frame.variables[RESULT] = Variable(RESULT)
        if isinstance(frame.wanted.type, IntType):
            declare(b, RESULT, frame.wanted.type)
    if not isinstance(value, Nothing):
        assign(b, RESULT, value)
        return
    if not frame.wanted.nullable:
        message = f"{frame.definition.name}() is not annotated | None"
        raise b.refuse(
            node, Reason.RESULT, message, "annotate what it returns: -> T | None"
        )
    result = frame.result
    if result.local is None:
        result.local = ir.Local(RESULT, ir.Kind.PTR)
    b.emit(ir.SetLocal(result.local, ir.Const(0)))
    b.flow = b.flow.assign(result)


def _result(b: Builder, frame: Frame) -> Value:
    if frame.result is None or frame.result.template is None:
        if b.diagnostics and not (frame.wanted.is_none or frame.wanted.nullable):
            raise Follows
        return Nothing()
    if frame.result not in b.flow.assigned:
        # Every way through the function was refused, or never returns.
        b.flow = b.flow.assign(frame.result)
    value = read(b, frame.result)
    if isinstance(value, Memory) and value.on_stack:
        return Memory(value.op, value.offset, value.type, value.space, unnamed=True)
    return transfer(b, value) if isinstance(value, Pointer) else value


def _end(b: Builder, frame: Frame, node: ast.Call, caller: Frame) -> None:
    """The function's end is reached: fine where it returns nothing."""
    if b.live and not frame.wanted.is_none:
        b.frame = caller
        raise b.refuse(
            node,
            Reason.RESULT,
            f"{frame.definition.name}() does not return a value on every way",
            "end it with a return",
        )
    if frame.exit is not None:
        b.jump(frame.exit)


def _return_condition(
    b: Builder, frame: Frame, node: ast.expr, then: Target, orelse: Target
) -> None:
    decides = isinstance(node, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.Call)
    if decides and not frame.cleanups:
        b.condition(node, then, orelse)
        return
    value = boolean(b, node) if decides else b.expr(node)
    if isinstance(value, Int) and not value.type.is_bool:
        raise b.refuse(
            node,
            Reason.NOT_BOOL,
            "an integer does not go into bool",
            "compare it: x != 0",
        )
    for cleanup in reversed(frame.cleanups):
        cleanup()
    truth_of(b, node, value, then, orelse)


def _plain_function(b: Builder, node: ast.Call) -> FunctionType | None:
    """The function that is called, where that is plain to see."""
    found = static_object(b, node.func)
    if not isinstance(found, FunctionType) or found in BUILTINS or found in HELPERS:
        return None
    return found


CONDITIONS[ast.Call] = condition
