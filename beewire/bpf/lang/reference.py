"""`evaluate`: the source of a function of integers, run in plain Python by BPF's rules.

It walks the syntax tree and computes with Python's ints; it shares the typing rules of
`ints` with the compiler, but none of its lowering, so that compiled programs can be
compared with it.
"""

from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

from beewire.bpf import ir
from beewire.bpf.lang import inline, program, source
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.annotations import wanted
from beewire.bpf.lang.builder import Builder, Frame
from beewire.bpf.lang.calls import BUILTINS, HELPERS
from beewire.bpf.lang.faults import Retry
from beewire.bpf.lang.flow import Variable
from beewire.bpf.lang.ints import (
    arithmetic,
    fold,
    join,
    quotient,
    remainder,
)
from beewire.bpf.lang.operators import SYMBOLS
from beewire.bpf.lang.types import BOOL, I64, U16, U32, U64, IntType, find_value_type
from beewire.bpf.lang.values import Int
from beewire.bpf.lang.variables import outer
from beewire.errors import BeewireError, CompileError


class Number(NamedTuple):
    """An integer; `type` None for a literal, which adapts to what it meets."""

    value: int
    type: IntType | None

    @property
    def operand(self) -> IntType | int:
        """What the rules of types want to know of it."""
        return self.value if self.type is None else self.type


class _Return(Exception):  # noqa: N818 - a way out, no error
    def __init__(self, value: Number | None) -> None:
        super().__init__()
        self.value = value


class _Break(Exception):  # noqa: N818 - a way out, no error
    pass


class _Continue(Exception):  # noqa: N818 - a way out, no error
    pass


def evaluate(function: Callable[..., object], *args: int) -> int:
    """See `beewire.bpf.lang.evaluate`."""
    if not isinstance(function, FunctionType):
        raise BeewireError("evaluate() takes a plain function")
    facts = _checked(function)
    names = facts.frame.definition.args.args
    if len(args) != len(names):
        raise BeewireError(
            f"{function.__name__}() takes {len(names)} integers, not {len(args)}"
        )
    given = {name.arg: Number(arg, None) for name, arg in zip(names, args, strict=True)}
    result = _call(facts, facts.frame, given)
    return 0 if result is None else result.value


class _Facts(NamedTuple):
    frame: Frame
    variables: dict[ast.FunctionDef, dict[str, Variable]]
    types: dict[ast.AST, IntType]


def _checked(function: FunctionType) -> _Facts:
    """Compile the function for what is wrong with it, and for its variables' types."""
    hints: dict[Any, IntType] = {}
    while True:
        try:
            return _check(function, hints)
        except Retry as retry:
            hints[retry.key] = I64


def _check(function: FunctionType, hints: dict[Any, IntType]) -> _Facts:
    found, definition = source.find(function)
    made = ir.Function(function.__name__, (), found.span(definition))
    builder = Builder(made, hints, 0)
    frame = Frame(function, found, definition)
    builder.enter(frame)
    builder.node = definition
    for index, argument in enumerate(definition.args.args):
        kind = _integer(frame, argument.arg)
        value = Int(ir.Param(index, argument.arg, ir.Kind.INT), kind)
        inline.bind_integer(builder, argument.arg, value, kind)
    returned = wanted(frame, "return")
    if returned is None:
        raise BeewireError(f"{function.__name__}() does not say what it returns")
    frame.wanted = returned
    builder.statements(definition.body)
    if builder.diagnostics:
        raise CompileError(program.in_order(builder.diagnostics))
    return _Facts(frame, builder.variables, builder.types)


def _integer(frame: Frame, name: str) -> IntType:
    asked = wanted(frame, name)
    if asked is None or not isinstance(asked.type, IntType):
        raise BeewireError(f"evaluate() needs an integer type for {name!r}")
    return asked.type


