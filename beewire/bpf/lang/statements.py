"""Statements other than assignments, loops and `with`: if, match, return."""

from beewire.bpf import ir
from beewire.bpf.lang import bodies
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.builder import ADVICE, Builder, compiles
from beewire.bpf.lang.conditions import compare_values
from beewire.bpf.lang.faults import Rule
from beewire.bpf.lang.flow import Target
from beewire.bpf.lang.ints import check_literal
from beewire.bpf.lang.ownership import check_exit, clean_up
from beewire.bpf.lang.types import I32, U32, IntType
from beewire.bpf.lang.values import Int, Literal, Nothing
from beewire.bpf.lang.variables import assign
from beewire.reasons import Reason

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
        bodies.return_(b, node)
        return
    op = _returned(b, node)
    clean_up(b, b.frame.cleanups)
    check_exit(b, node)
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
    ordered = isinstance(wanted.type, IntType) and wanted.type.is_big_endian
    value = b.integer(node.value, ordered=ordered)
    if isinstance(value, Literal):
        # The kernel takes 32 bits of it.
        type_ = wanted.type if isinstance(wanted.type, IntType) else None
        check_literal(value.value, type_ or (I32 if value.value < 0 else U32))
    elif isinstance(wanted.type, IntType) and (wanted.type.bits < 32 or ordered):
        value = b.narrow(value, wanted.type)
    return b.op(value)


@compiles(ast.Match)
def match(b: Builder, node: ast.Match) -> None:
    """`match` of an integer; the first case that fits is run."""
    subject = b.integer(node.subject, ordered=True)
    done = b.target("matched")
    told: set[bool] = set()
    for case in node.cases:
        body, more = b.target("case"), b.target("next")
        if case.guard is None and _is_last(case.pattern, subject, told):
            b.jump(body)
        elif case.guard is None:
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


def _is_last(pattern: ast.pattern, subject: Int | Literal, told: set[bool]) -> bool:
    """Whether the pattern takes what is left of a bool; `told` is what others take."""
    if not (isinstance(subject, Int) and subject.type.is_bool):
        return False
    parts = pattern.patterns if isinstance(pattern, ast.MatchOr) else [pattern]
    told |= {bool(p.value) for p in parts if isinstance(p, ast.MatchSingleton)}
    return len(told) == 2 and all(isinstance(p, ast.MatchSingleton) for p in parts)


def _pattern(
    b: Builder, pattern: ast.pattern, subject: Int | Literal, then: Target, more: Target
) -> None:
    match pattern:
        case ast.MatchValue():
            value = b.integer(pattern.value, ordered=True)
            _equals(b, pattern, subject, value, then, more)
        case ast.MatchSingleton(value=None):
            raise b.refuse(
                pattern, Reason.NEVER_NONE, "an integer is never None", "match numbers"
            )
        case ast.MatchSingleton():
            truth = Literal(int(pattern.value is True))
            _equals(b, pattern, subject, truth, then, more)
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
