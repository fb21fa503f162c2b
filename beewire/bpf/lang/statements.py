"""Statements other than assignments, loops, `with` and `match`: if, return."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.builder import ADVICE, Builder, compiles
from beewire.bpf.lang.ints import check_literal
from beewire.bpf.lang.ownership import check_exit, clean_up
from beewire.bpf.lang.types import I32, U32, IntType
from beewire.bpf.lang.values import Literal, Nothing
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
        from beewire.bpf.lang import bodies  # noqa: PLC0415 - where there are any

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
