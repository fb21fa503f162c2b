"""Statements other than assignments and loops: if, match, with, return."""

from beewire.bpf import ir
from beewire.bpf.lang import inline
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments, required
from beewire.bpf.lang.builder import ADVICE, Builder, compiles
from beewire.bpf.lang.conditions import compare_values
from beewire.bpf.lang.decl import MapDecl, Ring, Sockets
from beewire.bpf.lang.faults import Rule
from beewire.bpf.lang.flow import Target, Variable
from beewire.bpf.lang.ints import check_literal
from beewire.bpf.lang.map_operations import (
    RINGBUF_DISCARD,
    RINGBUF_SUBMIT,
    find_value,
    key_pointer,
    reserve,
    value_of,
)
from beewire.bpf.lang.types import I32, U32, IntType
from beewire.bpf.lang.values import (
    Int,
    Literal,
    Memory,
    Nothing,
    Pointer,
    Socket,
)
from beewire.bpf.lang.variables import assign, find, static_object
from beewire.hints import Callable
from beewire.reasons import Reason

SK_RELEASE = 86

ADVICE |= {
    ast.Try: ("try is not part of programs", "nothing raises there: test results"),
    ast.TryStar: ("try is not part of programs", "nothing raises there: test results"),
    ast.Raise: ("raise is not part of programs", "return a value that says so"),
    ast.Assert: ("assert is not part of programs", "test it, and return"),
    ast.Import: ("import stands at the top of the module", "move it there"),
    ast.ImportFrom: ("import stands at the top of the module", "move it there"),
    ast.Global: ("global is not part of programs", "declare it: limit = Global(u32)"),
    ast.Nonlocal: ("nonlocal is not part of programs", "declare it: x = Global(u32)"),
    ast.FunctionDef: ("a function inside a program", "move it to the module"),
    ast.AsyncFunctionDef: ("async is not part of programs", "leave it out"),
    ast.AsyncFor: ("async is not part of programs", "leave it out"),
    ast.AsyncWith: ("async is not part of programs", "leave it out"),
    ast.ClassDef: ("a class inside a program", "move it to the module"),
    ast.MatchClass: ("a class pattern is not part of programs", "match numbers"),
    ast.MatchSequence: ("a sequence pattern is not part of programs", "match numbers"),
    ast.MatchMapping: ("a mapping pattern is not part of programs", "match numbers"),
    ast.MatchStar: ("* is not part of programs", "match numbers"),
}


@compiles(ast.Pass)
def pass_(b: Builder, node: ast.Pass) -> None:
    """`pass`."""
    del b, node


@compiles(ast.Expr)
def expression(b: Builder, node: ast.Expr) -> None:
    """A call for its effect; a docstring."""
    value = node.value
    if isinstance(value, ast.Constant) and (
        isinstance(value.value, str) or value.value is ...
    ):
        return
    if isinstance(value, ast.Call | ast.NamedExpr):
        b.expr(value)
        return
    b.expr(value)
    if isinstance(value, ast.BoolOp | ast.IfExp):
        raise b.refuse(
            node, Reason.NO_EFFECT, "a choice is no statement", "write it as an 'if'"
        )
    raise b.refuse(
        node,
        Reason.NO_EFFECT,
        "this expression does nothing",
        "assign it, or leave it out",
    )


@compiles(ast.If)
def if_(b: Builder, node: ast.If) -> None:
    """`if`, `elif`, `else`."""
    then, done = b.target("then"), b.target("endif")
    orelse = b.target("else") if node.orelse else done
    b.condition(node.test, then, orelse)
    b.start(then)
    b.statements(node.body)
    b.jump(done)
    if node.orelse:
        b.start(orelse)
        b.statements(node.orelse)
        b.jump(done)
    b.start(done)


