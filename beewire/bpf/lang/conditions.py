"""Conditions: they branch instead of making a value, and tell what is known after."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.attributes import inner_map, present, variable_of
from beewire.bpf.lang.builder import CONDITIONS, Builder
from beewire.bpf.lang.decl import MapDecl
from beewire.bpf.lang.faults import Rule
from beewire.bpf.lang.flow import Target
from beewire.bpf.lang.ints import comparison
from beewire.bpf.lang.operators import operands
from beewire.bpf.lang.structs import StructType
from beewire.bpf.lang.values import (
    InnerMap,
    Int,
    Literal,
    Memory,
    Nothing,
    Pointer,
    Static,
    Tuple,
    Value,
    is_cell,
    is_sequence,
)
from beewire.bpf.lang.variables import static_object, wrap
from beewire.hints import Callable
from beewire.reasons import Reason

# By syntax: the symbol, and the comparison of unsigned and of signed integers.
_COMPARE: dict[type[ast.cmpop], tuple[str, ir.CmpOp, ir.CmpOp]] = {
    ast.Eq: ("==", ir.CmpOp.EQ, ir.CmpOp.EQ),
    ast.NotEq: ("!=", ir.CmpOp.NE, ir.CmpOp.NE),
    ast.Lt: ("<", ir.CmpOp.ULT, ir.CmpOp.SLT),
    ast.LtE: ("<=", ir.CmpOp.ULE, ir.CmpOp.SLE),
    ast.Gt: (">", ir.CmpOp.UGT, ir.CmpOp.SGT),
    ast.GtE: (">=", ir.CmpOp.UGE, ir.CmpOp.SGE),
}
_IDENTITY = (ast.Is, ast.IsNot)
_MEMBERSHIP = (ast.In, ast.NotIn)
_SWAPPED = {
    ir.CmpOp.ULT: ir.CmpOp.UGT,
    ir.CmpOp.ULE: ir.CmpOp.UGE,
    ir.CmpOp.UGT: ir.CmpOp.ULT,
    ir.CmpOp.UGE: ir.CmpOp.ULE,
    ir.CmpOp.SLT: ir.CmpOp.SGT,
    ir.CmpOp.SLE: ir.CmpOp.SGE,
    ir.CmpOp.SGT: ir.CmpOp.SLT,
    ir.CmpOp.SGE: ir.CmpOp.SLE,
}


def truth(b: Builder, node: ast.expr, then: Target, orelse: Target) -> None:
    """Any expression: whether it is not zero, or not None."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd):
        left, right = (
            b.integer(node.left, ordered=True),
            b.integer(node.right, ordered=True),
        )
        if isinstance(left, Int) and isinstance(right, Int | Literal):
            b.branch(ir.CmpOp.SET, left.op, b.op(right), then, orelse)
            return
        _constant(b, left, right, then, orelse)
        return
    truth_of(b, node, b.expr(node), then, orelse)


def truth_of(
    b: Builder, node: ast.expr, value: Value, then: Target, orelse: Target
) -> None:
    """Go to `then` when `value`, that of `node`, is not zero, or not None."""
    match value:
        case Literal():
            b.jump(then if value.value else orelse)
        case Int():
            b.branch(ir.CmpOp.NE, value.op, ir.Const(0), then, orelse)
        case Nothing():
            b.jump(orelse)
        case Pointer() if value.nullable:
            b.branch_on_none(value.test, variable_of(b, node), orelse, then)
        case Pointer():
            b.jump(then)
        case _:
            hint = (
                f"read the value: {ast.unparse(node)}.value" if is_cell(value) else ""
            )
            raise Rule(Reason.CONDITION, f"{value.describe()} is no condition", hint)


def negation(b: Builder, node: ast.UnaryOp, then: Target, orelse: Target) -> None:
    """`not a`: the ways change places."""
    if isinstance(node.op, ast.Not):
        b.condition(node.operand, orelse, then)
    else:
        truth(b, node, then, orelse)


def both(b: Builder, node: ast.BoolOp, then: Target, orelse: Target) -> None:
    """`a and b`, `a or b`: the second is evaluated only where it decides."""
    *first, last = node.values
    for value in first:
        more = b.target("and" if isinstance(node.op, ast.And) else "or")
        if isinstance(node.op, ast.And):
            b.condition(value, more, orelse)
        else:
            b.condition(value, then, more)
        b.start(more)
    b.condition(last, then, orelse)


def compare(b: Builder, node: ast.Compare, then: Target, orelse: Target) -> None:
    """`a < b < c`, `a in b`, `a is None`: each operand is evaluated once."""
    left_node = node.left
    left: Value | None = None
    for i, (op, right_node) in enumerate(zip(node.ops, node.comparators, strict=True)):
        last = i == len(node.ops) - 1
        more = then if last else b.target("chain")
        if isinstance(op, _IDENTITY):
            _is_none(b, node, (left_node, right_node), more, orelse)
            left = None
        elif isinstance(op, _MEMBERSHIP):
            inside = isinstance(op, ast.In)
            ways = (more, orelse) if inside else (orelse, more)
            _contains(b, left_node, right_node, *ways)
            left = None
        else:
            _refuse_none(b, left_node, right_node)
            left = left or _side(b, left_node)
            right = _side(b, right_node)
            _compare_sides(b, node, op, (left, right), (more, orelse))
            left = right
        left_node = right_node
        if not last:
            b.start(more)