class _Run:
    """One call of a function."""

    def __init__(self, facts: _Facts, frame: Frame) -> None:
        self.facts = facts
        self.frame = frame
        self.names: dict[str, Number] = {}
        self.variables = facts.variables.get(frame.definition, {})

    def assign(self, name: str, number: Number) -> Number:
        """Give a variable a value of its type."""
        variable = self.variables.get(name)
        kind = variable.type if variable is not None else None
        if kind is not None:
            number = Number(kind.wrap(number.value), kind)
        self.names[name] = number
        return number

    def expr(self, node: ast.expr) -> Number:
        """The value of an expression."""
        handler = _EXPRESSIONS.get(type(node))
        if handler is None:
            raise BeewireError(f"evaluate() knows no {type(node).__name__}")
        return handler(self, node)

    def typed(self, node: ast.expr, number: Number) -> Number:
        """A choice between values has the type that fits all of them."""
        kind = self.facts.types.get(node)
        return number if kind is None else Number(kind.wrap(number.value), kind)

    def body(self, statements: list[ast.stmt]) -> None:
        """Run statements."""
        for node in statements:
            handler = _STATEMENTS.get(type(node))
            if handler is None:
                raise BeewireError(f"evaluate() knows no {type(node).__name__}")
            handler(self, node)


def _call(facts: _Facts, frame: Frame, given: dict[str, Number]) -> Number | None:
    run = _Run(facts, frame)
    for name, number in given.items():
        kind = _integer(frame, name)
        run.names[name] = Number(kind.wrap(number.value), kind)
    returned = wanted(frame, "return")
    assert returned is not None
    try:
        run.body(frame.definition.body)
    except _Return as left:
        if left.value is None or not isinstance(returned.type, IntType):
            return left.value
        return Number(returned.type.wrap(left.value.value), returned.type)
    return None


def _constant(_: _Run, node: ast.Constant) -> Number:
    return Number(int(node.value), None)  # type: ignore[arg-type]  # checked by compiling


def _name(run: _Run, node: ast.Name) -> Number:
    if node.id in run.names:
        return run.names[node.id]
    return Number(int(outer(run.frame, node.id)), None)


def _attribute(run: _Run, node: ast.Attribute) -> Number:
    return Number(int(_object(run, node)), None)


def _object(run: _Run, node: ast.expr) -> Any:
    if isinstance(node, ast.Attribute):
        return getattr(_object(run, node.value), node.attr)
    if isinstance(node, ast.Name):
        return outer(run.frame, node.id)
    raise BeewireError("evaluate() runs functions of integers only")


def _binary(run: _Run, node: ast.BinOp) -> Number:
    left, right = run.expr(node.left), run.expr(node.right)
    return calculate(SYMBOLS[type(node.op)], left, right)


def calculate(symbol: str, left: Number, right: Number) -> Number:
    """`left symbol right`, by the rules."""
    if left.type is None and right.type is None:
        return Number(fold(symbol, left.value, right.value), None)
    if symbol == "**":
        symbol, right = "*", left
    kind = arithmetic(symbol, left.operand, right.operand)
    a, b = left.value, right.value
    if symbol in {"<<", ">>"}:
        narrow = left.type is not None and left.type.bits <= 32
        b %= 32 if narrow else 64
    else:
        a, b = kind.wrap(a), kind.wrap(b)
    return Number(kind.wrap(_ARITHMETIC[symbol](a, b)), kind)


_ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": quotient,
    "%": remainder,
    "<<": lambda a, b: a << b,
    ">>": lambda a, b: a >> b,
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
}


def _unary(run: _Run, node: ast.UnaryOp) -> Number:
    number = run.expr(node.operand)
    match node.op:
        case ast.Not():
            return Number(int(number.value == 0), BOOL)
        case ast.USub():
            negative = -number.value
            return Number(negative, None) if number.type is None else _signed(negative)
        case ast.Invert():
            if number.type is None:
                return Number(~number.value, None)
            return calculate("^", number, Number(-1, None))
        case _:
            return number


