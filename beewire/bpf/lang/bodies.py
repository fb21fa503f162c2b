"""The body of a plain function: what it is given, and what it returns."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang import source
from beewire.bpf.lang.annotations import RefTo, Several, Wanted, wanted
from beewire.bpf.lang.arguments import arguments, evaluated
from beewire.bpf.lang.builder import ADVICE, Builder, Frame
from beewire.bpf.lang.conditions import truth_of
from beewire.bpf.lang.faults import Follows, Rule
from beewire.bpf.lang.flow import Target, Variable
from beewire.bpf.lang.ints import check_literal
from beewire.bpf.lang.memory import read_kernel
from beewire.bpf.lang.operators import boolean
from beewire.bpf.lang.ownership import clean_up, transfer
from beewire.bpf.lang.structs import StructType
from beewire.bpf.lang.types import IntType, ValueType
from beewire.bpf.lang.values import (
    ContextValue,
    Fields,
    Int,
    KernelField,
    KernelMemory,
    Literal,
    Memory,
    Nothing,
    Pointer,
    Socket,
    Tuple,
    Value,
)
from beewire.bpf.lang.variables import assign, declare, read, wrap
from beewire.hints import Any, FunctionType
from beewire.reasons import Reason
from beewire.rows import Row

RESULT = "the return value"
_ASYNC = 0x80 | 0x200  # CO_COROUTINE, CO_ASYNC_GENERATOR of inspect, which costs 5 ms


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
    clean_up(b, frame.cleanups)
    assert frame.exit is not None
    b.jump(frame.exit)
    b.start(b.target("dead"))


class Given(Row):
    """One argument of a call: what the parameter is to be, and the value for it."""

    name: str
    asked: Wanted
    value: Value
    node: ast.expr


def frame_of(b: Builder, node: ast.expr, function: FunctionType) -> Frame:
    """A frame for a call of `function`.

    Raises:
        Refused: It cannot be compiled at all.
    """
    _refuse_recursion(b, node, function)
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


def _refuse_recursion(b: Builder, node: ast.expr, function: FunctionType) -> None:
    between: list[str] = []
    outer: Frame | None = b.frame
    while outer is not None:
        if outer.function.__code__ is function.__code__:
            way = f", by way of {'(), '.join(reversed(between))}()" if between else ""
            raise b.refuse(
                node,
                Reason.RECURSION,
                f"{function.__name__}() calls itself{way}",
                "write a bounded loop",
            )
        between.append(outer.function.__name__)
        outer = outer.parent


def given(b: Builder, frame: Frame, node: ast.Call) -> list[Given]:
    """The arguments of a call, evaluated where it stands, and checked.

    Raises:
        Refused: One is missing, or is not what the parameter says.
    """
    spec = frame.definition.args
    positional = [arg.arg for arg in (*spec.posonlyargs, *spec.args)]
    names = (*positional, *(arg.arg for arg in spec.kwonlyargs))
    given_defaults = frame.function.__defaults__ or ()
    first = len(positional) - len(given_defaults)
    defaults = dict(zip(positional[first:], given_defaults, strict=True))
    defaults |= frame.function.__kwdefaults__ or {}
    _refuse_ways(b, node, spec)
    nodes = arguments(b, node, names, [name for name in names if name not in defaults])
    values = [
        wrap(defaults[name]) if value is None else value
        for name, value in zip(names, evaluated(b, nodes), strict=True)
    ]
    found = []
    for name, argument, value in zip(names, nodes, values, strict=True):
        try:
            asked = asked_of(frame, name, value)
            known = _reference_to_none(asked) if isinstance(value, Nothing) else value
            found.append(Given(name, asked, known, argument or node))
        except Rule as rule:
            called = f"{frame.definition.name}(): {rule.message}"
            raise b.refuse(argument or node, rule.code, called, rule.hint) from None
    return found


def _refuse_ways(b: Builder, node: ast.Call, spec: ast.arguments) -> None:
    """Refuse by place what is given by name only, and by name what is by place only."""
    called = ast.unparse(node.func)
    most = len(spec.posonlyargs) + len(spec.args)
    if spec.kwonlyargs and len(node.args) > most:
        name = spec.kwonlyargs[0].arg
        raise b.refuse(
            node.args[most],
            Reason.ARGUMENTS,
            f"{called}() takes {name!r} by its name only",
            f"write {name}=...",
        )
    by_place = {argument.arg for argument in spec.posonlyargs}
    for keyword in node.keywords:
        if keyword.arg in by_place:
            raise b.refuse(
                keyword.value,
                Reason.ARGUMENTS,
                f"{called}() takes {keyword.arg!r} by its place only",
                f"leave out {keyword.arg}=",
            )


def _reference_to_none(asked: Wanted) -> Value:
    """None as a parameter that may be a struct: what is not None is checked, too."""
    if not isinstance(asked.type, StructType):
        return Nothing()
    return Memory(ir.Const(0), 0, asked.type, ir.Space.MEM, nullable=True)


def asked_of(frame: Frame, name: str, value: Value) -> Wanted:
    """What a parameter is annotated to be, which `value` is.

    Raises:
        Rule: It has no annotation, or `value` is something else.
    """
    asked = wanted(frame, name)
    if asked is None:
        raise Rule(
            Reason.ANNOTATION,
            f"parameter {name!r} has no annotation",
            f"{name}: u32, say",
        )
    _check_kind(value, asked, f"parameter {name!r}")
    if isinstance(value, Literal) and isinstance(asked.type, IntType):
        check_literal(value.value, asked.type)
    return asked


def bind(b: Builder, name: str, asked: Wanted, value: Value) -> None:
    """Name an argument of the function that `b` is in."""
    may_be_none = isinstance(value, Pointer) and value.nullable
    if isinstance(value, Int | Literal) and isinstance(asked.type, IntType):
        bind_integer(b, name, value, asked.type)
    elif name in b.frame.stored or may_be_none:
        if isinstance(value, Pointer):
            # A parameter is a second name as long as the call lasts.
            value.fresh = True
        assign(b, name, value)
    else:
        b.frame.bound[name] = value


def compiled(b: Builder, node: Any, caller: Frame) -> Value:
    """Compile the body of the function that `b` is in; what it returns.

    `node` is the call, a node of `caller`.
    """
    frame = b.frame
    if _returns_once(frame.definition):
        return _straight(b, frame)
    frame.exit = b.target(f"{frame.function.__name__}_done")
    b.statements(frame.definition.body)
    end(b, node, caller)
    b.start(frame.exit)
    return _result(b, frame)


def bind_integer(b: Builder, name: str, value: Int | Literal, type_: IntType) -> None:
    """Name an argument of the function that `b` is in."""
    if name in b.frame.stored:
        declare(b, name, type_)
        assign(b, name, value)
    else:
        b.frame.bound[name] = typed(b, value, type_)


def typed(b: Builder, value: Int | Literal, type_: IntType) -> Int:
    """An integer as a parameter, or a result, of `type_`."""
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
        case Memory() if isinstance(asked, RefTo):
            return value.type is asked.type
        case Memory() | Fields():
            return _is_same(value.type, asked) and not isinstance(asked, IntType)
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


def _is_same(type_: ValueType, asked: object) -> bool:
    # Two modules may each have a struct of one name; arrays are made where they stand.
    if isinstance(asked, StructType):
        return asked is type_
    return isinstance(asked, ValueType) and asked.name == type_.name


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
    what = f"{frame.definition.name}() returns what"
    try:
        return _as_asked(b, frame, value, frame.wanted, what)
    except Rule as rule:
        raise b.refuse(node, rule.code, rule.message, rule.hint) from None


def _as_asked(
    b: Builder, frame: Frame, value: Value, asked: Wanted, what: str
) -> Value:
    """A result as it is annotated."""
    if isinstance(asked.type, Several):
        return _several(b, frame, value, asked.type, what)
    if isinstance(value, KernelField) and isinstance(asked.type, IntType):
        value = read_kernel(b, value)
    _check_kind(value, asked, what)
    if isinstance(value, Int | Literal) and isinstance(asked.type, IntType):
        return typed(b, value, asked.type)
    if isinstance(value, Pointer):
        transfer(b, value)
    if isinstance(value, Memory) and _is_own(frame, value):
        # Its name ends with the call.
        return Memory(value.op, value.offset, value.type, value.space, unnamed=True)
    return value


def _several(
    b: Builder, frame: Frame, value: Value, asked: Several, what: str
) -> Value:
    if not isinstance(value, Tuple) or len(value.items) != len(asked.items):
        found = value.describe()
        message = f"{what} is {asked.name}, not {found}"
        raise Rule(Reason.RESULT, message, "write the values out: return x, y")
    parts = zip(value.items, asked.items, strict=True)
    return Tuple(tuple([_as_asked(b, frame, item, part, what) for item, part in parts]))


def _is_own(frame: Frame, value: Memory) -> bool:
    """Whether it is a struct that the function made, no argument."""
    own = [variable.template for variable in frame.variables.values()]
    return any(isinstance(t, Memory) and t.on_stack and t.op is value.op for t in own)


def _keep(b: Builder, frame: Frame, node: ast.expr) -> None:
    """Assign the variables that the result is read from."""
    value = _checked_result(b, frame, node, b.deferred(node))
    if isinstance(frame.wanted.type, Several):
        assert isinstance(value, Tuple)
        parts = zip(value.items, frame.wanted.type.items, strict=True)
        for i, (item, part) in enumerate(parts):
            _keep_one(b, node, _part(i), item, part)
    else:
        _keep_one(b, node, RESULT, value, frame.wanted)


def _part(index: int) -> str:
    return f"{RESULT} [{index}]"


def _keep_one(
    b: Builder, node: ast.expr, name: str, value: Value, asked: Wanted
) -> None:
    frame = b.frame
    if isinstance(value, Memory) and value.on_stack and not value.unnamed:
        message = f"{frame.definition.name}() returns a struct that it did not make"
        raise b.refuse(node, Reason.RESULT, message, "return a copy: .copy()")
    variable = frame.variables.get(name)
    if variable is None:
        variable = frame.variables[name] = Variable(name)
        if isinstance(asked.type, IntType):
            declare(b, name, asked.type)
    if not isinstance(value, Nothing):
        assign(b, name, value)
        return
    if not asked.nullable:
        message = f"{frame.definition.name}() is not annotated | None"
        raise b.refuse(
            node, Reason.RESULT, message, "annotate what it returns: -> T | None"
        )
    if variable.local is None:
        variable.local = ir.Local(name, ir.Kind.PTR)
    b.emit(ir.SetLocal(variable.local, ir.Const(0)))
    b.flow = b.flow.assign(variable)


def _result(b: Builder, frame: Frame) -> Value:
    asked = frame.wanted
    if isinstance(asked.type, Several):
        parts = enumerate(asked.type.items)
        return Tuple(tuple([_read(b, frame, _part(i), part) for i, part in parts]))
    return _read(b, frame, RESULT, asked)


def _read(b: Builder, frame: Frame, name: str, asked: Wanted) -> Value:
    variable = frame.variables.get(name)
    if variable is None or variable.template is None:
        if b.diagnostics and not (asked.is_none or asked.nullable):
            raise Follows
        return Nothing()
    if variable not in b.flow.assigned:
        # Every way through the function was refused, or never returns.
        b.flow = b.flow.assign(variable)
    value = read(b, variable)
    if isinstance(value, Memory) and value.on_stack:
        return Memory(value.op, value.offset, value.type, value.space, unnamed=True)
    return transfer(b, value) if isinstance(value, Pointer) else value


def end(b: Builder, node: Any, caller: Frame) -> None:
    """The function's end is reached: fine where it returns nothing."""
    frame = b.frame
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
    clean_up(b, frame.cleanups)
    truth_of(b, node, value, then, orelse)
