"""`for i in range(...)`, `while`, `break`, `continue`."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments
from beewire.bpf.lang.builder import Builder, compiles, handler_of
from beewire.bpf.lang.conditions import compare_values
from beewire.bpf.lang.flow import Loop, Target, Variable
from beewire.bpf.lang.ints import join
from beewire.bpf.lang.operators import operand
from beewire.bpf.lang.ownership import clean_up
from beewire.bpf.lang.rounds import count, hidden, is_followed, spend
from beewire.bpf.lang.source import stored_names
from beewire.bpf.lang.types import I64, IntType
from beewire.bpf.lang.values import Int, Literal
from beewire.bpf.lang.variables import assign, find, static_object
from beewire.hints import Callable
from beewire.reasons import Reason
from beewire.rows import Row


@compiles(ast.While)
def while_(b: Builder, node: ast.While) -> None:
    """`while`, with `else` for when no `break` ended it."""
    _refuse_endless(b, node)
    head, body, done = b.target("while"), b.target("body"), b.target("done")
    orelse = b.target("else") if node.orelse else done
    again = b.target("again")
    enter_loop(b, node.body, node.test)
    b.jump(head)
    b.start(head)
    b.condition(node.test, body, orelse)
    b.start(body)
    loop_body(b, node.body, again, done)
    b.jump(again)
    b.start(again)
    spend(b, None)
    b.jump(head)
    after_loop(b, node.orelse, orelse, done)


@compiles(ast.For)
def for_(b: Builder, node: ast.For) -> None:
    """`for i in range(start, stop, step)`."""
    if not isinstance(node.target, ast.Name):
        raise b.refuse(
            node.target, Reason.RANGE, "'for' takes one name", "for i in range(n):"
        )
    if not _is_range(b, node.iter):
        each = handler_of(EACH, "each")
        assert each is not None
        each(b, node, node.target)
        return
    start, stop, step = _range_bounds(b, node.iter)
    assert isinstance(node.iter, ast.Call)
    rounds = count(b, node.iter, start, stop, step)
    kind = _counter_type(start, stop, step)
    name = node.target.id

    def bind(value: Int) -> None:
        assign(b, name, value)
        own = _walked(b, node)
        if isinstance(value.op, ir.GetLocal) and value.op.local in b.walked:
            b.walked |= own
        if most is not None:
            b.most.update(dict.fromkeys(own, most))

    most, before = _most(start, stop, step), dict(b.most)
    count_rounds(b, node, Counting(start, stop, step, kind, rounds), bind)
    b.most = before


def _most(start: Int | Literal, stop: Int | Literal, step: int) -> int | None:
    """The most that a counter may be, where that is plain and it is never negative."""
    if not isinstance(start, Literal) or not isinstance(stop, Literal):
        return None
    if step > 0:
        return stop.value - 1 if start.value >= 0 else None
    return start.value if stop.value >= -1 else None


class Counting(Row):
    """What a loop counts: the range and the type of its counter, the most rounds."""

    start: Int | Literal
    stop: Int | Literal
    step: int
    type: IntType
    rounds: int


def count_rounds(
    b: Builder, node: ast.For, counting: Counting, bind: Callable[[Int], None]
) -> None:
    """Compile a `for`; `bind` assigns its target, given the counter."""
    start, stop, step, kind, rounds = counting
    followed, around = is_followed(b, rounds), b.rounds
    assert isinstance(node.target, ast.Name)
    counter = ir.Local(f"{node.target.id} counter", ir.Kind.INT)
    body, again, done = b.target("body"), b.target("again"), b.target("done")
    orelse = b.target("else") if node.orelse else done
    head = b.target("for")
    first = b.op(start)
    if not followed and isinstance(start, Literal) and _is_tested(node, stop):
        first = hidden(b, first)
    b.emit(ir.SetLocal(counter, first))
    enter_loop(b, node.body, node.target)
    if not followed:
        # The kernel meets the loop at its head: there it has to learn the bounds.
        b.jump(head)
        b.start(head)
        start = Int(b.emit(ir.GetLocal(counter)), kind)
    _test(b, start, stop, step, (body, orelse))
    b.start(body)
    known = set(b.walked)
    if followed and isinstance(start, Literal):
        b.walked.add(counter)
    bind(Int(b.emit(ir.GetLocal(counter)), kind))
    b.rounds *= rounds if followed else 1
    loop_body(b, node.body, again, done)
    b.rounds = around
    b.walked = known
    b.jump(again)
    b.start(again)
    if not followed:
        spend(b, rounds)
    new = b.binary(ir.BinOp.ADD, b.emit(ir.GetLocal(counter)), ir.Const(step))
    b.emit(ir.SetLocal(counter, new))
    if followed:
        # Tested at the end again, rather than by a jump back to the start.
        _test(b, Int(new, kind), stop, step, (body, orelse))
    else:
        b.jump(head)
    after_loop(b, node.orelse, orelse, done)


def _walked(b: Builder, node: ast.For) -> set[ir.Local]:
    """The loop's variable, if nothing but the loop assigns it."""
    assert isinstance(node.target, ast.Name)
    variable = find(b.frame, node.target.id)
    if node.target.id in stored_names(node.body) or variable is None:
        return set()
    return set() if variable.local is None else {variable.local}


# What goes over anything else; registered by `iteration`.
EACH: dict[str, Callable[[Builder, ast.For, ast.Name], None]] = {}