def _refuse_none(b: Builder, *nodes: ast.expr) -> None:
    for node in nodes:
        if isinstance(node, ast.Constant) and node.value is None:
            raise b.refuse(
                node,
                Reason.NEVER_NONE,
                "None is compared by 'is'",
                "write: is None, is not None",
            )


def compare_values(
    b: Builder,
    op: ast.cmpop,
    left: Int | Literal,
    right: Int | Literal,
    then: Target,
    orelse: Target,
) -> None:
    """Go to `then` when `left op right`."""
    symbol, unsigned, signed = _COMPARE[type(op)]
    if isinstance(left, Literal) and isinstance(right, Literal):
        b.jump(then if _holds(symbol, left.value, right.value) else orelse)
        return
    is_signed = comparison(symbol, *operands(left, right))
    chosen = signed if is_signed else unsigned
    a, c = b.op(left), b.op(right)
    if isinstance(left, Literal):
        # Constants stand on the right: an instruction holds one there.
        a, c, chosen = c, a, _SWAPPED.get(chosen, chosen)
    b.branch(chosen, a, c, then, orelse)


def _holds(symbol: str, a: int, b: int) -> bool:
    match symbol:
        case "==":
            return a == b
        case "!=":
            return a != b
        case "<":
            return a < b
        case "<=":
            return a <= b
        case ">":
            return a > b
        case _:
            return a >= b


def _constant(
    b: Builder, left: Int | Literal, right: Int | Literal, then: Target, orelse: Target
) -> None:
    if isinstance(left, Literal) and isinstance(right, Literal):
        b.jump(then if left.value & right.value else orelse)
        return
    b.branch(ir.CmpOp.SET, b.op(right), b.op(left), then, orelse)


def _side(b: Builder, node: ast.expr) -> Value:
    """One side of == or <: an integer, a text or an array."""
    value = b.expr(node)
    if isinstance(value, Pointer):
        present(b, value, node)
    if is_sequence(value) or isinstance(value, Tuple):
        return value
    return _integer(b, node, value)


def _compare_sides(
    b: Builder,
    node: ast.Compare,
    op: ast.cmpop,
    sides: tuple[Value, Value],
    ways: tuple[Target, Target],
) -> None:
    left, right = sides
    if isinstance(left, Int | Literal) and isinstance(right, Int | Literal):
        compare_values(b, op, left, right, *ways)
        return
    if not any(is_sequence(side) for side in sides):
        other = right if isinstance(left, Int | Literal) else left
        raise Rule(Reason.CONDITION, f"{other.describe()} cannot be compared")
    if not isinstance(op, ast.Eq | ast.NotEq):
        message = "texts and arrays are compared by == and != only"
        raise b.refuse(node, Reason.CONDITION, message)
    then, orelse = ways if isinstance(op, ast.Eq) else ways[::-1]
    from beewire.bpf.lang.sequences import equal  # noqa: PLC0415 - where there are any

    equal(b, left, right, then, orelse)


def _comparable(b: Builder, node: ast.expr) -> Int | Literal:
    return _integer(b, node, b.expr(node))


def _integer(b: Builder, node: ast.expr, value: Value) -> Int | Literal:
    if isinstance(value, Int | Literal):
        return value
    if is_cell(value):
        return b.integer(node, ordered=True)
    hint = ""
    if isinstance(value, Memory):
        is_struct = isinstance(value.type, StructType)
        hint = f"compare {'field by field' if is_struct else 'element by element'}"
    raise b.refuse(
        node, Reason.CONDITION, f"{value.describe()} cannot be compared", hint
    )


def _is_none(
    b: Builder,
    node: ast.Compare,
    sides: tuple[ast.expr, ast.expr],
    then: Target,
    orelse: Target,
) -> None:
    tested, none = sides
    if not (isinstance(none, ast.Constant) and none.value is None):
        raise b.refuse(
            node,
            Reason.NEVER_NONE,
            "'is' compares with None only",
            "write == for numbers",
        )
    index = node.comparators.index(none)
    negated = isinstance(node.ops[index], ast.IsNot)
    on_none, on_some = (orelse, then) if negated else (then, orelse)
    value = b.expr(tested)
    variable = variable_of(b, tested)
    if isinstance(value, Nothing) or (variable and variable in b.flow.none):
        b.jump(on_none)
    elif not isinstance(value, Pointer):
        raise b.refuse(tested, Reason.NEVER_NONE, f"{value.describe()} is never None")
    elif value.nullable or not value.can_be_none:
        b.branch_on_none(value.test, variable, on_none, on_some)
    else:
        b.jump(on_some)