@compiles(ast.Return)
def return_(b: Builder, node: ast.Return) -> None:
    """`return`, from the program or from an inlined function."""
    if b.frame.parent is not None:
        # An inlined function returns to its caller.
        inline.return_(b, node)
        return
    op = _returned(b, node)
    for cleanup in reversed(b.frame.cleanups):
        cleanup()
    b.leave(ir.Return(op))


def _returned(b: Builder, node: ast.Return) -> ir.Op:
    wanted, neutral = b.frame.wanted, b.neutral
    if wanted.is_none:
        if node.value is None or isinstance(b.expr(node.value), Nothing):
            return ir.Const(neutral)
        name = b.frame.definition.name
        hint = f"annotate what it returns: -> int, instead of {name}() -> None"
        raise b.refuse(
            node.value, Reason.RESULT, f"{name}() is annotated -> None", hint
        )
    if node.value is None:
        hint = "return one, or annotate the program -> None"
        raise b.refuse(
            node, Reason.RESULT, "the program must return a value here", hint
        )
    value = b.integer(node.value)
    if isinstance(value, Literal):
        # The kernel takes 32 bits of it.
        type_ = wanted.type if isinstance(wanted.type, IntType) else None
        check_literal(value.value, type_ or (I32 if value.value < 0 else U32))
    elif isinstance(wanted.type, IntType) and wanted.type.bits < 32:
        value = b.narrow(value, wanted.type)
    return b.op(value)


@compiles(ast.Match)
def match(b: Builder, node: ast.Match) -> None:
    """`match` of an integer; the first case that fits is run."""
    subject = b.integer(node.subject)
    done = b.target("matched")
    for case in node.cases:
        body, more = b.target("case"), b.target("next")
        if case.guard is None:
            _pattern(b, case.pattern, subject, body, more)
        else:
            guard = b.target("guard")
            _pattern(b, case.pattern, subject, guard, more)
            b.start(guard)
            b.condition(case.guard, body, more)
        b.start(body)
        b.statements(case.body)
        b.jump(done)
        b.start(more)
    b.jump(done)
    b.start(done)


def _pattern(
    b: Builder, pattern: ast.pattern, subject: Int | Literal, then: Target, more: Target
) -> None:
    match pattern:
        case ast.MatchValue():
            _equals(b, pattern, subject, b.integer(pattern.value), then, more)
        case ast.MatchSingleton() if pattern.value is not None:
            value = Literal(int(pattern.value))
            _equals(b, pattern, subject, value, then, more)
        case ast.MatchSingleton():
            raise b.refuse(
                pattern, Reason.NEVER_NONE, "an integer is never None", "match numbers"
            )
        case ast.MatchOr():
            _alternatives(b, pattern, subject, then, more)
        case ast.MatchAs():
            _capture(b, pattern, subject, then, more)
        case _:
            raise b.unsupported(pattern)


def _equals(
    b: Builder,
    pattern: ast.pattern,
    subject: Int | Literal,
    value: Int | Literal,
    then: Target,
    more: Target,
) -> None:
    try:
        compare_values(b, ast.Eq(), subject, value, then, more)
    except Rule as rule:
        raise b.refuse(pattern, rule.code, rule.message, rule.hint) from None


def _alternatives(
    b: Builder, pattern: ast.MatchOr, subject: Int | Literal, then: Target, more: Target
) -> None:
    *first, last = pattern.patterns
    for alternative in first:
        other = b.target("or")
        _pattern(b, alternative, subject, then, other)
        b.start(other)
    _pattern(b, last, subject, then, more)


def _capture(
    b: Builder, pattern: ast.MatchAs, subject: Int | Literal, then: Target, more: Target
) -> None:
    if pattern.pattern is not None:
        fits = b.target("fits")
        _pattern(b, pattern.pattern, subject, fits, more)
        b.start(fits)
    if pattern.name is not None:
        assign(b, pattern.name, subject)
    b.jump(then)


@compiles(ast.With)
def with_(b: Builder, node: ast.With) -> None:
    """`with events.reserve() as e:`, `with socks.lookup(key) as sk:`."""
    _with(b, node.items, node.body)