def _is_range(b: Builder, node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and static_object(b, node.func) is range


@compiles(ast.Break)
def break_(b: Builder, node: ast.Break) -> None:
    """`break`: what the loop's `with` blocks hold is given back."""
    loop = _innermost(b, node)
    _clean_up(b, loop)
    b.jump(loop.done)
    b.start(b.target("dead"))


@compiles(ast.Continue)
def continue_(b: Builder, node: ast.Continue) -> None:
    """`continue`: as `break`, to the next round."""
    loop = _innermost(b, node)
    _clean_up(b, loop)
    b.jump(loop.again)
    b.start(b.target("dead"))


def loop_body(b: Builder, body: list[ast.stmt], again: Target, done: Target) -> None:
    """Compile the body, in which `continue` goes to `again` and `break` to `done`."""
    frame = b.frame
    frame.loops.append(Loop(again, done, len(frame.cleanups)))
    try:
        b.statements(body)
    finally:
        frame.loops.pop()


def after_loop(
    b: Builder, orelse: list[ast.stmt], exhausted: Target, done: Target
) -> None:
    """The `else` branch, and what follows."""
    if orelse:
        b.start(exhausted)
        b.statements(orelse)
        b.jump(done)
    b.start(done)


def enter_loop(b: Builder, body: list[ast.stmt], head: ast.expr) -> None:
    """Forget what the loop may change, since its next round begins here too."""
    names = stored_names([*body, ast.Expr(head)])
    variables = b.frame.variables
    changed: set[Variable] = {variables[n] for n in names if n in variables}
    b.flow = b.flow.forget(changed)


def _innermost(b: Builder, node: ast.stmt) -> Loop:
    if not b.frame.loops:
        raise b.refuse(node, Reason.OUTSIDE_LOOP, "this stands in a loop only")
    return b.frame.loops[-1]


def _clean_up(b: Builder, loop: Loop) -> None:
    clean_up(b, b.frame.cleanups[loop.cleanups :])


def _range_bounds(
    b: Builder, node: ast.expr
) -> tuple[Int | Literal, Int | Literal, int]:
    assert isinstance(node, ast.Call)
    if len(node.args) == 1:
        [stop] = arguments(b, node, ("stop",))
        start = step = None
    else:
        start, stop, step = arguments(b, node, ("start", "stop", "step"), 2)
    assert stop is not None
    first = Literal(0) if start is None else b.integer(start)
    last = b.integer(stop)
    by = Literal(1) if step is None else b.integer(step)
    if not isinstance(by, Literal) or by.value == 0:
        raise b.refuse(
            step or node, Reason.RANGE, "the step of range() is a constant, and not 0"
        )
    return first, last, by.value


def _counter_type(start: Int | Literal, stop: Int | Literal, step: int) -> IntType:
    if step < 0:
        # It passes below its end, which may be 0.
        return I64
    return join(operand(start), operand(stop))


def _test(
    b: Builder,
    counter: Int | Literal,
    stop: Int | Literal,
    step: int,
    ways: tuple[Target, Target],
) -> None:
    op: ast.cmpop = ast.Lt() if step > 0 else ast.Gt()
    if step < 0:
        counter, stop = _signed(counter), _signed(stop)
    elif isinstance(counter, Int) and isinstance(stop, Int):
        # Both fit the counter's type.
        kind = join(counter.type, stop.type)
        counter, stop = Int(counter.op, kind), Int(stop.op, kind)
    compare_values(b, op, counter, stop, *ways)


def _is_tested(node: ast.For, stop: Int | Literal) -> bool:
    """Whether anything but an unknown end is compared with the counter."""
    assert isinstance(node.target, ast.Name)
    name = node.target.id
    return isinstance(stop, Literal) or any(
        isinstance(part, ast.Name) and part.id == name
        for inner in ast.walk(node)
        if isinstance(inner, ast.If | ast.IfExp | ast.While | ast.Match | ast.Compare)
        for part in ast.walk(inner)
    )


def _signed(value: Int | Literal) -> Int | Literal:
    return value if isinstance(value, Literal) else Int(value.op, I64)


def _refuse_endless(b: Builder, node: ast.While) -> None:
    if _leaves(node.body):
        return
    constant = isinstance(node.test, ast.Constant)
    if constant and not node.test.value:  # type: ignore[attr-defined]  # a Constant
        return
    if constant:
        raise b.refuse(
            node.test,
            Reason.ENDLESS,
            "this loop never ends",
            "leave it by break or return, or write for i in range(n):",
        )
    changed = stored_names([*node.body, ast.Expr(node.test)])
    if all(_is_fixed(part, changed) for part in ast.walk(node.test)):
        raise b.refuse(
            node.test,
            Reason.ENDLESS,
            "this loop never ends: nothing in it changes the condition",
            "change what it tests, or leave it by break or return",
        )


def _leaves(body: list[ast.stmt], *, nested: bool = False) -> bool:
    """Whether statements leave the loop that they stand in; `nested`: in another."""
    for node in body:
        if isinstance(node, ast.Return) or (isinstance(node, ast.Break) and not nested):
            return True
        deeper = nested or isinstance(node, ast.While | ast.For)
        blocks = [
            getattr(node, "body", []),
            *(c.body for c in getattr(node, "cases", [])),
        ]
        if any(_leaves(block, nested=deeper) for block in blocks):
            return True
        if _leaves(getattr(node, "orelse", []), nested=nested):
            return True
    return False


_PURE = (
    ast.Constant,
    ast.operator,
    ast.unaryop,
    ast.cmpop,
    ast.boolop,
    ast.expr_context,
    ast.BinOp,
    ast.UnaryOp,
    ast.Compare,
    ast.BoolOp,
)


def _is_fixed(node: ast.AST, changed: set[str]) -> bool:
    if isinstance(node, ast.Name):
        return node.id not in changed
    return isinstance(node, _PURE)