def _contains(
    b: Builder, item: ast.expr, container: ast.expr, then: Target, orelse: Target
) -> None:
    if isinstance(container, ast.Tuple | ast.List | ast.Set):
        value = _side(b, item)
        choices: list[Value] = [b.expr(choice) for choice in container.elts]
        _one_of(b, value, choices, then, orelse)
        return
    if isinstance(container, ast.Call) and static_object(b, container.func) is range:
        _in_range(b, item, container, then, orelse)
        return
    found = b.expr(container)
    if isinstance(found, Static) and isinstance(found.obj, MapDecl):
        CONTAINS[0](b, found.obj, item, then, orelse)
    elif isinstance(found, InnerMap):
        CONTAINS[0](b, inner_map(b, found, container), item, then, orelse)
    elif isinstance(found, Static) and isinstance(
        found.obj, tuple | list | frozenset | set
    ):
        texts = all(isinstance(x, str | bytes) for x in found.obj)
        constants = [wrap(x) for x in sorted(found.obj) if texts or isinstance(x, int)]
        if len(constants) != len(found.obj):
            raise b.refuse(container, Reason.MEMBERSHIP, "'in' takes numbers, or texts")
        _one_of(b, _side(b, item), constants, then, orelse)
    elif isinstance(found, Int) and found.type.is_flags:
        _has_flags(b, found, _comparable(b, item), then, orelse)
    else:
        raise b.refuse(
            container,
            Reason.MEMBERSHIP,
            f"'in' does not look into {found.describe()}",
            "it takes a tuple (1, 2), range(a, b), flags or a map",
        )


def _has_flags(
    b: Builder, flags: Int, wanted: Int | Literal, then: Target, orelse: Target
) -> None:
    """`Flag.A | Flag.B in flags`: all of them are set."""
    if isinstance(wanted, Int) and wanted.type.enum is not flags.type.enum:
        raise Rule(
            Reason.MEMBERSHIP,
            f"{wanted.describe()} is none of the flags ({flags.type.name})",
        )
    both = Int(b.binary(ir.BinOp.AND, flags.op, b.op(wanted)), flags.type)
    compare_values(b, ast.Eq(), both, wanted, then, orelse)


# How a map is asked for a key; registered by the operations of maps.
CONTAINS: list[Callable[[Builder, MapDecl, ast.expr, Target, Target], None]] = []


def _one_of(
    b: Builder,
    value: Value,
    choices: list[Value],
    then: Target,
    orelse: Target,
) -> None:
    if not isinstance(value, Int | Literal):
        from beewire.bpf.lang.sequences import in_place  # noqa: PLC0415 - as above

        value = in_place(b, value)
    for choice in choices:
        more = b.target("in")
        if isinstance(value, Int | Literal) and isinstance(choice, Int | Literal):
            compare_values(b, ast.Eq(), value, choice, then, more)
        elif isinstance(value, Int | Literal) or not is_sequence(choice):
            raise Rule(Reason.CONDITION, f"{choice.describe()} cannot be compared")
        else:
            from beewire.bpf.lang.sequences import equal  # noqa: PLC0415 - as above

            equal(b, value, choice, then, more)
        b.start(more)
    b.jump(orelse)


def _in_range(
    b: Builder, item: ast.expr, container: ast.Call, then: Target, orelse: Target
) -> None:
    if container.keywords or len(container.args) not in {1, 2, 3}:
        raise b.refuse(
            container,
            Reason.MEMBERSHIP,
            "'in range' takes a start, an end and a step",
            "in range(a, b), in range(a, b, 2)",
        )
    value = _comparable(b, item)
    bounds = [_comparable(b, bound) for bound in container.args]
    start, stop = bounds[:2] if len(bounds) > 1 else (Literal(0), bounds[0])
    step = bounds[2] if len(bounds) > 2 else Literal(1)
    if not isinstance(step, Literal) or step.value == 0:
        raise b.refuse(
            container.args[2],
            Reason.RANGE,
            "the step of range() is a constant, and not 0",
        )
    past, inside = b.target("range"), b.target("step")
    up = step.value > 0
    if up and isinstance(start, Literal) and not start.value and _is_unsigned(value):
        b.jump(past)
    else:
        compare_values(b, ast.GtE() if up else ast.LtE(), value, start, past, orelse)
    b.start(past)
    every = abs(step.value)
    last = then if every == 1 else inside
    compare_values(b, ast.Lt() if up else ast.Gt(), value, stop, last, orelse)
    if every > 1:
        b.start(inside)
        ends = (value, start) if up else (start, value)
        apart = b.binary(ir.BinOp.SUB, b.op(ends[0]), b.op(ends[1]))
        rest = b.binary(ir.BinOp.UMOD, apart, ir.Const(every))
        b.branch(ir.CmpOp.EQ, rest, ir.Const(0), then, orelse)


def _is_unsigned(value: Int | Literal) -> bool:
    return isinstance(value, Int) and not value.type.signed


CONDITIONS[ast.expr] = truth
CONDITIONS[ast.UnaryOp] = negation
CONDITIONS[ast.BoolOp] = both
CONDITIONS[ast.Compare] = compare