def _with(b: Builder, items: list[ast.withitem], body: list[ast.stmt]) -> None:
    if not items:
        b.statements(body)
        return
    item, *rest = items
    call = item.context_expr
    decl = _managed(b, call)
    if decl is None or not isinstance(call, ast.Call):
        hint = "with events.reserve() as e:, with socks.lookup(key) as sk:"
        raise b.refuse(
            call, Reason.WITH, "'with' takes a reservation or a socket", hint
        )
    if not isinstance(item.optional_vars, ast.Name):
        raise b.refuse(
            call, Reason.WITH, "'with' needs one name here", "with ... as e:"
        )
    variable, held = _acquire(b, decl, call, item.optional_vars.id)
    normal, early = _release_calls(b, decl, held)
    frame = b.frame
    variable.fixed = True
    frame.cleanups.append(lambda: _release(b, variable, held, early))
    try:
        _body(b, rest, body, lambda: _release(b, variable, held, normal))
    finally:
        frame.cleanups.pop()
        variable.fixed = False
    variable.gone = f"{variable.name!r} is gone: its 'with' block has ended"
    b.flow = b.flow.drop(variable)
    # Another block may use the name for something else.
    variable.template = variable.local = None


def _managed(b: Builder, node: ast.expr) -> MapDecl | None:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    decl = static_object(b, node.func.value)
    if isinstance(decl, Ring) and node.func.attr == "reserve":
        return decl
    if isinstance(decl, Sockets) and node.func.attr == "lookup":
        return decl
    return None


def _acquire(
    b: Builder, decl: MapDecl, call: ast.Call, name: str
) -> tuple[Variable, ir.Op]:
    value: Pointer
    if isinstance(decl, Ring):
        arguments(b, call, ())
        value = Memory(reserve(b, decl), 0, value_of(decl), ir.Space.MEM, nullable=True)
    else:
        [key] = required(arguments(b, call, ("key",)))
        op = find_value(b, decl, key_pointer(b, decl, key))
        value = Socket(op, nullable=True, owned=True)
    assign(b, name, value)
    variable = find(b.frame, name)
    assert variable is not None
    return variable, value.op


def _release_calls(
    b: Builder, decl: MapDecl, held: ir.Op
) -> tuple[Callable[[], object], Callable[[], object]]:
    """What gives the reference back: at the end of the block, and before it."""
    if isinstance(decl, Ring):
        return (
            lambda: b.call(RINGBUF_SUBMIT, held, ir.Const(0)),
            lambda: b.call(RINGBUF_DISCARD, held, ir.Const(0)),
        )
    return (lambda: b.call(SK_RELEASE, held), lambda: b.call(SK_RELEASE, held))


def _release(
    b: Builder, variable: Variable, held: ir.Op, call: Callable[[], object]
) -> None:
    if variable in b.flow.none:
        return
    if variable in b.flow.sure:
        call()
        return
    some, done = b.target("held"), b.target("released")
    b.branch(ir.CmpOp.EQ, held, ir.Const(0), done, some)
    b.start(some)
    call()
    b.jump(done)
    b.start(done)


def _body(
    b: Builder,
    rest: list[ast.withitem],
    body: list[ast.stmt],
    release: Callable[[], None],
) -> None:
    """The block, and the release at its end.

    A block that ends in an `if` releases on both of its ways: whether the reference is
    there is known on each of them, and need not be tested again.
    """
    last = body[-1]
    if rest or not isinstance(last, ast.If) or last.orelse:
        _with(b, rest, body)
        if b.live:
            release()
        return
    b.statements(body[:-1])
    then, skipped, done = b.target("then"), b.target("skipped"), b.target("endwith")
    b.condition(last.test, then, skipped)
    for target, statements in ((then, last.body), (skipped, [])):
        b.start(target)
        b.statements(statements)
        if b.live:
            release()
        b.jump(done)
    b.start(done)
