"""Expressions of integers: constants, arithmetic, and choices between values."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.builder import ADVICE, Builder, lowers
from beewire.bpf.lang.faults import Retry, Rule
from beewire.bpf.lang.flow import Target, Variable
from beewire.bpf.lang.ints import Operand, arithmetic, check_64, fold, inverse, join
from beewire.bpf.lang.types import BOOL, I64, IntType
from beewire.bpf.lang.values import (
    NUMBER,
    Int,
    Literal,
    Nothing,
    Pointer,
    Static,
    Tuple,
    Value,
    is_cell,
)
from beewire.bpf.lang.variables import assign, read, wrap
from beewire.reasons import Reason

SYMBOLS: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
}
# By symbol: the operation on unsigned and on signed integers.
_OPERATIONS: dict[str, tuple[ir.BinOp, ir.BinOp]] = {
    "+": (ir.BinOp.ADD, ir.BinOp.ADD),
    "-": (ir.BinOp.SUB, ir.BinOp.SUB),
    "*": (ir.BinOp.MUL, ir.BinOp.MUL),
    "//": (ir.BinOp.UDIV, ir.BinOp.SDIV),
    "%": (ir.BinOp.UMOD, ir.BinOp.SMOD),
    "<<": (ir.BinOp.SHL, ir.BinOp.SHL),
    ">>": (ir.BinOp.LSHR, ir.BinOp.ASHR),
    "&": (ir.BinOp.AND, ir.BinOp.AND),
    "|": (ir.BinOp.OR, ir.BinOp.OR),
    "^": (ir.BinOp.XOR, ir.BinOp.XOR),
}

ADVICE |= {
    ast.Lambda: ("lambda is not part of programs", "write a function: def"),
    ast.ListComp: ("a comprehension is not part of programs", "write a for loop"),
    ast.SetComp: ("a comprehension is not part of programs", "write a for loop"),
    ast.DictComp: ("a comprehension is not part of programs", "write a for loop"),
    ast.GeneratorExp: ("a generator is not part of programs", "write a for loop"),
    ast.Dict: ("a dict is not part of programs", "use a HashMap"),
    ast.Set: ("a set is a value only after 'in'", "use a HashMap"),
    ast.Await: ("await is not part of programs", ""),
    ast.Yield: ("yield is not part of programs", "send records by a RingBuf"),
    ast.YieldFrom: ("yield is not part of programs", "send records by a RingBuf"),
    ast.JoinedStr: ("an f-string goes into printk() only", 'write printk(f"...")'),
    ast.Starred: ("* is not part of programs", "write the values one by one"),
    ast.Slice: ("a slice is not part of programs", "copy element by element"),
}


@lowers(ast.Constant)
def constant(b: Builder, node: ast.Constant) -> Value:
    """A number, text, None."""
    del b
    if isinstance(node.value, complex):
        raise Rule(
            Reason.FLOAT, "a complex number is not part of programs", "write integers"
        )
    return wrap(node.value)


@lowers(ast.BinOp)
def binary(b: Builder, node: ast.BinOp) -> Value:
    """`a + b` and its like."""
    symbol = symbol_of(node.op)
    left = _operand(b, node.left)
    right = _operand(b, node.right)
    if isinstance(left, Static) or isinstance(right, Static):
        return _static_binary(symbol, left, right)
    return combine(b, symbol, left, right)


def symbol_of(op: ast.operator) -> str:
    """An operator as it is written.

    Raises:
        Rule: Programs do not have it.
    """
    symbol = SYMBOLS.get(type(op))
    if symbol is None:
        if isinstance(op, ast.Div):
            raise Rule(Reason.FLOAT, "'/' makes a float", "divide integers by //")
        raise Rule(
            Reason.CONSTRUCT, "'@' is not part of programs", "multiply integers by *"
        )
    return symbol


def combine(
    b: Builder, symbol: str, left: Int | Literal, right: Int | Literal
) -> Value:
    """`left symbol right`."""
    if isinstance(left, Literal) and isinstance(right, Literal):
        return Literal(fold(symbol, left.value, right.value))
    if symbol == "**":
        return _power(b, left, right)
    depends_on_sign = symbol in {"//", "%"}
    meet = operands if depends_on_sign else _as_they_are
    result = arithmetic(symbol, *meet(left, right))
    operation = _OPERATIONS[symbol][result.signed]
    if symbol in {"<<", ">>"}:
        return Int(_shift(b, operation, left, right), result)
    return Int(b.binary(operation, b.op(left), b.op(right)), result)


def operands(left: Int | Literal, right: Int | Literal) -> tuple[Operand, Operand]:
    """What the rules of integers want to know of two values that meet.

    Raises:
        Retry: One is signed; the other is a variable that can be taken as signed.
    """
    if isinstance(left, Int) and isinstance(right, Int):
        unsigned = right if left.type.signed else left
        if left.type.signed != right.type.signed and unsigned.adapts is not None:
            raise Retry(unsigned.adapts, I64)
    return operand(left), operand(right)


def _as_they_are(left: Int | Literal, right: Int | Literal) -> tuple[Operand, Operand]:
    return operand(left), operand(right)


def operand(value: Int | Literal) -> Operand:
    """What the rules of integers want to know of a value."""
    return value.type if isinstance(value, Int) else value.value


@lowers(ast.UnaryOp)
def unary(b: Builder, node: ast.UnaryOp) -> Value:
    """`-a`, `~a`, `+a`, `not a`."""
    if isinstance(node.op, ast.Not):
        return boolean(b, node)
    is_invert = isinstance(node.op, ast.Invert)
    value = b.integer(node.operand, ordered=is_invert)
    match node.op:
        case ast.USub() if isinstance(value, Literal):
            return Literal(check_64(-value.value))
        case ast.USub():
            # The negative of an unsigned integer is meant as negative.
            return Int(b.binary(ir.BinOp.SUB, ir.Const(0), b.op(value)), I64)
        case ast.Invert() if isinstance(value, Literal):
            return Literal(inverse(value.value))
        case ast.Invert():
            assert isinstance(value, Int)
            # Of a number in network order only its own bits change.
            ones = value.type.high if value.type.is_big_endian else -1
            result = arithmetic("^", value.type, ones)
            return Int(b.binary(ir.BinOp.XOR, value.op, ir.Const(ones)), result)
        case _:
            return value


@lowers(ast.Compare)
def compare(b: Builder, node: ast.Compare) -> Value:
    """`a < b` as a value."""
    return boolean(b, node)


def boolean(b: Builder, node: ast.expr) -> Value:
    """A condition as a bool."""
    then, orelse, join_ = b.target("true"), b.target("false"), b.target("bool")
    b.condition(node, then, orelse)
    if orelse.flow is None and then.flow is not None:
        b.start(then)
        return Literal(1)
    if then.flow is None and orelse.flow is not None:
        b.start(orelse)
        return Literal(0)
    result = ir.Local("condition", ir.Kind.INT)
    for target, value in ((then, 1), (orelse, 0)):
        b.start(target)
        b.emit(ir.SetLocal(result, ir.Const(value)))
        b.jump(join_)
    b.start(join_)
    return Int(b.emit(ir.GetLocal(result)), BOOL)


@lowers(ast.BoolOp)
def bool_op(b: Builder, node: ast.BoolOp) -> Value:
    """`a and b` as a value: the operand that decides, as in Python."""
    if all(_is_condition(value) for value in node.values):
        return boolean(b, node)
    done = b.target("decided")
    result = ir.Local("operand", ir.Kind.INT)
    *first, last = node.values
    values = [_operand_of(b, node.op, part, result, done) for part in first]
    values.append(b.integer(last, ordered=True))
    b.emit(ir.SetLocal(result, b.op(values[-1])))
    b.jump(done)
    b.start(done)
    b.types[node] = _join_all(values)
    return Int(b.emit(ir.GetLocal(result)), b.types[node])


def _operand_of(
    b: Builder, op: ast.boolop, node: ast.expr, result: ir.Local, done: Target
) -> Int | Literal:
    """Go to `done` with this operand if it decides; else on."""
    more, decides = b.target("more"), done
    value: Int | Literal
    if is_test := _is_condition(node):
        # As a condition it tells what is known in the next operand.
        decides = b.target("decides")
        value = Int(ir.Const(int(isinstance(op, ast.Or))), BOOL)
    else:
        value = b.integer(node, ordered=True)
        b.emit(ir.SetLocal(result, b.op(value)))
    ways = (more, decides) if isinstance(op, ast.And) else (decides, more)
    if is_test:
        b.condition(node, *ways)
        b.start(decides)
        b.emit(ir.SetLocal(result, b.op(value)))
        b.jump(done)
    else:
        b.branch(ir.CmpOp.NE, b.op(value), ir.Const(0), *ways)
    b.start(more)
    return value


@lowers(ast.IfExp)
def if_expression(b: Builder, node: ast.IfExp) -> Value:
    """`a if condition else b`, of integers."""
    then, orelse, done = b.target("then"), b.target("else"), b.target("chosen")
    b.condition(node.test, then, orelse)
    if (then.flow is None) is not (orelse.flow is None):
        return _decided(b, node, then, orelse)
    parts = [(then, node.body), (orelse, node.orelse)]
    if isinstance(node.body, ast.Constant) and node.body.value is None:
        # What may be None is told by the other.
        parts.reverse()
    [(first, part), (second, other)] = parts
    b.start(first)
    value = b.expr(part)
    if isinstance(value, Pointer) and not is_cell(value):
        return _chosen(b, node, (part, value), (second, other), done)
    values = [_number(b, part, value)]
    result = ir.Local("choice", ir.Kind.INT)
    b.emit(ir.SetLocal(result, b.op(values[0])))
    b.jump(done)
    b.start(second)
    values.append(b.integer(other, ordered=True))
    b.emit(ir.SetLocal(result, b.op(values[1])))
    b.jump(done)
    b.start(done)
    b.types[node] = _join_all(values)
    return Int(b.emit(ir.GetLocal(result)), b.types[node])


def _number(b: Builder, node: ast.expr, value: Value) -> Int | Literal:
    # Anything else is refused as where an integer is needed; nothing is computed twice.
    return value if isinstance(value, Int | Literal) else b.integer(node)


def _chosen(
    b: Builder,
    node: ast.IfExp,
    first: tuple[ast.expr, Value],
    second: tuple[Target, ast.expr],
    done: Target,
) -> Value:
    """`a if condition else b`, of references of one kind: as two assignments."""
    name = f"choice {node.lineno}:{node.col_offset}"
    b.frame.variables[name] = Variable("the choice")
    _choose(b, name, *first)
    b.jump(done)
    target, part = second
    b.start(target)
    _choose(b, name, part, b.expr(part))
    b.jump(done)
    b.start(done)
    return read(b, b.frame.variables[name])


def _choose(b: Builder, name: str, node: ast.expr, value: Value) -> None:
    try:
        assign(b, name, value)
    except Rule as rule:
        raise b.refuse(node, rule.code, rule.message, rule.hint) from None


def _decided(b: Builder, node: ast.IfExp, then: Target, orelse: Target) -> Value:
    # The condition is constant; the other side is compiled into dead code.
    parts = [(then, node.body), (orelse, node.orelse)]
    if then.flow is None:
        parts.reverse()
    [(taken, part), (lost, other)] = parts
    done = b.target("chosen")
    b.start(taken)
    value = b.expr(part)
    if isinstance(value, Pointer) and not is_cell(value):
        return _chosen(b, node, (part, value), (lost, other), done)
    number = _number(b, part, value)
    b.jump(done)
    b.start(lost)
    b.integer(other, ordered=True)
    b.jump(done)
    b.start(done)
    return number


@lowers(ast.NamedExpr)
def named(b: Builder, node: ast.NamedExpr) -> Value:
    """`(name := value)`."""
    value = b.deferred(node.value)
    assign(b, node.target.id, value)
    return b.expr(node.target)


@lowers(ast.Tuple)
def tuple_(b: Builder, node: ast.Tuple) -> Value:
    """`a, b`."""
    return Tuple(tuple(b.deferred(item) for item in node.elts))


@lowers(ast.List)
def list_(b: Builder, node: ast.List) -> Value:
    """`[a, b]`: the content of an array."""
    return Tuple(tuple(b.deferred(item) for item in node.elts))


def _operand(b: Builder, node: ast.expr) -> Int | Literal | Static:
    value = b.expr(node)
    if isinstance(value, NUMBER):
        return value
    if isinstance(value, Static) and isinstance(value.obj, str | bytes):
        return value
    if isinstance(value, Nothing | Pointer) or is_cell(value):
        return b.integer(node)
    raise b.refuse(
        node, Reason.NO_ARITHMETIC, f"{value.describe()} cannot be calculated with"
    )


def _static_binary(
    symbol: str, left: Int | Literal | Static, right: Int | Literal | Static
) -> Value:
    # Constant texts fold: b"ab" + b"cd", b"\0" * 4.
    if isinstance(left, Static) and isinstance(right, Static) and symbol == "+":
        if type(left.obj) is type(right.obj):
            return Static(left.obj + right.obj)
    elif isinstance(left, Static) and isinstance(right, Literal) and symbol == "*":
        return Static(left.obj * right.value)
    raise Rule(
        Reason.TEXT,
        "texts are not built in programs",
        "keep the parts apart, or put them together in printk() or in user space",
    )


def _power(b: Builder, left: Int | Literal, right: Int | Literal) -> Value:
    if isinstance(right, Literal) and right.value == 2 and isinstance(left, Int):
        return combine(b, "*", left, left)
    raise Rule(
        Reason.CONSTRUCT,
        "'**' of a variable is not part of programs",
        "multiply in a loop",
    )


def _shift(
    b: Builder, operation: ir.BinOp, left: Int | Literal, right: Int | Literal
) -> ir.Op:
    bits = left.type.bits if isinstance(left, Int) else 64
    width = 64 if bits == 64 else 32
    if isinstance(right, Literal):
        count: ir.Op = ir.Const(right.value % width)
    elif width == 32:
        # BPF takes counts of 64-bit shifts modulo 64.
        count = b.binary(ir.BinOp.AND, right.op, ir.Const(31))
    else:
        count = right.op
    return b.binary(operation, b.op(left), count)


def _is_condition(node: ast.expr) -> bool:
    if isinstance(node, ast.BoolOp):
        return all(_is_condition(value) for value in node.values)
    is_not = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    return is_not or isinstance(node, ast.Compare)


def _join_all(values: list[Int | Literal]) -> IntType:
    are_bools = [isinstance(v, Int) and v.type.is_bool for v in values]
    if all(are_bools):
        return BOOL
    # What a test gives, 0 or 1, is neither signed nor unsigned.
    first, *rest = (
        1 if is_bool else operand(value)
        for value, is_bool in zip(values, are_bools, strict=True)
    )
    kind = first
    for other in rest:
        kind = join(kind, other)
    return join(kind, kind) if isinstance(kind, int) else kind