def _signed(value: int) -> Number:
    return Number(I64.wrap(value), I64)


def _compare(run: _Run, node: ast.Compare) -> Number:
    left = run.expr(node.left)
    for op, right_node in zip(node.ops, node.comparators, strict=True):
        if isinstance(op, ast.In | ast.NotIn):
            if _contains(run, left, right_node) is isinstance(op, ast.NotIn):
                return Number(0, BOOL)
            continue
        right = run.expr(right_node)
        if not _COMPARE[type(op)](left.value, right.value):
            return Number(0, BOOL)
        left = right
    return Number(1, BOOL)


_COMPARE: dict[type[ast.cmpop], Callable[[int, int], bool]] = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
}


def _contains(run: _Run, item: Number, node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        bounds = [run.expr(argument).value for argument in node.args]
        low = bounds[0] if len(bounds) == 2 else 0
        return low <= item.value < bounds[-1]
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return item.value in [run.expr(choice).value for choice in node.elts]
    return item.value in _object(run, node)


def _bool_op(run: _Run, node: ast.BoolOp) -> Number:
    is_and = isinstance(node.op, ast.And)
    number = Number(0, None)
    for value in node.values:
        number = run.expr(value)
        if (number.value == 0) is is_and:
            break
    return run.typed(node, number)


def _if_expression(run: _Run, node: ast.IfExp) -> Number:
    chosen = node.body if run.expr(node.test).value else node.orelse
    return run.typed(node, run.expr(chosen))


def _named(run: _Run, node: ast.NamedExpr) -> Number:
    return run.assign(node.target.id, run.expr(node.value))


def _call_expression(run: _Run, node: ast.Call) -> Number:
    callee = _object(run, node.func)
    numbers = [run.expr(argument) for argument in node.args]
    if callee in {min, max}:
        best = callee(numbers, key=lambda number: number.value)
        return run.typed(node, best)
    if callee is bool:
        return Number(int(numbers[0].value != 0), BOOL)
    if callee is int:
        return numbers[0]
    kind = find_value_type(callee)
    if isinstance(kind, IntType):
        number = kind.wrap(numbers[0].value)
        return Number(number, None if numbers[0].type is None else kind)
    if isinstance(callee, FunctionType) and callee in BUILTINS:
        return _built_in(BUILTINS[callee], callee, numbers)
    return _inner(run, node, callee, numbers)


_SWAPS = {"htons": U16, "ntohs": U16, "htonl": U32, "ntohl": U32, "bswap64": U64}


def _built_in(name: str, callee: Callable[..., Any], numbers: list[Number]) -> Number:
    if name not in _SWAPS:
        raise BeewireError("evaluate() runs functions of integers only")
    kind = _SWAPS[name]
    value: int = callee(kind.wrap(numbers[0].value))
    return Number(value, None if numbers[0].type is None else kind)


def _inner(run: _Run, node: ast.Call, callee: Any, numbers: list[Number]) -> Number:
    if not isinstance(callee, FunctionType) or callee in HELPERS:
        raise BeewireError("evaluate() runs functions of integers only")
    found, definition = source.find(callee)
    frame = Frame(callee, found, definition, run.frame)
    names = [argument.arg for argument in definition.args.args]
    given = dict(zip(names, numbers, strict=False))
    for keyword in node.keywords:
        assert keyword.arg is not None
        given[keyword.arg] = run.expr(keyword.value)
    given_defaults = callee.__defaults__ or ()
    first = len(names) - len(given_defaults)
    defaults = dict(zip(names[first:], given_defaults, strict=True))
    for name, value in (defaults | (callee.__kwdefaults__ or {})).items():
        given.setdefault(name, Number(int(value), None))
    return _call(run.facts, frame, given) or Number(0, None)


def _assign(run: _Run, node: ast.Assign) -> None:
    for target in node.targets:
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            numbers = [run.expr(item) for item in node.value.elts]
            for name, number in zip(target.elts, numbers, strict=True):
                run.assign(_target(name), number)
            return
    number = run.expr(node.value)
    for target in node.targets:
        run.assign(_target(target), number)


def _target(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    raise BeewireError("evaluate() runs functions of integers only")


def _annotated(run: _Run, node: ast.AnnAssign) -> None:
    if node.value is not None:
        run.assign(_target(node.target), run.expr(node.value))


def _augmented(run: _Run, node: ast.AugAssign) -> None:
    name = _target(node.target)
    symbol = SYMBOLS[type(node.op)]
    run.assign(name, calculate(symbol, run.names[name], run.expr(node.value)))


def _expression(run: _Run, node: ast.Expr) -> None:
    if not isinstance(node.value, ast.Constant):
        run.expr(node.value)


def _if(run: _Run, node: ast.If) -> None:
    run.body(node.body if run.expr(node.test).value else node.orelse)


def _while(run: _Run, node: ast.While) -> None:
    while run.expr(node.test).value:
        try:
            run.body(node.body)
        except _Break:
            return
        except _Continue:
            continue
    run.body(node.orelse)


def _for(run: _Run, node: ast.For) -> None:
    assert isinstance(node.iter, ast.Call)
    bounds = [run.expr(argument) for argument in node.iter.args]
    kind = _range_type(bounds)
    for value in range(*(number.value for number in bounds)):
        run.assign(_target(node.target), Number(value, kind))
        try:
            run.body(node.body)
        except _Break:
            return
        except _Continue:
            continue
    run.body(node.orelse)


def _range_type(bounds: list[Number]) -> IntType:
    if len(bounds) == 3 and bounds[2].value < 0:
        return I64
    operands = [number.operand for number in bounds[:2]]
    return join(operands[0], operands[-1])


def _match(run: _Run, node: ast.Match) -> None:
    subject = run.expr(node.subject)
    for case in node.cases:
        if not _fits(run, case.pattern, subject):
            continue
        if case.guard is None or run.expr(case.guard).value:
            run.body(case.body)
            return


def _fits(run: _Run, pattern: ast.pattern, subject: Number) -> bool:
    match pattern:
        case ast.MatchValue():
            return run.expr(pattern.value).value == subject.value
        case ast.MatchSingleton():
            return subject.value == pattern.value
        case ast.MatchOr():
            return any(_fits(run, part, subject) for part in pattern.patterns)
        case ast.MatchAs():
            fits = pattern.pattern is None or _fits(run, pattern.pattern, subject)
            if fits and pattern.name is not None:
                run.assign(pattern.name, subject)
            return fits
        case _:
            raise BeewireError("evaluate() runs functions of integers only")


def _return(run: _Run, node: ast.Return) -> None:
    raise _Return(None if node.value is None else run.expr(node.value))


def _break(_: _Run, __: ast.Break) -> None:
    raise _Break


def _continue(_: _Run, __: ast.Continue) -> None:
    raise _Continue


def _pass(_: _Run, __: ast.Pass) -> None:
    pass


_EXPRESSIONS: dict[type[ast.expr], Callable[[_Run, Any], Number]] = {
    ast.Attribute: _attribute,
    ast.BinOp: _binary,
    ast.BoolOp: _bool_op,
    ast.Call: _call_expression,
    ast.Compare: _compare,
    ast.Constant: _constant,
    ast.IfExp: _if_expression,
    ast.Name: _name,
    ast.NamedExpr: _named,
    ast.UnaryOp: _unary,
}
_STATEMENTS: dict[type[ast.stmt], Callable[[_Run, Any], None]] = {
    ast.AnnAssign: _annotated,
    ast.Assign: _assign,
    ast.AugAssign: _augmented,
    ast.Break: _break,
    ast.Continue: _continue,
    ast.Expr: _expression,
    ast.For: _for,
    ast.If: _if,
    ast.Match: _match,
    ast.Pass: _pass,
    ast.Return: _return,
    ast.While: _while,
}
